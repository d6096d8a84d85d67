/** How much of its log the server may keep for a watch, where the configuration does not say. */
import { statfs } from "node:fs/promises";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "../installation/installation.ts";
import type { MostRetained } from "../job/watch.ts";

/** Of the free room of the server's disk: the rest is Chatwoot's. */
export const SHARE_OF_DISK = 0.25;

/** Bytes that are free on the disk of the server's data; undefined where that is not this machine's, or not known. */
export async function freeForServer({ dataFolders }: Pick<Installation, "dataFolders">): Promise<number | undefined> {
  const folder = dataFolders?.find(({ server }) => server === "PostgreSQL")?.path;
  if (folder === undefined) return undefined;
  const disk = await statfs(folder).catch(() => undefined);
  return disk === undefined ? undefined : disk.bavail * disk.bsize;
}

/** A share of what is free now, which becomes less as the server keeps more. */
export function mostRetained(
  installation: Pick<Installation, "dataFolders">,
  free: typeof freeForServer = freeForServer,
): MostRetained {
  return async ({ isTemporary }) => {
    const bytes = await free(installation);
    // A permanent slot is made only where the server itself bounds what it keeps.
    if (bytes === undefined) return isTemporary ? LIMITS.retainedUnseenBytes : LIMITS.retainedBytes;
    return Math.max(LIMITS.retainedLeastBytes, Math.min(LIMITS.retainedBytes, bytes * SHARE_OF_DISK));
  };
}
