/** Which files two folders of two points do not have in common. Folders with the same tree are never opened. */
import { messageOf } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { TreeNode } from "../format/node.ts";
import { decodeName } from "../point/layout.ts";
import type { Repository } from "../repo/repository.ts";
import { isSameList } from "./diff-rows.ts";
import type { ChangeKind, DiffFiles, DiffNames, DiffSummary } from "./diff-summary.ts";
import { type Damaged, isUnreadable, type Side } from "./diff-tables.ts";

interface Walk {
  repository: Repository;
  signal: AbortSignal;
  damaged: Damaged;
  onFile: (kind: ChangeKind, path: string, node: TreeNode) => void;
}

async function walk(w: Walk, path: string, before: ChunkId | undefined, after: ChunkId | undefined): Promise<void> {
  if (before === after) return;
  let lists: TreeNode[][];
  try {
    const read = async (tree: ChunkId | undefined) =>
      tree === undefined ? [] : await w.repository.readTree(tree, { signal: w.signal });
    lists = await Promise.all([read(before), read(after)]);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    w.damaged.push({ what: `folder ${path}`, message: messageOf(error) });
    return;
  }
  const [old, now] = lists.map((nodes) => new Map(nodes.map((node) => [node.name, node])));
  for (const name of new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])) {
    const [a, b] = [old?.get(name), now?.get(name)];
    const here = path === "" ? name : `${path}/${name}`;
    if (a?.subtree !== undefined || b?.subtree !== undefined) await walk(w, here, a?.subtree, b?.subtree);
    const [fileBefore, fileAfter] = [a, b].map((node) => (node?.subtree === undefined ? node : undefined));
    if (fileBefore === undefined && fileAfter !== undefined) w.onFile("added", here, fileAfter);
    else if (fileBefore !== undefined && fileAfter === undefined) w.onFile("removed", here, fileBefore);
    else if (fileBefore && fileAfter && !isSameFile(fileBefore, fileAfter)) w.onFile("changed", here, fileAfter);
  }
}

/** By what is in it; when it was written and who owns it is no difference of a setting. */
function isSameFile(a: TreeNode, b: TreeNode): boolean {
  return a.type === b.type && a.linktarget === b.linktarget && isSameList(a.content ?? [], b.content ?? []);
}

async function walkFolder(before: Side, after: Side, path: string, w: Omit<Walk, "repository">): Promise<void> {
  const trees = await Promise.all([before.reader.folderTree(path), after.reader.folderTree(path)]);
  await walk({ ...w, repository: after.reader.repository }, path, ...trees);
}

interface Options {
  signal: AbortSignal;
  damaged: Damaged;
}

/** Names below a folder, the first ones in order. */
export async function diffNames(before: Side, after: Side, folder: string, options: Options): Promise<DiffNames> {
  const names: Record<ChangeKind, string[]> = { added: [], changed: [], removed: [] };
  await walkFolder(before, after, folder, {
    ...options,
    onFile: (kind, path) => names[kind].push(path.slice(folder.length + 1)),
  });
  return firstNames(names);
}

export function firstNames(names: Record<ChangeKind, string[]>): DiffNames {
  const first = (kind: ChangeKind) => names[kind].toSorted().slice(0, LIMITS.diffListed);
  return {
    added: first("added"),
    changed: first("changed"),
    removed: first("removed"),
    counts: { added: names.added.length, changed: names.changed.length, removed: names.removed.length },
  };
}

function none(): DiffFiles {
  return { files: 0, bytes: 0 };
}

/** Uploaded files, by the storage service that the points have them from. Services in which nothing differs are left out. */
export async function diffStorage(
  before: Side,
  after: Side,
  options: Options,
): Promise<NonNullable<DiffSummary["storage"]>> {
  const services = new Map<string, Record<ChangeKind, DiffFiles>>();
  await walkFolder(before, after, "storage", {
    ...options,
    onFile: (kind, path, node) => {
      const service = decodeName(path.split("/")[1] ?? "");
      const counts = services.get(service) ?? { added: none(), changed: none(), removed: none() };
      services.set(service, counts);
      counts[kind].files += 1;
      counts[kind].bytes += Number(node.size ?? 0);
    },
  });
  return [...services].map(([service, counts]) => ({ service, ...counts }));
}
