/** Folders and symbolic links of a restore. */
import { chmodSync, lchownSync, lstatSync, lutimesSync, mkdirSync, symlinkSync, utimesSync } from "node:fs";
import { bug, Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { isUsableName, type TreeNode } from "../format/node.ts";
import { nameToBytes } from "../format/quote.ts";

/** What a file has besides its bytes. */
export interface FileMeta {
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since 1970-01-01Z. */
  readonly mtime: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** What a path lies in; empty for what lies in the restore's folder itself. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** The path of something below a folder, in the bytes that the system wants. */
export function bytePath(root: string, path: string): Buffer {
  return nameToBytes(path === "" ? root : `${root}/${path}`);
}

/** Makes folders below a root, never through a symbolic link, and gives them modes and times at the end. */
export class FolderMaker {
  readonly root: string;
  /** Folders that are surely real ones. */
  readonly #made = new Set<string>();
  readonly #metas: { path: string; meta: FileMeta }[] = [];

  constructor(root: string) {
    this.root = root;
  }

  /** How many folders of the tree were restored. */
  get count(): number {
    return this.#metas.length;
  }

  /** Makes the folder and what it lies in. @throws Failure `target/not-empty` when something else is in its place. */
  make(path: string, meta?: FileMeta): void {
    if (path !== "" && !this.#made.has(path)) {
      const names = path.split("/");
      let at = "";
      for (const name of names) {
        checkName(name);
        at = at === "" ? name : `${at}/${name}`;
        if (this.#made.has(at)) continue;
        this.#makeOne(at);
        // What is forgotten is looked at again.
        if (this.#made.size > LIMITS.restoreFolders) this.#made.clear();
        this.#made.add(at);
      }
    }
    if (meta !== undefined) this.#metas.push({ path, meta });
  }

  #makeOne(path: string): void {
    const at = bytePath(this.root, path);
    try {
      mkdirSync(at, { mode: 0o755 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (lstatSync(at).isDirectory()) return;
      throw new Failure("target/not-empty", `'${path}' is there and is no folder`, { cause: error });
    }
  }

  /** The innermost first: what is done to a folder changes the time of the one around it. */
  finish(attempt: (path: string, work: () => void) => void): void {
    for (const { path, meta } of this.#metas.toReversed()) {
      const at = bytePath(this.root, path);
      attempt(path, () => {
        if (meta.owner !== undefined) lchownSync(at, meta.owner.uid, meta.owner.gid);
        chmodSync(at, meta.mode);
        utimesSync(at, meta.mtime, meta.mtime);
      });
    }
  }
}

/** @throws when a path that we made ourselves would lead out of the target folder: the trees' own names are checked. */
export function checkName(name: string): void {
  if (!isUsableName(name)) throw bug(`'${name.slice(0, 80)}' is no name for a restored file`);
}

export function makeSymlink(root: string, path: string, { node, meta }: { node: TreeNode; meta: FileMeta }): void {
  const at = bytePath(root, path);
  symlinkSync(nameToBytes(node.linktarget ?? ""), at);
  if (meta.owner !== undefined) lchownSync(at, meta.owner.uid, meta.owner.gid);
  lutimesSync(at, meta.mtime, meta.mtime);
}
