/** One file flipped, cut or gone: mended as far as anything has what is lacking, and never made worse. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import { systemClock, type Clock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { encodeIndex } from "../../src/format/index-file.ts";
import { LOCK_TIMES, lockExclusive } from "../../src/repo/lock.ts";
import { repairIndex, type RepairIndexResult } from "../../src/repo/repair-index.ts";
import { repairPacks, type RepairPacksResult } from "../../src/repo/repair-packs.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository, type VerifyProblem } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, copyStore, newRepository, readFiles, reopen, signal } from "./small-backup.ts";

const clock: Clock = {
  ...systemClock,
  sleep: async (ms, given) => await systemClock.sleep(ms === LOCK_TIMES.settle ? 0 : ms, given),
};

const OLD = { "keep/a": randomBytes(30_000), "keep/b": Buffer.alloc(200_000, "text ") };
const NEW = { ...OLD, "other/c": randomBytes(50_000), e: Buffer.from("small") };

let repository: Repository;
let store: MemoryStore;
/** Another repository, with keys of its own, that holds the same files. */
let other: Repository;

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
  other = await newRepository(createMemoryStore());
  for (const each of [repository, other]) {
    await backUp(reopen(each), OLD, "2026-01-01T00:00:00Z");
    await backUp(reopen(each), NEW, "2026-01-02T00:00:00Z");
  }
});

const DAMAGES: Record<string, (store: MemoryStore, name: string) => void> = {
  "one byte flipped": (target, name) => {
    const bytes = Buffer.from(target.files.get(name) ?? []);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    target.files.set(name, bytes);
  },
  "its header flipped": (target, name) => {
    const bytes = Buffer.from(target.files.get(name) ?? []);
    const at = bytes.length - 10;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    target.files.set(name, bytes);
  },
  cut: (target, name) => {
    const bytes = target.files.get(name) ?? Buffer.alloc(0);
    target.files.set(name, bytes.subarray(0, Math.floor(bytes.length * 0.6)));
  },
  gone: (target, name) => void target.files.delete(name),
};

async function index(of: Repository, readAllPacks = false): Promise<RepairIndexResult> {
  await using lock = await lockExclusive(of, { clock, signal, hostname: "test-host", pid: process.pid });
  return await repairIndex(of, { readAllPacks, lock, progress: silent, signal });
}

async function packs(of: Repository, source?: Repository): Promise<RepairPacksResult> {
  await using lock = await lockExclusive(of, { clock, signal, hostname: "test-host", pid: process.pid });
  return await repairPacks(of, { source, lock, progress: silent, signal });
}

async function problemsOf(of: Repository): Promise<readonly VerifyProblem[]> {
  return (await verifyRepository(of, { readData: "all", signal, progress: silent })).problems;
}

async function assertWhole(of: Repository): Promise<void> {
  assert.deepEqual(await problemsOf(of), []);
  const { snapshots } = await of.listSnapshots({ signal });
  for (const [at, expected] of [OLD, NEW].entries()) {
    const found = await readFiles(of, snapshots[at]?.snapshot.tree ?? ("" as never));
    for (const [path, bytes] of Object.entries(expected)) assert.ok(found[path]?.equals(bytes), path);
  }
}

function filesOf(target: MemoryStore, kind: string): string[] {
  return [...target.files.keys()].filter((name) => name.startsWith(`${kind}/`)).toSorted();
}

for (const [how, damage] of Object.entries(DAMAGES)) {
  test(`an index file, ${how}: the packs give it again, and a second repair changes nothing`, async () => {
    for (const name of filesOf(store, "index")) {
      const copy = copyStore(store);
      damage(copy, name);
      assert.equal((await index(reopen(repository, copy))).isChanged, true);
      await assertWhole(reopen(repository, copy));
      const once = [...copy.files.keys()].toSorted();
      assert.equal((await index(reopen(repository, copy))).isChanged, false);
      assert.deepEqual([...copy.files.keys()].toSorted(), once);
      assert.deepEqual(filesOf(copy, "data"), filesOf(store, "data"));
    }
  });

  test(`a pack, ${how}: whole again with another repository's copy`, async () => {
    for (const name of filesOf(store, "data")) {
      const copy = copyStore(store);
      damage(copy, name);
      const { damaged, lost } = await packs(reopen(repository, copy), reopen(other));
      assert.deepEqual(lost, []);
      assert.deepEqual(
        damaged.map(({ id, isReplaced }) => ({ name: `data/${id}`, isReplaced })),
        [{ name, isReplaced: true }],
      );
      await assertWhole(reopen(repository, copy));
      const once = [...copy.files.keys()].toSorted();
      await packs(reopen(repository, copy), reopen(other));
      assert.deepEqual([...copy.files.keys()].toSorted(), once);
    }
  });

  test(`a pack, ${how}, and no other copy: what is lost is named with its snapshots, and stored anew by who has it`, async () => {
    for (const name of filesOf(store, "data")) {
      const copy = copyStore(store);
      damage(copy, name);
      const before = await problemsOf(reopen(repository, copy));
      const { lost } = await packs(reopen(repository, copy));
      if (how === "its header flipped") {
        assert.deepEqual(lost, []);
        await assertWhole(reopen(repository, copy));
        continue;
      }
      const touched = new Set(before.flatMap(({ snapshots }) => snapshots));
      assert.ok(lost.length > 0, `${name} is lost, and nothing is said`);
      assert.deepEqual(new Set(lost.flatMap(({ snapshots }) => snapshots)), touched);
      const once = [...copy.files.keys()].toSorted();
      assert.deepEqual((await packs(reopen(repository, copy))).lost, lost);
      assert.deepEqual([...copy.files.keys()].toSorted(), once);
      const later = copyStore(copy);
      for (const [at, files] of [OLD, NEW].entries()) {
        await backUp(reopen(repository, later), files, `2026-01-0${at + 3}T00:00:00Z`);
      }
      await assertWhole(reopen(repository, later));
      // Once a copy is at hand, it is whole after all.
      assert.deepEqual((await packs(reopen(repository, copy), reopen(other))).lost, []);
      await assertWhole(reopen(repository, copy));
    }
  });

  test(`a pack, ${how}, and the index made anew before: whole again all the same`, async () => {
    for (const name of filesOf(store, "data")) {
      const copy = copyStore(store);
      damage(copy, name);
      await index(reopen(repository, copy), true);
      assert.deepEqual((await packs(reopen(repository, copy), reopen(other))).lost, []);
      await assertWhole(reopen(repository, copy));
    }
  });
}

test("what the header of a pack names and the index does not is kept when the pack gives way to another", async () => {
  for (const name of filesOf(store, "data")) {
    const copy = copyStore(store);
    const records = [...(await reopen(repository, copy).loadIndex({ signal })).packs()].map((record) => {
      return `data/${record.id}` === name ? { ...record, entries: record.entries.slice(1) } : record;
    });
    for (const file of filesOf(copy, "index")) copy.files.delete(file);
    await reopen(repository, copy).putUnpacked(
      "index",
      encodeIndex(records.filter(({ entries }) => entries.length > 0)),
      { signal },
    );
    assert.deepEqual((await packs(reopen(repository, copy))).lost, []);
    await assertWhole(reopen(repository, copy));
  }
});

test("all index files gone: the packs give them again", async () => {
  const copy = copyStore(store);
  for (const name of filesOf(copy, "index")) copy.files.delete(name);
  const { found, packs: all } = await index(reopen(repository, copy));
  assert.equal(found, all);
  await assertWhole(reopen(repository, copy));
});

test("all packs gone: every chunk comes from the other repository", async () => {
  const copy = copyStore(store);
  for (const name of filesOf(copy, "data")) copy.files.delete(name);
  const { lost, fromSource } = await packs(reopen(repository, copy), reopen(other));
  assert.deepEqual(lost, []);
  assert.ok(fromSource > 6);
  await assertWhole(reopen(repository, copy));
});

/** Runs it, and lets so many of its writes through; true when it was stopped by that. */
async function stopAfter(target: MemoryStore, writes: number, run: () => Promise<unknown>): Promise<boolean> {
  let done = 0;
  target.beforeWrite = () => {
    if (done >= writes) throw new Error("stopped");
    done += 1;
  };
  const isStopped = await run().then(
    () => false,
    () => true,
  );
  target.beforeWrite = undefined;
  for (const name of filesOf(target, "locks")) target.files.delete(name);
  return isStopped;
}

test("a repair of packs that is stopped after any of its writes makes nothing worse, and the next one ends it", async () => {
  const [victim = ""] = filesOf(store, "data");
  let isStopped = true;
  let writes = 0;
  for (; isStopped; writes += 1) {
    const copy = copyStore(store);
    DAMAGES["one byte flipped"]?.(copy, victim);
    const before = (await problemsOf(reopen(repository, copy))).length;
    isStopped = await stopAfter(copy, writes, async () => await packs(reopen(repository, copy), reopen(other)));
    assert.ok((await problemsOf(reopen(repository, copy))).length <= before);
    await packs(reopen(repository, copy), reopen(other));
    await assertWhole(reopen(repository, copy));
  }
  assert.ok(writes > 4, `${writes} writes`);
});

test("a repair of packs that is stopped after any of its writes leaves no damaged pack that an index could take up again", async () => {
  let states = 0;
  for (const victim of filesOf(store, "data")) {
    const damaged = copyStore(store);
    DAMAGES["one byte flipped"]?.(damaged, victim);
    for (let [writes, isStopped] = [0, true]; isStopped; writes += 1) {
      const copy = copyStore(damaged);
      isStopped = await stopAfter(copy, writes, async () => await packs(reopen(repository, copy)));
      const named = [...(await reopen(repository, copy).loadIndex({ signal })).packs()].map(({ id }) => `data/${id}`);
      if (copy.files.has(victim)) {
        assert.ok(named.includes(victim), "it is damaged, and no index names it any more");
        continue;
      }
      // What was lost with it is stored anew by who has it, at once and after the index was made anew.
      states += 1;
      for (const rebuild of [false, true]) {
        const next = copyStore(copy);
        if (rebuild) await index(reopen(repository, next), true);
        for (const [at, files] of [OLD, NEW].entries()) {
          await backUp(reopen(repository, next), files, `2026-01-0${at + 3}T00:00:00Z`);
        }
        const wrong = (await problemsOf(reopen(repository, next))).filter(
          ({ kind }) => rebuild || kind !== "pack-missing",
        );
        assert.deepEqual(wrong, []);
      }
    }
  }
  assert.ok(states > filesOf(store, "data").length, `${states} states without the damaged pack`);
});
