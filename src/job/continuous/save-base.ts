/**
 * Writes a physical base as a snapshot: the cluster's files under their own names, so that stock restic gives back a data
 * folder that a server takes.
 *
 *     chatkeep-base/base.json         what a recovery must know before a server runs
 *     chatkeep-base/backup_manifest   PostgreSQL's own list of the files with their SHA-256
 *     chatkeep-base/data/…            the files
 *
 * Files are cut every 64 KiB from their beginning: eight pages, so that what did not change is not stored again. That costs an
 * entry of 64 bytes in the index for each: 100 GB are 1.53 million pieces and 98 MB of index, whatever the number of bases,
 * and 32 bytes each while a base is written (49 MB), to which comes the JSON of the largest folder when it is stored (67
 * bytes for each piece in it: 103 MB if all of it lies in one database), and two and a half times as much while that is packed, opened
 * again and compared. The contents never lie in memory: some megabytes for each thread are under way.
 */
import { formatBytes } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { formatGoTime } from "../../format/go-time.ts";
import { dirNode, fileNode, isUsableName, symlinkNode, type TreeNode } from "../../format/node.ts";
import { compareNames, encodeTree, encodeTreeInOrder } from "../../format/tree.ts";
import { type BaseFacts, formatBaseFacts } from "../../point/base-facts.ts";
import { BASE, baseTags } from "../../point/continuous.ts";
import { TOO_LARGE_HINT } from "../../postgres/database-size.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Sealing } from "../sealing.ts";
import { type ChunkIds, Pieces } from "./pieces.ts";
import { type Writer, Writing, type Written } from "./writing.ts";

export const BASE_DATA = "data";
export const BASE_MANIFEST = "backup_manifest";

interface Entry {
  /** Below the data folder, with '/' between its parts. */
  readonly path: string;
  /** The twelve permission bits. */
  readonly mode: number;
  /** Milliseconds since 1970; 0 where it does not matter. */
  readonly mtimeMs: number;
}

/** One thing in a cluster's data folder, as `BASE_BACKUP` sends it. */
export type BaseEntry =
  | (Entry & {
      readonly kind: "file";
      readonly size: number;
      readonly bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
      /** Stores it in place of the bytes, where some of its chunks are known. */
      readonly store?: ((pieces: Pieces) => Promise<ChunkIds>) | undefined;
    })
  | (Entry & { readonly kind: "folder" })
  | (Entry & { readonly kind: "link"; readonly target: string });

export interface BaseToSave {
  /**
   * In any order; each file's bytes are read before the next entry is asked for. Or what gives them when the repository is locked,
   * as its index is then.
   */
  readonly files: AsyncIterable<BaseEntry> | ((locked: Repository) => AsyncIterable<BaseEntry>);
  /** About how many bytes come: sizes what keeps two threads from storing the same. */
  readonly expectedBytes: number;
  /** Asked when all files have come, because the server says the rest only then. */
  readonly facts: () => Promise<{ readonly facts: BaseFacts; readonly manifest: Buffer }>;
  /** By which it is written, where that has begun; else by one of its own. */
  readonly writing?: Writing | undefined;
}

/** @throws Failure `repo/locked`, of the store, `database/failed` where the server's bytes make no sense; what `files` throws. */
export async function saveBase(writer: Writer, base: BaseToSave): Promise<Written> {
  if (base.writing !== undefined) return await saveBy(base.writing, writer, base);
  await using writing = new Writing(writer);
  return await saveBy(writing, writer, base);
}

async function saveBy(
  writing: Writing,
  { signal: asked }: Writer,
  { files, expectedBytes, facts }: BaseToSave,
): Promise<Written> {
  const expectedChunks = Math.ceil(expectedBytes / LIMITS.baseChunkBytes) + 10_000;
  return await writing.write({ place: BASE, expectedChunks, signal: asked }, async (sealing, signal, locked) => {
    const data = new BaseFolder(0o700, 0);
    const pieces = new Pieces(sealing, LIMITS.baseChunkBytes);
    for await (const entry of typeof files === "function" ? files(locked) : files) {
      signal.throwIfAborted();
      const ids = entry.kind === "file" ? await (entry.store?.(pieces) ?? pieces.add(entry, entry.bytes)) : undefined;
      data.add(entry, ids);
    }
    await pieces.finish();
    const told = await facts();
    const nodes: TreeNode[] = [dirNode({ name: BASE_DATA, mode: 0o700, subtree: await data.store(sealing) })];
    const texts = { [BASE.file]: Buffer.from(formatBaseFacts(told.facts), "utf8"), [BASE_MANIFEST]: told.manifest };
    for (const [name, bytes] of Object.entries(texts)) {
      nodes.push(fileNode({ name, size: bytes.length, content: await sealing.storeContent(bytes) }));
    }
    const root = await sealing.storeTree(encodeTree(nodes));
    const tree = await sealing.storeTree(encodeTree([dirNode({ name: BASE.folder, subtree: root })]));
    return { tree, tags: baseTags(told.facts.base) };
  });
}

/** A folder while it comes: its files' chunks as 32 bytes each, and not as the text that they become. */
class BaseFolder {
  #mode: number;
  #mtimeMs: number;
  readonly #folders = new Map<string, BaseFolder>();
  readonly #others = new Map<string, { entry: Exclude<BaseEntry, { kind: "folder" }>; ids: ChunkIds | undefined }>();

  constructor(mode: number, mtimeMs: number) {
    this.#mode = mode;
    this.#mtimeMs = mtimeMs;
  }

  add(entry: BaseEntry, ids: ChunkIds | undefined): void {
    const names = entry.path.split("/").filter((name) => name !== "" && name !== ".");
    const last = names.pop();
    if (names.some((name) => !isUsableName(name)) || (last !== undefined && !isUsableName(last))) throw odd(entry);
    if (entry.kind === "folder") {
      const folder = [...names, ...(last === undefined ? [] : [last])].reduce<BaseFolder>(below, this);
      folder.#mode = entry.mode;
      folder.#mtimeMs = entry.mtimeMs;
      return;
    }
    const folder = names.reduce<BaseFolder>(below, this);
    if (last === undefined || folder.#others.has(last) || folder.#folders.has(last)) throw odd(entry);
    // What its bytes came from is not to be held.
    folder.#others.set(last, { entry: entry.kind === "file" ? { ...entry, bytes: [], store: undefined } : entry, ids });
  }

  folder(name: string): BaseFolder {
    const known = this.#folders.get(name);
    if (known !== undefined) return known;
    const made = new BaseFolder(0o700, 0);
    this.#folders.set(name, made);
    return made;
  }

  async store(sealing: Sealing): Promise<ChunkId> {
    const subtrees = new Map<string, ChunkId>();
    for (const [name, folder] of this.#folders) subtrees.set(name, await folder.store(sealing));
    const names = [...this.#folders.keys(), ...this.#others.keys()].toSorted(compareNames);
    const tree = encodeTreeInOrder(this.#nodes(names, subtrees));
    if (tree === undefined) throw tooLarge();
    return await sealing.storeTree(tree);
  }

  *#nodes(names: readonly string[], subtrees: ReadonlyMap<string, ChunkId>): Generator<TreeNode> {
    for (const name of names) {
      const folder = this.#folders.get(name);
      const subtree = subtrees.get(name);
      const other = this.#others.get(name);
      if (folder !== undefined && subtree !== undefined) {
        yield dirNode({ name, mode: folder.#mode, mtime: timeOf(folder.#mtimeMs), subtree });
      } else if (other?.entry.kind === "link") {
        yield symlinkNode({ name, mtime: timeOf(other.entry.mtimeMs), linktarget: other.entry.target });
      } else if (other !== undefined && other.entry.kind === "file") {
        const { mode, mtimeMs, size } = other.entry;
        yield fileNode({ name, mode, mtime: timeOf(mtimeMs), size, content: other.ids?.list() ?? [] });
      }
    }
  }
}

function tooLarge(): Failure {
  return new Failure(
    "database/unsuitable",
    `no base is written, for it could not be read back: a folder of the server's files, as one database has, is larger than about ${formatBytes(LIMITS.baseDatabaseBytes)}`,
    { hint: TOO_LARGE_HINT },
  );
}

function below(folder: BaseFolder, name: string): BaseFolder {
  return folder.folder(name);
}

function timeOf(ms: number): string {
  return formatGoTime(BigInt(Math.floor(ms)) * 1_000_000n);
}

function odd({ path }: BaseEntry): Failure {
  return new Failure(
    "database/failed",
    `the server sent '${path}', which a cluster's folder cannot hold, or holds twice`,
    {
      hint: "Is this a PostgreSQL server, and nothing between that changes its answers?",
    },
  );
}
