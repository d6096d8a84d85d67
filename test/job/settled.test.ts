/** Folders that need no second look, and what makes them need one again: the storage's capture without a disk. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { parseChunkId, type ChunkId } from "../../src/base/ids.ts";
import type { TreeNode } from "../../src/format/node.ts";
import { decodeTree } from "../../src/format/tree.ts";
import type { LocalSpec } from "../../src/source/source.ts";
import { captureStorage, type StorageCapture, type StoragePorts } from "../../src/job/capture-storage.ts";
import type { FolderRow, StorageListing } from "../../src/job/list-storage.ts";
import { hashRows } from "../../src/job/list-storage.ts";
import type { BlobRow, StorageState } from "../../src/job/storage-state.ts";

const { signal } = new AbortController();

function idOf(bytes: string | Uint8Array): ChunkId {
  return parseChunkId(createHash("sha256").update(bytes).digest("hex"));
}

function blob(id: number): BlobRow {
  const key = `key${id}`;
  const createdAt = "2026-01-01T00:00:00.000000Z";
  return { id: BigInt(id), key, filename: key, checksum: null, bytes: 3, createdAt, hash: [`${id * 7919}`, `${-id}`] };
}

/** As the database would list them. */
function listing(blobs: readonly BlobRow[]): StorageListing {
  const folders = [...Map.groupBy(blobs, ({ id }) => (id >> 10n).toString())];
  return {
    folders: folders.map(([folder, own]): FolderRow => {
      const bytes = 3 * own.length;
      return { service: "local", folder, count: own.length, bytes, withoutChecksum: own.length, hash: hashRows(own) };
    }),
    blobs: async (row) => folders.find(([folder]) => folder === row.folder)?.[1] ?? [],
  };
}

/** One service, in these folders. */
function foldersOf(roots: LocalSpec["roots"]): StoragePorts["sources"] {
  return {
    find: async (service) => ({ kind: "there", spec: { kind: "local", service, roots } }),
    lose: () => assert.fail("no service is lost"),
    has: () => assert.fail("nothing was moved"),
    answered: new Map(),
  };
}

/** A repository that holds everything which was ever stored in it. */
function world(): { ports: StoragePorts; read: ChunkId[]; stored: string[] } {
  const trees = new Map<ChunkId, TreeNode[]>();
  const read: ChunkId[] = [];
  const stored: string[] = [];
  const ports: StoragePorts = {
    sources: foldersOf(["/storage"]),
    storeObjects: () => assert.fail("nothing lies in a bucket"),
    async storeFiles(files) {
      stored.push(...files.map(({ path }) => path));
      return files.map(({ path }) => ({ kind: "stored" as const, size: 3, md5: "", content: [idOf(path)] }));
    },
    async storeTree(bytes) {
      const id = idOf(bytes);
      trees.set(id, decodeTree(bytes));
      return id;
    },
    async readTree(id) {
      read.push(id);
      return trees.get(id) ?? [];
    },
    isStored: () => true,
    trusted: new Set(),
    isKept: () => true,
    settles: true,
    isKnownRow: async () => true,
    onFile: () => {},
    rereadAll: false,
    signal,
    startedAt: "2026-11-24T00:00:00Z",
  };
  return { ports, read, stored };
}

function settledFolders({ state }: { state: StorageState }): string[] {
  const folders = [...(state.get("local")?.folders ?? [])];
  return folders.filter(([, { isSettled }]) => isSettled === true).map(([folder]) => folder);
}

const BLOBS = [1, 2, 1024, 1025, 2048].map(blob);

/** What three runs leave in which nothing changed. */
async function threeRuns(ports: StoragePorts): Promise<StorageCapture[]> {
  const runs: StorageCapture[] = [];
  for (let run = 0; run < 3; run += 1) {
    const fresh = { ...ports, trusted: new Set<ChunkId>() };
    runs.push(await captureStorage(fresh, listing(BLOBS), runs.at(-1)?.state ?? new Map()));
  }
  return runs;
}

test("a folder is looked through once after it was made, and never again while the index keeps what it held", async () => {
  const { ports, read, stored } = world();
  const runs = await threeRuns(ports);
  assert.deepEqual(
    runs.map((run) => [run.foldersReused, settledFolders(run).length]),
    [
      [0, 0],
      [3, 3],
      [3, 3],
    ],
  );
  assert.equal(stored.length, BLOBS.length);
  assert.equal(read.length, 3, "the second run reads each folder's tree, the third none");
});

test("an index that lost something makes every folder be looked through again", async () => {
  const { ports, read } = world();
  const runs = await threeRuns(ports);
  read.length = 0;
  const state = runs.at(-1)?.state ?? new Map();
  const lossy = () => ({ ...ports, isKept: () => false, trusted: new Set<ChunkId>() });
  const next = await captureStorage(lossy(), listing(BLOBS), state);
  assert.deepEqual([next.foldersReused, read.length], [3, 3]);
  const lost = { ...lossy(), isStored: (id: ChunkId) => id !== idOf("/storage/ke/y1/key1") };
  const mended = await captureStorage(lost, listing(BLOBS), state);
  assert.deepEqual(
    [mended.foldersReused, mended.blobsCopied, mended.lost, settledFolders(mended)],
    [2, 1, 1, ["1", "2"]],
  );
});

test("a folder that was changed is not settled, nor is one that a run takes from its own first look", async () => {
  const { ports, read } = world();
  const [, second] = await threeRuns(ports);
  const before = second?.state ?? new Map();
  const more = [...BLOBS, blob(3)];
  const first = await captureStorage(ports, listing(more), before);
  assert.deepEqual(settledFolders(first), ["1", "2"]);
  read.length = 0;
  const again = await captureStorage({ ...ports, settles: false }, listing(more), first.state);
  assert.deepEqual([again.foldersReused, settledFolders(again)], [3, ["1", "2"]]);
  assert.deepEqual(read, [], "the second look of a run trusts the first");
});

/** A file as a blob of {@link blob} asks for it. */
function right(path: string) {
  return { kind: "stored" as const, size: 3, md5: "", content: [idOf(path)] };
}

test("a file is looked for in each folder of its service in turn, and the right one of two is taken (F13)", async () => {
  const { ports, stored } = world();
  const found: Record<string, Awaited<ReturnType<StoragePorts["storeFiles"]>>[number]> = {
    "/web/ke/y1/key1": right("key1"),
    "/web/ke/y2/key2": { kind: "missing" },
    "/worker/ke/y2/key2": right("key2"),
    "/web/ke/y3/key3": { ...right("key3"), size: 2 },
    "/worker/ke/y3/key3": right("key3"),
    "/web/ke/y4/key4": { ...right("key4"), size: 2 },
    "/worker/ke/y4/key4": { kind: "missing" },
    "/web/ke/y5/key5": { kind: "missing" },
    "/worker/ke/y5/key5": { kind: "missing" },
  };
  const twoRoots: StoragePorts = {
    ...ports,
    sources: foldersOf(["/web", "/worker"]),
    async storeFiles(files) {
      stored.push(...files.map(({ path }) => path));
      return files.map(({ path }) => found[path] ?? { kind: "unreadable", reason: `${path} was not to be asked for` });
    },
  };
  const { state, blobsCopied } = await captureStorage(twoRoots, listing([1, 2, 3, 4, 5].map(blob)), new Map());
  assert.deepEqual(stored.toSorted(), Object.keys(found).toSorted());
  const missing = [...(state.get("local")?.missing.values() ?? [])].map(({ id, reason }) => `${id} ${reason}`);
  assert.deepEqual(missing, ["4 short", "5 missing"]);
  assert.equal(blobsCopied, 4);
});
