/** The repository lock of a verb, as restic would take it. */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { FileId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import {
  beginShared,
  LOCK_TIMES,
  lockExclusive,
  lockShared,
  type ExclusiveLock,
  type RepositoryLock,
  type SettlingLock,
} from "../repo/lock.ts";
import type { Repository } from "../repo/repository.ts";

export interface LockOptions {
  clock: Clock;
  signal: AbortSignal;
  /** Of the lock, where it is not the person's: {@link WATCH_USERNAME}. */
  lockedAs?: string;
}

/** For a verb that adds to the repository. @throws Failure `repo/locked`. */
export async function lockToWrite(repository: Repository, options: LockOptions): Promise<RepositoryLock> {
  return await lockShared(repository, ownLock(options));
}

/** {@link lockToWrite} before it has settled: until then only reading is allowed. @throws Failure `repo/locked`. */
export async function beginToWrite(repository: Repository, options: LockOptions): Promise<SettlingLock> {
  return await beginShared(repository, ownLock(options));
}

function ownLock({ clock, signal, lockedAs: username }: LockOptions) {
  return { clock, signal, hostname: hostname(), pid: process.pid, ...(username === undefined ? {} : { username }) };
}

/**
 * For a verb that removes something from the repository: settled. A watch that is just storing something is waited for, as it takes
 * seconds and comes again and again, or takes a base.
 * @throws Failure `repo/locked`, with `retryAfterMs` where a watch is still at work; `store/denied`.
 */
export async function lockAlone(repository: Repository, options: LockOptions): Promise<ExclusiveLock> {
  const { clock, signal } = options;
  const began = clock.monotonic();
  // A lock that is refreshed, and the next one of who works again and again, have names of their own.
  let seenSince = new Map<FileId, number>();
  for (;;) {
    const others = new Map<FileId, Failure>();
    const onOther = (id: FileId, locked: Failure) => void others.set(id, locked);
    try {
      return await lockExclusive(repository, { ...ownLock(options), onOther });
    } catch (error) {
      if (!isFailure(error, "repo/locked") || error.retryAfterMs === undefined) throw error;
      const now = clock.monotonic();
      seenSince = new Map([...others.keys()].map((id) => [id, seenSince.get(id) ?? now]));
      for (const [id, locked] of others) {
        if (now - (seenSince.get(id) ?? now) >= LOCK_TIMES.stale) throw leftBehind(locked);
      }
      if (now - began >= LIMITS.watchLockPatienceMs) throw error;
      // Each look writes: a base is asked for less often than what takes seconds.
      const waitMs = Math.min((now - began) / 60, LIMITS.watchLockMostMs);
      await clock.sleep(Math.max(error.retryAfterMs, waitMs), signal);
    }
  }
}

/** Seen by one clock alone: that of another machine may be wrong. */
function leftBehind(locked: Failure): Failure {
  return new Failure("repo/locked", locked.message, {
    hint: "That lock was not refreshed for half an hour: if that process is gone, remove it with 'chatkeep unlock'.",
    cause: locked,
  });
}

/**
 * For a verb that only reads. A repository that may not be written to at all cannot be locked, and nobody can prune it
 * from here either; one whose disk is full cannot be locked by anybody, and may be wanted back just then. Both are read
 * without a lock: should somebody prune all the same, what is gone is told and never taken for something else.
 */
export async function lockToRead(repository: Repository, options: LockOptions): Promise<RepositoryLock> {
  const lock = await beginToRead(repository, options);
  try {
    await lock.settled;
    return lock;
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

/** {@link lockToRead} before it has settled: what was read counts only once it has. */
export async function beginToRead(repository: Repository, options: LockOptions): Promise<SettlingLock> {
  try {
    return await beginToWrite(repository, options);
  } catch (error) {
    if (!isFailure(error, "store/denied") && !isFailure(error, "store/full")) throw error;
    const { signal } = new AbortController();
    return { signal, settled: Promise.resolve(), async confirm() {}, async [Symbol.asyncDispose]() {} };
  }
}
