/**
 * One byte flipped, a file cut, gone, or swapped with another of its kind, for each kind of file: found, named, what is
 * whole is still restored, and nothing that mends or goes on takes anything healthy away.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { parseChunkId, type SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import type { PackRecord } from "../../src/repo/pack-record.ts";
import { openChunk } from "../../src/repo/chunk.ts";
import { lockExclusive, lockShared } from "../../src/repo/lock.ts";
import { repairIndex } from "../../src/repo/repair-index.ts";
import { repairPacks } from "../../src/repo/repair-packs.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { restoreTree } from "../../src/repo/restore-tree.ts";
import { findLocks } from "../../src/repo/unlock.ts";
import { verifyRepository, type VerifyResult } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { backUp, copyStore, hasty, newRepository, openWriting, PASSWORD, reopen, signal } from "./small-backup.ts";

const OLD = { "keep/a": randomBytes(30_000), "keep/b": Buffer.alloc(200_000, "text ") };
const NEW = {
  "other/c": randomBytes(50_000),
  "other/d": Buffer.alloc(9 << 20, "two chunks "),
  e: Buffer.from("small"),
};

let repository: Repository;
let store: MemoryStore;
/** Before anything was saved. */
let emptyStore: MemoryStore;
let older: SnapshotId;
let newer: SnapshotId;

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
  emptyStore = copyStore(store);
  await newRepository(foreignStore);
  older = await backUp(repository, OLD, "2026-01-01T00:00:00Z");
  newer = await backUp(repository, { ...OLD, ...NEW }, "2026-01-02T00:00:00Z");
});

const DAMAGES: Record<string, (store: MemoryStore, name: string) => void> = {
  "one byte flipped": (target, name) => {
    const bytes = Buffer.from(target.files.get(name) ?? []);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    target.files.set(name, bytes);
  },
  "its last byte cut off": (target, name) => {
    target.files.set(name, Buffer.from(target.files.get(name)?.subarray(0, -1) ?? []));
  },
  "cut to nothing": (target, name) => void target.files.set(name, Buffer.alloc(0)),
  gone: (target, name) => void target.files.delete(name),
  "its last part flipped": (target, name) => {
    const bytes = Buffer.from(target.files.get(name) ?? []);
    bytes[bytes.length - 10] = (bytes[bytes.length - 10] ?? 0) ^ 1;
    target.files.set(name, bytes);
  },
  swapped: (target, name) => {
    const [kind = ""] = name.split("/");
    const other = [...target.files.keys()].find((key) => key.startsWith(`${kind}/`) && key !== name);
    // Of a kind of which there is one only, another repository's is taken.
    const foreign = [...foreignStore.files].find(([key]) => key === kind || key.startsWith(`${kind}/`));
    const mine = target.files.get(name) ?? Buffer.alloc(0);
    target.files.set(name, (other === undefined ? foreign?.[1] : target.files.get(other)) ?? Buffer.alloc(0));
    if (other !== undefined) target.files.set(other, mine);
  },
};

/** Another repository, with keys of its own and the same password. */
const foreignStore = createMemoryStore();

async function verify(of: Repository): Promise<VerifyResult> {
  return await verifyRepository(of, { readData: "all", signal, progress: silent });
}

/** path → true when a snapshot's file is restored as it was. A file is whole or not there. */
async function restored(of: Repository, snapshot: SnapshotId, expected: Record<string, Buffer>): Promise<string[]> {
  await using folder = await temporaryFolder();
  const { snapshots } = await of.listSnapshots({ signal });
  const found = snapshots.find(({ id }) => id === snapshot);
  assert.ok(found);
  const result = await restoreTree(of, found.snapshot.tree, folder.at("out"), { signal, progress: silent });
  const paths = Object.keys(await readFolder(folder.at("out")));
  for (const path of paths) assert.ok(readFileSync(folder.at("out", path)).equals(expected[path] ?? Buffer.alloc(1)));
  assert.equal(result.problems.length > 0, paths.length < Object.keys(expected).length);
  return paths.toSorted();
}

const ALL_OLD = Object.keys(OLD).toSorted();

test("an undamaged repository has no problems and no notes", async () => {
  const { problems, notes, snapshots } = await verify(reopen(repository));
  assert.deepEqual({ problems, notes, snapshots }, { problems: [], notes: [], snapshots: 2 });
});

for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`a pack with ${what}: named with the snapshots that lose something, the others restore`, async () => {
    for (const name of store.files.keys()) {
      if (!name.startsWith("data/")) continue;
      const copy = copyStore(store);
      damage(copy, name);
      const { problems } = await verify(reopen(repository, copy));
      const problem = problems.find((found) => found.name === name.slice("data/".length));
      assert.ok(problem, `${name} is not named in ${JSON.stringify(problems)}`);
      assert.ok(["pack-damaged", "pack-missing"].includes(problem.kind));
      const touched = new Set(problems.flatMap((found) => found.snapshots));
      if (!touched.has(older)) assert.deepEqual(await restored(reopen(repository, copy), older, OLD), ALL_OLD);
      const left = await restored(reopen(repository, copy), newer, { ...OLD, ...NEW });
      assert.equal(left.length === 5, !touched.has(newer), `${name}: ${left.join()} of ${[...touched].join()}`);
    }
  });

  test(`an index file with ${what}: named, and everything still restores`, async () => {
    for (const name of store.files.keys()) {
      if (!name.startsWith("index/")) continue;
      const copy = copyStore(store);
      damage(copy, name);
      const { problems } = await verify(reopen(repository, copy));
      const kinds = new Set(problems.map((problem) => problem.kind));
      if (what === "gone") assert.deepEqual([...kinds], ["pack-not-indexed"]);
      else assert.ok(problems.some((found) => found.kind === "index-damaged" && found.name === name.slice(6)));
      assert.deepEqual(await restored(reopen(repository, copy), older, OLD), ALL_OLD);
      assert.equal((await restored(reopen(repository, copy), newer, { ...OLD, ...NEW })).length, 5);
    }
  });

  test(`a snapshot file with ${what}: the other one restores, if it is whole`, async () => {
    const copy = copyStore(store);
    damage(copy, `snapshots/${newer}`);
    const { problems } = await verify(reopen(repository, copy));
    const { snapshots, damaged } = await reopen(repository, copy).listSnapshots({ signal });
    assert.equal(snapshots.length, what === "swapped" ? 0 : 1);
    if (what === "swapped") {
      assert.deepEqual(new Set(problems.map(({ name }) => name)), new Set([older, newer]));
      assert.deepEqual(new Set(damaged.map(({ id }) => id as string)), new Set([older, newer]));
      return;
    }
    if (what === "gone") assert.deepEqual([problems, damaged], [[], []]);
    else {
      assert.deepEqual(
        problems.map(({ kind, name, snapshots: lost }) => ({ kind, name, lost })),
        [{ kind: "snapshot-damaged", name: newer, lost: [newer] }],
      );
      assert.equal(damaged[0]?.id, newer);
    }
    assert.deepEqual(await restored(reopen(repository, copy), older, OLD), ALL_OLD);
  });

  test(`the config with ${what}: the repository does not open, and says which file it is`, async () => {
    const copy = copyStore(store);
    damage(copy, "config");
    await assert.rejects(
      openRepository(copy, { password: PASSWORD, signal }),
      (error) => isFailure(error, "repo/damaged") && error.message.includes("config") && error.hint !== undefined,
    );
  });

  test(`the only key file with ${what}: the repository does not open, and says which file it is`, async () => {
    const copy = copyStore(store);
    const name = [...copy.files.keys()].find((key) => key.startsWith("keys/")) ?? "";
    damage(copy, name);
    await assert.rejects(openRepository(copy, { password: PASSWORD, signal }), (error) => {
      assert.ok(isFailure(error));
      assert.match(`${error.message} ${error.hint}`, /key/);
      return true;
    });
    // With another key it opens, and the damage is found.
    const { problems } = await verify(reopen(repository, copy));
    if (what !== "gone")
      assert.deepEqual(
        problems.map(({ kind }) => kind),
        ["key-damaged"],
      );
  });
}

const SMALL = { "keep/a": randomBytes(3000), "keep/b": Buffer.alloc(20_000, "text ") };
const ALONE = { clock: hasty, signal, hostname: "test-host", pid: process.pid };

/** Chunks of which a pack still has the right bytes, whatever else is damaged. */
function healthyChunks(target: MemoryStore, records: readonly PackRecord[]): Set<string> {
  const healthy = new Set<string>();
  for (const { id: pack, entries } of records) {
    const bytes = target.files.get(`data/${pack}`) ?? Buffer.alloc(0);
    for (const { type, id, offset, length, uncompressedLength } of entries) {
      const sealed = bytes.subarray(offset, offset + length);
      try {
        openChunk(repository.keys, { id, sealed, uncompressedLength });
        healthy.add(`${type} ${id}`);
      } catch {
        // This one is not.
      }
    }
  }
  return healthy;
}

/** What a person or the next run does with a damaged repository. */
const MENDING: Record<string, (of: Repository) => Promise<unknown>> = {
  "repair index": async (of) => {
    await using lock = await lockExclusive(of, ALONE);
    return await repairIndex(of, { readAllPacks: false, lock, progress: silent, signal });
  },
  "repair index from all packs": async (of) => {
    await using lock = await lockExclusive(of, ALONE);
    return await repairIndex(of, { readAllPacks: true, lock, progress: silent, signal });
  },
  "repair packs": async (of) => {
    await using lock = await lockExclusive(of, ALONE);
    return await repairPacks(of, { source: undefined, lock, progress: silent, signal });
  },
  "the next backup": async (of) => await backUp(of, { ...SMALL, last: randomBytes(100) }, "2026-01-03T00:00:00Z"),
};

for (const [how, mend] of Object.entries(MENDING)) {
  test(`${how} takes nothing healthy away, whatever is damaged`, async () => {
    const store = copyStore(emptyStore);
    await backUp(reopen(repository, store), SMALL, "2026-01-01T00:00:00Z");
    await backUp(reopen(repository, store), { ...SMALL, more: randomBytes(500) }, "2026-01-02T00:00:00Z");
    const records = [...(await reopen(repository, store).loadIndex({ signal })).packs()];
    let tried = 0;
    for (const [what, damage] of Object.entries(DAMAGES)) {
      for (const name of store.files.keys()) {
        const copy = copyStore(store);
        damage(copy, name);
        const before = healthyChunks(copy, records);
        const whole = [...copy.files].filter(([key, bytes]) => bytes === store.files.get(key)).map(([key]) => key);
        try {
          await mend(reopen(repository, copy));
        } catch (error) {
          assert.ok(isFailure(error, "repo/damaged"), `${what} ${name}: ${String(error)}`);
        }
        tried += 1;
        const after = reopen(repository, copy);
        for (const key of whole) assert.ok(!/^(config|keys|snapshots)/.test(key) || copy.files.has(key), key);
        for (const chunk of before) {
          const [type, id] = chunk.split(" ");
          await assert.doesNotReject(
            after.readChunk(type as "data", parseChunkId(id ?? ""), { signal }),
            `${what} ${name}`,
          );
        }
      }
    }
    assert.equal(tried, Object.keys(DAMAGES).length * store.files.size);
  });
}

for (const what of ["one byte flipped", "its last byte cut off", "its last part flipped", "swapped"]) {
  test(`a lock with ${what} forbids, is named, and can be removed`, async () => {
    const copy = copyStore(store);
    await using _one = await lockShared(reopen(repository, copy), ALONE);
    await using _two = await lockShared(reopen(repository, copy), ALONE);
    const name = [...copy.files.keys()].find((key) => key.startsWith("locks/")) ?? "";
    DAMAGES[what]?.(copy, name);
    const before = new Map(copy.files);
    await assert.rejects(lockShared(reopen(repository, copy), ALONE), (error) => {
      assert.ok(isFailure(error, "repo/locked"));
      assert.match(error.message, new RegExp(`lock [0-9a-f]{8} cannot be read`));
      return true;
    });
    assert.deepEqual([...copy.files.keys()].toSorted(), [...before.keys()].toSorted());
    const found = await findLocks(reopen(repository, copy), { ...ALONE });
    const damaged = found.filter(({ damage }) => damage !== undefined).map(({ id }) => `locks/${id}`);
    assert.ok(damaged.includes(name));
    assert.equal(damaged.length, what === "swapped" ? 2 : 1);
  });
}

test("another repository's key file beside ours hinders nobody, and alone it is named", async () => {
  const copy = copyStore(store);
  const [name = ""] = [...foreignStore.files.keys()].filter((key) => key.startsWith("keys/"));
  const bytes = foreignStore.files.get(name) ?? Buffer.alloc(0);
  // Looked at first.
  copy.files.clear();
  copy.files.set(name, bytes);
  for (const [key, content] of store.files) copy.files.set(key, content);
  const opened = await openRepository(copy, { password: PASSWORD, signal });
  assert.equal(opened.keyId, repository.keyId);
  assert.equal(opened.config.id, repository.config.id);

  const replaced = copyStore(store);
  replaced.files.set(`keys/${repository.keyId}`, bytes);
  await assert.rejects(
    openRepository(replaced, { password: PASSWORD, signal }),
    (error) =>
      isFailure(error, "repo/damaged") &&
      error.message.includes(`key file ${repository.keyId.slice(0, 8)}`) &&
      error.hint !== undefined,
  );
});

test("a chunk that is damaged in one pack is read from another, and costs no snapshot anything", async () => {
  const one = copyStore(store);
  const two = copyStore(store);
  const bytes = randomBytes(100_000);
  const first = await backUp(reopen(repository, one), { file: bytes }, "2026-01-03T00:00:00Z");
  await backUp(reopen(repository, two), { file: bytes }, "2026-01-03T00:00:00Z");
  const added = [...one.files.keys()].filter((name) => name.startsWith("data/") && !store.files.has(name));
  for (const [name, content] of two.files) one.files.set(name, content);
  for (const name of added) DAMAGES["one byte flipped"]?.(one, name);
  const { problems } = await verify(reopen(repository, one));
  assert.deepEqual(problems.map(({ name }) => `data/${name}`).toSorted(), added.toSorted());
  for (const problem of problems) assert.deepEqual(problem.snapshots, []);
  assert.deepEqual(await restored(reopen(repository, one), first, { file: bytes }), ["file"]);
});

test("a pack that nobody needs is a note", async () => {
  const copy = copyStore(store);
  const { sealer, writer } = await openWriting(reopen(repository, copy));
  await sealer.add("data", randomBytes(1000));
  await sealer.flush();
  assert.equal(writer.packs, 1);
  const { problems, notes } = await verify(reopen(repository, copy));
  assert.deepEqual(problems, []);
  assert.deepEqual(
    notes.map(({ kind }) => kind),
    ["orphan-pack"],
  );
});

test("a backup stores anew what only a lost or cut pack held", async () => {
  for (const what of ["gone", "its last byte cut off"]) {
    const copy = copyStore(store);
    const packs = [...copy.files.keys()].filter((name) => name.startsWith("data/"));
    for (const name of packs) DAMAGES[what]?.(copy, name);
    const again = await backUp(reopen(repository, copy), { ...OLD, ...NEW }, "2026-01-03T00:00:00Z");
    assert.equal((await restored(reopen(repository, copy), again, { ...OLD, ...NEW })).length, 5);
  }
});

test("parts of the data cover all of it, and a percentage reads some", async () => {
  let read = 0;
  for (const part of [1, 2, 3]) {
    const options = { readData: { part, of: 3 }, signal, progress: silent };
    read += (await verifyRepository(reopen(repository), options)).bytesRead;
  }
  const all = (await verify(reopen(repository))).bytesRead;
  assert.equal(read, all);
  const some = await verifyRepository(reopen(repository), { readData: { percent: 1 }, signal, progress: silent });
  assert.ok(some.bytesRead > 0 && some.bytesRead < all);
});
