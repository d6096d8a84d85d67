/** A folder as a value: what each path below it is, so that two folders can be compared. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join, relative } from "node:path";

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

export interface TreeOptions {
  /** Leaves out a path (relative, with `/`) and what is below it. */
  except?: (path: string) => boolean;
  /** Takes empty folders, too; by default folders are left out. */
  folders?: boolean;
}

/** Path below `root` → `file <sha256>`, `link <target>` or `folder`, ordered by path. */
export async function readFolder(root: string, options: TreeOptions = {}): Promise<Record<string, string>> {
  const found: [string, string][] = [];
  const visit = async (folder: string): Promise<void> => {
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const shown = relative(root, path);
      if (options.except?.(shown) === true) continue;
      const facts = await lstat(path);
      if (facts.isSymbolicLink()) found.push([shown, `link ${await readlink(path)}`]);
      else if (facts.isFile()) found.push([shown, `file ${await sha256(path)}`]);
      else if (facts.isDirectory()) {
        if (options.folders === true) found.push([shown, "folder"]);
        await visit(path);
      } else found.push([shown, "other"]);
    }
  };
  await visit(root);
  return Object.fromEntries(found.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
