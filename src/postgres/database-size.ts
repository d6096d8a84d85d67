/** Whether a base of a server's databases could be read back: what a repository says of a folder of files has a bound. */
import { formatBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "./connect.ts";

export interface DatabaseSize {
  readonly name: string;
  /** Of its files on the server's disk. */
  readonly bytes: number;
}

/**
 * The largest database that is too large for a base; undefined where none is, as far as our role may know. Where files lie in several
 * tablespaces, and so in several folders, only the base itself tells.
 */
export async function tooLargeDatabase(connection: Pick<Connection, "query">): Promise<DatabaseSize | undefined> {
  const [row] = await connection.query<{ name: string; bytes: string | null }>(
    `select datname::text as name, pg_catalog.pg_database_size(oid)::text as bytes from pg_catalog.pg_database
     where (select pg_catalog.count(*) from pg_catalog.pg_tablespace) = 2
       and (pg_catalog.has_database_privilege(oid, 'connect') or pg_catalog.pg_has_role('pg_read_all_stats', 'usage'))
     order by pg_catalog.pg_database_size(oid) desc nulls last limit 1`,
  );
  const bytes = Number(row?.bytes ?? 0);
  return row === undefined || bytes <= LIMITS.baseDatabaseBytes ? undefined : { name: row.name, bytes };
}

export function describeTooLarge({ name, bytes }: DatabaseSize): string {
  return `the database '${name}' has ${formatBytes(bytes)} of files, and a base of more than ${formatBytes(LIMITS.baseDatabaseBytes)} of one database could not be read back`;
}

export const TOO_LARGE_HINT = "Use 'chatkeep watch --mode interval': what it makes has no such bound.";

/** @throws Failure `database/unsuitable`. */
export async function refuseTooLarge(connection: Pick<Connection, "query">): Promise<void> {
  const found = await tooLargeDatabase(connection);
  if (found !== undefined) throw new Failure("database/unsuitable", describeTooLarge(found), { hint: TOO_LARGE_HINT });
}
