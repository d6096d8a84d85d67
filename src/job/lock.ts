/** The repository lock of a verb, as restic would take it. */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import {
  beginExclusive,
  beginShared,
  lockExclusive,
  lockShared,
  type ExclusiveLock,
  type RepositoryLock,
  type SettlingExclusiveLock,
  type SettlingLock,
} from "../repo/lock.ts";
import type { Repository } from "../repo/repository.ts";

export interface LockOptions {
  clock: Clock;
  signal: AbortSignal;
}

/** For a verb that adds to the repository. @throws Failure `repo/locked`. */
export async function lockToWrite(repository: Repository, { clock, signal }: LockOptions): Promise<RepositoryLock> {
  return await lockShared(repository, { clock, signal, hostname: hostname(), pid: process.pid });
}

/** {@link lockToWrite} before it has settled: until then only reading is allowed. @throws Failure `repo/locked`. */
export async function beginToWrite(repository: Repository, { clock, signal }: LockOptions): Promise<SettlingLock> {
  return await beginShared(repository, { clock, signal, hostname: hostname(), pid: process.pid });
}

/**
 * For a verb that removes something from the repository; comes back before the lock has settled: until then only reading
 * is allowed. @throws Failure `repo/locked`, `store/denied`.
 */
export async function beginAlone(
  repository: Repository,
  { clock, signal }: LockOptions,
): Promise<SettlingExclusiveLock> {
  return await beginExclusive(repository, { clock, signal, hostname: hostname(), pid: process.pid });
}

/** {@link beginAlone}, settled. */
export async function lockAlone(repository: Repository, { clock, signal }: LockOptions): Promise<ExclusiveLock> {
  return await lockExclusive(repository, { clock, signal, hostname: hostname(), pid: process.pid });
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
