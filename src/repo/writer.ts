/**
 * Writes the index of what a run stored, while it runs: packs first, then the index files that name them, then the
 * snapshot that uses them. So whatever moment a run is stopped at, everything an index names is there, and most of
 * what was stored is found by the next run (which adopts the rest from the packs' own headers). A run that lost its lock
 * writes no index either: what it stored may have been pruned.
 */
import { assert, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { encodeIndex } from "../format/index-file.ts";
import type { ChunkIndex } from "./index.ts";
import type { RepositoryLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";

export class IndexWriter {
  readonly #repository: Repository;
  readonly #index: ChunkIndex;
  readonly #signal: AbortSignal;
  readonly #lock: Pick<RepositoryLock, "confirm"> | undefined;
  #pending: PackRecord[] = [];
  #pendingChunks = 0;
  #pendingBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #failed: { error: unknown } | undefined;
  #isFinished = false;
  /** What this run added so far. */
  packs = 0;
  bytes = 0;

  /**
   * @param index The repository's own, from `loadIndex`; it learns of every pack.
   * @param options `lock`: under which the run works, where others may be at work too.
   */
  constructor(
    repository: Repository,
    index: ChunkIndex,
    { signal, lock }: { signal: AbortSignal; lock?: Pick<RepositoryLock, "confirm"> | undefined },
  ) {
    this.#repository = repository;
    this.#index = index;
    this.#signal = signal;
    this.#lock = lock;
  }

  /** Takes a pack that is durable. Index files are written in the background; their failures are {@link finish}'s. */
  add(record: PackRecord): void {
    assert(!this.#isFinished, "a pack arrived after the index was finished");
    this.#index.add(record);
    this.packs += 1;
    this.bytes += record.sizeBytes;
    this.#take(record, this.#signal);
  }

  #take(record: PackRecord, signal: AbortSignal): void {
    this.#pending.push(record);
    this.#pendingChunks += record.entries.length;
    this.#pendingBytes += record.sizeBytes;
    if (this.#pendingChunks >= LIMITS.indexFileChunks || this.#pendingBytes >= LIMITS.indexFileBytes) {
      this.#write(signal);
    }
  }

  #write(signal: AbortSignal): void {
    const records = this.#pending;
    if (records.length === 0) return;
    this.#pending = [];
    this.#pendingChunks = 0;
    this.#pendingBytes = 0;
    this.#writing = this.#writing.then(async () => {
      try {
        if (this.#failed !== undefined) return;
        await this.#lock?.confirm({ signal });
        await this.#repository.putUnpacked("index", encodeIndex(records), { signal });
      } catch (error) {
        this.#failed = { error };
      }
    });
  }

  /** Writes what is not in an index file yet. After this, and not before, a snapshot may use the packs. */
  async finish(): Promise<void> {
    await this.#finish(this.#signal);
  }

  /**
   * The same for a run that failed or was stopped, so that the next one finds its packs; it never rejects. A run that lost
   * its lock says nothing more: somebody may have pruned its packs, and an index that names what is gone makes restic
   * take it for stored.
   */
  async lastWords(): Promise<void> {
    const { aborted, reason } = this.#signal;
    if (this.packs === 0 || this.#isFinished || (aborted && isFailure(reason, "repo/locked"))) return;
    await this.#finish(AbortSignal.timeout(LIMITS.lastWordsMs)).catch(() => {});
  }

  async #finish(signal: AbortSignal): Promise<void> {
    this.#isFinished = true;
    for (const record of this.#repository.takeRecovered()) this.#take(record, signal);
    this.#write(signal);
    await this.#writing;
    if (this.#failed !== undefined) throw this.#failed.error;
  }
}
