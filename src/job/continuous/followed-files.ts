/**
 * Followed files as one snapshot has them: all since its row of snapshots began. A folder of files is as a restore point has it,
 * so that a moment takes files from either.
 */
import { LIMITS } from "../../base/limits.ts";
import type { ChunkId } from "../../base/ids.ts";
import type { TreeNode } from "../../format/node.ts";
import { FOLLOW, type Follow, followOf } from "../../point/continuous.ts";
import { blobFolder, encodeName } from "../../point/layout.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import type { FollowedBlob } from "../list-storage.ts";
import { PointFolder } from "../point-tree.ts";

/** `<service>/<group>/<folder>` below `storage/`, as in a restore point. */
export type FolderPath = string;

export interface FollowedFiles extends Omit<Follow, "installation"> {
  readonly folders: ReadonlyMap<FolderPath, ReadonlyMap<string, TreeNode>>;
}

export interface FoundFollow {
  readonly follow: Follow;
  readonly listed: ListedSnapshot;
}

export function folderOf({ id, service }: Pick<FollowedBlob, "id" | "service">): FolderPath {
  const { group, folder } = blobFolder(id);
  return `${encodeName(service)}/${group}/${folder}`;
}

/** Those of an installation, the newest first. Of one row the largest is the newest: each has what the one before it had. */
export function followsOf(snapshots: readonly ListedSnapshot[], installation: string): FoundFollow[] {
  const found = snapshots.flatMap((listed) => {
    const follow = followOf(listed.snapshot.tags);
    return follow?.installation === installation ? [{ follow, listed }] : [];
  });
  return found.toSorted((a, b) => b.follow.beganMs - a.follow.beganMs || b.follow.files - a.follow.files);
}

/**
 * The same and more. A row that has become long or old is not gone on with: the next one begins, and has only what is new, so
 * that what is old can be forgotten some day.
 */
export function addFiles(
  before: FollowedFiles,
  added: readonly { path: FolderPath; node: TreeNode }[],
  nowMs: number,
): FollowedFiles {
  const isOver = before.files >= LIMITS.followedFiles || nowMs - before.beganMs > LIMITS.followedAgeMs;
  const base = isOver ? { beganMs: nowMs, files: 0, bytes: 0, folders: new Map() } : before;
  const folders = new Map(base.folders);
  let [files, bytes] = [base.files, base.bytes];
  for (const { path, node } of added) {
    const folder = new Map(folders.get(path));
    if (!folder.has(node.name)) {
      files += 1;
      bytes += Number(node.size ?? 0);
    }
    folders.set(path, folder.set(node.name, node));
  }
  return { beganMs: base.beganMs, files, bytes, folders };
}

interface TreeStore {
  storeContent(bytes: Buffer): Promise<ChunkId[]>;
  storeTree(bytes: Buffer): Promise<ChunkId>;
}

/** Stores the tree of a snapshot, and returns its id. */
export async function storeFollowed(followed: FollowedFiles, store: TreeStore): Promise<ChunkId> {
  const top = new PointFolder();
  const root = top.folder(FOLLOW.folder);
  const { beganMs, files, bytes } = followed;
  const text = Buffer.from(`${JSON.stringify({ schema: 1, beganMs, files, bytes }, null, 1)}\n`, "utf8");
  root.addFile(FOLLOW.file, text.length, await store.storeContent(text));
  for (const [path, nodes] of followed.folders) {
    const folder = root.at(`storage/${path}`);
    for (const node of nodes.values()) folder.add(node);
  }
  return await top.store(async (tree) => await store.storeTree(tree));
}

/** @throws Failure `repo/damaged` where a tree of it cannot be read. */
export async function readFollowed(
  repository: Repository,
  { follow, listed }: FoundFollow,
  options: { signal: AbortSignal },
): Promise<FollowedFiles> {
  const inside = async (node: TreeNode | undefined) =>
    node?.subtree === undefined ? [] : await repository.readTree(node.subtree, options);
  const folders = new Map<FolderPath, Map<string, TreeNode>>();
  const top = await repository.readTree(listed.snapshot.tree, options);
  const root = await inside(top.find(({ name }) => name === FOLLOW.folder));
  for (const service of await inside(root.find(({ name }) => name === "storage"))) {
    for (const group of await inside(service)) {
      for (const folder of await inside(group)) {
        const nodes = await inside(folder);
        folders.set(`${service.name}/${group.name}/${folder.name}`, new Map(nodes.map((node) => [node.name, node])));
      }
    }
  }
  const { beganMs, files, bytes } = follow;
  return { beganMs, files, bytes, folders };
}
