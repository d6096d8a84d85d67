/**
 * Tells which ranges of a table still hold the rows that they held at an earlier restore point, by one scan on the server
 * that sends a line for each range instead of its rows.
 *
 * A row's version never changes in place, and is named by where it lies and which transaction wrote it (`ctid`, `xmin`).
 * So the exclusive or of a hash of both over all rows of a range, that of the hash hashed once more, and their number, are
 * the same as before only when the range holds the same versions of rows. The columns of times are hashed too: they tell rows
 * apart should a place and a transaction's number ever be used again. What a stamp cannot see (another server, a table
 * that was rewritten, changed columns) its callers must rule out before they trust it.
 *
 * A table is scanned in pieces, each in a transaction of its own, so that none is locked for longer than a piece takes.
 */
import { together } from "../base/concurrent.ts";
import type { Line } from "../base/line.ts";
import type { ServerAddress } from "./address.ts";
import type { TableFacts } from "./catalogue.ts";
import { withConflictRetries } from "./conflict.ts";
import type { Connection } from "./connect.ts";
import { qualifiedName, quoteIdentifier, quoteLiteral, shownName } from "./names.ts";
import type { TablePlan } from "./ranges.ts";
import { TEXT_SETTINGS } from "./session.ts";
import { importSnapshot } from "./snapshot.ts";
import { connectPatiently } from "./spare-sessions.ts";
import { guardTable, tableFailure, withLockRetries } from "./table-guard.ts";
import { whyUnreadable } from "./unreadable-rows.ts";

/** The first major that can hash rows, combine hashes and scan a part of a table. */
export const STAMPS_SINCE = 14;

const PAGE_BYTES = 8192;
/** Pages of 8 KiB that are scanned in one transaction: 64 MiB, so that no session has a long piece left when all else is done. */
const PIECE_PAGES = 8_192;
const TIMESTAMP = /^timestamp(\(\d\))? with(out)? time zone$/;
/** Any two numbers; stamps of other ones are other stamps. */
const [ROW_SEED, MIX_SEED] = [2_654_435_769, 1_367_130_551];

export interface ScanOptions {
  connections: number;
  /** Pages of 8 KiB in one transaction: a table is locked for no longer than one such piece takes. */
  piecePages?: number;
  /** What each piece's bytes are waited for, outside a transaction. Pieces are of a second, then. */
  pace?: Line | undefined;
  signal: AbortSignal;
}

/** A table to be scanned. */
export interface ScannedTable {
  facts: TableFacts;
  plan: TablePlan;
  /** A column whose values' rows are counted on the way. */
  countBy?: string;
}

export interface TableScan {
  /** Of each range that has rows, by its bucket. */
  stamps: Map<string, string>;
  /** How many rows have each value of `countBy`, as text; those without a value are not counted. */
  counts: Map<string, number>;
  /** What the server said where it cannot read all of the table: then both are worth nothing. */
  damage: string | undefined;
}

/**
 * Hex: of what decides how values look as text and lies neither in rows nor in their table: our session's settings, and
 * the labels of enums, which may be renamed.
 */
export async function readTextDigest(connection: Connection): Promise<string> {
  const names = [...TEXT_SETTINGS.map(([name]) => name), "client_encoding", "array_nulls", "xmlbinary"];
  const [row] = await connection.query<{ digest: string }>(
    `select pg_catalog.md5(concat_ws(E'\\n',
       (select pg_catalog.string_agg(name || '=' || setting, E'\\n' order by name) from pg_catalog.pg_settings
          where lower(name) in (${names.map((name) => quoteLiteral(name.toLowerCase())).join(", ")})),
       (select pg_catalog.string_agg(concat_ws('|', enumtypid, oid, enumlabel), E'\\n' order by oid) from pg_catalog.pg_enum))) as digest`,
  );
  return row?.digest ?? "";
}

/**
 * Scans tables over a few connections of its own, the largest first.
 * @returns what each says, in the order of the tables.
 * @throws Failure `database/changed` when a table is no longer what the snapshot sees, `database/denied`.
 */
export async function scanTables(
  address: ServerAddress,
  snapshotId: string,
  tables: readonly ScannedTable[],
  options: ScanOptions,
): Promise<TableScan[]> {
  const { connections, pace, piecePages = pagesAtOnce(pace), signal } = options;
  const sums = tables.map(() => new StampSum());
  const work = tables
    .flatMap((table, at) => piecesOf(table.facts.bytes, piecePages).map((piece) => ({ table, piece, at })))
    .toSorted((one, other) => one.table.facts.bytes - other.table.facts.bytes);
  const scanSome = async (stop: AbortSignal) => {
    await using connection = await connectPatiently(address, { signal: stop });
    for (let next = work.pop(); next !== undefined; next = work.pop()) {
      const { table, piece, at } = next;
      const sum = sums[at];
      if (sum === undefined || sum.damage !== undefined) continue;
      await pace?.wait(bytesOf(piece, table.facts.bytes), stop);
      try {
        const rows = await withConflictRetries(async () => {
          // A standby may have ended the session, not only its statement.
          await connection.reopen();
          return await scanPiece(connection, snapshotId, table, piece);
        });
        for (const row of rows) sum.add(row);
      } catch (error) {
        sum.damage = whyUnreadable(error);
        if (sum.damage === undefined) throw error;
      }
    }
  };
  await together(
    Array.from({ length: Math.min(connections, work.length) }, () => scanSome),
    { signal },
  );
  return sums.map(({ stamps, counts, damage }) => ({ stamps, counts, damage }));
}

function pagesAtOnce(pace: Line | undefined): number {
  return Math.max(1, Math.min(PIECE_PAGES, Math.floor((pace?.rate ?? Infinity) / PAGE_BYTES)));
}

/** A part of a table: from this page on, up to that one, or to the end. */
interface TablePiece {
  from: number;
  to: number | undefined;
}

/** The pieces of a table that has so many bytes; the last one has no end, since a table grows. */
function piecesOf(tableBytes: number, pages: number): TablePiece[] {
  const count = Math.max(1, Math.ceil(tableBytes / (pages * PAGE_BYTES)));
  return Array.from({ length: count }, (_, at) => ({
    from: at * pages,
    to: at === count - 1 ? undefined : (at + 1) * pages,
  }));
}

/** The last piece has what is left of the table when its size was asked for. */
function bytesOf({ from, to }: TablePiece, tableBytes: number): number {
  return Math.max(PAGE_BYTES, (to === undefined ? tableBytes : to * PAGE_BYTES) - from * PAGE_BYTES);
}

/** What the scanned pieces of a table say of its ranges. */
class StampSum {
  readonly #ranges = new Map<string, { rows: bigint; a: bigint; b: bigint }>();
  readonly counts = new Map<string, number>();
  damage: string | undefined;

  add({ bucket, counted, rows, a, b }: StampRow): void {
    if (counted !== null) this.counts.set(counted, (this.counts.get(counted) ?? 0) + Number(rows));
    if (bucket === null) return;
    const known = this.#ranges.get(bucket) ?? { rows: 0n, a: 0n, b: 0n };
    this.#ranges.set(bucket, { rows: known.rows + BigInt(rows), a: known.a ^ BigInt(a), b: known.b ^ BigInt(b) });
  }

  /** The stamp of each range that has rows, by its bucket. */
  get stamps(): Map<string, string> {
    return new Map([...this.#ranges].map(([bucket, { rows, a, b }]) => [bucket, `${rows}-${hex64(a)}${hex64(b)}`]));
  }
}

function hex64(value: bigint): string {
  return BigInt.asUintN(64, value).toString(16).padStart(16, "0");
}

interface StampRow {
  /** Of a range; null in the rows that count. */
  bucket: string | null;
  counted: string | null;
  rows: string;
  a: string;
  b: string;
}

/**
 * Scans a piece of a table in an exported snapshot; the connection must be outside a transaction.
 * @throws Failure `database/changed` when the table is no longer what the snapshot sees, `database/denied`.
 */
async function scanPiece(
  connection: Connection,
  snapshotId: string,
  table: ScannedTable,
  piece: TablePiece,
): Promise<StampRow[]> {
  const { facts } = table;
  return await withLockRetries(`table ${shownName(facts)}`, async () => {
    await importSnapshot(connection, snapshotId);
    try {
      await guardTable(connection, facts);
      // The planner takes each id for a group of its own and would sort them all, on the server's disk. What it needs for
      // as many ranges as a table may have is less than this.
      const rows = await connection.query<StampRow & { [key: string]: unknown }>(
        `set local enable_sort = off; set local work_mem = '64MB'; ${stampQuery(table, piece)}`,
      );
      await connection.query("commit");
      return rows;
    } catch (error) {
      // The first error says what happened.
      await connection.query("rollback").catch(() => {});
      throw tableFailure(error, facts, connection);
    }
  });
}

function stampQuery({ facts, plan, countBy }: ScannedTable, { from, to }: TablePiece): string {
  const bucket =
    plan.key.kind === "integer" && plan.k !== null
      ? `t.${quoteIdentifier(plan.key.column)}::int8 >> ${plan.k}`
      : "'all'::text";
  const times = facts.columns
    .filter(({ type, isGenerated }) => TIMESTAMP.test(type) && !isGenerated)
    .map(({ name }) => `t.${quoteIdentifier(name)}`);
  const row = `row(${["t.ctid", "t.xmin", ...times].join(", ")})`;
  const hash = `pg_catalog.hash_record_extended(${row}, ${ROW_SEED})`;
  const [a, b] = ["hash", `pg_catalog.hashint8extended(hash, ${MIX_SEED})`].map((of) => `pg_catalog.bit_xor(${of})`);
  const end = to === undefined ? "" : ` and t.ctid < '(${to},0)'::tid`;
  // Both at once: by range and value together there could be a million groups.
  const [column, counted, groups] =
    countBy === undefined
      ? ["", "null::text", "bucket"]
      : [`, t.${quoteIdentifier(countBy)} as counted`, "counted", "grouping sets ((bucket), (counted))"];
  // Numbers become text when they are few. Without "offset 0" the planner would have each row hashed again for each sum.
  return `select bucket::text as bucket, counted::text as counted, rows::text as rows, a::text as a, b::text as b
    from (select bucket, ${counted} as counted, count(*) as rows, ${a} as a, ${b} as b
      from (select ${bucket} as bucket, ${hash} as hash${column}
        from only ${qualifiedName(facts)} t where t.ctid >= '(${from},0)'::tid${end} offset 0) r
      group by ${groups}) s`;
}
