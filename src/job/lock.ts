/** The repository lock of a verb, as restic would take it. */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { lockExclusive, lockShared, type ExclusiveLock, type RepositoryLock } from "../repo/lock.ts";
import type { Repository } from "../repo/repository.ts";

export interface LockOptions {
  clock: Clock;
  signal: AbortSignal;
}

/** For a verb that adds to the repository. @throws Failure `repo/locked`. */
export async function lockToWrite(repository: Repository, { clock, signal }: LockOptions): Promise<RepositoryLock> {
  return await lockShared(repository, { clock, signal, hostname: hostname(), pid: process.pid });
}

/** For a verb that removes something from the repository. @throws Failure `repo/locked`, `store/denied`. */
export async function lockAlone(repository: Repository, { clock, signal }: LockOptions): Promise<ExclusiveLock> {
  return await lockExclusive(repository, { clock, signal, hostname: hostname(), pid: process.pid });
}

/**
 * For a verb that only reads. A repository that may not be written to at all cannot be locked, and nobody can prune it
 * from here either: it is read without a lock.
 */
export async function lockToRead(repository: Repository, options: LockOptions): Promise<RepositoryLock> {
  try {
    return await lockToWrite(repository, options);
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    return { signal: new AbortController().signal, async confirm() {}, async [Symbol.asyncDispose]() {} };
  }
}
