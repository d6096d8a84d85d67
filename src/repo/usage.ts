/**
 * Which snapshots need what, told from the index and the trees alone: no data is read, and memory is a few bytes for
 * each chunk of the index.
 *
 * Each row of the index has an owner: the one snapshot that needs it so far, or everybody. A tree that has an owner is
 * entered once more, when a second snapshot turns up, so that all below it becomes everybody's; never a third time.
 */
import { mapConcurrent } from "../base/concurrent.ts";
import { messageOf } from "../base/errors.ts";
import type { ChunkId, SnapshotId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChunkType } from "../format/chunk.ts";
import { isDamage } from "./chunk.ts";
import type { ChunkIndex } from "./index.ts";
import type { ListedSnapshot, Repository } from "./repository.ts";

export interface SnapshotUsage {
  readonly id: SnapshotId;
  /** Files as a restore writes them. */
  readonly files: number;
  readonly bytes: number;
  /** Chunks, and what they take in the store, that no snapshot before this one had. */
  readonly addedChunks: number;
  readonly addedBytes: number;
  /** What chunks take that no other snapshot needs. */
  readonly uniqueBytes: number;
}

export interface RepositoryUsage {
  /** In the order given. */
  readonly snapshots: SnapshotUsage[];
  /** What any of them needs, each chunk once. */
  readonly used: { chunks: number; trees: number; bytes: number; unpackedBytes: number };
  /** Trees that cannot be read or are not there: what is below them is not counted. */
  readonly damaged: Uncounted[];
}

export interface Uncounted {
  readonly name: string;
  readonly message: string;
  /** Which snapshots need it: one or two of them, for what is everybody's is not entered again. */
  readonly snapshots: readonly SnapshotId[];
}

const NOBODY = 0;
const EVERYBODY = -1;

/** @param snapshots the oldest first: what is shared counts as added by the first of them. */
export async function measureUsage(
  repository: Repository,
  snapshots: readonly ListedSnapshot[],
  { signal }: { signal: AbortSignal },
): Promise<RepositoryUsage> {
  const index = await repository.loadIndex({ signal });
  const measuring = new Measuring(repository, index, signal);
  const added: Added[] = [];
  for (const [at, { snapshot }] of snapshots.entries()) added.push(await measuring.enter(snapshot.tree, at + 1));
  const unique = measuring.uniqueBytes(snapshots.length);
  return {
    snapshots: snapshots.map(({ id, snapshot }, at) => ({
      id,
      ...measuring.restored(snapshot.tree),
      addedChunks: added[at]?.chunks ?? 0,
      addedBytes: added[at]?.bytes ?? 0,
      uniqueBytes: unique[at + 1] ?? 0,
    })),
    used: measuring.used,
    damaged: [...measuring.damaged].map(([name, { message, owners }]) => ({
      name,
      message,
      snapshots: [...owners].flatMap((owner) => snapshots[owner - 1]?.id ?? []),
    })),
  };
}

interface Added {
  chunks: number;
  bytes: number;
}

/** What lies in one folder itself, and the folders below it. */
interface Folder {
  files: number;
  bytes: number;
  readonly folders: number[];
  isSummed: boolean;
}

class Measuring {
  readonly damaged = new Map<string, { message: string; owners: Set<number> }>();
  readonly used = { chunks: 0, trees: 0, bytes: 0, unpackedBytes: 0 };
  readonly #repository: Repository;
  readonly #index: ChunkIndex;
  readonly #signal: AbortSignal;
  readonly #owners: Int32Array;
  /** By the row of the tree: there are few trees beside chunks. */
  readonly #folders = new Map<number, Folder>();

  constructor(repository: Repository, index: ChunkIndex, signal: AbortSignal) {
    this.#repository = repository;
    this.#index = index;
    this.#signal = signal;
    this.#owners = new Int32Array(index.size);
  }

  /** Marks all below a tree as needed by a snapshot, level by level; counts what nobody had before. */
  async enter(root: ChunkId, owner: number): Promise<Added> {
    const added: Added = { chunks: 0, bytes: 0 };
    let level: ChunkId[] = this.#claim("tree", root, owner, added) ? [root] : [];
    while (level.length > 0) {
      const next: ChunkId[] = [];
      await mapConcurrent(
        level,
        LIMITS.smallReads,
        async (tree) => {
          const below = await this.#readFolder(tree, owner, added);
          for (const id of below) if (this.#claim("tree", id, owner, added)) next.push(id);
        },
        { signal: this.#signal },
      );
      level = next;
    }
    return added;
  }

  /** True when what is below must be looked at: the row is new to this snapshot and not everybody's yet. */
  #claim(type: ChunkType, id: ChunkId, owner: number, added: Added): boolean {
    const row = this.#index.rowOf(type, id);
    if (row < 0) {
      this.#notCounted(id, `${type === "tree" ? "tree" : "chunk"} ${id} is in no pack of the repository`, owner);
      return false;
    }
    const before = this.#owners[row] ?? NOBODY;
    if (before === owner || before === EVERYBODY) return false;
    this.#owners[row] = before === NOBODY ? owner : EVERYBODY;
    if (before !== NOBODY) return true;
    const { storedBytes, unpackedBytes } = this.#index.sizesOf(row);
    added.chunks += 1;
    added.bytes += storedBytes;
    this.used.chunks += 1;
    if (type === "tree") this.used.trees += 1;
    this.used.bytes += storedBytes;
    this.used.unpackedBytes += unpackedBytes;
    return true;
  }

  async #readFolder(tree: ChunkId, owner: number, added: Added): Promise<ChunkId[]> {
    const folder: Folder = { files: 0, bytes: 0, folders: [], isSummed: false };
    const below: ChunkId[] = [];
    try {
      for (const { type, size, content, subtree } of await this.#repository.readTree(tree, { signal: this.#signal })) {
        if (type === "file") {
          folder.files += 1;
          folder.bytes += Number(size ?? 0);
        }
        for (const id of content ?? []) this.#claim("data", id, owner, added);
        if (type !== "dir" || subtree === undefined) continue;
        below.push(subtree);
        folder.folders.push(this.#index.rowOf("tree", subtree));
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#notCounted(tree, messageOf(error), owner);
    }
    this.#folders.set(this.#index.rowOf("tree", tree), folder);
    return below;
  }

  #notCounted(name: string, message: string, owner: number): void {
    const { owners } = this.damaged.get(name) ?? { owners: new Set() };
    this.damaged.set(name, { message, owners: owners.add(owner) });
  }

  /** Files and bytes of all below a tree; each folder is added up once. */
  restored(root: ChunkId): { files: number; bytes: number } {
    const { files, bytes } = this.#sum(this.#index.rowOf("tree", root));
    return { files, bytes };
  }

  #sum(row: number): { files: number; bytes: number } {
    const folder = this.#folders.get(row);
    if (folder === undefined) return { files: 0, bytes: 0 };
    if (folder.isSummed) return folder;
    folder.isSummed = true;
    for (const below of folder.folders) {
      const { files, bytes } = this.#sum(below);
      folder.files += files;
      folder.bytes += bytes;
    }
    return folder;
  }

  /** For each owner, the bytes that are its alone. */
  uniqueBytes(owners: number): Float64Array {
    const bytes = new Float64Array(owners + 1);
    for (const [row, owner] of this.#owners.entries()) {
      if (owner > NOBODY) bytes[owner] = (bytes[owner] ?? 0) + this.#index.sizesOf(row).storedBytes;
    }
    return bytes;
  }
}
