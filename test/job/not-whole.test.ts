/** The marks of points that are not whole, on repositories in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { copy } from "../../src/job/copy.ts";
import { notWholeFindings } from "../../src/job/doctor-repositories.ts";
import { forget } from "../../src/job/forget.ts";
import { isNotWhole, markNotWhole } from "../../src/job/not-whole.ts";
import { listPoints } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, addProof, clockAt, DAY, forgetting, HOUR, NOW, ONE } from "./kept-points.ts";

async function marked(repository: Repository): Promise<string[]> {
  const found: string[] = [];
  for (const point of (await listPoints(repository, { signal })).points) {
    if (await isNotWhole(reopen(repository), point, { signal })) found.push(point.id);
  }
  return found;
}

async function mark(repository: Repository, name: string, snapshots: SnapshotId[]): Promise<void> {
  const lost =
    snapshots.length === 0 ? [] : [{ kind: "chunk-missing", name, message: "it is gone", snapshots } as const];
  await markNotWhole(reopen(repository), { lost, program: "test", clock: clockAt(), signal });
}

const GONE = "ab".repeat(32);

test("a mark counts for one tree in one repository, is not made twice, and goes with its point", async () => {
  const [store, other] = [createMemoryStore(), createMemoryStore()];
  const repository = await newRepository(store);
  const elsewhere = await newRepository(other);
  const newer = await addPoint(repository, NOW - DAY);
  const older = await addPoint(repository, NOW - 2 * DAY);
  await mark(repository, GONE, [older]);
  assert.deepEqual(await marked(repository), [older]);
  const files = new Map(store.files);
  await mark(repository, GONE, [older]);
  assert.deepEqual(store.files, files);

  const [from, to] = [repository, elsewhere].map((one, at) => ({ repository: reopen(one), name: String(at) }));
  assert.ok(from && to);
  const { copied } = await copy({ from, to, choose: (all) => all, clock: clockAt(), progress: silent, signal });
  assert.deepEqual(copied.map(({ point }) => point).toSorted(), [newer, older].toSorted());
  assert.deepEqual(await marked(elsewhere), []);

  const request = { by: "name", words: [older], installationId: ONE } as const;
  assert.equal((await forget(forgetting(reopen(repository), request))).records, 1);
  assert.deepEqual((await listPoints(repository, { signal })).records, []);
});

test("a mark ends when what was lacking is there again, when a later drill proved the point, or when a repair says so", async () => {
  const repository = await newRepository(createMemoryStore());
  const point = await addPoint(repository, NOW - DAY);
  const { points } = await listPoints(repository, { signal });
  const tree = points[0]?.snapshot.tree ?? "";
  const [chunk = ""] = (await readManifestChunks(repository, tree)).slice(0, 1);
  await mark(repository, chunk, [point]);
  assert.deepEqual(await marked(repository), [], "the index has it");
  await mark(repository, GONE, [point]);
  assert.deepEqual(await marked(repository), [point]);
  await mark(repository, GONE, []);
  assert.deepEqual((await listPoints(repository, { signal })).records, []);

  await mark(repository, GONE, [point]);
  await addProof(repository, { point, tree, proven: true, timeMs: NOW - 3 * HOUR });
  assert.deepEqual(await marked(repository), [point], "it was proven before");
  await addProof(repository, { point, tree, proven: true, timeMs: NOW });
  assert.deepEqual(await marked(repository), []);
});

test("doctor names the points that are not whole: an alarm when the newest is one of them", async () => {
  const repository = await newRepository(createMemoryStore());
  const newer = await addPoint(repository, NOW - DAY);
  const older = await addPoint(repository, NOW - 2 * DAY);
  const told = async () => {
    const opened = reopen(repository);
    return await notWholeFindings("primary", opened, (await listPoints(opened, { signal })).points, { signal });
  };
  assert.deepEqual(await told(), []);
  await mark(repository, GONE, [older]);
  const [one] = await told();
  assert.equal(one?.level, "warning");
  assert.match(one.message, new RegExp(`^1 restore point in 'primary' is not whole: ${older.slice(0, 8)}$`));
  await mark(repository, GONE, [newer, older]);
  const [two, ...more] = await told();
  assert.deepEqual(more, []);
  assert.equal(two?.level, "alarm");
  assert.match(two.message, new RegExp(`^2 restore points .*${newer.slice(0, 8)}.*${older.slice(0, 8)}`));
  await mark(repository, GONE, []);
  assert.deepEqual(await told(), []);
});

async function readManifestChunks(repository: Repository, tree: string): Promise<string[]> {
  const opened = reopen(repository);
  const [folder] = await opened.readTree(tree as never, { signal });
  const [file] = await opened.readTree(folder?.subtree as never, { signal });
  return [...(file?.content ?? [])];
}
