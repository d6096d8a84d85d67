/**
 * A restore point's tree while it is being put together: folders hold files that are stored already, whole sub-trees
 * taken over by id, and folders of their own. Storing a folder stores what is below it first.
 */
import type { ChunkId } from "../base/ids.ts";
import { assert } from "../base/errors.ts";
import { dirNode, fileNode, type TreeNode } from "../format/node.ts";
import { encodeTree } from "../format/tree.ts";

export class PointFolder {
  readonly #nodes: TreeNode[] = [];
  readonly #folders = new Map<string, PointFolder>();

  /** The folder of that name, made when there is none. */
  folder(name: string): PointFolder {
    const known = this.#folders.get(name);
    if (known !== undefined) return known;
    const made = new PointFolder();
    this.#folders.set(name, made);
    return made;
  }

  /** The folder at a path of several names. */
  at(path: string): PointFolder {
    return path
      .split("/")
      .filter((name) => name !== "")
      .reduce<PointFolder>((folder, name) => folder.folder(name), this);
  }

  add(node: TreeNode): void {
    this.#nodes.push(node);
  }

  addFile(name: string, size: number, content: ChunkId[], options: { mode?: number; mtime?: string } = {}): void {
    this.add(fileNode({ name, size, content, ...options }));
  }

  addTree(name: string, subtree: ChunkId): void {
    this.add(dirNode({ name, subtree }));
  }

  /** Adds a file at a path of several names. */
  addFileAt(path: string, size: number, content: ChunkId[], options: { mode?: number; mtime?: string } = {}): void {
    const cut = path.lastIndexOf("/");
    const parent = cut < 0 ? this : this.at(path.slice(0, cut));
    parent.addFile(path.slice(cut + 1), size, content, options);
  }

  get isEmpty(): boolean {
    return this.#nodes.length === 0 && this.#folders.size === 0;
  }

  /** Stores this folder and all below it, and returns its tree's id. */
  async store(storeTree: (bytes: Buffer) => Promise<ChunkId>): Promise<ChunkId> {
    const nodes = [...this.#nodes];
    for (const [name, folder] of this.#folders) {
      assert(!folder.isEmpty, `the folder '${name}' of a restore point is empty`);
      nodes.push(dirNode({ name, subtree: await folder.store(storeTree) }));
    }
    return await storeTree(encodeTree(nodes));
  }
}
