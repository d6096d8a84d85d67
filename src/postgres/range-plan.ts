/**
 * Looks into a table to decide how it is cut. Buckets without rows are never visited: the index is asked for the
 * next id after each bucket, so a gap of 2^62 ids costs as much as none.
 */
import { LIMITS } from "../base/limits.ts";
import { copyColumns, type TableFacts } from "./catalogue.ts";
import type { Connection } from "./connect.ts";
import { qualifiedName, quoteIdentifier, shownName } from "./names.ts";
import {
  bucketOf,
  chooseJ,
  chooseK,
  MAX_SHIFT,
  rangeOf,
  type RangePlan,
  type TablePlan,
  wholeTable,
} from "./ranges.ts";
import { briefly, guardTable, tableFailure, withLockRetries } from "./table-guard.ts";

export type { RangePlan, TablePlan } from "./ranges.ts";

/** How an earlier restore point cut the table: kept, so that its ranges stay where they are. */
export interface EarlierCut {
  k: number | null;
  j: number | null;
  /** Its ranges came to be far too large, and nothing hangs on them this time: they are made smaller, where that can be. */
  isOutgrown?: boolean;
}

/** Rows that became longer make ranges longer: from this many times the wanted size on they are cut anew. */
const OUTGROWN = 4;

/** True where an average range is far larger than wanted. @param saved bytes and ranges of the earlier restore point. */
export function isOutgrown({ bytes, ranges }: { bytes: number; ranges: number }): boolean {
  return bytes > OUTGROWN * LIMITS.rangeTargetBytes * ranges;
}

/** A table of which nothing is to be read. */
export function planNothing(table: TableFacts): TablePlan {
  return {
    schema: table.schema,
    name: table.name,
    oid: table.oid,
    relfilenode: table.relfilenode,
    key: table.key,
    columns: copyColumns(table),
    k: null,
    j: null,
    ranges: [],
  };
}

/**
 * Plans the table as the connection's snapshot sees it; takes no lock that lasts.
 * @throws Failure `database/changed`, `database/denied`.
 */
export async function planTable(connection: Connection, table: TableFacts, earlier?: EarlierCut): Promise<TablePlan> {
  const plan = planNothing(table);
  return await withLockRetries(`table ${shownName(table)}`, async () =>
    briefly(connection, async () => {
      await guardTable(connection, table);
      try {
        return { ...plan, ...(await cut(connection, table, earlier)) };
      } catch (error) {
        throw tableFailure(error, table, connection);
      }
    }),
  );
}

type Cut = Pick<TablePlan, "k" | "j" | "ranges">;

async function cut(connection: Connection, table: TableFacts, earlier: EarlierCut | undefined): Promise<Cut> {
  const kept = { k: earlier?.k ?? null, j: earlier?.j ?? null };
  const { key } = table;
  if (key.kind !== "integer") {
    const [row] = await connection.query<{ found: boolean }>(
      `select exists (select from only ${qualifiedName(table)}) as found`,
    );
    return { k: null, j: null, ranges: row?.found === true ? [wholeTable()] : [] };
  }
  const id = quoteIdentifier(key.column);
  const [row] = await connection.query<{ low: string | null; high: string | null }>(
    `select min(${id})::text as low, max(${id})::text as high from only ${qualifiedName(table)}`,
  );
  if (row?.low == null || row.high == null) return { ...kept, ranges: [] };
  const span = { low: BigInt(row.low), high: BigInt(row.high) };
  if (kept.k !== null) {
    const anew = earlier?.isOutgrown === true ? await chooseCut(connection, table, id, span) : undefined;
    if (anew?.k != null && anew.k < kept.k) return anew;
    const buckets = await listBuckets(connection, table, { id, span, k: kept.k, atMost: LIMITS.tableRanges });
    if (buckets !== undefined) return toCut(kept.k, kept.j ?? chooseJ(kept.k), buckets);
  }
  return await chooseCut(connection, table, id, span);
}

function toCut(k: number, j: number, buckets: readonly bigint[]): Cut {
  return { k, j: Math.min(j, k), ranges: buckets.map((bucket): RangePlan => rangeOf(bucket, k)) };
}

interface Span {
  low: bigint;
  high: bigint;
}

/** Sparse ids (random or time-based ones) need larger buckets than dense ones: k grows until the ranges are few. */
async function chooseCut(connection: Connection, table: TableFacts, id: string, span: Span): Promise<Cut> {
  const bytesPerRow = await sampleRowBytes(connection, table);
  const atMost = Math.max(16, Math.ceil((4 * table.bytes) / LIMITS.rangeTargetBytes));
  for (let k = chooseK(bytesPerRow); ; k = Math.min(MAX_SHIFT, k + 2)) {
    const buckets = await listBuckets(connection, table, { id, span, k, atMost });
    if (buckets !== undefined) return toCut(k, chooseJ(k), buckets);
  }
}

const SAMPLE_BYTES = 4 * 1024 * 1024;

/** Bytes of text of an average row, from all rows of a small table and from a fixed sample of a large one's pages. */
async function sampleRowBytes(connection: Connection, table: TableFacts): Promise<number> {
  const name = qualifiedName(table);
  const percent = (100 * SAMPLE_BYTES) / Math.max(1, table.bytes);
  const sample = percent >= 100 ? "" : `tablesample system (${Math.max(percent, 0.001)}) repeatable (0)`;
  const [row] = await connection.query<{ rows: string; bytes: string | null }>(
    `select count(*)::text as rows, sum(octet_length((t.*)::text))::text as bytes from only ${name} t ${sample}`,
  );
  if (row?.bytes != null && Number(row.rows) > 0) return Number(row.bytes) / Number(row.rows);
  return table.rowsEstimate > 0 ? table.bytes / table.rowsEstimate : 256;
}

/** The buckets that have rows, in order; undefined when they are more than `atMost`. */
async function listBuckets(
  connection: Connection,
  table: TableFacts,
  { id, span, k, atMost }: { id: string; span: Span; k: number; atMost: number },
): Promise<bigint[] | undefined> {
  const last = bucketOf(span.high, k);
  const name = qualifiedName(table);
  // The next bucket's first id fits in 64 bits as long as a later bucket has rows, which `last` tells.
  const rows = await connection.query<{ bucket: string }>(
    `with recursive found(bucket) as (
       select '${bucketOf(span.low, k)}'::int8
       union all
       select (select min(${id})::int8 >> ${k} from only ${name} where ${id} >= ((f.bucket + 1) << ${k}))
       from found f where f.bucket < '${last}'::int8)
     select bucket::text as bucket from found limit ${atMost + 1}`,
  );
  if (rows.length > atMost) return undefined;
  return rows.map((row) => BigInt(row.bucket));
}
