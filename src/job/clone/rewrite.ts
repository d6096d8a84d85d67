/** Replaces the values of a table's columns, row by row as a cursor gives them, with a bounded number of rows in memory. */
import { LIMITS } from "../../base/limits.ts";
import type { Treatment } from "../../chatwoot/personal.ts";
import type { TableFacts } from "../../postgres/catalogue.ts";
import type { Connection } from "../../postgres/connect.ts";
import { qualifiedName, quoteIdentifier, quoteLiteral } from "../../postgres/names.ts";

export interface RewrittenColumn {
  readonly name: string;
  /** As `format_type` writes it. */
  readonly type: string;
  readonly treatment: Treatment;
}

/** What a value becomes. @param place Of the value: its table, its row and its column. */
export type Replace = (value: string, column: RewrittenColumn, place: string) => string | null;

export interface RewriteOptions {
  readonly replace: Replace;
  /** Only rows that hold this somewhere. */
  readonly holding?: string;
  readonly signal: AbortSignal;
}

interface Batch extends Record<string, unknown> {
  place: string;
}

const ROWS_MIN = 20;
const ROWS_MAX = 2_000;

/**
 * In a transaction of the caller's. Rows are found by where they lie, so that a table without a key is rewritten too.
 * @returns how many rows were looked at.
 */
export async function rewriteTable(
  connection: Connection,
  table: TableFacts,
  columns: readonly RewrittenColumn[],
  { replace, holding, signal }: RewriteOptions,
): Promise<number> {
  const read = columns.map((column, at) => `${readAs(column)} as c${at}`);
  const relation = qualifiedName(table);
  await connection.query(
    `declare rewritten no scroll cursor for select ctid::text as place, ${read.join(", ")} from ${relation}${whereOf(columns, holding)}`,
  );
  const update = updateOf(relation, columns);
  const rowsAtOnce = rowsOf(table);
  let rows = 0;
  for (;;) {
    signal.throwIfAborted();
    const batch = await connection.query<Batch>(`fetch ${rowsAtOnce} from rewritten`);
    if (batch.length === 0) break;
    rows += batch.length;
    const values = columns.map((column, at) =>
      batch.map((row) => {
        const value = row[`c${at}`];
        return typeof value === "string" ? replace(value, column, `${table.name} ${row.place}`) : null;
      }),
    );
    await connection.query(update, [batch.map(({ place }) => place), ...values]);
  }
  await connection.query("close rewritten");
  return rows;
}

function whereOf(columns: readonly RewrittenColumn[], holding: string | undefined): string {
  if (holding === undefined) return "";
  const each = columns.map(({ name }) => `position(${quoteLiteral(holding)} in ${quoteIdentifier(name)}::text) > 0`);
  return ` where ${each.join(" or ")}`;
}

function rowsOf({ bytes, rowsEstimate }: TableFacts): number {
  const each = rowsEstimate > 0 ? Math.max(1, bytes / rowsEstimate) : 1024;
  return Math.max(ROWS_MIN, Math.min(ROWS_MAX, Math.floor(LIMITS.rewrittenBytes / each)));
}

function readAs({ name, treatment }: RewrittenColumn): string {
  return treatment === "list" ? `to_json(${quoteIdentifier(name)})::text` : `${quoteIdentifier(name)}::text`;
}

function updateOf(relation: string, columns: readonly RewrittenColumn[]): string {
  const sets = columns.map(({ name, type, treatment }, at) => {
    const value =
      treatment === "list"
        ? `case when v.c${at} is null then null else array(select json_array_elements_text(v.c${at}::json)) end`
        : `v.c${at}`;
    return `${quoteIdentifier(name)} = ${value}::${type}`;
  });
  const values = columns.map((_, at) => `unnest($${at + 2}::text[]) as c${at}`);
  return `update ${relation} t set ${sets.join(", ")} from (select unnest($1::tid[]) as place, ${values.join(", ")}) v where t.ctid = v.place`;
}
