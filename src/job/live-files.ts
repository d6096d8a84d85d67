/** What the database lists of files that have been uploaded for good: all of them in turn, or a few by chance. */
import { LIMITS } from "../base/limits.ts";
import type { Queries } from "./list-storage.ts";

export interface LiveFile {
  id: string;
  service: string;
  key: string;
  filename: string;
  /** base64; null where the database has none. */
  checksum: string | null;
  bytes: number;
}

export interface LiveService {
  name: string;
  files: number;
  bytes: number;
}

export interface ListedFile extends LiveFile {
  /** Of the last minutes: it may still be on its way. */
  isYoung: boolean;
}

const SETTLED = `created_at < (now() at time zone 'UTC') - interval '15 minutes'`;
const COLUMNS = `id::text, service_name as service, key, filename, nullif(checksum, '') as checksum, byte_size::text as bytes, not (${SETTLED}) as "isYoung"`;

type LiveRow = Omit<ListedFile, "bytes"> & { bytes: string };

/** Every service that a file names, with what it has. */
export async function listServices(database: Queries): Promise<LiveService[]> {
  const rows = await database.query<{ name: string; files: number; bytes: string }>(
    `select service_name as name, count(*)::int as files, coalesce(sum(byte_size), 0)::text as bytes
     from active_storage_blobs group by 1 order by 1`,
  );
  return rows.map((row) => ({ ...row, bytes: Number(row.bytes) }));
}

/** Some of each service. */
export async function sampleFiles(database: Queries, services: readonly LiveService[]): Promise<LiveFile[]> {
  const files: LiveFile[] = [];
  for (const { name } of services) {
    const rows = await database.query<LiveRow>(
      `select ${COLUMNS} from active_storage_blobs where service_name = $1 and ${SETTLED} order by random() limit $2`,
      [name, LIMITS.scrubbedFiles],
    );
    files.push(...rows.map(toFile));
  }
  return files;
}

/** All of them, in the order of their ids, a page at a time. @param options `withYoung`: those that may still be on their way, too. */
export async function* liveFiles(
  database: Queries,
  { withYoung = false }: { withYoung?: boolean } = {},
): AsyncGenerator<ListedFile, void, void> {
  let after = "-1";
  for (;;) {
    const rows = await database.query<LiveRow>(
      `select ${COLUMNS} from active_storage_blobs where id > $1::bigint and (${SETTLED} or $3)
       order by active_storage_blobs.id limit $2`,
      [after, LIMITS.scrubbedPage, withYoung],
    );
    yield* rows.map(toFile);
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}

function toFile(row: LiveRow): ListedFile {
  return { ...row, bytes: Number(row.bytes) };
}
