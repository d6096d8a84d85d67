/**
 * Transactions that were prepared, and not yet committed, at a moment: a recovered server has them again, with their locks, and
 * waits for somebody who is not here. Nothing of theirs was committed then, so they are rolled back in the copy.
 */
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";

/**
 * @param address a superuser of the recovered server.
 * @throws Failure of the `database/` codes.
 */
export async function rollBackPrepared(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<void> {
  await using server = await connect(address, { signal });
  // In one that is just being dropped nobody can do anything.
  const found = await server.query<{ database: string; open: boolean; gids: string[] }>(
    `select d.datname::text as database, d.datallowconn as open, pg_catalog.array_agg(x.gid) as gids
     from pg_catalog.pg_prepared_xacts x join pg_catalog.pg_database d on d.datname = x.database
     where d.datconnlimit <> -2 group by 1, 2`,
  );
  for (const { database, open, gids } of found) {
    if (!open) await openToAll(server, database);
    // Each is ended in its own database alone.
    await using connection = await connect({ ...address, database }, { signal });
    for (const gid of gids) await connection.query(`rollback prepared ${quoteLiteral(gid)}`);
  }
}

/** Somebody kept everybody out of the real one, as for a maintenance. */
export async function openToAll(server: Connection, database: string): Promise<void> {
  await server.query("set default_transaction_read_only = off");
  await server.query(`alter database ${quoteIdentifier(database)} allow_connections true`);
}
