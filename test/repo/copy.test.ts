/** Copying between repositories: the same content under other keys, each chunk once, and never half of a point. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import type { SnapshotId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { parseChunkId, parsePackId } from "../../src/base/ids.ts";
import { copy } from "../../src/job/copy.ts";
import type { CopySummary } from "../../src/job/summaries.ts";
import { planCopyReads } from "../../src/repo/copy.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, copyStore, hasty, newRepository, readFiles, reopen, signal, type Files } from "./small-backup.ts";

let emptySource: Repository;
let emptyTarget: Repository;
const stores = new Map<Repository, MemoryStore>();

before(async () => {
  for (const make of ["source", "target"] as const) {
    const store = createMemoryStore();
    const repository = await newRepository(store);
    stores.set(repository, store);
    if (make === "source") emptySource = repository;
    else emptyTarget = repository;
  }
});

/** A new repository as empty as that one, in a store of its own. */
function fresh(of: Repository): { repository: Repository; store: MemoryStore } {
  const empty = stores.get(of);
  assert.ok(empty);
  const store = copyStore(empty);
  return { repository: reopen(of, store), store };
}

async function copyAll(from: Repository, to: Repository): Promise<CopySummary> {
  return await copy({
    from: { repository: reopen(from), name: "source" },
    to: { repository: reopen(to), name: "target" },
    choose: (snapshots) => snapshots,
    clock: hasty,
    progress: silent,
    signal,
  });
}

const SHARED = randomBytes(30_000);
const FIRST: Files = { shared: SHARED, text: Buffer.alloc(300_000, "line\n"), "folder/random": randomBytes(400_000) };
const SECOND: Files = { shared: SHARED, "folder/more": randomBytes(400_000), "folder/deep/text": Buffer.from("hello") };

/** Chunk → how it is packed. */
async function chunksOf(repository: Repository): Promise<Map<string, string>> {
  const chunks = new Map<string, string>();
  for (const { entries } of (await reopen(repository).loadIndex({ signal })).packs()) {
    assert.equal(new Set(entries.map(({ type }) => type)).size, 1, "data and trees lie in packs apart");
    for (const { type, id, length, uncompressedLength } of entries) {
      assert.ok(!chunks.has(`${type} ${id}`), `${type} ${id} is stored twice`);
      chunks.set(`${type} ${id}`, `${length} ${uncompressedLength}`);
    }
  }
  return chunks;
}

async function assertWhole(of: Repository, expected: readonly Files[]): Promise<void> {
  const repository = reopen(of);
  const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const { snapshots } = await repository.listSnapshots({ signal });
  assert.equal(snapshots.length, expected.length);
  for (const [at, { snapshot }] of snapshots.entries()) {
    const found = await readFiles(repository, snapshot.tree);
    assert.deepEqual(Object.keys(found).toSorted(), Object.keys(expected[at] ?? {}).toSorted());
    for (const [path, bytes] of Object.entries(expected[at] ?? {})) assert.ok(found[path]?.equals(bytes), path);
  }
}

async function twoPoints(): Promise<{ repository: Repository; store: MemoryStore; ids: SnapshotId[] }> {
  const source = fresh(emptySource);
  const ids = [
    await backUp(reopen(source.repository), FIRST, "2026-01-01T00:00:00Z"),
    await backUp(reopen(source.repository), SECOND, "2026-01-02T00:00:00Z"),
  ];
  return { ...source, ids };
}

test("a copy has the same content, packed the same, under other keys and the same names", async () => {
  const source = await twoPoints();
  const target = fresh(emptyTarget);
  const summary = await copyAll(source.repository, target.repository);
  assert.deepEqual(
    summary.copied.map(({ point }) => point),
    source.ids,
  );
  assert.deepEqual([summary.skipped, summary.failed], [0, []]);
  await assertWhole(target.repository, [FIRST, SECOND]);
  assert.deepEqual(await chunksOf(target.repository), await chunksOf(source.repository));
  const { snapshots } = await target.repository.listSnapshots({ signal });
  assert.deepEqual(
    snapshots.map(({ snapshot }) => [snapshot.original, snapshot.parent]),
    source.ids.map((id) => [id, undefined]),
  );
});

test("copied once more, not a byte changes, and a copy of the copy keeps the first name", async () => {
  const source = await twoPoints();
  const target = fresh(emptyTarget);
  await copyAll(source.repository, target.repository);
  const before = new Map(target.store.files);
  const again = await copyAll(source.repository, target.repository);
  assert.deepEqual([again.copied, again.skipped, again.added], [[], 2, { bytes: 0, packs: 0 }]);
  assert.deepEqual(new Map(target.store.files), before);
  // Back where it came from nothing is new either.
  const back = await copyAll(target.repository, source.repository);
  assert.deepEqual([back.copied, back.skipped], [[], 2]);
  const third = fresh(emptySource);
  // Keys and id of the source: what would be its mirror is refused.
  await assert.rejects(copyAll(source.repository, third.repository), { code: "usage/invalid" });
  const { copied } = await copyAll(target.repository, third.repository);
  assert.deepEqual(
    copied.map(({ point }) => point),
    source.ids,
  );
});

test("only what the target lacks is copied", async () => {
  const source = await twoPoints();
  const target = fresh(emptyTarget);
  await backUp(reopen(target.repository), FIRST, "2025-01-01T00:00:00Z");
  const { added, copied } = await copyAll(source.repository, target.repository);
  assert.equal(copied.length, 2);
  assert.ok(added.bytes > 400_000 && added.bytes < 450_000, String(added.bytes));
  await assertWhole(target.repository, [FIRST, FIRST, SECOND]);
  await chunksOf(target.repository);
});

test("a copy that is stopped after any of its writes shows nothing half, and the next one goes on", async () => {
  const source = await twoPoints();
  let tried = 0;
  for (let n = 0; ; n += 1) {
    const target = fresh(emptyTarget);
    let done = 0;
    target.store.beforeWrite = () => {
      if (done >= n) throw new Error(`stopped after ${n} writes`);
      done += 1;
    };
    const stopped = await copyAll(source.repository, target.repository).then(
      () => false,
      () => true,
    );
    target.store.beforeWrite = undefined;
    const { snapshots } = await reopen(target.repository).listSnapshots({ signal });
    await assertWhole(target.repository, [FIRST, SECOND].slice(0, snapshots.length));
    const packs = [...target.store.files.keys()].filter((name) => name.startsWith("data/"));
    await copyAll(source.repository, target.repository);
    await assertWhole(target.repository, [FIRST, SECOND]);
    await chunksOf(target.repository);
    for (const pack of packs) assert.ok(target.store.files.has(pack), "what was stored is used");
    tried += 1;
    if (!stopped) break;
  }
  // A lock, a pack of data and one of trees, an index, two snapshots, and the lock's end, which may fail.
  assert.ok(tried >= 6, String(tried));
});

test("a chunk that is damaged in the source fails its points by name, and no other", async () => {
  const source = await twoPoints();
  const third: Files = { only: Buffer.from("third") };
  await backUp(reopen(source.repository), third, "2026-01-03T00:00:00Z");
  const index = await reopen(source.repository).loadIndex({ signal });
  // The longest chunk of the first backup's first pack belongs to `folder/random`, and to the first point alone.
  const first = (await readNodes(source.repository, source.ids[0] ?? "")).at(0);
  assert.ok(first);
  const [location] = index.find("data", parseChunkId(first));
  assert.ok(location);
  const pack = source.store.files.get(`data/${location.pack}`);
  assert.ok(pack);
  const broken = Buffer.from(pack);
  broken[location.offset + 100] = (broken[location.offset + 100] ?? 0) ^ 1;
  source.store.files.set(`data/${location.pack}`, broken);

  const target = fresh(emptyTarget);
  const { copied, failed } = await copyAll(source.repository, target.repository);
  assert.equal(copied.length, 2);
  assert.equal(failed.length, 1);
  assert.match(
    failed[0]?.message ?? "",
    new RegExp(`restore point ${source.ids[0]?.slice(0, 8)}.*chunk ${first.slice(0, 8)}`),
  );
  await assertWhole(target.repository, [SECOND, third]);

  // Another copy of the chunk, in another pack, is as good.
  source.store.files.set(`data/${location.pack}`, pack);
  const mended = await copyAll(source.repository, target.repository);
  assert.deepEqual([mended.copied.length, mended.failed], [1, []]);
  await assertWhole(target.repository, [FIRST, SECOND, third]);
});

async function readNodes(repository: Repository, id: string): Promise<string[]> {
  const reading = reopen(repository);
  const { snapshots } = await reading.listSnapshots({ signal });
  const root = snapshots.find((listed) => listed.id === id)?.snapshot.tree;
  assert.ok(root);
  const folder = (await reading.readTree(root, { signal })).find(({ name }) => name === "folder")?.subtree;
  assert.ok(folder);
  return [...((await reading.readTree(folder, { signal }))[0]?.content ?? [])];
}

test("a chunk sealed with the right keys under a wrong id is damage, and not taken over", async () => {
  const source = fresh(emptySource);
  const id = await backUp(reopen(source.repository), { a: Buffer.alloc(5000, "a"), b: Buffer.alloc(5000, "b") });
  // Whoever swaps two sealed chunks of equal length has no MAC against him, only the ids.
  const index = await reopen(source.repository).loadIndex({ signal });
  const pack = [...index.packs()].find(({ entries }) => entries[0]?.type === "data");
  const [one, two] = pack?.entries ?? [];
  assert.ok(pack && one && two && one.length === two.length);
  const bytes = source.store.files.get(`data/${pack.id}`);
  assert.ok(bytes);
  const swapped = Buffer.from(bytes);
  bytes.copy(swapped, one.offset, two.offset, two.offset + two.length);
  bytes.copy(swapped, two.offset, one.offset, one.offset + one.length);
  source.store.files.set(`data/${pack.id}`, swapped);
  const target = fresh(emptyTarget);
  const { copied, failed } = await copyAll(source.repository, target.repository);
  assert.deepEqual([copied, failed.map(({ point }) => point)], [[], [id]]);
  assert.equal([...target.store.files.keys()].filter((name) => name.startsWith("snapshots/")).length, 0);
  await assertWhole(target.repository, []);
});

test("reads of a pack that lie close together are one, and never too long", () => {
  const pack = parsePackId("a".repeat(64));
  const chunk = (number: number, offset: number, length: number) => ({
    type: "data" as const,
    id: parseChunkId(String(number).padStart(64, "0")),
    location: { pack, offset, length, uncompressedLength: 0 },
  });
  const reads = planCopyReads([
    chunk(3, 2000 + LIMITS.readGapBytes + 1, 50),
    chunk(1, 0, 1000),
    chunk(2, 1500, 500),
    chunk(4, 2000 + LIMITS.readGapBytes + 51, LIMITS.readMaxBytes),
  ]);
  assert.deepEqual(
    reads.map(({ offset, parts }) => [offset, parts.length]),
    [
      [0, 2],
      [2000 + LIMITS.readGapBytes + 1, 1],
      [2000 + LIMITS.readGapBytes + 51, 1],
    ],
  );
});
