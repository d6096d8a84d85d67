/** A file whose readers see the old text or the new one, and nothing between. */
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "./folders.ts";

/**
 * Does something with a file. What the system says of one that is open does not name it: then it does.
 * @throws what the work throws, with the path in it where it had none.
 */
export async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const said = error as NodeJS.ErrnoException;
    if (said instanceof Error && said.syscall !== undefined && said.path === undefined) {
      said.path = path;
      said.message += ` '${path}'`;
    }
    throw error;
  }
}

/**
 * Has a file written beside the path, and gives it the path's place when it is durable: also after a power cut it is the one or the
 * other. What is left beside it by a run that died goes.
 * @param write Given the new file, which only its owner reads.
 * @throws what writing or the filesystem says: nothing is left beside it then.
 */
export async function takePlace(
  path: string,
  beside: string,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  await rm(beside, { force: true });
  try {
    await naming(path, async () => {
      const file = await open(beside, "wx", 0o600);
      try {
        await write(file);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, path);
    });
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path)).catch(() => {});
}

/**
 * Writes beside it and takes its place.
 * @param mode of a new file; one that is there keeps its own.
 * @throws what the filesystem says.
 */
export async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const before = await stat(path).catch(() => undefined);
  // A name that no reader of the folder takes for a file of its own kind.
  await takePlace(path, `${path}.new`, async (file) => {
    await file.writeFile(text);
    await file.chmod(before === undefined ? mode : before.mode & 0o777);
  });
}
