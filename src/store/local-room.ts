/**
 * The room that a repository in a folder leaves to others: PostgreSQL stops, and Redis refuses every write, when the disk that
 * they share with it is full. It counts what is free to everybody, since root could write on long after the others cannot.
 */
import { statfsSync } from "node:fs";
import { formatBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

/** Bytes of a disk of that size that are not used for packs. */
export function reserveOf(diskBytes: number): number {
  return Math.min(LIMITS.diskReserveBytes, diskBytes * LIMITS.diskReserveShare);
}

/**
 * Synchronous, as writing is: it takes microseconds.
 * @param bytes that are about to be written.
 * @throws Failure `store/full` when what is free is left to others. A system's error as it is.
 */
export function requireRoom(path: string, bytes: number): void {
  const { bavail, bsize, blocks } = statfsSync(path);
  const [free, reserve] = [bavail * bsize, reserveOf(blocks * bsize)];
  if (free - bytes >= reserve) return;
  throw new Failure(
    "store/full",
    `the disk of '${path}' has only ${formatBytes(free)} left, and ${formatBytes(reserve)} stay free`,
    {
      hint: "PostgreSQL and Redis fail on a full disk, so a backup stops before. Make room, or point to a larger place; 'chatkeep prune' may use what stays free. What was saved before is intact.",
    },
  );
}
