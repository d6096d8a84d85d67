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
  /** Hash over the rows, as the database computed it. */
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
  /** What the folder's hash is made of. */
  line: string;
}

/** What the hashes are made of: everything in a row that says which bytes the file must have. */
const LINE = `concat_ws('|', id, key, coalesce(checksum, '-'), byte_size, created_at)`;

/** One row for each service and folder, in the order of ids. */
export const FOLDERS_QUERY = `
select service_name as service, (id >> 10)::text as folder, count(*)::int as count, sum(byte_size)::bigint as bytes,
       count(*) filter (where coalesce(checksum, '') = '')::int as without_checksum,
       md5(string_agg(${LINE}, E'\\n' order by id)) as hash
from active_storage_blobs
group by service_name, id >> 10
order by service_name, id >> 10`;

/** The same without the hash, which takes three times as long: enough to tell which folders most likely changed. */
export const COUNTS_QUERY = `
select service_name as service, (id >> 10)::text as folder, count(*)::int as count, sum(byte_size)::bigint as bytes,
       count(*) filter (where coalesce(checksum, '') = '')::int as without_checksum
from active_storage_blobs
group by service_name, id >> 10
order by service_name, id >> 10`;

/** The blobs of one folder and service: $1 service, $2 first id, $3 id after the last. */
export const BLOBS_QUERY = `
select id::text, key, filename, nullif(checksum, '') as checksum, byte_size::text as bytes,
       to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at, ${LINE} as line
from active_storage_blobs
where service_name = $1 and id >= $2::bigint and id < $3::bigint
order by active_storage_blobs.id`;

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
