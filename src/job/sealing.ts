/**
 * The main thread's side of sealing: hands work to the threads, keeps the index, and counts what was added.
 * Nothing it answers is durable before `flush` has returned.
 */
import { bug, Failure } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { RowsPlan } from "../postgres/range-reader.ts";
import type { RangePlan } from "../postgres/ranges.ts";
import { ClaimTable } from "../repo/claim-table.ts";
import { openWorkPool, type WorkPool } from "../repo/pool.ts";
import type { Repository } from "../repo/repository.ts";
import type { RepositoryLock } from "../repo/lock.ts";
import type { PackRecord } from "../repo/sealer.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { IndexWriter } from "../repo/writer.ts";
import {
  openSealingHandler,
  type FileTask,
  type ObjectsTask,
  type RangeResult,
  type SealingInit,
  type SealingResult,
  type SealingTask,
} from "./sealing-tasks.ts";

export interface SealingOptions {
  repository: Repository;
  /** The database whose ranges will be read; undefined when there are none. */
  address: ServerAddress | undefined;
  /** About how many chunks this run may add: sizes the table that keeps two threads from storing the same one. */
  expectedChunks: number;
  workers?: number;
  /** Threads that were started before; they are closed with this … */
  threads?: SealingThreads;
  /** … unless whoever started them closes them. */
  keepsThreads?: boolean;
  /** The caller has called `prepareToWrite`, and looked at what it found. */
  isPrepared?: boolean;
  /** Under which the run works. */
  lock?: RepositoryLock;
  signal: AbortSignal;
}

/**
 * The threads, which load their code while the repository is locked and looked at. They seal nothing before
 * {@link Sealing.open} has told them what is known; another `Sealing` may go on with them when one has finished.
 */
export class SealingThreads implements AsyncDisposable {
  readonly pool: WorkPool<SealingTask, SealingResult>;
  readonly count: number;
  readonly #told = Promise.withResolvers<SealingInit>();
  /** What a thread that starts now begins with. */
  #init: Promise<SealingInit> = this.#told.promise;
  #hasBegun = false;
  #onPack: ((record: PackRecord) => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @param options `startsLate`: see {@link WorkPool}. `readsRows`: false where no database is read; true without it. */
  constructor({
    repository,
    workers,
    signal,
    startsLate = false,
    readsRows = true,
  }: Pick<SealingOptions, "repository" | "workers" | "signal"> & { startsLate?: boolean; readsRows?: boolean }) {
    const isHere = repository.store.spec === undefined;
    const initNow = () => this.#init;
    this.count = isHere ? 1 : (workers ?? LIMITS.sealingWorkers);
    this.#told.promise.catch(() => {});
    this.pool = openWorkPool<SealingTask, SealingResult, SealingInit, PackRecord>({
      url: isHere ? undefined : workerUrl(readsRows),
      count: this.count,
      startsLate,
      get init() {
        return initNow();
      },
      inline: async (init, tools) => await openSealingHandler(init, tools, repository.store),
      onMessage: (record) => this.#onPack?.(record),
      signal,
    });
  }

  /** Starts the first so many, where they are not. */
  start(count: number): void {
    this.pool.start(count);
  }

  /** @throws what ended the threads. */
  async begin(init: SealingInit, onPack: (record: PackRecord) => void): Promise<void> {
    this.#onPack = onPack;
    if (this.#hasBegun) {
      this.#init = Promise.resolve(init);
      await this.pool.all({ kind: "anew", known: init.known, claims: init.claims });
    }
    this.#hasBegun = true;
    this.#told.resolve(init);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#told.reject(new Failure("run/cancelled", "the run ended"));
    await (this.#closed ??= this.pool.close());
  }
}

export class Sealing implements AsyncDisposable {
  readonly #threads: SealingThreads;
  readonly #pool: WorkPool<SealingTask, SealingResult>;
  readonly #writer: IndexWriter;
  /** The repository had nothing yet. */
  readonly #isFirst: boolean;
  readonly #keepsThreads: boolean;

  private constructor(
    threads: SealingThreads,
    writer: IndexWriter,
    facts: { isFirst: boolean; keepsThreads: boolean },
  ) {
    this.#threads = threads;
    this.#isFirst = facts.isFirst;
    this.#keepsThreads = facts.keepsThreads;
    this.#pool = threads.pool;
    this.#writer = writer;
  }

  static async open(options: SealingOptions): Promise<Sealing> {
    const { repository, signal } = options;
    if (options.isPrepared !== true) await repository.prepareToWrite({ signal });
    const index = await repository.loadIndex({ signal });
    const writer = new IndexWriter(repository, index, { signal, lock: options.lock });
    const threads = options.threads ?? new SealingThreads({ ...options, readsRows: options.address !== undefined });
    const init: SealingInit = {
      store: repository.store.spec,
      keys: repository.keys,
      known: index.sharedTables,
      claims: new ClaimTable(options.expectedChunks).parts,
      address: options.address,
    };
    await threads.begin(init, (record) => writer.add(record));
    return new Sealing(threads, writer, { isFirst: index.size === 0, keepsThreads: options.keepsThreads === true });
  }

  /** What was added to the repository so far: durable packs only. */
  get added(): { bytes: number; packs: number } {
    return { bytes: this.#writer.bytes, packs: this.#writer.packs };
  }

  async storeFiles(files: FileTask[]): Promise<StoredFile[]> {
    const result = await this.#pool.run({ kind: "files", files });
    if (result.kind !== "files") throw bug("a sealing thread answered another question");
    return result.files;
  }

  /** Files in a bucket, which the threads fetch. */
  async storeObjects(task: Pick<ObjectsTask, "source" | "files" | "isNew">): Promise<StoredFile[]> {
    const inFlight = Math.ceil(LIMITS.objectsInFlight / this.#threads.count);
    const result = await this.#pool.run({ ...task, kind: "objects", inFlight });
    if (result.kind !== "files") throw bug("a sealing thread answered another question");
    return result.files;
  }

  async storeBytes(type: "data" | "tree", bytes: Uint8Array): Promise<ChunkId> {
    const result = await this.#pool.run({ kind: "bytes", type, bytes });
    if (result.kind !== "bytes") throw bug("a sealing thread answered another question");
    return result.id;
  }

  /** Stores a file that lies in memory: its chunks, cut at the longest length. */
  async storeContent(bytes: Buffer): Promise<ChunkId[]> {
    const ids: ChunkId[] = [];
    for (let at = 0; at < bytes.length; at += LIMITS.chunkMaxBytes) {
      ids.push(await this.storeBytes("data", bytes.subarray(at, at + LIMITS.chunkMaxBytes)));
    }
    return ids;
  }

  /** So many pieces at once keep every thread busy. */
  get width(): number {
    return this.#pool.width;
  }

  /**
   * Stores bytes as chunks of the lengths given. They lie in memory that threads share, and are not changed before the answer;
   * elsewhere all of that memory is copied to the thread.
   * @returns the chunks' ids, 32 bytes each.
   */
  async storePieces(bytes: Uint8Array, lengths: readonly number[]): Promise<Uint8Array> {
    const task: SealingTask = { kind: "pieces", bytes, lengths, isNew: this.#isFirst };
    const result = await this.#pool.run(task);
    if (result.kind !== "pieces") throw bug("a sealing thread answered another question");
    return result.ids;
  }

  /**
   * Stores a file that lies in memory which threads share, cut every `chunkBytes`; elsewhere it is copied to the thread.
   * @param lanes By the first so many threads.
   * @returns the chunks' ids, 32 bytes each, and the file's SHA-256 in hexadecimal.
   */
  async storeShared(
    parts: readonly Uint8Array[],
    { chunkBytes, lanes }: { chunkBytes: number; lanes: number },
  ): Promise<{ ids: Uint8Array; sha256: string }> {
    const result = await this.#pool.run({ kind: "shared", parts, chunkBytes }, [], lanes);
    if (result.kind !== "shared") throw bug("a sealing thread answered another question");
    return result;
  }

  async storeTree(bytes: Buffer): Promise<ChunkId> {
    return await this.storeBytes("tree", bytes);
  }

  /** Over so many sessions at most, one of each thread. */
  async readRange(snapshotId: string, table: RowsPlan, range: RangePlan, sessions: number): Promise<RangeResult> {
    const task: SealingTask = { kind: "range", snapshotId, table, range, isNew: this.#isFirst };
    const result = await this.#pool.run(task, [], sessions);
    if (result.kind !== "range") throw bug("a sealing thread answered another question");
    return result.range;
  }

  /** Ends the sessions that ranges were read over; the next range opens another. */
  async leaveDatabase(): Promise<void> {
    await this.#pool.all({ kind: "leave" });
  }

  /** Sends everything stored so far on its way: what it takes to become durable is not waited for. */
  async send(): Promise<void> {
    await this.#pool.all({ kind: "send" });
  }

  /** Makes everything stored so far durable and readable. */
  async flush(): Promise<void> {
    await this.#pool.all({ kind: "flush" });
  }

  /** The same, and writes the index: after this, and not before, a snapshot may use what was stored. */
  async finish(): Promise<void> {
    await this.flush();
    await this.#writer.finish();
  }

  /** A run that failed or was stopped still names its packs in an index, so that the next run uses them. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#keepsThreads) await this.#threads[Symbol.asyncDispose]();
    await this.#writer.lastWords();
  }
}

function workerUrl(readsRows: boolean): URL {
  const name = readsRows ? "sealing-worker" : "sealing-bytes-worker";
  return new URL(`./${name}.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);
}
