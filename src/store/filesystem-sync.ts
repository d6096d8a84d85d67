/** Makes everything that was written below a folder durable at once: a sync of each of a million small folders takes too long. */
import { runProgram } from "../system/process.ts";
import { DirectorySync } from "./directory-sync.ts";

/**
 * Returns when the names in these folders are durable.
 * @param root A folder of the filesystem on which they all lie.
 */
export async function syncNames(
  root: string,
  folders: Iterable<string>,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  try {
    await runProgram("sync", ["--file-system", root], { signal });
  } catch {
    signal.throwIfAborted();
    // A system whose sync knows no such option.
    const syncs = new DirectorySync();
    await Promise.all([...folders].map(async (folder) => await syncs.sync(folder)));
  }
}
