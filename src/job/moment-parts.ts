/**
 * What a restore point of a moment takes from elsewhere, as only rows can be recovered: the files that were uploaded until
 * then, from the points on either side and from what was followed in between; and configuration and code of the nearest point.
 */
import { createHash } from "node:crypto";
import { type ChunkId, shortId } from "../base/ids.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { TreeNode } from "../format/node.ts";
import type { ListedSnapshot, Repository } from "../repo/repository.ts";
import { walkTree } from "../repo/walk.ts";
import { assert, isFailure, messageOf } from "../base/errors.ts";
import type { Installation } from "../installation/installation.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import { FOLLOW } from "../point/continuous.ts";
import { blobFolder, encodeName } from "../point/layout.ts";
import type { MomentEntry } from "../point/manifest.ts";
import { isDamage } from "../repo/chunk.ts";
import { type Gathering, storeElse, type StoredElse, type StoreElseOptions } from "./capture-else.ts";
import { damagedParent } from "./findings.ts";
import { followsOf } from "./continuous/followed-files.ts";
import type { FolderRow } from "./list-storage.ts";
import { type Parent, readParent } from "./parent.ts";
import { PointReader } from "./point-reader.ts";
import { isImported, type Point } from "./points.ts";
import { blobFileName, type BlobRow } from "./storage-state.ts";
import type { SavedFile } from "./capture-files.ts";

/** What a backup needs of a moment beside the recovered database. */
export interface MomentParts {
  /** RFC 3339, as the repository writes instants. */
  startedAt: string;
  entry: MomentEntry;
  tags: readonly string[];
  /** The nearest point before the moment, or else after it: what it has is taken over. */
  parent?: Parent;
  /** What could not be read on the way, and what is not of the moment. */
  findings: Finding[];
  elsewhere: (row: FolderRow, blobs: readonly BlobRow[]) => Promise<ReadonlyMap<bigint, TreeNode>>;
  /** Configuration and code as a point has them; without it they are the installation's own, as it is now. */
  other?: StoredElse;
  /** The installation as it was saved then. */
  saved: Installation;
}

/** Whose configuration is judged: the version of the point's holds while its database had the same migrations. */
export function installationThen(
  { installation, moment }: { installation: Installation; moment?: MomentParts | undefined },
  { migrations }: { migrations: readonly string[] },
): Installation {
  if (moment === undefined) return installation;
  const { version, migrations: known = [] } = moment.parent?.manifest.chatwoot ?? {};
  const isSame = known.length === migrations.length && known.every((one, at) => one === migrations[at]);
  return isSame && version != null ? { ...moment.saved, version } : moment.saved;
}

/** Configuration and code as a point has them, or as they are looked for now. */
export async function storedElse(
  { moment }: { moment?: MomentParts | undefined },
  gathering: Gathering | undefined,
  options: StoreElseOptions,
): Promise<StoredElse> {
  if (moment?.other !== undefined) return moment.other;
  assert(gathering !== undefined, "nobody looked for configuration and code");
  return await storeElse(gathering, options);
}

export interface PartsOptions {
  repository: Repository;
  /** Newest first; those of the installation are looked at. */
  points: readonly Point[];
  snapshots: readonly ListedSnapshot[];
  installation: Installation;
  installationId: string;
  momentMs: number;
  signal: AbortSignal;
}

type Gathered = Pick<MomentParts, "findings" | "elsewhere" | "saved"> & {
  parent?: Parent;
  other?: StoredElse;
  /** The point that configuration and code are of. */
  configurationOf: string | null;
};

/** Those of the installation that backups made: nearest first, those before the moment before those after it. */
export function neighboursOf(
  points: readonly Point[],
  installationId: string,
  momentMs: number,
): { before: Point[]; after: Point[] } {
  const mine = points.filter((point) => point.installationId === installationId && !isImported(point));
  const before = mine.filter(({ takenAtMs }) => takenAtMs <= momentMs).toSorted((a, b) => b.takenAtMs - a.takenAtMs);
  const after = mine.filter(({ takenAtMs }) => takenAtMs > momentMs).toSorted((a, b) => a.takenAtMs - b.takenAtMs);
  return { before, after };
}

export async function gatherMoment(options: PartsOptions): Promise<Gathered> {
  const { repository, installation, signal, momentMs } = options;
  const { before, after } = neighboursOf(options.points, options.installationId, momentMs);
  const findings: Finding[] = [];
  const read = async (point: Point): Promise<Parent | undefined> => {
    try {
      return await readParent(new PointReader(repository, point, { signal }));
    } catch (error) {
      if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
      findings.push(damagedParent(point, messageOf(error)));
      return undefined;
    }
  };
  let parent: Parent | undefined;
  for (const point of [...before, ...after]) if (parent === undefined) parent = await read(point);
  const others = [...after.slice(0, LIMITS.momentNeighbours), ...before.slice(0, LIMITS.momentNeighbours)].filter(
    (point) => point !== parent?.point,
  );
  const elsewhere = await filesElsewhere(options, others, read);
  if (parent === undefined)
    return { findings: [...findings, noConfiguration()], elsewhere, saved: installation, configurationOf: null };
  if (parent.point.takenAtMs > momentMs) findings.push(laterConfiguration(parent.point));
  const index = await repository.loadIndex({ signal });
  const isStored = parent.schemaDump?.content?.every((id) => index.has("data", id)) === true;
  return {
    parent: isStored ? parent : { ...parent, schemaDump: undefined },
    findings,
    elsewhere,
    other: await savedElse(parent, options),
    saved: await savedInstallation(parent, installation),
    configurationOf: parent.point.id,
  };
}

/** Configuration and code as a point has them. */
async function savedElse({ reader, manifest }: Parent, options: PartsOptions): Promise<StoredElse> {
  const [config, code] = await Promise.all(
    ["config", "code"].map(async (folder) => await filesOf(reader, folder, options)),
  );
  return { config: config ?? [], code: code ?? [], codeEntry: manifest.code, findings: [] };
}

async function filesOf(
  reader: PointReader,
  folder: string,
  { repository, signal }: PartsOptions,
): Promise<SavedFile[]> {
  const tree = await reader.folderTree(folder);
  const saved: SavedFile[] = [];
  if (tree === undefined) return saved;
  for await (const { path, node } of walkTree(repository, tree, { signal })) {
    if (node.subtree === undefined) saved.push({ path, node });
  }
  return saved;
}

/** The version is told by what the database had migrated: it may have been another than in the point. */
async function savedInstallation({ reader, manifest }: Parent, installation: Installation): Promise<Installation> {
  const path = `config/${SAVED_ENVIRONMENT}`;
  const isThere = (await reader.find(path)) !== undefined;
  const { edition, commit, image } = manifest.chatwoot;
  const { version: _now, edition: _edition, commit: _commit, image: _image, ...rest } = installation;
  return {
    ...rest,
    environment: isThere ? parseEnvironment(await reader.readText(path)) : installation.environment,
    ...(edition === "ee" || edition === "ce" ? { edition } : {}),
    ...(commit === null ? {} : { commit }),
    ...(image === undefined ? {} : { image }),
  };
}

/** One after the other is asked, the nearest first, for as long as something is not found. */
async function filesElsewhere(
  options: PartsOptions,
  others: readonly Point[],
  read: (point: Point) => Promise<Parent | undefined>,
): Promise<MomentParts["elsewhere"]> {
  const { repository, signal } = options;
  const isStored = await storedIn(options);
  const readTree = async (tree: Parameters<Repository["readTree"]>[0]) => await repository.readTree(tree, { signal });
  const opened = new Map<Point, Promise<Parent | undefined>>();
  const open = async (point: Point) => {
    const reading = opened.get(point) ?? read(point);
    opened.set(point, reading);
    return await reading;
  };
  const followed = followedFiles(options);
  return async (row, blobs) => {
    const found = new Map(await followed(row, blobs));
    const isLacking = () => found.size < blobs.length;
    for (const point of others) {
      if (!isLacking()) break;
      const parent = await open(point);
      for (const { folders, missing } of parent?.storage.values() ?? []) {
        const tree = folders.get(row.folder)?.tree;
        if (parent === undefined || tree === undefined) continue;
        const isRight = async (blob: BlobRow) => {
          const entry = missing.get(blob.id.toString());
          return (entry === undefined || entry.kept === true) && (await parent.rows.has(blob));
        };
        await take(found, blobs, await readTree(tree), async (blob, node) => isStored(node) && (await isRight(blob)));
      }
    }
    return found;
  };
}

/** Adds of these nodes those that are as the rows not yet found say. */
async function take(
  found: Map<bigint, TreeNode>,
  blobs: readonly BlobRow[],
  nodes: readonly TreeNode[],
  isRight: (blob: BlobRow, node: TreeNode) => Promise<boolean>,
): Promise<void> {
  const named = new Map(nodes.map((node) => [node.name, node]));
  for (const blob of blobs) {
    const node = found.has(blob.id) ? undefined : named.get(blobFileName(blob.key));
    if (node === undefined || Number(node.size ?? 0) !== blob.bytes) continue;
    if (await isRight(blob, node)) found.set(blob.id, node);
  }
}

type Following = Pick<PartsOptions, "repository" | "snapshots" | "installationId" | "signal">;

async function storedIn({ repository, signal }: Following): Promise<(node: TreeNode) => boolean> {
  const index = await repository.loadIndex({ signal });
  return (node) => node.content?.every((id) => index.has("data", id)) === true;
}

/** What a watch kept of files, by their rows' ids; each surely what its row asks for. */
export function followedFiles(options: Following): MomentParts["elsewhere"] {
  const { repository, signal } = options;
  const treesOf = followedFolders(options);
  return async (row, blobs) => {
    const found = new Map<bigint, TreeNode>();
    if (blobs.length === 0) return found;
    const isStored = await storedIn(options);
    const isRight = async (blob: BlobRow, node: TreeNode) =>
      isStored(node) && (await unlessDamaged(false, async () => await hasChecksum(blob, node, options)));
    for (const tree of await treesOf(row)) {
      const nodes = await unlessDamaged([], async () => await repository.readTree(tree, { signal }));
      await take(found, blobs, nodes, isRight);
      if (found.size === blobs.length) break;
    }
    return found;
  };
}

/** What cannot be read is looked for elsewhere. */
async function unlessDamaged<T>(otherwise: T, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return otherwise;
  }
}

/** What was followed is in no list of rows: its own bytes say whether they are what a row asks for. */
async function hasChecksum(blob: BlobRow, node: TreeNode, { repository, signal }: Following): Promise<boolean> {
  if (blob.checksum === null) return false;
  const md5 = createHash("md5");
  for (const id of node.content ?? []) md5.update(await repository.readChunk("data", id, { signal }));
  return md5.digest("base64") === blob.checksum;
}

type FollowedTrees = (row: FolderRow) => Promise<NonNullable<TreeNode["subtree"]>[]>;

/** The trees of a folder of ids in the snapshots of files that were followed, the newest first. */
function followedFolders({ repository, snapshots, installationId, signal }: Following): FollowedTrees {
  const rows = new Map<number, ListedSnapshot>();
  // The first of a row that is seen has what the others of it have.
  for (const { follow, listed } of followsOf(snapshots, installationId)) {
    if (!rows.has(follow.beganMs)) rows.set(follow.beganMs, listed);
  }
  // Many folders are asked for, which lie in the same few.
  const known = new Map<ChunkId, TreeNode[]>();
  const nodesOf = async (tree: ChunkId) => {
    const nodes = known.get(tree) ?? (await unlessDamaged([], async () => await repository.readTree(tree, { signal })));
    known.set(tree, nodes);
    return nodes;
  };
  return async ({ service, folder }) => {
    const { group } = blobFolder(BigInt(folder) << BigInt(LIMITS.blobFolderBits));
    const path = [FOLLOW.folder, "storage", encodeName(service), group, folder];
    const trees: NonNullable<TreeNode["subtree"]>[] = [];
    for (const { snapshot } of rows.values()) {
      let tree: TreeNode["subtree"] = snapshot.tree;
      for (const name of path) {
        if (tree === undefined) break;
        const nodes: TreeNode[] = await nodesOf(tree);
        tree = nodes.find((node) => node.name === name)?.subtree;
      }
      if (tree !== undefined) trees.push(tree);
    }
    return trees;
  };
}

function laterConfiguration({ id, snapshot }: Point): Finding {
  return {
    kind: "moment-configuration-later",
    level: "note",
    message: `there is no restore point before that moment: configuration and code are those of ${shortId(id)} of ${snapshot.time}`,
    hint: "Nothing to do, unless they were changed in between.",
  };
}

function noConfiguration(): Finding {
  return {
    kind: "moment-configuration-now",
    level: "warning",
    message:
      "there is no restore point of this installation: configuration and code are those of now, not of that moment",
    hint: "Make one with 'chatkeep backup': a moment is brought back with the configuration of the point before it.",
  };
}
