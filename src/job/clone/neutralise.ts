/** Makes a database reach nobody: tokens, addresses and credentials of channels, integrations and people are taken out of it. */
import { randomBytes } from "node:crypto";
import { listSome, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { ciphertextColumns, ciphertextQuery, readCiphertextRows } from "../../chatwoot/encryption.ts";
import {
  planOutward,
  REMOVED_TABLES,
  settingsSql,
  type UnknownColumn,
  withoutCiphertextsSql,
} from "../../chatwoot/outward.ts";
import { type TableFacts, readTables } from "../../postgres/catalogue.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { qualifiedName } from "../../postgres/names.ts";
import { withoutTriggers } from "./triggers.ts";

export interface Neutralised {
  /** Tables that were changed. */
  readonly tables: readonly string[];
  readonly findings: Finding[];
}

/**
 * Neutralises a database that no application is connected to, whole or not at all. Doing it again does no harm.
 * @throws Failure of the `database/` codes; nothing is changed then.
 */
export async function neutralise(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<Neutralised> {
  await using connection = await connect(address, { signal });
  const { tables } = await readTables(connection);
  await connection.query("begin");
  const findings = await neutraliseIn(connection, tables);
  await connection.query("commit");
  const changed = planOutward(tables).statements.map(({ table }) => table);
  const written = tables.filter(({ name }) => changed.includes(name) || name === "installation_configs");
  await forgetOldVersions(connection, written);
  return { tables: written.map(({ name }) => name), findings };
}

/** Within a transaction of the caller's. */
export async function neutraliseIn(connection: Connection, tables: readonly TableFacts[]): Promise<Finding[]> {
  const secret = randomBytes(32).toString("hex");
  const { statements, unknown } = planOutward(tables);
  const findings = await unknownFindings(connection, unknown);
  const settings = settingsSql(tables);
  const sealed = await sealedByFork(connection, tables, statements);
  findings.push(...sealed.findings);
  const all = [
    ...statements,
    ...sealed.statements,
    ...(settings === undefined ? [] : [{ table: "installation_configs", sql: settings }]),
  ];
  const written = tables.filter(({ name }) => all.some(({ table }) => table === name));
  await withoutTriggers(connection, written, async () => {
    for (const { sql } of all) await connection.query(sql, [secret]);
  });
  return findings;
}

type Statement = ReturnType<typeof planOutward>["statements"][number];

/** What a fork has encrypted with the other installation's keys opens with no key of the clone's. */
async function sealedByFork(
  connection: Connection,
  tables: readonly TableFacts[],
  known: readonly Statement[],
): Promise<{ statements: Statement[]; findings: Finding[] }> {
  const statements: Statement[] = [];
  const emptied: string[] = [];
  for (const table of tables.filter(({ name }) => !(name in REMOVED_TABLES))) {
    const [candidates] = ciphertextColumns([table]);
    if (candidates === undefined) continue;
    const query = ciphertextQuery(table.name, candidates.columns, table.schema);
    const counts = Map.groupBy(readCiphertextRows(table.name, await connection.query(query)), ({ column }) => column);
    for (const column of table.columns) {
      const samples = counts.get(column.name) ?? [];
      const sets = `"${column.name.replaceAll('"', '""')}" = `;
      if (samples.length === 0 || known.some((one) => one.table === table.name && one.sql.includes(sets))) continue;
      const count = samples.reduce((sum, sample) => sum + sample.count, 0);
      emptied.push(`${table.name}.${column.name} (${plural(count, "row")})`);
      statements.push({ table: table.name, sql: withoutCiphertextsSql(table, column) });
    }
  }
  if (emptied.length === 0) return { statements, findings: [] };
  const message = `emptied encrypted values that no known Chatwoot has: ${listSome(emptied)}`;
  const hint = "They were encrypted with keys that the clone does not have.";
  return { statements, findings: [{ kind: "clone-emptied", level: "note", message, hint }] };
}

function unknownColumns(held: readonly string[]): string {
  return `${plural(held.length, "column")} that no known Chatwoot has and that may reach outside: ${listSome(held)}`;
}

async function unknownFindings(connection: Connection, unknown: readonly UnknownColumn[]): Promise<Finding[]> {
  const emptied: string[] = [];
  const kept: string[] = [];
  for (const { table, column, isEmptied, countSql } of unknown) {
    const [row] = await connection.query<{ count: number }>(countSql);
    const count = row?.count ?? 0;
    if (count > 0) (isEmptied ? emptied : kept).push(`${table}.${column} (${plural(count, "row")})`);
  }
  const findings: Finding[] = [];
  if (emptied.length > 0) {
    const hint = "They belong to a channel or an integration: what was in them is not in the clone.";
    findings.push({ kind: "clone-emptied", level: "note", message: `emptied ${unknownColumns(emptied)}`, hint });
  }
  if (kept.length > 0) {
    const hint = "Look whether they reach anybody, and empty them by hand before the clone's worker is ever started.";
    findings.push({ kind: "clone-kept", level: "warning", message: `not emptied: ${unknownColumns(kept)}`, hint });
  }
  return findings;
}

/**
 * What was replaced is still in the tables' files, and in the statistics, until they are written anew.
 * Not in a transaction.
 */
export async function forgetOldVersions(connection: Connection, tables: readonly TableFacts[]): Promise<void> {
  for (const table of tables) await connection.query(`vacuum (full, analyze) ${qualifiedName(table)}`);
}
