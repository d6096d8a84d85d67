/** A file whose readers see the old text or the new one, and nothing between. */
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Writes beside it and takes its place: also after a power cut it is the one or the other.
 * @param mode of a new file; one that is there keeps its own.
 * @throws what the filesystem says.
 */
export async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const before = await stat(path).catch(() => undefined);
  // A name that no reader of the folder takes for a file of its own kind.
  const beside = `${path}.new`;
  await rm(beside, { force: true });
  try {
    const file = await open(beside, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.chmod(before === undefined ? mode : before.mode & 0o777);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
  const folder = await open(dirname(path));
  await folder.sync().catch(() => {});
  await folder.close();
}
