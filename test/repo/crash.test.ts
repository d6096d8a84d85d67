/** Stopped after each single write, for every n: what was saved before stays whole, and the next run goes on. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { lockShared } from "../../src/repo/lock.ts";
import { createRepository, openRepository, type Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { systemClock } from "../../src/base/clock.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, copyStore, newRepository, PASSWORD, readFiles, reopen, signal, type Files } from "./small-backup.ts";

class Crash extends Error {}

let repository: Repository;
let store: MemoryStore;

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
});

/** Enough for two packs when `large`. */
function files(seed: number, { large }: { large: boolean }): Files {
  const shared = Buffer.alloc(1 << 20, "shared by all");
  return {
    shared,
    "folder/random": randomBytes(large ? 17 << 20 : 100),
    "folder/more": randomBytes(5000),
    "folder/deep/text": Buffer.from(`text ${seed}`),
    "folder/empty": Buffer.alloc(0),
    [`only-${seed}`]: randomBytes(1000),
  };
}

async function assertWhole(of: Repository, expected: readonly Files[]): Promise<void> {
  const { problems } = await verifyRepository(of, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const { snapshots, damaged } = await of.listSnapshots({ signal });
  assert.deepEqual(damaged, []);
  assert.equal(snapshots.length, expected.length);
  for (const [at, { snapshot }] of snapshots.entries()) {
    const found = await readFiles(of, snapshot.tree);
    assert.deepEqual(Object.keys(found).toSorted(), Object.keys(expected[at] ?? {}).toSorted());
    for (const [path, bytes] of Object.entries(expected[at] ?? {})) assert.ok(found[path]?.equals(bytes), path);
  }
}

/** Lets the first `n` changes through. */
function stopAfter(target: MemoryStore, n: number): void {
  let done = 0;
  target.beforeWrite = () => {
    if (done >= n) throw new Crash(`stopped after ${n} writes`);
    done += 1;
  };
}

test("a backup that is stopped after any of its writes harms no earlier one, and the next one finishes it", async () => {
  const first = files(1, { large: false });
  const second = files(2, { large: true });
  await backUp(repository, first, "2026-01-01T00:00:00Z");
  let whole = 0;
  for (let n = 0; ; n += 1) {
    const copy = copyStore(store);
    stopAfter(copy, n);
    let crashed = false;
    try {
      await using _lock = await lockShared(reopen(repository, copy), {
        clock: systemClock,
        signal,
        hostname: "test-host",
        pid: process.pid,
      });
      await backUp(reopen(repository, copy), second, "2026-01-02T00:00:00Z");
    } catch (error) {
      assert.ok(error instanceof Crash, String(error));
      crashed = true;
    }
    copy.beforeWrite = undefined;
    const wasSaved = (await reopen(repository, copy).listSnapshots({ signal })).snapshots.length === 2;
    await assertWhole(reopen(repository, copy), wasSaved ? [first, second] : [first]);

    const packsBefore = [...copy.files.keys()].filter((name) => name.startsWith("data/"));
    await backUp(reopen(repository, copy), second, "2026-01-03T00:00:00Z");
    await assertWhole(reopen(repository, copy), wasSaved ? [first, second, second] : [first, second]);
    const packsAfter = [...copy.files.keys()].filter((name) => name.startsWith("data/"));
    // Chunks of packs that were durable are not stored again: every chunk has one copy, whatever the moment.
    const index = await reopen(repository, copy).loadIndex({ signal });
    const ids = [...index.packs()].flatMap(({ entries }) => entries.map(({ type, id }) => `${type} ${id}`));
    assert.equal(new Set(ids).size, ids.length, `stopped after ${n} writes`);
    assert.ok(packsAfter.length >= packsBefore.length);
    if (!crashed) {
      whole = n;
      break;
    }
  }
  // Lock, two packs of data and one of trees, index, snapshot; then the lock's end, which may fail.
  assert.equal(whole, 6);
});

test("stopped when nine tenths are stored, the next backup adds less than 15 %", async () => {
  const copy = copyStore(store);
  const large: Record<string, Uint8Array> = {};
  for (let number = 0; number < 20; number += 1) large[`file-${number}`] = randomBytes(8 << 20);
  const total = 20 * (8 << 20);
  const stored = () =>
    [...copy.files].reduce((sum, [name, { length }]) => sum + (name.startsWith("data/") ? length : 0), 0);
  const before = stored();
  copy.beforeWrite = () => {
    if (stored() - before >= 0.9 * total) throw new Crash("stopped at nine tenths");
  };
  await assert.rejects(backUp(reopen(repository, copy), large, "2026-01-02T00:00:00Z"), Crash);
  copy.beforeWrite = undefined;
  const first = stored() - before;
  assert.ok(first < 0.98 * total);
  await backUp(reopen(repository, copy), large, "2026-01-03T00:00:00Z");
  const second = stored() - before - first;
  assert.ok(second < 0.15 * total, `${second} of ${total} bytes were added`);
});

async function make(place: MemoryStore, password = PASSWORD): Promise<Repository> {
  const labels = { hostname: "test-host", username: "tester" };
  return await createRepository(place, { password, clock: systemClock, ...labels, signal });
}

test("making a repository that is stopped after any of its writes leaves nothing that looks like one, and the next run ends it", async () => {
  for (let n = 0; ; n += 1) {
    const empty = createMemoryStore();
    stopAfter(empty, n);
    try {
      await make(empty);
      assert.equal(n, 3);
      break;
    } catch (error) {
      assert.ok(error instanceof Crash, String(error));
      assert.equal(empty.files.has("config"), false);
    }
    empty.beforeWrite = undefined;
    // It may be that of somebody who is just making one.
    if (empty.files.size > 0) {
      await assert.rejects(make(empty, "another"), (error) => isFailure(error, "repo/exists"));
      const lost = copyStore(empty);
      lost.files.set(`data/${"a".repeat(64)}`, Buffer.from("x"));
      await assert.rejects(
        make(lost),
        (error) => isFailure(error, "repo/exists") && /no config, but data/.test(error.message),
      );
    }
    await make(empty);
    assert.equal([...empty.files.keys()].filter((name) => name.startsWith("keys/")).length, 1);
    await openRepository(empty, { password: PASSWORD, signal });
  }
});

test("whoever ends what another is just making takes no key away, nor does the other", async () => {
  const place = createMemoryStore();
  let isMet = false;
  const put = place.put.bind(place);
  place.put = async (ref, bytes, options) => {
    if (ref.kind === "config" && !isMet) {
      isMet = true;
      await make(place);
    }
    await put(ref, bytes, options);
  };
  await assert.rejects(make(place), (error) => isFailure(error, "repo/exists"));
  assert.ok(isMet);
  await openRepository(place, { password: PASSWORD, signal });
});
