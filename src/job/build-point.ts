/** Puts the captured parts into one tree, in the layout of a restore point. */
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import {
  blobFolder,
  encodeName,
  GRANTS_SQL,
  LARGE_OBJECTS,
  LARGE_OBJECTS_LIST,
  LARGE_OBJECTS_SQL,
  MANIFEST,
  missingList,
  rangeFile,
  ROLES_SQL,
  ROOT,
  SCHEMA_DUMP,
  SCHEMA_SQL,
  SEQUENCES_SQL,
  tableFolder,
} from "../point/layout.ts";
import { formatManifest, type Manifest, type MissingBlob } from "../point/manifest.ts";
import {
  beginningOf,
  type FolderEntry,
  formatFolders,
  formatMissing,
  formatRanges,
  type RangeEntry,
} from "../point/ranges.ts";
import { formatRestoreNotes } from "../point/restore-notes.ts";
import { formatRestoreScript } from "../point/restore-script.ts";
import type { TreeNode } from "../format/node.ts";
import { formatRoles } from "../postgres/roles.ts";
import { formatSetvals } from "../postgres/sequences.ts";
import type { DatabaseCapture } from "./capture-database.ts";
import type { SavedLargeObjects } from "./large-objects.ts";
import type { SavedTable } from "./read-rows.ts";
import type { SavedFile } from "./capture-files.ts";
import type { Parent } from "./parent.ts";
import { PointFolder } from "./point-tree.ts";
import type { StorageState } from "./storage-state.ts";

export interface PointParts {
  manifest: Manifest;
  database: DatabaseCapture;
  storage: StorageState;
  config: SavedFile[];
  code: SavedFile[];
  parent: Parent | undefined;
}

/** How parts in memory become chunks. */
export interface PartStore {
  storeContent(bytes: Buffer): Promise<ChunkId[]>;
  storeTree(bytes: Buffer): Promise<ChunkId>;
}

/** Stores all of it and returns the root tree's id. */
export async function storePoint(parts: PointParts, store: PartStore): Promise<ChunkId> {
  const top = new PointFolder();
  const root = top.folder(ROOT);
  const addText = async (path: string, text: string, mode?: number): Promise<void> => {
    const bytes = Buffer.from(text, "utf8");
    root.addFileAt(path, bytes.length, await store.storeContent(bytes), mode === undefined ? {} : { mode });
  };
  await addText(MANIFEST, formatManifest(parts.manifest));
  await addText("RESTORE.md", formatRestoreNotes(parts.manifest));
  await addText("restore.sh", formatRestoreScript(parts.manifest), 0o755);
  await addDatabase(parts, root, store, addText);
  await addStorage(parts.storage, root, store, addText);
  for (const [folder, files] of [["config", parts.config] as const, ["code", parts.code] as const]) {
    for (const file of files) addSavedFile(root.folder(folder), file);
  }
  return await top.store((bytes) => store.storeTree(bytes));
}

function addSavedFile(folder: PointFolder, { path, node }: SavedFile): void {
  const cut = path.lastIndexOf("/");
  (cut < 0 ? folder : folder.at(path.slice(0, cut))).add(node);
}

async function addDatabase(
  { database, parent }: PointParts,
  root: PointFolder,
  store: PartStore,
  addText: (path: string, text: string) => Promise<void>,
): Promise<void> {
  const folder = root.folder("database");
  await addText(`database/${SCHEMA_SQL}`, database.schema.sql);
  const isSame = parent?.schemaSql === database.schema.sql && parent.grantsSql === database.rights.grantsSql;
  const dump: TreeNode | undefined = isSame ? parent.schemaDump : undefined;
  await addText(`database/${ROLES_SQL}`, formatRoles(database.rights.roles));
  await addText(`database/${GRANTS_SQL}`, database.rights.grantsSql);
  if (dump !== undefined) folder.add(dump);
  else {
    folder.addFile(SCHEMA_DUMP, database.schema.custom.length, await store.storeContent(database.schema.custom));
  }
  await addText(`database/${SEQUENCES_SQL}`, formatSetvals(database.sequences));
  for (const table of database.tables) {
    await addText(
      `ranges/database/${tableFolder(table.entry.schema, table.entry.name)}.json`,
      formatRanges(table.ranges.map(listRange)),
    );
  }
  addTables(database.tables, folder);
  if (database.largeObjects !== undefined) await addLargeObjects(database.largeObjects, folder, addText);
}

async function addLargeObjects(
  { ranges, commentsSql }: SavedLargeObjects,
  database: PointFolder,
  addText: (path: string, text: string) => Promise<void>,
): Promise<void> {
  await addText(`ranges/${LARGE_OBJECTS_LIST}`, formatRanges(ranges.map(listRange)));
  if (commentsSql !== "") await addText(`database/${LARGE_OBJECTS_SQL}`, commentsSql);
  const folder = database.folder(LARGE_OBJECTS);
  for (const range of ranges) folder.addFile(rangeFile(range.bucket), range.bytes, range.chunks);
}

function listRange({ bucket, rows, bytes, sha256, stamp }: RangeEntry): RangeEntry {
  return { bucket, rows, bytes, sha256, ...(stamp === undefined ? {} : { stamp }) };
}

/** The rows: `database/data/<schema>.<table>/<bucket>.copy`. Tables without rows have no folder. */
export function addTables(tables: readonly SavedTable[], database: PointFolder): void {
  for (const { entry, ranges } of tables) {
    if (ranges.length === 0) continue;
    const folder = database.folder("data").folder(tableFolder(entry.schema, entry.name));
    for (const range of ranges) folder.addFile(rangeFile(range.bucket), range.bytes, range.chunks);
  }
}

async function addStorage(
  state: StorageState,
  root: PointFolder,
  store: PartStore,
  addText: (path: string, text: string) => Promise<void>,
): Promise<void> {
  for (const [service, { folders, missing }] of state) {
    const entries: FolderEntry[] = [];
    for (const [folder, { count, bytes, withoutChecksum, hash, tree, isSettled }] of folders) {
      const settled = isSettled === true && tree !== undefined ? { settled: beginningOf(tree) } : {};
      entries.push({ folder, count, bytes, withoutChecksum, hash, ...settled });
      if (tree === undefined) continue;
      const group = blobFolder(BigInt(folder) << 10n).group;
      root.folder("storage").folder(encodeName(service)).folder(group).addTree(folder, tree);
    }
    await addText(`ranges/storage/${encodeName(service)}.json`, formatFolders(entries));
    if (missing.size > LIMITS.missingNamed) await addMissing(service, missing, root, store);
  }
}

/** Those that the manifest has no room for, with the others. Never all of the text is in memory. */
async function addMissing(
  service: string,
  missing: ReadonlyMap<string, MissingBlob>,
  root: PointFolder,
  store: PartStore,
): Promise<void> {
  const chunks: ChunkId[] = [];
  let size = 0;
  for (const blobs of inParts(missing.values())) {
    const bytes = Buffer.from(formatMissing(blobs), "utf8");
    chunks.push(...(await store.storeContent(bytes)));
    size += bytes.length;
  }
  root.addFileAt(missingList(service), size, chunks, {});
}

function partOf({ id }: MissingBlob): bigint {
  return BigInt(id) >> BigInt(LIMITS.missingListBits);
}

/** In the order of ids, cut where ids say. */
function* inParts(missing: Iterable<MissingBlob>): Generator<MissingBlob[]> {
  let part: MissingBlob[] = [];
  for (const blob of missing) {
    const [first] = part;
    if (first !== undefined && partOf(first) !== partOf(blob)) {
      yield part;
      part = [];
    }
    part.push(blob);
  }
  yield part;
}
