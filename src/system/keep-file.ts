/** Files that are changed and can be put back as they were, to the byte, with owner and mode. */
import { chown, copyFile, type FileHandle, open, realpath, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "./folders.ts";
import { naming, takePlace } from "./replace-file.ts";

export interface FileFacts {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Where a path leads, and whose what is there is; undefined where nothing is. */
export async function lookAtFile(path: string): Promise<(FileFacts & { path: string; links: number }) | undefined> {
  try {
    const real = await realpath(path);
    const { mode, uid, gid, nlink } = await stat(real);
    return { path: real, mode: mode & 0o7777, uid, gid, links: nlink };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Copies a file that only its owner reads, and returns when it is durable. One that is there is replaced. */
export async function keepCopy(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  await copyFile(from, to);
  await naming(to, async () => {
    await using file = await open(to, "r+");
    await file.chmod(0o600);
    await file.sync();
  });
  await syncFolder(dirname(to)).catch(() => {});
}

async function writeOver(path: string, bytes: Uint8Array): Promise<void> {
  await naming(path, async () => {
    await using file = await open(path, "r+");
    const { size } = await file.stat();
    try {
      // What the file has no room for yet comes first: on a full disk it is as it was.
      await writeAt(file, bytes.subarray(size), size);
    } catch (error) {
      await file.truncate(size);
      throw error;
    }
    // Shorter or longer: at no moment is there nothing in it.
    await writeAt(file, bytes.subarray(0, size), 0);
    await file.truncate(bytes.length);
    await file.sync();
  });
}

/** All of them: a call may write less where a disk becomes full. */
async function writeAt(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}

/**
 * Puts bytes into a file's place, durable, with the owner and mode that are named. Readers see the old file or the new one;
 * with `inPlace`, or where the file is itself a mount, the same file is written over, since another one would not be seen there.
 * @throws what the filesystem says.
 */
export async function writeFileAs(
  path: string,
  bytes: Uint8Array,
  { mode, uid, gid, inPlace }: FileFacts & { inPlace: boolean },
): Promise<void> {
  if (inPlace) return await writeOver(path, bytes);
  const beside = `${path}.chatkeep-new`;
  try {
    await takePlace(path, beside, async (file) => {
      await file.writeFile(bytes);
      const own = await file.stat();
      if (own.uid !== uid || own.gid !== gid) await chown(beside, uid, gid);
      await file.chmod(mode);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
    await writeOver(path, bytes);
  }
}
