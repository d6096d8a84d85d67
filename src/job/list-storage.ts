/** What the database lists of Active Storage's files: folders of 1,024 consecutive ids, and the blobs in one. */
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "../postgres/connect.ts";
import {
  type BlobRow,
  BLOBS_QUERY,
  COUNTS_QUERY,
  FOLDERS_QUERY,
  missingByFolder,
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

/** Counts what lies in each folder, which takes half the time: their hashes are empty. */
export async function countStorage(database: Queries): Promise<FolderRow[]> {
  const rows = await database.query<Omit<FolderQueryRow, "hash">>(COUNTS_QUERY);
  return rows.map((row) => folderRow({ ...row, hash: "" }));
}

/**
 * What was counted, where a folder whose counts are as they were is taken to be as it was: a row that was changed in
 * another way is not seen. Only for a look that {@link listStorageAtOnce} follows.
 */
export function listCounted(counted: readonly FolderRow[], database: Queries, before: StorageState): StorageListing {
  const folders = counted.map((folder) => {
    const known = before.get(folder.service)?.folders.get(folder.folder);
    const { count, bytes, withoutChecksum } = folder;
    const isAlike = known?.count === count && known.bytes === bytes && known.withoutChecksum === withoutChecksum;
    return isAlike ? { ...folder, hash: known.hash } : folder;
  });
  return listingOf(folders, database);
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

/**
 * The same, with the blobs of every folder that differs from `before` read at once: so that the snapshot which the
 * database is asked in can be let go before any file is read.
 */
export async function listStorageAtOnce(database: Queries, before: StorageState): Promise<StorageListing> {
  const listing = await listStorage(database);
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
  return rows.map((blob) => ({
    id: BigInt(blob.id),
    key: blob.key,
    filename: blob.filename,
    checksum: blob.checksum,
    bytes: Number(blob.bytes),
    createdAt: formatNodeTime(blob.created_at),
    hash: [blob.hash, blob.mixed],
  }));
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
