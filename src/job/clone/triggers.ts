/** Changes rows without the application's own triggers: what they would do was done when the rows were written. */
import type { TableFacts } from "../../postgres/catalogue.ts";
import type { Connection } from "../../postgres/connect.ts";
import { qualifiedName, quoteIdentifier } from "../../postgres/names.ts";

interface Trigger extends Record<string, unknown> {
  oid: string;
  name: string;
  state: string;
}

const STATES: Readonly<Record<string, string>> = { O: "enable", R: "enable replica", A: "enable always" };

/** In a transaction of the caller's: an error takes everything back, the triggers' state as well. */
export async function withoutTriggers<T>(
  connection: Connection,
  tables: readonly TableFacts[],
  act: () => Promise<T>,
): Promise<T> {
  const rows = await connection.query<Trigger>(
    `select t.tgrelid::text as oid, t.tgname as name, t.tgenabled::text as state from pg_catalog.pg_trigger t
     where not t.tgisinternal and t.tgenabled <> 'D' and t.tgrelid = any($1::oid[])`,
    [tables.map(({ oid }) => oid)],
  );
  const found = rows.flatMap((row) => {
    const table = tables.find(({ oid }) => oid === row.oid);
    return table === undefined ? [] : [{ ...row, of: qualifiedName(table) }];
  });
  for (const { of, name } of found)
    await connection.query(`alter table ${of} disable trigger ${quoteIdentifier(name)}`);
  const result = await act();
  for (const { of, name, state } of found)
    await connection.query(`alter table ${of} ${STATES[state] ?? "enable"} trigger ${quoteIdentifier(name)}`);
  return result;
}
