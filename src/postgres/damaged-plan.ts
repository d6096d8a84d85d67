/**
 * Cuts a table of which some rows cannot be read: the usual way looks at the first and last row, and at the first of each range,
 * which may be among them. What cannot be asked is taken from the sequence that gives the ids, once it is known that nothing
 * lies beyond it; where that cannot be told the table is not read at all, and is said to be so.
 */
import { LIMITS } from "../base/limits.ts";
import type { TableFacts } from "./catalogue.ts";
import type { Connection } from "./connect.ts";
import { qualifiedName, quoteIdentifier, quoteLiteral, shownName } from "./names.ts";
import { type EarlierCut, planNothing, planTable, type TablePlan } from "./range-plan.ts";
import { bucketOf, chooseJ, chooseK, MAX_SHIFT, rangeOf } from "./ranges.ts";
import { briefly, guardTable, tableFailure, withLockRetries } from "./table-guard.ts";
import { type UnreadableRows, whyUnreadable } from "./unreadable-rows.ts";

export interface TableCut {
  plan: TablePlan;
  /** What is given up at once. */
  unreadable: UnreadableRows[];
}

/**
 * Plans a table as `planTable` does, and also where some of its rows cannot be read.
 * @throws Failure `database/changed`, `database/denied`.
 */
export async function planAround(connection: Connection, table: TableFacts, earlier?: EarlierCut): Promise<TableCut> {
  try {
    return { plan: await planTable(connection, table, earlier), unreadable: [] };
  } catch (error) {
    const why = whyUnreadable(error);
    if (why === undefined) throw error;
    const span = await findSpan(connection, table);
    const plan = span === undefined ? undefined : cutBlindly(table, span, earlier);
    if (plan === undefined) return { plan: planNothing(table), unreadable: [{ from: null, to: null, why }] };
    return { plan, unreadable: [] };
  }
}

interface Span {
  low: bigint;
  high: bigint;
}

/** Undefined where the server cannot tell. */
async function findSpan(connection: Connection, table: TableFacts): Promise<Span | undefined> {
  if (table.key.kind !== "integer") return undefined;
  const id = quoteIdentifier(table.key.column);
  const from = `from only ${qualifiedName(table)}`;
  const ask = async (sql: string) => await askAround(connection, table, sql);
  const sequence = `pg_catalog.pg_get_serial_sequence(${quoteLiteral(qualifiedName(table))}, ${quoteLiteral(table.key.column)})`;
  const low = (await ask(`select min(${id})::text as value ${from}`)) ?? "1";
  const high =
    (await ask(`select max(${id})::text as value ${from}`)) ??
    (await ask(`select pg_catalog.pg_sequence_last_value(${sequence}::pg_catalog.regclass)::text as value`));
  if (high === undefined) return undefined;
  // An index that holds nothing beyond them needs no row for saying so. Numbers that the planner knows would make it look at
  // the first and the last row.
  const beyond = await ask(
    `select (exists (select ${from} where ${id} < (select '${low}'::int8))
       or exists (select ${from} where ${id} > (select '${high}'::int8)))::text as value`,
  );
  return beyond === "false" ? { low: BigInt(low), high: BigInt(high) } : undefined;
}

/** The one value, or undefined where there is none or the server cannot read what it takes. */
async function askAround(connection: Connection, table: TableFacts, sql: string): Promise<string | undefined> {
  try {
    return await withLockRetries(`table ${shownName(table)}`, async () =>
      briefly(connection, async () => {
        await guardTable(connection, table);
        try {
          const [row] = await connection.query<{ value: string | null; [key: string]: unknown }>(
            `set local enable_seqscan = off; set local enable_bitmapscan = off; ${sql}`,
          );
          return row?.value ?? undefined;
        } catch (error) {
          throw tableFailure(error, table, connection);
        }
      }),
    );
  } catch (error) {
    if (whyUnreadable(error) === undefined) throw error;
    return undefined;
  }
}

/** Every range from the first to the last; those without rows cost little. */
function cutBlindly(table: TableFacts, { low, high }: Span, earlier: EarlierCut | undefined): TablePlan | undefined {
  const bytesPerRow = table.rowsEstimate > 0 ? table.bytes / table.rowsEstimate : 256;
  for (let k = earlier?.k ?? chooseK(bytesPerRow); k <= MAX_SHIFT; k += 1) {
    const [first, last] = [bucketOf(low, k), bucketOf(high, k)];
    const count = last - first + 1n;
    if (count > BigInt(LIMITS.tableRanges)) continue;
    const ranges = Array.from({ length: Number(count) }, (_, at) => rangeOf(first + BigInt(at), k));
    return { ...planNothing(table), k, j: Math.min(k, earlier?.j ?? chooseJ(k)), ranges };
  }
  return undefined;
}
