/** Reads every tree of every snapshot once, and finds which snapshots lose what is lost. */
import { mapConcurrent } from "../base/concurrent.ts";
import { messageOf } from "../base/errors.ts";
import { shortId, type ChunkId, type SnapshotId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChunkType } from "../format/chunk.ts";
import type { TreeNode } from "../format/node.ts";
import { isDamage } from "./chunk.ts";
import type { ChunkIndex } from "./index.ts";
import type { Repository } from "./repository.ts";

export interface TreeProblem {
  readonly kind: "tree-missing" | "tree-damaged" | "chunk-missing";
  readonly id: ChunkId;
  readonly message: string;
}

/** {@link lostKey} → the numbers of the problems that took it. */
export type LostChunks = Map<string, Set<number>>;

export function lostKey(type: ChunkType, id: ChunkId): string {
  return `${type} ${id}`;
}

interface TreeCheck {
  readonly problems: readonly TreeProblem[];
  /** True for a row of the index that some snapshot needs. */
  readonly isUsed: (row: number) => boolean;
}

/** Checks that everything below these trees is there; level by level, each tree once. */
export async function checkTrees(
  repository: Repository,
  roots: readonly ChunkId[],
  { signal, index }: { signal: AbortSignal; index: ChunkIndex },
): Promise<TreeCheck> {
  const used = new Uint8Array(index.size);
  const problems = new Map<string, TreeProblem>();
  const report = (kind: TreeProblem["kind"], id: ChunkId, message: string) => {
    if (!problems.has(`${kind} ${id}`)) problems.set(`${kind} ${id}`, { kind, id, message });
  };
  /** True the first time that a chunk which is there is met. */
  const use = (type: ChunkType, id: ChunkId, by: string): boolean => {
    const row = index.rowOf(type, id);
    if (row < 0) {
      if (type === "tree") report("tree-missing", id, `tree ${shortId(id)} of ${by} is in no pack`);
      else report("chunk-missing", id, `chunk ${shortId(id)} of ${by} is in no pack`);
      return false;
    }
    if (used[row] === 1) return false;
    used[row] = 1;
    return true;
  };
  const checkNode = (node: TreeNode, tree: ChunkId): ChunkId | undefined => {
    const by = `'${node.name}' in tree ${shortId(tree)}`;
    if (node.type === "file") {
      if (node.content === null) report("tree-damaged", tree, `tree ${shortId(tree)} has a file without content`);
      for (const id of node.content ?? []) use("data", id, by);
    }
    if (node.type !== "dir") return undefined;
    if (node.subtree !== undefined) return use("tree", node.subtree, by) ? node.subtree : undefined;
    report("tree-damaged", tree, `tree ${shortId(tree)} has a folder without a tree`);
    return undefined;
  };
  let level = roots.filter((id) => use("tree", id, "a snapshot"));
  while (level.length > 0) {
    const next: ChunkId[] = [];
    await mapConcurrent(
      level,
      LIMITS.smallReads,
      async (tree) => {
        try {
          for (const node of await repository.readTree(tree, { signal })) {
            const subtree = checkNode(node, tree);
            if (subtree !== undefined) next.push(subtree);
          }
        } catch (error) {
          if (!isDamage(error)) throw error;
          report("tree-damaged", tree, `tree ${shortId(tree)} cannot be read: ${messageOf(error)}`);
        }
      },
      { signal },
    );
    level = next;
  }
  return { problems: [...problems.values()], isUsed: (row) => used[row] === 1 };
}

/** Which snapshots need something that is lost: the problem's number → snapshots. */
export async function findTouched(
  repository: Repository,
  roots: ReadonlyMap<SnapshotId, ChunkId>,
  { signal, lost }: { signal: AbortSignal; lost: LostChunks },
): Promise<Map<number, SnapshotId[]>> {
  const touched = new Map<number, SnapshotId[]>();
  if (lost.size === 0) return touched;
  const known = new Map<ChunkId, ReadonlySet<number>>();
  const nothing: ReadonlySet<number> = new Set();

  async function problemsBelow(tree: ChunkId): Promise<ReadonlySet<number>> {
    const before = known.get(tree);
    if (before !== undefined) return before;
    signal.throwIfAborted();
    const found = new Set<number>(lost.get(lostKey("tree", tree)));
    for (const node of await readable(tree)) {
      for (const id of node.content ?? []) {
        for (const problem of lost.get(lostKey("data", id)) ?? []) found.add(problem);
      }
      if (node.subtree !== undefined) for (const problem of await problemsBelow(node.subtree)) found.add(problem);
    }
    const result = found.size === 0 ? nothing : found;
    known.set(tree, result);
    return result;
  }

  async function readable(tree: ChunkId): Promise<readonly TreeNode[]> {
    try {
      return await repository.readTree(tree, { signal });
    } catch (error) {
      if (!isDamage(error)) throw error;
      return [];
    }
  }

  for (const [snapshot, tree] of roots) {
    for (const problem of await problemsBelow(tree)) {
      touched.set(problem, [...(touched.get(problem) ?? []), snapshot]);
    }
  }
  return touched;
}
