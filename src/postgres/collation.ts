/** Whether the machine orders text as the one did on which the database's indexes were built. */
import type { Connection } from "./connect.ts";

/** The version of the locale by which a database was built, and the one here; undefined where they are the same or nobody can tell. */
export async function readCollationChange(connection: Connection): Promise<{ from: string; to: string } | undefined> {
  // PostgreSQL remembers it of databases since 15.
  const [row] = await connection.query<{ version: string | null; number: number }>(
    `select pg_catalog.to_jsonb(d) ->> 'datcollversion' as version, pg_catalog.current_setting('server_version_num')::int as number
     from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()`,
  );
  if (row === undefined || row.number < 150_000 || row.version === null) return undefined;
  const [now] = await connection.query<{ version: string | null }>(
    "select pg_catalog.pg_database_collation_actual_version(oid) as version from pg_catalog.pg_database where datname = pg_catalog.current_database()",
  );
  const there = now?.version ?? undefined;
  return there === undefined || there === row.version ? undefined : { from: row.version, to: there };
}
