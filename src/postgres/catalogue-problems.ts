/** What a database has that rows by COPY and a schema's dump cannot carry: each is a finding, never silence. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Connection } from "./connect.ts";
import { readNotes } from "./catalogue-notes.ts";
import { largeObjectFindings } from "./large-objects.ts";
import { qualifiedName } from "./names.ts";
import { SQLSTATE, sqlState } from "./server-errors.ts";
import { briefly } from "./table-guard.ts";

interface CountsRow {
  foreign: string[];
  views: string[];
  config: { schema: string; name: string; extension: string; condition: string }[];
}

const COUNTS = `
  select (select coalesce(pg_catalog.json_agg(n.nspname || '.' || c.relname order by 1), '[]') from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'f') as foreign,
    (select coalesce(pg_catalog.json_agg(n.nspname || '.' || c.relname order by 1), '[]') from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' and c.relispopulated) as views,
    (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname,
        'extension', e.extname, 'condition', u.condition)), '[]')
      from pg_catalog.pg_extension e
      cross join lateral unnest(e.extconfig, e.extcondition) as u(oid, condition)
      join pg_catalog.pg_class c on c.oid = u.oid and c.relkind = 'r'
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace) as config`;

export async function readProblems(connection: Connection): Promise<Finding[]> {
  const [row] = await connection.query<CountsRow & { [key: string]: unknown }>(COUNTS);
  if (row === undefined) return [];
  const findings = await largeObjectFindings(connection);
  if (row.foreign.length > 0) {
    findings.push({
      kind: "foreign-tables",
      level: "warning",
      message: `the rows of ${plural(row.foreign.length, "foreign table")} lie on another server and are not saved: ${row.foreign.join(", ")}`,
      hint: "Their definitions are saved; back up the other server itself.",
      names: row.foreign,
    });
  }
  if (row.views.length > 0) {
    findings.push({
      kind: "materialized-views",
      level: "note",
      message: `${plural(row.views.length, "materialized view")} ${row.views.length === 1 ? "is" : "are"} saved by definition: ${row.views.join(", ")}`,
      hint: "A restore fills them again from the tables.",
    });
  }
  for (const table of row.config) {
    if (!(await hasRows(connection, table))) continue;
    findings.push({
      kind: "extension-data",
      level: "warning",
      message: `rows that were added to ${table.schema}.${table.name} of the extension '${table.extension}' are not saved`,
      hint: "Save them with 'pg_dump --data-only --table' besides, if you need them.",
      names: [`${table.schema}.${table.name}`],
    });
  }
  return [...findings, ...(await readNotes(connection))];
}

async function hasRows(connection: Connection, table: CountsRow["config"][number]): Promise<boolean> {
  try {
    const sql = `select exists (select from only ${qualifiedName(table)} ${table.condition}) as found`;
    const [row] = await briefly(connection, async () => await connection.query<{ found: boolean }>(sql));
    return row?.found === true;
  } catch (error) {
    // A table that we may not read is worth the finding.
    if (sqlState(error) === SQLSTATE.denied) return true;
    throw error;
  }
}
