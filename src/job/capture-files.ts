/** Saves the files of configuration and code as they are on the disk, with their modes and times. */
import { lstat, readlink } from "node:fs/promises";
import { messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { formatGoTime } from "../format/go-time.ts";
import { fileNode, symlinkNode, type TreeNode } from "../format/node.ts";
import type { StoredFile } from "../repo/store-file.ts";
import type { FileTask } from "./sealing-tasks.ts";

export interface FileToSave {
  /** Below `config/` or `code/`. */
  path: string;
  absolute: string;
}

export interface SavedFile {
  path: string;
  node: TreeNode;
}

/** Files that cannot be read become findings; nothing is left out in silence. */
export async function saveFiles(
  files: readonly FileToSave[],
  storeFiles: (tasks: FileTask[]) => Promise<StoredFile[]>,
  what: "config" | "code",
): Promise<{ saved: SavedFile[]; findings: Finding[] }> {
  const saved: SavedFile[] = [];
  const findings: Finding[] = [];
  for (const file of files) {
    try {
      const node = await saveFile(file, storeFiles);
      if (node !== undefined) saved.push({ path: file.path, node });
    } catch (error) {
      findings.push({
        kind: `${what}-file-unreadable`,
        level: "warning",
        message: `${file.absolute} could not be saved: ${messageOf(error)}`,
        hint: "Run Chatkeep as a user that may read it, or take it out of the configuration.",
      });
    }
  }
  return { saved, findings };
}

async function saveFile(
  { path, absolute }: FileToSave,
  storeFiles: (tasks: FileTask[]) => Promise<StoredFile[]>,
): Promise<TreeNode | undefined> {
  const stat = await lstat(absolute, { bigint: true });
  const name = path.slice(path.lastIndexOf("/") + 1);
  const mtime = formatGoTime(stat.mtimeNs);
  if (stat.isSymbolicLink()) return symlinkNode({ name, linktarget: await readlink(absolute), mtime });
  if (!stat.isFile()) return undefined;
  const [file] = await storeFiles([{ path: absolute }]);
  if (file?.kind !== "stored") throw new Error(file?.kind === "unreadable" ? file.reason : "it is not there any more");
  return fileNode({ name, size: file.size, content: file.content, mode: Number(stat.mode & 0o7777n), mtime });
}
