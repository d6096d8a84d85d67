/** Frees what nobody needs, whatever moment it is stopped at; refuses where something needed is lacking. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import { systemClock, type Clock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { LOCK_TIMES, lockExclusive } from "../../src/repo/lock.ts";
import { pruneRepository, type PruneOptions, type PruneResult } from "../../src/repo/prune.ts";
import { repairIndex } from "../../src/repo/repair-index.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { removeFiles } from "../../src/repo/rewrite-index.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, copyStore, newRepository, readFiles, reopen, signal, type Files } from "./small-backup.ts";

/** Nobody else is here: the wait between writing a lock and looking again is for nothing. */
const clock: Clock = {
  ...systemClock,
  sleep: async (ms, given) => await systemClock.sleep(ms === LOCK_TIMES.settle ? 0 : ms, given),
};

class Crash extends Error {}

const SHARED = randomBytes(300_000);
let repository: Repository;
let store: MemoryStore;
let expected: Files[];

function files(seed: number): Files {
  return {
    shared: SHARED,
    "folder/large": randomBytes(seed === 2 ? 3 << 20 : 50_000),
    "folder/text": Buffer.from(`text ${seed}`),
    "folder/deep/er": randomBytes(1000),
  };
}

/** Five snapshots; two of them removed, the large one among them, so that packs are needed whole, in part and not. */
before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
  const all = [1, 2, 3, 4, 5].map(files);
  for (const [at, content] of all.entries()) {
    await backUp(reopen(repository), content, `2026-01-0${at + 1}T00:00:00Z`);
  }
  const { snapshots } = await repository.listSnapshots({ signal });
  for (const at of [0, 1]) store.files.delete(`snapshots/${snapshots[at]?.id}`);
  expected = all.slice(2);
});

async function prune(of: Repository, options: Partial<PruneOptions> = {}): Promise<PruneResult> {
  const parts = { clock, signal, hostname: "test-host", pid: process.pid };
  await using lock = await lockExclusive(of, parts);
  return await pruneRepository(of, {
    maxUnused: { percent: 5 },
    isDryRun: false,
    lock,
    progress: silent,
    signal,
    ...options,
  });
}

async function assertWhole(of: Repository, what: readonly Files[]): Promise<void> {
  const { problems } = await verifyRepository(of, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const { snapshots } = await of.listSnapshots({ signal });
  assert.equal(snapshots.length, what.length);
  for (const [at, { snapshot }] of snapshots.entries()) {
    const found = await readFiles(of, snapshot.tree);
    assert.deepEqual(Object.keys(found).toSorted(), Object.keys(what[at] ?? {}).toSorted());
    for (const [path, bytes] of Object.entries(what[at] ?? {})) assert.ok(found[path]?.equals(bytes), path);
  }
}

function namesOf(target: MemoryStore): string[] {
  return [...target.files.keys()].toSorted();
}

function storedBytes(target: MemoryStore): number {
  let sum = 0;
  for (const [name, bytes] of target.files) if (name.startsWith("data/")) sum += bytes.length;
  return sum;
}

test("what no snapshot needs is freed, and everything else is still there", async () => {
  const copy = copyStore(store);
  const { packs, bytes } = await prune(reopen(repository, copy));
  assert.ok(packs.removed >= 1 && packs.repacked >= 1 && packs.written >= 1, JSON.stringify(packs));
  assert.ok(bytes.freed > 3 << 20);
  assert.equal(bytes.before, storedBytes(store));
  assert.ok(Math.abs(storedBytes(copy) - (bytes.before - bytes.freed)) < 1000, "freed what it says");
  await assertWhole(reopen(repository, copy), expected);
});

test("a second prune changes no byte", async () => {
  const copy = copyStore(store);
  await prune(reopen(repository, copy));
  const once = namesOf(copy);
  const { packs, bytes } = await prune(reopen(repository, copy));
  assert.deepEqual(namesOf(copy), once);
  assert.deepEqual([packs.removed, packs.repacked, packs.unindexed, bytes.freed], [0, 0, 0, 0]);
});

test("where no snapshot is left everything would go: that is refused, as the folder is more likely lost than empty", async () => {
  for (const lost of [["snapshots/"], ["snapshots/", "index/"]]) {
    const copy = copyStore(store);
    for (const name of copy.files.keys()) if (lost.some((folder) => name.startsWith(folder))) copy.files.delete(name);
    const before = namesOf(copy);
    await assert.rejects(prune(reopen(repository, copy)), (error) => {
      return isFailure(error, "repo/damaged") && /no snapshot/.test(error.message);
    });
    assert.deepEqual(namesOf(copy), before);
  }
  const empty = copyStore(store);
  for (const name of empty.files.keys()) if (!/^(config|keys)/.test(name)) empty.files.delete(name);
  assert.equal((await prune(reopen(repository, empty))).packs.removed, 0);
});

test("a dry run changes nothing, and says what would be done", async () => {
  const copy = copyStore(store);
  const said = await prune(reopen(repository, copy), { isDryRun: true });
  assert.deepEqual(namesOf(copy), namesOf(store));
  const done = await prune(reopen(repository, copy));
  assert.deepEqual({ ...done, packs: { ...done.packs, written: 0 } }, said);
});

test("stopped after any of its writes, nothing is lost, and the next prune ends where one run would have", async () => {
  const through = copyStore(store);
  await prune(reopen(repository, through));
  const wholeBytes = storedBytes(through);
  let writes = 0;
  for (let isCrashed = true; isCrashed; writes += 1) {
    const copy = copyStore(store);
    let done = 0;
    copy.beforeWrite = () => {
      if (done >= writes) throw new Crash(`stopped after ${writes} writes`);
      done += 1;
    };
    isCrashed = await prune(reopen(repository, copy)).then(
      () => false,
      (error: unknown) => {
        assert.ok(error instanceof Crash, String(error));
        return true;
      },
    );
    copy.beforeWrite = undefined;
    // This process is alive; one that was stopped leaves a lock that nobody heeds.
    for (const name of copy.files.keys()) if (name.startsWith("locks/")) copy.files.delete(name);
    await assertWhole(reopen(repository, copy), expected);
    await prune(reopen(repository, copy));
    await assertWhole(reopen(repository, copy), expected);
    assert.ok(Math.abs(storedBytes(copy) - wholeBytes) < 1000, `after ${writes} writes`);
  }
  assert.ok(writes > 10, `${writes} writes`);
});

for (const kind of ["snapshots", "index", "data"]) {
  for (const how of ["flipped", "gone"]) {
    if (kind === "snapshots" && how === "gone") continue;
    test(`with a file of ${kind} ${how} nothing is removed, or nothing that was needed`, async () => {
      for (const name of store.files.keys()) {
        if (!name.startsWith(`${kind}/`)) continue;
        const copy = copyStore(store);
        const bytes = Buffer.from(copy.files.get(name) ?? []);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
        if (how === "gone") copy.files.delete(name);
        else copy.files.set(name, bytes);
        const before = namesOf(copy);
        try {
          await prune(reopen(repository, copy));
        } catch (error) {
          assert.ok(isFailure(error, "repo/damaged"), String(error));
          assert.match(String(error.hint), /^Nothing was removed\. Run 'chatkeep/);
          for (const left of before) assert.ok(copy.files.has(left), left);
          continue;
        }
        // The damage was in something that nobody needed, or it lies in a pack that was not touched.
        if (how === "gone" && kind === "data") await assertWhole(reopen(repository, copy), expected);
      }
    });
  }
}

test("a damaged tree of any snapshot forbids it", async () => {
  const copy = copyStore(store);
  const index = await reopen(repository, copy).loadIndex({ signal });
  const { snapshots } = await repository.listSnapshots({ signal });
  const [place] = index.find("tree", snapshots[0]?.snapshot.tree ?? ("" as never));
  assert.ok(place);
  const bytes = Buffer.from(copy.files.get(`data/${place.pack}`) ?? []);
  bytes[place.offset + 20] = (bytes[place.offset + 20] ?? 0) ^ 1;
  copy.files.set(`data/${place.pack}`, bytes);
  await assert.rejects(prune(reopen(repository, copy)), /lacking: tree [0-9a-f]{8} cannot be read/);
});

test("where something is in no pack at all it says what brings it back, and what is left to do where nothing does", async () => {
  const copy = copyStore(store);
  const index = await reopen(repository, copy).loadIndex({ signal });
  const { snapshots } = await repository.listSnapshots({ signal });
  const [place] = index.find("tree", snapshots[0]?.snapshot.tree ?? ("" as never));
  assert.ok(place);
  copy.files.delete(`data/${place.pack}`);
  {
    const alone = { clock, signal, hostname: "test-host", pid: process.pid };
    await using lock = await lockExclusive(reopen(repository, copy), alone);
    await repairIndex(reopen(repository, copy), { readAllPacks: false, lock, progress: silent, signal });
  }
  await assert.rejects(prune(reopen(repository, copy)), (error) => {
    assert.ok(isFailure(error, "repo/damaged"));
    assert.match(error.hint ?? "", /repair index.*repair packs --from NAME.*forgotten by their name/);
    return true;
  });
});

test("of chunks that are stored twice one copy stays", async () => {
  const one = copyStore(store);
  const two = copyStore(store);
  const content = { twice: randomBytes(400_000) };
  await backUp(reopen(repository, one), content, "2026-02-01T00:00:00Z");
  await backUp(reopen(repository, two), content, "2026-02-01T00:00:00Z");
  for (const [name, bytes] of two.files) one.files.set(name, bytes);
  await prune(reopen(repository, one), { maxUnused: { bytes: 0 } });
  const index = await reopen(repository, one).loadIndex({ signal });
  const ids = [...index.packs()].flatMap(({ entries }) => entries.map(({ type, id }) => `${type} ${id}`));
  assert.equal(new Set(ids).size, ids.length);
  await assertWhole(reopen(repository, one), [...expected, content, content]);
});

test("packs that no index file names go, and are counted", async () => {
  const copy = copyStore(store);
  await prune(reopen(repository, copy));
  const clean = namesOf(copy);
  copy.files.set(`data/${"ab".repeat(32)}`, randomBytes(1234));
  const { packs, bytes } = await prune(reopen(repository, copy));
  assert.deepEqual([packs.unindexed, bytes.freed], [1, 1234]);
  assert.deepEqual(namesOf(copy), clean);
});

test("a limit on what is written anew is kept, and runs one after another come to the end", async () => {
  const copy = copyStore(store);
  const none = await prune(reopen(repository, copy), { maxUnused: { bytes: 0 }, maxRepackBytes: 0 });
  assert.deepEqual([none.packs.repacked, none.packs.written], [0, 0]);
  assert.ok(none.packs.removed > 0 && none.bytes.unused > 0);
  await assertWhole(reopen(repository, copy), expected);
  const rest = await prune(reopen(repository, copy), { maxUnused: { bytes: 0 } });
  assert.equal(rest.bytes.unused, 0);
  await assertWhole(reopen(repository, copy), expected);
});

test("without the right to delete it says so before it writes anything", async () => {
  const copy = copyStore(store);
  copy.beforeWrite = ({ action, ref }) => {
    if (action === "remove" && ref?.kind !== "locks") throw new Failure("store/denied", "not allowed");
  };
  const before = namesOf(copy);
  await assert.rejects(prune(reopen(repository, copy)), (error) => {
    assert.ok(isFailure(error, "store/denied"));
    assert.match(error.message, /nothing may be removed in 'memory:'/);
    return true;
  });
  assert.deepEqual(namesOf(copy), before);
});

test("a run that stood still while its lock was taken away stops removing when it wakes", async () => {
  const copy = copyStore(store);
  const of = reopen(repository, copy);
  let asleepMs = 0;
  const parts = { signal, hostname: "test-host", pid: process.pid };
  await using lock = await lockExclusive(of, {
    ...parts,
    clock: { ...clock, now: () => systemClock.now() + asleepMs },
  });
  const names = Array.from({ length: 50 }, (_, at) => at.toString(16).padStart(64, "0"));
  for (const name of names) await copy.put({ kind: "data", name }, Buffer.from(name), { signal });
  const left = () => names.filter((name) => copy.files.has(`data/${name}`)).length;
  const remove = copy.remove.bind(copy);
  copy.remove = async (ref, options) => {
    await remove(ref, options);
    if (left() !== 40) return;
    asleepMs = LOCK_TIMES.stale + 1;
    for (const name of copy.files.keys()) if (name.startsWith("locks/")) copy.files.delete(name);
  };
  await assert.rejects(removeFiles(of, "data", { names, lock, signal }), (error) => isFailure(error, "repo/locked"));
  assert.ok(left() >= 40 - LIMITS.removals, `${left()} are left`);
});
