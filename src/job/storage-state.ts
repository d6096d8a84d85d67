/**
 * What is known of a storage at one moment: per service and folder of 1,024 blob ids, how many blobs the database
 * lists, a hash over their rows, and the tree that holds their files. The parent point gives one state, the look
 * before the snapshot a second, the look in the snapshot the third: each is taken from the one before it.
 */
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { MissingBlob } from "../point/manifest.ts";

export interface FolderState {
  count: number;
  bytes: number;
  withoutChecksum: number;
  /** Over the rows: see {@link FOLDERS_QUERY}. */
  hash: string;
  /** Undefined when none of the folder's blobs has a file. */
  tree: ChunkId | undefined;
  /** Every file of it was in the repository before the run that made this state. */
  isSettled?: boolean;
  /** It was listed, and its new files were read, by this run. */
  isFresh?: boolean;
}

export interface ServiceState {
  name: string;
  /** By folder number (blob id >> 10), in decimal. */
  folders: Map<string, FolderState>;
  /** By blob id. */
  missing: Map<string, MissingBlob>;
  /** Why those of them that are unreadable are, for people; of this run only. */
  reasons: Map<string, string>;
}

/** By service name. */
export type StorageState = Map<string, ServiceState>;

export interface BlobRow {
  id: bigint;
  key: string;
  filename: string;
  checksum: string | null;
  bytes: number;
  /** RFC 3339 in UTC. */
  createdAt: string;
  /** Two numbers of 64 bits with a sign, in decimal: what the folder's hash is summed up from. */
  hash: readonly [string, string];
}

/** A hash of everything in a row that says which bytes the file must have. */
const ROW_HASH = `hashtextextended(concat_ws('|', id, key, coalesce(checksum, '-'), byte_size, created_at) collate "C", 1)`;
/** The same, mixed once more. */
const MIXED = "hashint8extended(hash, 2)";

/**
 * One row for each service and folder, in the order of ids. A folder's hash is the sum of its rows' hashes, and the sum of these
 * hashed once more: a sum does not ask for an order, and sorting a million rows is most of the work, on the server's disk.
 */
export const FOLDERS_QUERY = foldersQuery(ROW_HASH, `, concat_ws(' ', sum(hash), sum(${MIXED})) as hash`);

/** The same without the hash, from one id on ($1): enough to tell which folders most likely changed. */
export const COUNTS_QUERY = foldersQuery("null", "", "active_storage_blobs where id >= $1::bigint");

/** The same of some ids only: $1 the first ones of spans, $2 the ones after their last. */
export const FOLDERS_AMONG_QUERY = foldersQuery(
  ROW_HASH,
  `, concat_ws(' ', sum(hash), sum(${MIXED})) as hash`,
  "unnest($1::bigint[], $2::bigint[]) as span(first, after) join active_storage_blobs on id >= first and id < after",
);

function foldersQuery(rowHash: string, hash = "", from = "active_storage_blobs"): string {
  // With "offset 0" the planner does not take each id for a group of its own: then it would sort them all.
  return `
select service, folder::text as folder, count(*)::int as count, sum(byte_size)::bigint as bytes,
       count(*) filter (where coalesce(checksum, '') = '')::int as without_checksum${hash}
from (select service_name as service, id >> 10 as folder, byte_size, checksum, ${rowHash} as hash
      from ${from} offset 0) b
group by service, b.folder
order by service, b.folder`;
}

/** The blobs of one folder and service: $1 service, $2 first id, $3 id after the last. */
export const BLOBS_QUERY = `
select id::text, key, filename, nullif(checksum, '') as checksum, byte_size::text as bytes,
       to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at, hash::text as hash, ${MIXED}::text as mixed
from (select id, key, filename, checksum, byte_size, created_at, ${ROW_HASH} as hash from active_storage_blobs
      where service_name = $1 and id >= $2::bigint and id < $3::bigint) b
order by b.id`;

/** The blobs from one id on, of all services: $1 the first id; $2 how many at most. */
export const BLOBS_FROM_QUERY = `
select service_name as service, id::text, key, filename, nullif(checksum, '') as checksum, byte_size::text as bytes,
       to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at, '0' as hash, '0' as mixed
from active_storage_blobs b where id >= $1::bigint order by b.id limit $2`;

export const NEWEST_ID_QUERY = `select coalesce(max(id), 0)::text as id from active_storage_blobs`;

/** Which of these ids the table still has. */
export const STILL_THERE_QUERY = `select id::text from active_storage_blobs where id = any($1::bigint[])`;

/** The name of a blob's file inside its folder: its key, made safe where it is none of Rails' own. */
export function blobFileName(key: string): string {
  if (/^[A-Za-z0-9_-]{1,200}$/.test(key)) return key;
  const encoded = [...new TextEncoder().encode(key)]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9_-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
  return encoded === "" ? "%" : encoded;
}

/** Those that were not as they should be, by the folder that they lie in. */
export function missingByFolder(service: ServiceState | undefined): Map<string, MissingBlob[]> {
  return Map.groupBy(service?.missing.values() ?? [], (blob) =>
    (BigInt(blob.id) >> BigInt(LIMITS.blobFolderBits)).toString(),
  );
}
