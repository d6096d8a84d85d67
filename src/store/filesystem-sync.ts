/** Makes everything that was written below a folder durable at once: a sync of each of a million small folders takes too long. */
import { open } from "node:fs/promises";
import { mapConcurrent } from "../base/concurrent.ts";
import { LIMITS } from "../base/limits.ts";
import { runProgram } from "../system/process.ts";
import { DirectorySync } from "./directory-sync.ts";

/**
 * Returns when what these files hold is durable.
 * @param root A folder of the filesystem on which they all lie.
 */
export async function syncFiles(
  root: string,
  files: readonly string[],
  { signal }: { signal: AbortSignal },
): Promise<void> {
  if (files.length > LIMITS.syncedSingly && (await syncFilesystem(root, { signal }))) return;
  await mapConcurrent(
    files,
    LIMITS.localFilesInFlight,
    async (path) => {
      await using file = await open(path, "r");
      await file.sync();
    },
    { signal },
  );
}

/**
 * Returns when the names in these folders are durable.
 * @param root A folder of the filesystem on which they all lie.
 */
export async function syncNames(
  root: string,
  folders: readonly string[],
  { signal }: { signal: AbortSignal },
): Promise<void> {
  if (folders.length > LIMITS.syncedSingly && (await syncFilesystem(root, { signal }))) return;
  const syncs = new DirectorySync();
  await Promise.all(folders.map(async (folder) => await syncs.sync(folder)));
}

/** False on a system whose sync knows no such option. */
async function syncFilesystem(root: string, { signal }: { signal: AbortSignal }): Promise<boolean> {
  try {
    await runProgram("sync", ["--file-system", root], { signal });
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
