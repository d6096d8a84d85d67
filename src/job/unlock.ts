/** Removes locks that nobody holds any more, or, when told so, every lock. */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { findLocks, removeLock, type FoundLock } from "../repo/unlock.ts";
import type { Repository } from "../repo/repository.ts";
import type { LockLine, UnlockSummary } from "./summaries.ts";

export interface UnlockOptions {
  repository: Repository;
  repositoryName: string;
  /** Which locks go: stale ones, or exactly those of a list that somebody has seen. */
  which: "stale" | ReadonlySet<string>;
  clock: Clock;
  signal: AbortSignal;
}

/** Whose the locks are; changes nothing. */
export async function listLocks(
  repository: Repository,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<LockLine[]> {
  const found = await findLocks(repository, { clock, hostname: hostname(), signal });
  return found.map(toLine);
}

/** @throws Failure `store/denied` where nothing may be deleted. */
export async function unlock(options: UnlockOptions): Promise<UnlockSummary> {
  const { repository, which, clock, signal } = options;
  const removed: LockLine[] = [];
  const left: LockLine[] = [];
  for (const found of await findLocks(repository, { clock, hostname: hostname(), signal })) {
    if (which === "stale" ? !found.isStale : !which.has(found.id)) {
      left.push(toLine(found));
      continue;
    }
    await remove(repository, found, signal);
    removed.push(toLine(found));
  }
  return { type: "summary", verb: "unlock", repository: options.repositoryName, removed, left };
}

async function remove(repository: Repository, { id }: FoundLock, signal: AbortSignal): Promise<void> {
  try {
    await removeLock(repository, id, { signal });
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    throw new Failure(
      "store/denied",
      `locks may not be deleted in '${repository.store.location}' with these credentials`,
      {
        hint: "Shared locks hinder no backup, and all are stale half an hour after their last refresh. Remove them with credentials that may delete there.",
        cause: error,
      },
    );
  }
}

function toLine({ id, lock, damage, isStale }: FoundLock): LockLine {
  return {
    lock: id,
    host: lock?.hostname ?? null,
    user: lock?.username ?? null,
    pid: lock?.pid ?? null,
    since: lock?.time ?? null,
    exclusive: lock?.exclusive ?? null,
    stale: isStale,
    damage: damage ?? null,
  };
}
