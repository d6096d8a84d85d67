/** What is worth telling of a recovered server before it is read. */
import type { Finding } from "../../base/findings.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { readCollationChange } from "../../postgres/collation.ts";
import { shownName } from "../../postgres/names.ts";
import { unloggedFindings } from "../standby-findings.ts";

/** @throws Failure of the `database/` codes. */
export async function recoveredFindings(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<Finding[]> {
  await using connection = await connect(address, { signal });
  return [...(await findingsOfCollation(connection)), ...unloggedFindings(await unloggedTables(connection), "moment")];
}

/** After a recovery they are empty: their rows are in no log. */
async function unloggedTables(connection: Connection): Promise<string[]> {
  const rows = await connection.query<{ schema: string; name: string }>(
    `select n.nspname::text as schema, c.relname::text as name from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and c.relpersistence = 'u' order by 1, 2`,
  );
  return rows.map((row) => shownName(row));
}

/**
 * Indexes of text are ordered as the old machine ordered it. Rows are read by their numbers and are right all the same; what
 * is restored from the point makes its indexes anew.
 */
async function findingsOfCollation(connection: Connection): Promise<Finding[]> {
  const change = await readCollationChange(connection);
  if (change === undefined) return [];
  return [
    {
      kind: "moment-collation-differs",
      level: "note",
      message: `text was ordered by version ${change.from} of the locale, and this machine has ${change.to}: what is looked up by text in the recovered server may not be found`,
      hint: "Nothing to do: rows are saved in the order of their numbers, and a restore builds every index anew.",
    },
  ];
}
