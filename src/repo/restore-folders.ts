/** Folders and symbolic links of a restore. */
import { chmodSync, lchownSync, lstatSync, lutimesSync, mkdirSync, symlinkSync, utimesSync } from "node:fs";
import { bug, Failure } from "../base/errors.ts";
import { isUsableName, type TreeNode } from "../format/node.ts";
import { nameToBytes } from "../format/quote.ts";
import { bytePath, type FileMeta } from "./restore-files.ts";

/** Makes folders below a root, never through a symbolic link, and gives them modes and times at the end. */
export class FolderMaker {
  readonly #root: string;
  /** Folders that are surely real ones. */
  readonly #made = new Set<string>([""]);
  readonly #metas: { path: string; meta: FileMeta }[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  /** How many folders of the tree were restored. */
  get count(): number {
    return this.#metas.length;
  }

  /** Makes the folder and what it lies in. @throws Failure `target/not-empty` when something else is in its place. */
  make(path: string, meta?: FileMeta): void {
    if (!this.#made.has(path)) {
      const names = path.split("/");
      let at = "";
      for (const name of names) {
        checkName(name);
        at = at === "" ? name : `${at}/${name}`;
        if (this.#made.has(at)) continue;
        this.#makeOne(at);
        this.#made.add(at);
      }
    }
    if (meta !== undefined) this.#metas.push({ path, meta });
  }

  #makeOne(path: string): void {
    const at = bytePath(this.#root, path);
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
      const at = bytePath(this.#root, path);
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
