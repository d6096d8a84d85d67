/**
 * Copies what snapshots need from one repository into another: each chunk that the other lacks, once, still compressed
 * as it is. A chunk is opened with the source's keys, sealed with the target's, opened again and compared with its id:
 * what goes into a copy is verified, and costs no compression.
 *
 * Order: packs, index, and only then the snapshots, which are the caller's. A copy that is stopped loses nothing: its
 * packs are found by the next one.
 */
import { mapConcurrent } from "../base/concurrent.ts";
import { assert, Failure } from "../base/errors.ts";
import { shortId, type ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChunkType } from "../format/chunk.ts";
import { parseGoTime } from "../format/go-time.ts";
import type { TreeNode } from "../format/node.ts";
import type { Snapshot } from "../format/snapshot-file.ts";
import { makeCopier, type CopyInit, type CopyOutcome, type CopyRead, type CopyTask } from "./copy-tasks.ts";
import type { ChunkIndex, ChunkLocation } from "./index.ts";
import type { RepositoryLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import { openWorkPool, workerCount, type WorkPool } from "./pool.ts";
import type { ListedSnapshot, Repository } from "./repository.ts";
import { IndexWriter } from "./writer.ts";

export interface CopyOptions {
  signal: AbortSignal;
  /** Of the target. */
  lock?: RepositoryLock;
  /** Told how many sealed bytes were read. */
  onBytes?: (bytes: number) => void;
}

interface Wanted {
  readonly type: ChunkType;
  readonly id: ChunkId;
  readonly row: number;
  readonly location: ChunkLocation;
}

const QUEUED = 1;
const STORED = 2;

/** One copying from a repository into another; to be opened under locks of both. */
export class Copying implements AsyncDisposable {
  readonly #from: Repository;
  readonly #to: Repository;
  readonly #source: ChunkIndex;
  readonly #target: ChunkIndex;
  readonly #options: CopyOptions;
  readonly #pool: WorkPool<CopyTask, CopyOutcome>;
  #writer: IndexWriter;
  /** What became of each row of the source's index. */
  #state: Uint8Array;
  /** Trees below which everything is in the target, or durable when `finish` has returned. */
  readonly #complete = new Set<ChunkId>();
  /** What earlier batches added. */
  #before = { bytes: 0, packs: 0 };

  private constructor(
    [from, to]: [Repository, Repository],
    [source, target]: [ChunkIndex, ChunkIndex],
    options: CopyOptions,
  ) {
    this.#from = from;
    this.#to = to;
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#state = new Uint8Array(source.size);
    this.#writer = new IndexWriter(to, target, options);
    const isHere = from.store.spec === undefined || to.store.spec === undefined;
    this.#pool = openWorkPool<CopyTask, CopyOutcome, CopyInit, PackRecord>({
      url: isHere ? undefined : workerUrl(),
      count: isHere ? 1 : workerCount(),
      init: { from: { spec: from.store.spec, keys: from.keys }, to: { spec: to.store.spec, keys: to.keys } },
      inline: async (init, tools) => makeCopier(init, { from: from.store, to: to.store }, tools),
      onMessage: (record) => this.#writer.add(record),
      signal: options.signal,
    });
  }

  static async open(from: Repository, to: Repository, options: CopyOptions): Promise<Copying> {
    await to.prepareToWrite(options);
    return new Copying([from, to], [await from.loadIndex(options), await to.loadIndex(options)], options);
  }

  /** What this copying added so far: durable packs only. */
  get added(): { bytes: number; packs: number } {
    return { bytes: this.#before.bytes + this.#writer.bytes, packs: this.#before.packs + this.#writer.packs };
  }

  /**
   * Copies everything below a tree that the target lacks.
   * @throws Failure `repo/damaged` when a chunk cannot be read anywhere in the source. What else was copied stays and
   * is used; other trees can still be copied.
   */
  async copyTree(root: ChunkId): Promise<void> {
    const { signal } = this.#options;
    const seen = new Set<ChunkId>();
    const batch: Wanted[] = [];
    try {
      await this.#want("tree", root, batch);
      let level = this.#complete.has(root) ? [] : [root];
      while (level.length > 0) {
        const next: ChunkId[] = [];
        for (const tree of level) seen.add(tree);
        for (const nodes of chunked(level, LIMITS.smallReads * 8)) {
          const read = await mapConcurrent(
            nodes,
            LIMITS.smallReads,
            async (tree) => await this.#from.readTree(tree, { signal }),
            { signal },
          );
          for (const node of read.flat()) await this.#takeNode(node, { seen, next, batch });
          if (batch.length >= LIMITS.copyBatchChunks) await this.#copy(batch.splice(0));
        }
        level = next;
      }
      await this.#copy(batch.splice(0));
    } catch (error) {
      // What was planned and not done must be planned again by whoever needs it next.
      this.#state = this.#state.map((state) => (state === QUEUED ? 0 : state));
      throw error;
    }
    for (const tree of seen) this.#complete.add(tree);
  }

  async #takeNode(
    node: TreeNode,
    { seen, next, batch }: { seen: Set<ChunkId>; next: ChunkId[]; batch: Wanted[] },
  ): Promise<void> {
    for (const id of node.content ?? []) await this.#want("data", id, batch);
    const { subtree } = node;
    if (subtree === undefined || seen.has(subtree) || this.#complete.has(subtree)) return;
    await this.#want("tree", subtree, batch);
    seen.add(subtree);
    next.push(subtree);
  }

  async #want(type: ChunkType, id: ChunkId, batch: Wanted[]): Promise<void> {
    if (this.#target.has(type, id)) return;
    let row = this.#source.rowOf(type, id);
    if (row < 0) {
      await this.#from.recoverIndex(this.#options);
      row = this.#source.rowOf(type, id);
    }
    const [location] = this.#source.find(type, id);
    if (row < 0 || location === undefined) throw lost(type, id, "it is in no pack of the repository");
    if (row >= this.#state.length) {
      const longer = new Uint8Array(this.#source.size);
      longer.set(this.#state);
      this.#state = longer;
    }
    if (this.#state[row] !== 0) return;
    this.#state[row] = QUEUED;
    batch.push({ type, id, row, location });
  }

  async #copy(batch: readonly Wanted[]): Promise<void> {
    const { signal } = this.#options;
    const wanted = new Map(batch.map((chunk) => [`${chunk.type} ${chunk.id}`, chunk]));
    const tasks = chunked(planCopyReads(batch), LIMITS.copyReadsAhead);
    await mapConcurrent(
      tasks,
      this.#pool.width,
      async (reads) => {
        const { damaged } = await this.#pool.run({ kind: "copy", reads });
        const bad = new Set(damaged.map(({ type, id }) => `${type} ${id}`));
        for (const { type, id } of reads.flatMap(({ parts }) => parts)) {
          const chunk = wanted.get(`${type} ${id}`);
          assert(chunk !== undefined, "a chunk was copied that nobody asked for");
          if (!bad.has(`${type} ${id}`)) this.#state[chunk.row] = STORED;
        }
        for (const { type, id } of damaged) await this.#copyFromAnywhere(type, id);
        this.#options.onBytes?.(reads.reduce((sum, { length }) => sum + length, 0));
      },
      { signal },
    );
  }

  /** A chunk that could not be read with its neighbours is tried by itself, each copy of it. */
  async #copyFromAnywhere(type: ChunkType, id: ChunkId): Promise<void> {
    const reasons: string[] = [];
    for (const { pack, offset, length, uncompressedLength } of this.#source.find(type, id)) {
      const read: CopyRead = { pack, offset, length, parts: [{ type, id, offset: 0, length, uncompressedLength }] };
      const { damaged } = await this.#pool.run({ kind: "copy", reads: [read] });
      if (damaged.length === 0) {
        this.#state[this.#source.rowOf(type, id)] = STORED;
        return;
      }
      reasons.push(`pack ${shortId(pack)}: ${damaged.map(({ reason }) => reason).join(", ")}`);
    }
    throw lost(type, id, reasons.join("; "));
  }

  /** Makes all of it durable and names it in the index: after this, and not before, snapshots may be written. */
  async finish(): Promise<void> {
    await this.#pool.all({ kind: "flush" });
    const writer = this.#writer;
    await writer.finish();
    this.#before = this.added;
    this.#writer = new IndexWriter(this.#to, this.#target, this.#options);
  }

  /** A copy that failed or was stopped still names its packs in an index, so that the next one uses them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.close();
    await this.#writer.lastWords();
  }
}

function lost(type: ChunkType, id: ChunkId, why: string): Failure {
  return new Failure("repo/damaged", `${type === "tree" ? "tree" : "chunk"} ${shortId(id)} cannot be read: ${why}`, {
    hint: "Run 'chatkeep verify --read-data' to see which restore points it touches.",
  });
}

/** In the order of the packs, reads that lie close together joined into one. */
export function planCopyReads(wanted: readonly Pick<Wanted, "type" | "id" | "location">[]): CopyRead[] {
  const sorted = wanted.toSorted(({ location: a }, { location: b }) =>
    a.pack < b.pack ? -1 : a.pack > b.pack ? 1 : a.offset - b.offset,
  );
  const reads: (CopyRead & { length: number; parts: CopyRead["parts"][number][] })[] = [];
  for (const { type, id, location } of sorted) {
    const { pack, offset, length, uncompressedLength } = location;
    const last = reads.at(-1);
    const gap = last === undefined || last.pack !== pack ? Infinity : offset - (last.offset + last.length);
    const joined = last === undefined ? 0 : offset + length - last.offset;
    if (last !== undefined && gap <= LIMITS.readGapBytes && joined <= LIMITS.readMaxBytes) {
      last.parts.push({ type, id, offset: offset - last.offset, length, uncompressedLength });
      last.length = joined;
    } else reads.push({ pack, offset, length, parts: [{ type, id, offset: 0, length, uncompressedLength }] });
  }
  return reads;
}

function chunked<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size));
}

/** The snapshot as it stands in the copy: it keeps its first name, as restic's own `copy` does it, and has no parent. */
export function copiedSnapshot({ id, snapshot }: ListedSnapshot): Snapshot {
  const { parent: _, ...kept } = snapshot;
  return { ...kept, original: snapshot.original ?? id };
}

/** True when one is a copy of the other: the same first name, and all but parent and names the same. */
export function isCopyOf(a: ListedSnapshot, b: ListedSnapshot): boolean {
  if ((a.snapshot.original ?? a.id) !== (b.snapshot.original ?? b.id)) return false;
  return describe(a.snapshot) === describe(b.snapshot);
}

function describe(snapshot: Snapshot): string {
  const { time, tree, hostname = "", username = "", uid = 0, gid = 0, paths, excludes = [], tags = [] } = snapshot;
  const sets = [paths, tags].map((list) => list.toSorted());
  return JSON.stringify([String(parseGoTime(time)), tree, hostname, username, uid, gid, ...sets, excludes]);
}

function workerUrl(): URL {
  return new URL(import.meta.url.endsWith(".ts") ? "./copy-worker.ts" : "./copy-worker.js", import.meta.url);
}
