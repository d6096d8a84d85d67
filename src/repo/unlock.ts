/**
 * Removing repository locks that nobody holds any more. Ours and restic's are alike, and so is restic's rule: a lock is
 * stale when it was not refreshed for half an hour, or its process was of this machine and is gone.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { parseFileId, type FileId } from "../base/ids.ts";
import { parseGoTime } from "../format/go-time.ts";
import { decodeLock, type LockFile } from "../format/lock-file.ts";
import { isAlive } from "../system/alive.ts";
import { isDamage } from "./chunk.ts";
import { LOCK_TIMES } from "./lock.ts";
import type { Repository } from "./repository.ts";

export interface FoundLock {
  readonly id: FileId;
  /** Undefined when it cannot be read; `damage` says why. */
  readonly lock: LockFile | undefined;
  readonly damage: string | undefined;
  readonly isStale: boolean;
}

export interface FindLocksOptions {
  clock: Clock;
  hostname: string;
  signal: AbortSignal;
}

/** Every lock of the repository, the oldest first; those that cannot be read stand at the end. */
export async function findLocks(repository: Repository, options: FindLocksOptions): Promise<FoundLock[]> {
  const { signal } = options;
  const found: FoundLock[] = [];
  for await (const { name } of repository.store.list("locks", { signal })) {
    const id = parseFileId(name);
    try {
      const lock = decodeLock(await repository.getUnpacked("locks", id, { signal }));
      found.push({ id, lock, damage: undefined, isStale: isStale(lock, options) });
    } catch (error) {
      if (!isDamage(error)) throw error;
      // Gone since it was listed: refreshed or let go.
      if ((await repository.store.stat({ kind: "locks", name }, { signal })) === undefined) continue;
      found.push({ id, lock: undefined, damage: messageOf(error), isStale: false });
    }
  }
  const timeOf = ({ lock }: FoundLock) => (lock === undefined ? Number.MAX_SAFE_INTEGER : timeMs(lock));
  return found.toSorted((a, b) => timeOf(a) - timeOf(b));
}

/** @throws Failure `store/denied` where nothing may be deleted. */
export async function removeLock(
  repository: Repository,
  id: FileId,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  await repository.store.remove({ kind: "locks", name: id }, { signal });
}

function timeMs(lock: LockFile): number {
  return Number(parseGoTime(lock.time) / 1_000_000n);
}

function isStale(lock: LockFile, { clock, hostname }: FindLocksOptions): boolean {
  if (clock.now() - timeMs(lock) > LOCK_TIMES.stale) return true;
  return lock.hostname === hostname && !isAlive(lock.pid);
}
