/** A backup that is stopped after a write of its repository, each in the long run: nothing that was saved before is touched. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { BackupSummary } from "../../src/job/summaries.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import { sampled } from "../harness/whole.ts";
import { copyStore, reopen as reopenRepository, signal } from "../repo/small-backup.ts";
import { savedFiles, savedPoints, savedRows } from "../scenario/saved-point.ts";
import { backUpInto, openMemoryDesk, type MemoryDesk } from "./memory-desk.ts";

const EVERY = sampled(5, 1);

let desk: MemoryDesk;

before(async () => {
  desk = await openMemoryDesk();
});

after(async () => {
  await desk[Symbol.asyncDispose]();
});

async function backUp(store: MemoryStore): Promise<BackupSummary> {
  return await backUpInto(reopen(store), desk);
}

/** The repository as another process sees it. */
function reopen(store: MemoryStore): Repository {
  return reopenRepository(desk.repository, store);
}

/** Every file and every table of every point, by the point's name. */
async function readAll(store: MemoryStore): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for (const point of await savedPoints(reopen(store))) {
    const { tables } = await point.manifest();
    const rows: Record<string, unknown> = {};
    for (const { name } of tables) rows[name] = await savedRows(point, name);
    all[point.point.id] = { rows, files: Object.fromEntries(await savedFiles(point)) };
  }
  return all;
}

async function assertSound(store: MemoryStore): Promise<void> {
  const { problems } = await verifyRepository(reopen(store), { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const index = await reopen(store).loadIndex({ signal });
  const chunks = [...index.packs()].flatMap(({ entries }) => entries.map(({ type, id }) => `${type} ${id}`));
  assert.equal(new Set(chunks).size, chunks.length, "a chunk was stored twice");
}

async function changeInstallation(): Promise<void> {
  const random = seededRandom("between the points");
  await onDatabase(desk.demo.database, async (client) => {
    await sendMessage(client, random);
    await attachFile(client, random, desk.demo.storageRoot);
  });
}

test(`stopped after ${EVERY === 1 ? "any" : "every fifth"} of its writes, a backup harms no point, and the next one goes on and is whole`, async () => {
  const first = copyStore(desk.store);
  await backUp(first);
  const saved = await readAll(first);
  assert.equal(Object.keys(saved).length, 1);
  await changeInstallation();
  // What a whole second point reads as.
  const reference = copyStore(first);
  const { point: referencePoint } = await backUp(reference);
  const expected = (await readAll(reference))[referencePoint ?? ""];
  let writes = 0;
  for (let isStopped = true; isStopped; writes += EVERY) {
    const store = copyStore(first);
    let done = 0;
    store.beforeWrite = () => {
      if (done >= writes) throw new Error("the power is gone");
      done += 1;
    };
    isStopped = await backUp(store).then(
      () => false,
      () => true,
    );
    store.beforeWrite = undefined;
    const left = await readAll(store);
    const [firstPoint = ""] = Object.keys(saved);
    assert.deepEqual(left[firstPoint], saved[firstPoint], `stopped after ${writes} writes`);
    await assertSound(store);
    const { point } = await backUp(store);
    const all = await readAll(store);
    for (const [name, content] of Object.entries(all)) {
      if (name !== firstPoint) assert.deepEqual(content, expected, `stopped after ${writes} writes`);
    }
    assert.ok(point !== null && point in all);
    assert.ok(Object.keys(all).length === 2 || Object.keys(left).length === 2, "a half backup left a point");
    await assertSound(store);
  }
  // Its lock; packs of rows, files and trees; an index, the snapshot, and the lock's end.
  assert.ok(writes > 6, `${writes - 1} writes`);
});
