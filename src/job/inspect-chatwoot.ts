/** Asks a database whether it is the one that Chatwoot uses; on a wrong one, looks for the right one beside it. */
import { isFailure } from "../base/errors.ts";
import type { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import {
  databaseFailure,
  databaseFindings,
  HAS_ACCOUNTS_QUERY,
  identifyChatwoot,
  OTHER_DATABASES_QUERY,
} from "../chatwoot/database.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { serverFailure } from "../postgres/server-errors.ts";

/** What to throw when it must not be backed up as a Chatwoot, and what is worth saying when it may. */
export async function inspectChatwoot(
  connection: Connection,
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<{ failure: Failure | undefined; findings: Finding[] }> {
  const tables = await connection.query<{ name: string }>(
    "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
  );
  const names = new Set(tables.map((table) => table.name));
  const found = await hasAccounts(connection, address);
  const verdict = identifyChatwoot({
    tables: names,
    accounts: names.has("accounts") ? Number(found) : undefined,
  });
  if (verdict.kind === "chatwoot") return { failure: undefined, findings: [] };
  const others = await findOthers(connection, address, { signal });
  return {
    failure: databaseFailure(verdict, address.database, others),
    findings: databaseFindings(verdict, address.database),
  };
}

/** A table whose first page is damaged is no empty one: the backup says what cannot be read of it. */
async function hasAccounts(connection: Connection, address: ServerAddress): Promise<boolean> {
  try {
    const [row] = await connection.query<{ found: boolean }>(HAS_ACCOUNTS_QUERY);
    return row?.found === true;
  } catch (error) {
    if (isFailure(serverFailure(error, address), "database/unreadable")) return true;
    throw error;
  }
}

/** Other databases of the server that hold a Chatwoot with accounts, as far as this role may look. */
async function findOthers(
  connection: Connection,
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of await connection.query<{ name: string }>(OTHER_DATABASES_QUERY)) {
    try {
      await using other = await connect({ ...address, database: name }, { signal });
      const [row] = await other.query<{ found: boolean }>(HAS_ACCOUNTS_QUERY);
      if (row?.found === true) found.push(name);
    } catch (error) {
      // One that we may not look into is not named: the hint only ever names what is certain.
      if (!isFailure(error) || error.code === "run/cancelled") throw error;
    }
  }
  return found;
}
