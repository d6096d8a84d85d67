/** What every snapshot of continuous protection is written under: a shared lock, for as long as that takes and no longer. */
import type { Clock } from "../../base/clock.ts";
import { Failure } from "../../base/errors.ts";
import type { ChunkId, SnapshotId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { formatGoTime } from "../../format/go-time.ts";
import type { RecordPlace } from "../../point/layout.ts";
import { readWhileSettling, type RepositoryLock, WATCH_USERNAME } from "../../repo/lock.ts";
import type { Repository } from "../../repo/repository.ts";
import { beginToWrite } from "../lock.ts";
import { Sealing, SealingThreads } from "../sealing.ts";

export interface Writer {
  readonly repository: Repository;
  /** The installation's id and name. */
  readonly identity: { readonly id: string; readonly name: string };
  /** Name and version of this program. */
  readonly program: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface WriteOptions {
  readonly place: RecordPlace;
  /** About so many chunks are added. */
  readonly expectedChunks: number;
}

export interface Written {
  readonly snapshotId: SnapshotId;
  /** What the repository grew by. */
  readonly addedBytes: number;
}

/** Stores what the snapshot is of, and gives its tree. The repository is as it was read under the lock. */
export type Build = (
  sealing: Sealing,
  signal: AbortSignal,
  locked: Repository,
) => Promise<{ tree: ChunkId; tags: readonly string[] }>;

/** The lock, and the repository as it was read under it. */
interface Held {
  readonly repository: Repository;
  readonly lock: RepositoryLock;
  /** On the monotonic clock. */
  readonly sinceMs: number;
}

interface Threads {
  readonly sealing: SealingThreads;
  /** Stops them. */
  readonly stop: AbortController;
}

const OVER = new Failure("run/cancelled", "the writing is over");

/**
 * Writes snapshots one after the other. Where another one follows at once, the lock is kept, for
 * {@link LIMITS.writingLockMs} at most: to settle takes longer than to store a span. The threads wait for the next snapshot,
 * for {@link LIMITS.writingRestMs}; after a failure there are new ones.
 */
export class Writing implements AsyncDisposable {
  readonly #writer: Omit<Writer, "signal">;
  readonly #startsLate: boolean;
  #held: Held | undefined;
  #threads: Threads | undefined;
  /** Aborted when the next snapshot comes, or none. */
  #rest = new AbortController();
  /** Everything happens one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param options `startsLate`: threads are started as they are needed; else all at once. */
  constructor(writer: Omit<Writer, "signal">, { startsLate = false }: { startsLate?: boolean } = {}) {
    this.#writer = writer;
    this.#startsLate = startsLate;
  }

  /** Starts the threads and locks, while there is other work to do before {@link write}; what fails here is tried again there. */
  begin(signal: AbortSignal): void {
    this.#threads ??= this.#startThreads(signal);
    this.#inTurn(async () => void (this.#held ??= await this.#lock(signal))).catch(() => {});
  }

  /**
   * Locks, reads the index anew (others may have pruned since it was last read), stores what `build` gives, and writes the
   * snapshot when everything is durable and the lock is seen to be there.
   * @param options `goesOn`: asked when the snapshot is there, whether another follows at once.
   * @throws Failure `repo/locked`, of the store, or what `build` throws; what was stored is used by the next run.
   */
  async write(
    { goesOn, ...options }: WriteOptions & { readonly signal: AbortSignal; readonly goesOn?: () => boolean },
    build: Build,
  ): Promise<Written> {
    this.#rest.abort(OVER);
    return await this.#inTurn(async () => {
      try {
        const written = await this.#write(options, build);
        await this.#pause(goesOn?.() === true);
        return written;
      } catch (error) {
        await this.#endThreads(error);
        await this.#unlock();
        throw error;
      }
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return await turn;
  }

  async #write(
    { place, expectedChunks, signal: asked }: WriteOptions & { signal: AbortSignal },
    build: Build,
  ): Promise<Written> {
    const { identity, program, clock } = this.#writer;
    const startedMs = clock.now();
    const threads = (this.#threads ??= this.#startThreads(asked));
    if (this.#held?.lock.signal.aborted === true) await this.#unlock();
    const { repository, lock } = (this.#held ??= await this.#lock(asked));
    const signal = AbortSignal.any([asked, lock.signal]);
    const stop = () => threads.stop.abort(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    try {
      await using sealing = await Sealing.open({
        repository,
        lock,
        address: undefined,
        expectedChunks,
        isPrepared: true,
        threads: threads.sealing,
        keepsThreads: true,
        signal,
      });
      const { tree, tags } = await this.#sealed(sealing, async () => await build(sealing, signal, repository));
      await lock.confirm({ signal });
      const snapshotId = await repository.saveSnapshot(
        {
          time: formatGoTime(BigInt(startedMs) * 1_000_000n),
          tree,
          paths: [place.path],
          hostname: identity.name,
          tags,
          programVersion: program,
        },
        { signal },
      );
      return { snapshotId, addedBytes: sealing.added.bytes };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /** What `build` gives, when all of it is durable. No pack comes any more after a failure. */
  async #sealed<T>(sealing: Sealing, build: () => Promise<T>): Promise<T> {
    try {
      const built = await build();
      await sealing.finish();
      return built;
    } catch (error) {
      await this.#endThreads(error);
      throw error;
    }
  }

  #startThreads(signal: AbortSignal): Threads {
    const { repository } = this.#writer;
    const stop = new AbortController();
    if (signal.aborted) stop.abort(signal.reason);
    const sealing = new SealingThreads({
      repository,
      readsRows: false,
      // A line is slower than one thread, and a second one would hold its packs in memory, too.
      ...(repository.store.spec?.kind === "remote" ? { workers: 1 } : {}),
      startsLate: this.#startsLate,
      signal: stop.signal,
    });
    sealing.start(1);
    return { sealing, stop };
  }

  async #lock(signal: AbortSignal): Promise<Held> {
    const { clock } = this.#writer;
    const repository = this.#writer.repository.anew();
    await repository.expectSame({ signal });
    const lock = await beginToWrite(repository, { clock, signal, lockedAs: WATCH_USERNAME });
    try {
      const inner = AbortSignal.any([signal, lock.signal]);
      inner.throwIfAborted();
      await readWhileSettling(lock, async () => await repository.prepareToWrite({ signal: inner }));
      return { repository, lock, sinceMs: clock.monotonic() };
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #unlock(): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await held?.lock[Symbol.asyncDispose]();
  }

  async #endThreads(why: unknown): Promise<void> {
    const threads = this.#threads;
    this.#threads = undefined;
    threads?.stop.abort(why);
    await threads?.sealing[Symbol.asyncDispose]();
  }

  async #pause(goesOn: boolean): Promise<void> {
    const { clock } = this.#writer;
    const isLong = clock.monotonic() - (this.#held?.sinceMs ?? 0) >= LIMITS.writingLockMs;
    if (!goesOn || isLong) await this.#unlock();
    const { signal } = (this.#rest = new AbortController());
    this.#after(LIMITS.writingPauseMs, signal, async () => await this.#unlock());
    this.#after(LIMITS.writingRestMs, signal, async () => await this.#endThreads(OVER));
  }

  #after(ms: number, signal: AbortSignal, act: () => Promise<void>): void {
    this.#writer.clock.sleep(ms, signal).then(
      async () => await this.#inTurn(async () => void (signal.aborted || (await act()))),
      () => {},
    );
  }

  /** Ends the threads, and lets go of the lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#rest.abort(OVER);
    await this.#inTurn(async () => {
      await this.#endThreads(OVER);
      await this.#unlock();
    });
  }
}
