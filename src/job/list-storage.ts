/** What the database lists of Active Storage's files: folders of 1,024 consecutive ids, and the blobs in one. */
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "../postgres/connect.ts";
import type { RowsCompared } from "./read-rows.ts";
import {
  type BlobRow,
  BLOBS_FROM_QUERY,
  BLOBS_QUERY,
  COUNTS_QUERY,
  FOLDERS_AMONG_QUERY,
  FOLDERS_QUERY,
  missingByFolder,
  NEWEST_ID_QUERY,
  STILL_THERE_QUERY,
  type StorageState,
} from "./storage-state.ts";

export type Queries = Pick<Connection, "query">;

/** One service's folder of blobs, as the database has it now. */
export interface FolderRow {
  service: string;
  folder: string;
  count: number;
  bytes: number;
  withoutChecksum: number;
  /** Of all that its rows say of their files; empty where it was not asked for. */
  hash: string;
}

/** Which folders there are, and what lies in those that somebody asks about. */
export interface StorageListing {
  folders: FolderRow[];
  blobs(folder: FolderRow): Promise<BlobRow[]>;
}

type FolderQueryRow = {
  service: string;
  folder: string;
  count: number;
  bytes: string;
  without_checksum: number;
  hash: string;
};

/** Asks the database for the folders now, and for their blobs when they are wanted. */
export async function listStorage(database: Queries): Promise<StorageListing> {
  const rows = await database.query<FolderQueryRow>(FOLDERS_QUERY);
  return listingOf(rows.map(folderRow), database);
}

/** So many of the parent's newest folders are counted again: ids are given in order, and committed in another one. */
const COUNTED_AGAIN = 8n;

/**
 * Where there most likely is something new: counts of what lies in each folder, for a look that {@link listStorageAtOnce}
 * follows. What the state before has is taken to be as it was, but for its newest folders; hashes of what was counted are
 * empty where the counts are others.
 * @param before Empty: everything is counted.
 */
export async function countStorage(database: Queries, before: StorageState): Promise<StorageListing> {
  const known = foldersOf(before);
  const newest = known.reduce((most, { folder }) => (BigInt(folder) > most ? BigInt(folder) : most), -1n);
  const first = newest - COUNTED_AGAIN;
  const from = newest < 0n ? MIN_ID : first << BigInt(LIMITS.blobFolderBits);
  const rows = await database.query<Omit<FolderQueryRow, "hash">>(COUNTS_QUERY, [from.toString()]);
  const counted = rows.map((row) => {
    const folder = folderRow({ ...row, hash: "" });
    const earlier = before.get(folder.service)?.folders.get(folder.folder);
    const { count, bytes, withoutChecksum } = folder;
    const isAlike = earlier?.count === count && earlier.bytes === bytes && earlier.withoutChecksum === withoutChecksum;
    return isAlike ? { ...folder, hash: earlier.hash } : folder;
  });
  const older = newest < 0n ? [] : known.filter(({ folder }) => BigInt(folder) < first);
  return listingOf([...older, ...counted], database);
}

const MIN_ID = -(2n ** 63n);

/** As the database would list what a state has. */
function foldersOf(state: StorageState): FolderRow[] {
  return [...state.values()].flatMap(({ name: service, folders }) =>
    [...folders].map(([folder, { count, bytes, withoutChecksum, hash }]) => {
      return { service, folder, count, bytes, withoutChecksum, hash };
    }),
  );
}

function folderRow({ service, folder, count, bytes, without_checksum, hash }: FolderQueryRow): FolderRow {
  return { service, folder, count, bytes: Number(bytes), withoutChecksum: without_checksum, hash };
}

function listingOf(folders: FolderRow[], database: Queries): StorageListing {
  // One connection answers one question at a time; the folders are read several at once.
  let last: Promise<unknown> = Promise.resolve();
  return {
    folders,
    blobs(folder) {
      const answer = last.then(async () => await listBlobs(database, folder));
      last = answer.catch(() => {});
      return answer;
    },
  };
}

/** What the parent says of the table of files' rows, and what of it still holds. */
export interface ComparedStorage {
  compared: RowsCompared;
  /** As the parent has it. */
  parent: StorageState;
}

/** How a folder's hash looks. Earlier versions made other ones, which must not live on. */
const HASH = /^-?\d+ -?\d+$/;

/**
 * What the parent lists of ids whose rows are unchanged, and what the database lists of all others. Undefined where asking for
 * everything is as well.
 */
async function listChanged(
  database: Queries,
  { compared, parent }: ComparedStorage,
): Promise<StorageListing | undefined> {
  const { k, unchanged } = compared;
  const shift = BigInt(k - LIMITS.blobFolderBits);
  if (shift < 0n) return undefined;
  const taken = new Map([...unchanged.keys()].map((bucket) => [bucket, { folders: [] as FolderRow[], rows: 0 }]));
  for (const row of foldersOf(parent)) {
    const range = taken.get((BigInt(row.folder) >> shift).toString());
    if (range === undefined || !HASH.test(row.hash)) continue;
    range.folders.push(row);
    range.rows += row.count;
  }
  const kept: FolderRow[] = [];
  const buckets = [...compared.changed];
  for (const [bucket, { folders, rows }] of taken) {
    // What the parent does not know in full is asked for.
    if (rows === unchanged.get(bucket)) kept.push(...folders);
    else buckets.push(bucket);
  }
  // One look at all of it is less than many at most of it.
  if (buckets.length * 4 > buckets.length + taken.size) return undefined;
  const first = buckets.map((bucket) => BigInt(bucket) << BigInt(k));
  const after = first.map((id) => id + (1n << BigInt(k)));
  const spans = [first.map(String), after.map(String)];
  const asked = buckets.length === 0 ? [] : await database.query<FolderQueryRow>(FOLDERS_AMONG_QUERY, spans);
  const rows = [...kept, ...asked.map(folderRow)].toSorted((a, b) => {
    if (a.service !== b.service) return a.service < b.service ? -1 : 1;
    return Number(a.folder) - Number(b.folder);
  });
  return listingOf(rows, database);
}

/**
 * The same, with the blobs of every folder that differs from `before` read at once: so that the snapshot which the
 * database is asked in can be let go before any file is read.
 * @param rows Without it, or where little of it holds, the database is asked for everything.
 */
export async function listStorageAtOnce(
  database: Queries,
  before: StorageState,
  rows?: ComparedStorage,
): Promise<StorageListing> {
  const listing = (rows && (await listChanged(database, rows))) ?? (await listStorage(database));
  const lists = new Map<FolderRow, BlobRow[]>();
  const missing = new Map([...before].map(([name, service]) => [name, missingByFolder(service)] as const));
  for (const folder of listing.folders) {
    const known = before.get(folder.service)?.folders.get(folder.folder);
    const isUnchanged = known?.hash === folder.hash && missing.get(folder.service)?.has(folder.folder) !== true;
    if (!isUnchanged) lists.set(folder, await listing.blobs(folder));
  }
  return {
    folders: listing.folders,
    async blobs(folder) {
      const blobs = lists.get(folder);
      assert(blobs !== undefined && hashRows(blobs) === folder.hash, "a folder of files was listed at two moments");
      return blobs;
    },
  };
}

type BlobQueryRow = {
  id: string;
  key: string;
  filename: string;
  checksum: string | null;
  bytes: string;
  created_at: string;
  hash: string;
  mixed: string;
};

async function listBlobs(database: Queries, row: FolderRow): Promise<BlobRow[]> {
  const first = BigInt(row.folder) << BigInt(LIMITS.blobFolderBits);
  const end = first + (1n << BigInt(LIMITS.blobFolderBits));
  const rows = await database.query<BlobQueryRow>(BLOBS_QUERY, [row.service, first.toString(), end.toString()]);
  return rows.map(blobRow);
}

function blobRow(blob: BlobQueryRow): BlobRow {
  return {
    id: BigInt(blob.id),
    key: blob.key,
    filename: blob.filename,
    checksum: blob.checksum,
    bytes: Number(blob.bytes),
    createdAt: formatNodeTime(blob.created_at),
    hash: [blob.hash, blob.mixed],
  };
}

/** The row of a blob without its hash, and the service that it is in. */
export type FollowedBlob = Omit<BlobRow, "hash"> & { readonly service: string };

/** The blobs from one id on, of all services, in the order of ids; `most` at most. */
export async function listFrom(
  database: Queries,
  { from, most }: { from: bigint; most: number },
): Promise<FollowedBlob[]> {
  const rows = await database.query<BlobQueryRow & { service: string }>(BLOBS_FROM_QUERY, [from.toString(), most]);
  return rows.map((row) => {
    const { hash: _, ...blob } = blobRow(row);
    return { ...blob, service: row.service };
  });
}

/** 0 where the table is empty. */
export async function newestId(database: Queries): Promise<bigint> {
  const [row] = await database.query<{ id: string }>(NEWEST_ID_QUERY);
  return BigInt(row?.id ?? 0);
}

/** Which of these ids the table still has. */
export async function stillThere(database: Queries, ids: readonly bigint[]): Promise<Set<bigint>> {
  const rows = await database.query<{ id: string }>(STILL_THERE_QUERY, [ids.map(String)]);
  return new Set(rows.map(({ id }) => BigInt(id)));
}

/** As a node's times are written: no trailing zeros; the epoch where a row has no usable time. */
function formatNodeTime(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(text)) return "1970-01-01T00:00:00Z";
  return text.replace(/\.?0*Z$/, "Z");
}

/** The folder's hash, of just these rows: what the database computes when it is asked for the whole folder. */
export function hashRows(blobs: readonly Pick<BlobRow, "hash">[]): string {
  const sums = [0, 1].map((at) => blobs.reduce((sum, { hash }) => sum + BigInt(hash[at] ?? 0), 0n));
  return sums.join(" ");
}

/**
 * Looks up those whose file was not there in a fresh query: where the row is gone too, Chatwoot deleted the blob
 * while the backup ran, which is no loss. Returns how many.
 */
export async function tellPurged(database: Queries, state: StorageState): Promise<number> {
  let purged = 0;
  for (const service of state.values()) {
    const ids = [...service.missing.values()].filter((blob) => blob.reason === "missing").map((blob) => blob.id);
    if (ids.length === 0) continue;
    const rows = await database.query<{ id: string }>(STILL_THERE_QUERY, [ids]);
    const there = new Set(rows.map((row) => row.id));
    for (const id of ids.filter((id) => !there.has(id))) {
      const blob = service.missing.get(id);
      if (blob !== undefined) service.missing.set(id, { ...blob, reason: "purged" });
      purged += 1;
    }
  }
  return purged;
}
