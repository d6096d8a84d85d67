/** What the last restore point of this installation knows, so that nothing that did not change is read again. */
import type { Manifest } from "../point/manifest.ts";
import { SCHEMA_DUMP, SCHEMA_SQL, encodeName } from "../point/layout.ts";
import { beginningOf, parseFolders } from "../point/ranges.ts";
import type { TreeNode } from "../format/node.ts";
import { ParentRows } from "./parent-rows.ts";
import type { Point } from "./points.ts";
import type { PointReader } from "./point-reader.ts";
import type { FolderState, StorageState } from "./storage-state.ts";

export interface Parent {
  point: Point;
  manifest: Manifest;
  storage: StorageState;
  /** Its rows of the table of files. */
  rows: ParentRows;
  /** The schema as text, and the node of the dump that belongs to it. */
  schemaSql: string;
  schemaDump: TreeNode | undefined;
}

export async function readParent(reader: PointReader): Promise<Parent> {
  const manifest = await reader.manifest();
  return {
    point: reader.point,
    manifest,
    storage: await readStorageState(reader, manifest),
    rows: new ParentRows(reader, manifest),
    schemaSql: await reader.readText(`database/${SCHEMA_SQL}`),
    schemaDump: await reader.find(`database/${SCHEMA_DUMP}`),
  };
}

/** The state of every storage service, as the point's lists and trees have it. */
export async function readStorageState(reader: PointReader, manifest: Manifest): Promise<StorageState> {
  const state: StorageState = new Map();
  for (const service of manifest.storage) {
    const name = encodeName(service.name);
    const listed = await reader.find(`ranges/storage/${name}.json`);
    const entries = listed === undefined ? [] : parseFolders(await reader.readText(`ranges/storage/${name}.json`));
    const trees = await folderTrees(reader, name);
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
      missing: new Map(service.missing.map((blob) => [blob.id, blob])),
    });
  }
  return state;
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
