/** Making a folder and those above it, making its names durable, and how much room there is. */
import { access, constants, mkdir, open, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * As `mkdir` with `recursive`, which says "not there" for a read-only filesystem, and never ends where a folder that is
 * there says that it is not when something is to be made in it: an automounter's does, and those of the kernel.
 * @throws what `mkdir` throws.
 */
export async function makeFolders(path: string, mode = 0o777): Promise<void> {
  const error = await tryToMake(path, mode);
  if (error === undefined) return;
  if (error.code !== "ENOENT" || dirname(path) === path) throw error;
  await makeFolders(dirname(path), mode);
  const again = await tryToMake(path, mode);
  if (again !== undefined) throw again;
}

async function tryToMake(path: string, mode: number): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(path, { mode });
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && (await isFolder(path))) return undefined;
    return error as NodeJS.ErrnoException;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

/** Returns when the names in it are durable. @throws what the filesystem says. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } catch (error) {
    // Some network filesystems have no sync for folders (restic tolerates the same two).
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EINVAL" && code !== "ENOTSUP") throw error;
  } finally {
    await folder.close();
  }
}

/** The folder, or the nearest one above it that exists. */
export async function nearestFolder(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    try {
      await access(at, constants.F_OK);
      return at;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if ((code !== "ENOENT" && code !== "ENOTDIR") || at === dirname(at)) return at;
    }
  }
}

/** Free bytes of the disk on which a folder lies, for others than root; undefined where we may not look. */
export async function freeBytesOf(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
