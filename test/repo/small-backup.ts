/** A small backup of a folder, for tests of the repository: what a job does, without everything around it. */
import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { type Clock, formatInstant, systemClock } from "../../src/base/clock.ts";
import type { ChunkId, SnapshotId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { ScryptCost } from "../../src/format/key-file.ts";
import { dirNode, fileNode, symlinkNode, type TreeNode } from "../../src/format/node.ts";
import { nameFromBytes } from "../../src/format/quote.ts";
import type { Snapshot } from "../../src/format/snapshot-file.ts";
import { encodeTree } from "../../src/format/tree.ts";
import { ClaimTable } from "../../src/repo/claim-table.ts";
import { createRepository, Repository } from "../../src/repo/repository.ts";
import { LOCK_TIMES } from "../../src/repo/lock.ts";
import { Sealer } from "../../src/repo/sealer.ts";
import { makeFileBuffer, storeFile } from "../../src/repo/store-file.ts";
import { walkTree } from "../../src/repo/walk.ts";
import { IndexWriter } from "../../src/repo/writer.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";

export const signal = new AbortController().signal;
/** The same, where a function has a signal of its own. */
const never = signal;
export const PASSWORD = "correct horse";

/** Quick to open: scrypt as it should be takes a tenth of a second of a processor, each time. */
export const CHEAP: ScryptCost = { N: 1024, r: 8, p: 1 };

/** A clock that does not wait between writing a lock and looking again: nobody else is there. */
export const hasty: Clock = {
  ...systemClock,
  sleep: async (ms, signal) => await systemClock.sleep(ms === LOCK_TIMES.settle ? 0 : ms, signal),
};

export async function newRepository(store: Store): Promise<Repository> {
  return await createRepository(store, {
    password: PASSWORD,
    clock: systemClock,
    hostname: "test-host",
    username: "tester",
    cost: CHEAP,
    signal,
  });
}

/** The same repository as another process sees it, without paying for scrypt again. */
export function reopen(repository: Repository, store: Store = repository.store): Repository {
  const { keys, config, keyId } = repository;
  return new Repository({ store, keys, config, keyId });
}

/** A new memory store that holds the same files. */
export function copyStore(store: MemoryStore): MemoryStore {
  const copy = createMemoryStore();
  for (const [name, bytes] of store.files) copy.files.set(name, bytes);
  return copy;
}

/** What is being written: a sealer in this thread, its index and its end. */
export async function openWriting(
  repository: Repository,
  signal: AbortSignal = never,
): Promise<{ sealer: Sealer; writer: IndexWriter }> {
  await repository.prepareToWrite({ signal });
  const index = await repository.loadIndex({ signal });
  const writer = new IndexWriter(repository, index, { signal });
  const sealer = new Sealer({
    keys: repository.keys,
    store: repository.store,
    known: index,
    claims: new ClaimTable(100_000),
    signal,
    onPack: (record) => writer.add(record),
  });
  return { sealer, writer };
}

/** Stores bytes that are in memory, cut as a file's are. */
export async function storeBytes(sealer: Sealer, bytes: Uint8Array): Promise<{ size: number; content: ChunkId[] }> {
  const content: ChunkId[] = [];
  for (let at = 0; at < bytes.length; at += LIMITS.chunkMaxBytes)
    content.push((await sealer.add("data", bytes.subarray(at, at + LIMITS.chunkMaxBytes))).id);
  return { size: bytes.length, content };
}

/** path → bytes. */
export type Files = Readonly<Record<string, Uint8Array>>;

async function storeTreeOf(sealer: Sealer, files: Files): Promise<ChunkId> {
  const nodes: TreeNode[] = [];
  const folders = new Map<string, Record<string, Uint8Array>>();
  for (const [path, bytes] of Object.entries(files)) {
    const [first = "", ...rest] = path.split("/");
    if (rest.length === 0) nodes.push(fileNode({ name: first, ...(await storeBytes(sealer, bytes)) }));
    else folders.set(first, { ...folders.get(first), [rest.join("/")]: bytes });
  }
  for (const [name, inside] of folders) nodes.push(dirNode({ name, subtree: await storeTreeOf(sealer, inside) }));
  return (await sealer.add("tree", encodeTree(nodes))).id;
}

/** One complete backup of files in memory. @param more Of the snapshot, in place of what it has otherwise. */
export async function backUp(
  repository: Repository,
  files: Files,
  time = "2026-01-01T00:00:00Z",
  more: Partial<Snapshot> = {},
  signal: AbortSignal = never,
): Promise<SnapshotId> {
  const { sealer, writer } = await openWriting(repository, signal);
  try {
    const tree = await storeTreeOf(sealer, files);
    await sealer.flush();
    await writer.finish();
    return await repository.saveSnapshot({ time, tree, paths: ["/x"], hostname: "test-host", ...more }, { signal });
  } finally {
    await sealer.abort();
  }
}

/** One complete backup of a folder of the disk, with links, modes and times. */
export async function backUpFolder(repository: Repository, folder: string): Promise<SnapshotId> {
  const { sealer, writer } = await openWriting(repository);
  const buffer = makeFileBuffer();
  const visit = async (at: Buffer): Promise<ChunkId> => {
    const nodes: TreeNode[] = [];
    for (const nameBytes of readdirSync(at, { encoding: "buffer" })) {
      const path = Buffer.concat([at, Buffer.from("/"), nameBytes]);
      const name = nameFromBytes(nameBytes);
      const facts = lstatSync(path);
      const common = { name, mode: facts.mode & 0o7777, mtime: formatInstant(facts.mtimeMs) };
      if (facts.isDirectory()) nodes.push(dirNode({ ...common, subtree: await visit(path) }));
      else if (facts.isSymbolicLink()) {
        nodes.push(symlinkNode({ ...common, linktarget: nameFromBytes(readlinkSync(path, { encoding: "buffer" })) }));
      } else {
        const stored = await storeFile(sealer, path, buffer);
        if (stored.kind !== "stored") throw new Error(`${name}: ${JSON.stringify(stored)}`);
        nodes.push(fileNode({ ...common, size: stored.size, content: stored.content }));
      }
    }
    return (await sealer.add("tree", encodeTree(nodes))).id;
  };
  const tree = await visit(Buffer.from(folder));
  await sealer.flush();
  await writer.finish();
  const time = formatInstant(systemClock.now());
  return await repository.saveSnapshot({ time, tree, paths: ["/x"], hostname: "test-host" }, { signal });
}

/** Every file of a snapshot, read chunk by chunk. */
export async function readFiles(
  repository: Repository,
  tree: ChunkId,
  signal: AbortSignal = never,
): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  for await (const { path, node } of walkTree(repository, tree, { signal })) {
    if (node.type !== "file") continue;
    const parts: Buffer[] = [];
    for (const id of node.content ?? []) parts.push(await repository.readChunk("data", id, { signal }));
    files[path] = Buffer.concat(parts);
  }
  return files;
}
