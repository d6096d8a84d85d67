/** Walking through a snapshot's trees. */
import { messageOf } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import type { TreeNode } from "../format/node.ts";
import { isDamage } from "./chunk.ts";
import type { Repository } from "./repository.ts";

export interface WalkedNode {
  /** Relative to the tree that was walked, parted by `/`; never begins or ends with one. */
  readonly path: string;
  readonly node: TreeNode;
}

export interface WalkOptions {
  signal: AbortSignal;
  /** False for a folder: it is reported, and not entered. */
  enter?: (path: string, node: TreeNode) => boolean;
  /** Called for a folder whose tree cannot be read, which is then left out; without it, that ends the walk. */
  onDamage?: (path: string, reason: string) => void;
}

/**
 * Every node below a tree, a folder before what is in it, in the order of the trees.
 * Names are those of files in a folder: a tree that holds another (`..`, `a/b`) counts as one that cannot be read.
 * @throws Failure `repo/damaged` where a tree cannot be read.
 */
export async function* walkTree(
  repository: Repository,
  tree: ChunkId,
  { signal, enter = () => true, onDamage }: WalkOptions,
): AsyncGenerator<WalkedNode> {
  const read = async (id: ChunkId, path: string) => {
    try {
      return await repository.readTree(id, { signal });
    } catch (error) {
      if (onDamage === undefined || !isDamage(error)) throw error;
      onDamage(path, messageOf(error));
      return [];
    }
  };
  // A list of iterators, not recursion: each level of delegated generators costs every node below it.
  const stack = [{ prefix: "", nodes: (await read(tree, "")).values() }];
  for (;;) {
    const top = stack.at(-1);
    if (top === undefined) return;
    const next = top.nodes.next();
    if (next.done === true) {
      stack.pop();
      continue;
    }
    const node = next.value;
    const path = `${top.prefix}${node.name}`;
    yield { path, node };
    if (node.type !== "dir" || node.subtree === undefined || !enter(path, node)) continue;
    signal.throwIfAborted();
    stack.push({ prefix: `${path}/`, nodes: (await read(node.subtree, path)).values() });
  }
}
