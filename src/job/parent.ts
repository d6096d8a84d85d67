/** What the last restore point of this installation knows, so that nothing that did not change is read again. */
import type { Clock } from "../base/clock.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Manifest } from "../point/manifest.ts";
import { GRANTS_SQL, SCHEMA_DUMP, SCHEMA_SQL, encodeName } from "../point/layout.ts";
import { beginningOf, type FolderEntry, parseFolders } from "../point/ranges.ts";
import type { TreeNode } from "../format/node.ts";
import { isDamage } from "../repo/chunk.ts";
import type { Repository } from "../repo/repository.ts";
import { aheadFindings, damagedParent } from "./findings.ts";
import { ParentRows } from "./parent-rows.ts";
import { PointReader } from "./point-reader.ts";
import { isImported, listPoints, type Point, type PointList, pointsAhead } from "./points.ts";
import type { FolderState, StorageState } from "./storage-state.ts";

export interface Parent {
  point: Point;
  manifest: Manifest;
  storage: StorageState;
  /** Its rows of the table of files. */
  rows: ParentRows;
  /** The schema as text, and the node of the dump that belongs to it. */
  schemaSql: string;
  /** Undefined: an earlier version made the point. */
  grantsSql: string | undefined;
  schemaDump: TreeNode | undefined;
  reader: PointReader;
}

export async function readParent(reader: PointReader): Promise<Parent> {
  // A remote place is far away: nothing waits for what it does not need.
  const grants = `database/${GRANTS_SQL}`;
  const [[manifest, storage], schemaSql, schemaDump, grantsSql] = await Promise.all([
    reader.manifest().then(async (found) => [found, await readStorageState(reader, found)] as const),
    reader.readText(`database/${SCHEMA_SQL}`),
    reader.find(`database/${SCHEMA_DUMP}`),
    reader.find(grants).then(async (node) => (node === undefined ? undefined : await reader.readText(grants))),
  ]);
  return {
    point: reader.point,
    manifest,
    storage,
    rows: new ParentRows(reader, manifest),
    schemaSql,
    grantsSql,
    schemaDump,
    reader,
  };
}

/** The state of every storage service, as the point's lists and trees have it. */
async function readStorageState(reader: PointReader, manifest: Manifest): Promise<StorageState> {
  const state: StorageState = new Map();
  for (const service of manifest.storage) {
    const name = encodeName(service.name);
    const [entries, trees, missing] = await Promise.all([
      folderEntries(reader, name),
      folderTrees(reader, name),
      reader.missing(service),
    ]);
    const folders = new Map<string, FolderState>();
    for (const entry of entries) {
      const tree = trees.get(entry.folder);
      folders.set(entry.folder, {
        count: entry.count,
        bytes: entry.bytes,
        withoutChecksum: entry.withoutChecksum,
        hash: entry.hash,
        tree,
        isSettled: tree !== undefined && entry.settled === beginningOf(tree),
      });
    }
    state.set(service.name, {
      name: service.name,
      folders,
      missing: new Map(missing.map((blob) => [blob.id, blob])),
      reasons: new Map(),
    });
  }
  return state;
}

async function folderEntries(reader: PointReader, service: string): Promise<FolderEntry[]> {
  const path = `ranges/storage/${service}.json`;
  return (await reader.find(path)) === undefined ? [] : parseFolders(await reader.readText(path));
}

async function folderTrees(
  reader: PointReader,
  service: string,
): Promise<Map<string, NonNullable<TreeNode["subtree"]>>> {
  const trees = new Map<string, NonNullable<TreeNode["subtree"]>>();
  for (const group of (await reader.folder(`storage/${service}`)) ?? []) {
    for (const folder of (await reader.folder(`storage/${service}/${group.name}`)) ?? []) {
      if (folder.subtree !== undefined) trees.set(folder.name, folder.subtree);
    }
  }
  return trees;
}

export interface ParentSearch {
  repository: Repository;
  /** For people, in findings. */
  repositoryName: string;
  identity: { id: string };
  /** Those of the repository, where the caller has asked for them. */
  list?: Promise<PointList>;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * The newest point that can be read: one that is damaged must not keep new ones from being made, and one from a clock that
 * was ahead must not be the parent of all that follow.
 */
export async function findParent(search: ParentSearch): Promise<{ parent?: Parent; findings: Finding[] }> {
  const { repository, identity, clock, signal } = search;
  const { points } = await (search.list ?? listPoints(repository, { signal }));
  const index = await repository.loadIndex({ signal });
  // What was imported is of another server, and need not be what was there at its time.
  const mine = points.filter((point) => point.installationId === identity.id && !isImported(point));
  const ahead = pointsAhead(mine, clock.now());
  const findings = aheadFindings(ahead, search.repositoryName);
  for (const point of [...mine.filter((one) => !ahead.includes(one)), ...ahead]) {
    try {
      const parent = await readParent(new PointReader(repository, point, { signal }));
      const isStored = parent.schemaDump?.content?.every((id) => index.has("data", id)) === true;
      return { parent: isStored ? parent : { ...parent, schemaDump: undefined }, findings };
    } catch (error) {
      if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
      findings.push(damagedParent(point, messageOf(error)));
    }
  }
  return { findings };
}
