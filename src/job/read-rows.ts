/**
 * Reads the rows of all tables in one snapshot, range by range: those that did not change are taken over from the parent,
 * unless it is their turn to be read all the same.
 */
import { EarlyWork, mapConcurrent, together } from "../base/concurrent.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Line } from "../base/line.ts";
import type { Progress } from "../base/progress.ts";
import type { Manifest, TableEntry, UnreadableEntry } from "../point/manifest.ts";
import type { RangeEntry } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { TableFacts } from "../postgres/catalogue.ts";
import type { RangePlan, TablePlan } from "../postgres/ranges.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import type { UnreadableRows } from "../postgres/unreadable-rows.ts";
import { scanTables, type TableScan } from "../postgres/stamps.ts";
import { isItsTurn, isStamped, type ParentRange, type ParentRanges } from "./reuse.ts";
import type { RangeResult } from "./sealing-tasks.ts";

export interface SavedRange extends RangeEntry {
  chunks: ChunkId[];
}

export interface SavedTable {
  entry: TableEntry;
  ranges: SavedRange[];
  /** By range. */
  unreadable?: Map<string, UnreadableEntry[]>;
}

export interface PlannedTable {
  facts: TableFacts;
  plan: TablePlan;
  saved: SavedTable;
  /** A column whose values' rows are counted where the table is scanned. */
  countBy?: string;
}

/** What this point says of its stamps, and what it may take over. */
export interface Reuse {
  /** Hex: see `readTextDigest`. */
  text: string;
  stamps: Manifest["stamps"];
  ranges: ParentRanges | undefined;
  /** Every row is read. Of the parent is only taken what the server cannot give any more. */
  isFull: boolean;
  /** The parent was restored and found to be other than it should be: that a range differs says nothing of the server. */
  isDoubtful: boolean;
}

export interface RowsRead {
  rangesReused: number;
  /** How many rows have each value of `countBy`, of the tables that were scanned. */
  counts: Map<PlannedTable, Map<string, number>>;
  /** Of rows that were read, as text. */
  bytesRead: number;
}

/** Of a table that was looked through: which of its ranges hold what the parent has of them. */
export interface RowsCompared {
  /** 2^k ids are a range. */
  k: number;
  /** How many rows an unchanged range has, by its bucket. */
  unchanged: ReadonlyMap<string, number>;
  /** Buckets of the others that have rows. */
  changed: readonly string[];
}

export interface RowPorts {
  address: ServerAddress;
  server: ServerFacts;
  stampedTableBytes?: number;
  /** False: tables are looked through before any is read, so that sessions are used one after the other. */
  isAllAtOnce: boolean;
  /** Sessions that look tables through. */
  scanners: number;
  /** Sessions that ranges are read over. */
  readers: number;
  readRange(snapshotId: string, table: TablePlan, range: RangePlan, sessions: number): Promise<RangeResult>;
  /** How fast it may be read; waited for between ranges, when no table is locked. */
  pace?: Line | undefined;
  /**
   * Called once, as soon as it is known what changed in which tables: in those that were looked through, and whose parent
   * counts. Should a range turn out to be stale after that, {@link StaleRange} is thrown.
   */
  onCompared?: (tables: ReadonlyMap<TableFacts, RowsCompared>) => void;
  progress: Progress;
  signal: AbortSignal;
}

/** A range whose stamp is the parent's and whose rows are not. */
export class StaleRange extends Error {
  readonly table: TableFacts;
  readonly bucket: string;

  constructor(table: TableFacts, bucket: string) {
    super("a range changed and its stamp did not");
    this.table = table;
    this.bucket = bucket;
  }
}

/**
 * Fills the tables' ranges. Tables whose ranges have stamps are looked through while the others are read.
 * @throws StaleRange
 */
export async function readRows(
  ports: RowPorts,
  snapshotId: string,
  planned: readonly PlannedTable[],
  reuse: Reuse,
): Promise<RowsRead> {
  const canStamp = ({ facts, plan }: PlannedTable) =>
    reuse.stamps !== undefined && plan.ranges.length > 0 && isStamped(facts, ports.server, ports.stampedTableBytes);
  const stamped = planned.filter(canStamp);
  const others = planned.filter((table) => !stamped.includes(table));
  if (reuse.isFull) ports.onCompared?.(new Map());
  const connections = ports.scanners;
  await using scan = new EarlyWork(
    async (signal) => await scanTables(ports.address, snapshotId, stamped, { connections, pace: ports.pace, signal }),
    ports,
  );
  if (!ports.isAllAtOnce) await scan.result;
  const done: RowsRead = { rangesReused: 0, bytesRead: 0, counts: new Map() };
  const known = await withParents(stamped, reuse.ranges);
  // Whose turn it is, is read whatever the scan will say; what it must be is known only then.
  const isEarly = (range: RangeToRead) => reuse.isFull || isReadAnyway(range, reuse.stamps?.turn ?? 0);
  const early = known.filter(isEarly);
  const results = new Map<RangeToRead, RangeResult>();
  const readEarly = async (signal: AbortSignal) => {
    const ranges = [...early, ...allOf(others)];
    done.bytesRead += await readRanges({ ...ports, signal }, snapshotId, ranges, results);
  };
  await together([readEarly, async () => void (await scan.result)], ports);
  const stamps = stampsOf(stamped, await scan.result);
  if (!reuse.isFull) ports.onCompared?.(compareAll(stamped, known, stamps));
  const later = known.filter((range) => !early.includes(range)).map((range) => expecting(range, stamps));
  for (const { saved, expected } of later) {
    if (expected === undefined) continue;
    saved.ranges.push(expected);
    ports.progress.advance(expected.bytes);
    done.rangesReused += 1;
  }
  const changed = later.filter(({ expected }) => expected === undefined);
  done.bytesRead += await readRanges(ports, snapshotId, changed, results);
  for (const [range, result] of results) keepRange(expecting(range, stamps), result, reuse);
  const scans = await scan.result;
  for (const [at, table] of stamped.entries()) {
    const scanned = scans[at];
    // Without a form the next backup reads all of it.
    if (scanned === undefined || scanned.damage !== undefined) continue;
    addStamps(table.saved, table.facts, scanned.stamps);
    if (table.countBy !== undefined) done.counts.set(table, scanned.counts);
  }
  return done;
}

interface RangeToRead extends PlannedTable {
  range: RangePlan;
  /** What the parent has of it. */
  before?: ParentRange | undefined;
  /** What its stamp says that it must be. */
  expected?: SavedRange | undefined;
}

function allOf(tables: readonly PlannedTable[]): RangeToRead[] {
  return tables.flatMap((table) => table.plan.ranges.map((range) => ({ ...table, range })));
}

async function withParents(tables: readonly PlannedTable[], parent: ParentRanges | undefined): Promise<RangeToRead[]> {
  const known: RangeToRead[] = [];
  for (const table of tables) {
    const before = await parent?.of(table.facts, table.plan);
    known.push(...table.plan.ranges.map((range) => ({ ...table, range, before: before?.get(range.bucket) })));
  }
  return known;
}

function isReadAnyway({ facts, range, before }: RangeToRead, turn: number): boolean {
  return before !== undefined && (before.isKept === true || isItsTurn(facts, range.bucket, turn));
}

function compareAll(
  stamped: readonly PlannedTable[],
  known: readonly RangeToRead[],
  stamps: Stamps,
): Map<TableFacts, RowsCompared> {
  const ranges = Map.groupBy(known, ({ facts }) => facts);
  const compared = new Map<TableFacts, RowsCompared>();
  for (const { facts, plan } of stamped) {
    if (plan.k === null) continue;
    const unchanged = new Map<string, number>();
    const changed: string[] = [];
    for (const range of ranges.get(facts) ?? []) {
      const { expected } = expecting(range, stamps);
      if (expected === undefined) changed.push(range.range.bucket);
      else unchanged.set(expected.bucket, expected.rows);
    }
    compared.set(facts, { k: plan.k, unchanged, changed });
  }
  return compared;
}

/** By table. */
type Stamps = ReadonlyMap<TableFacts, ReadonlyMap<string, string> | undefined>;

function stampsOf(stamped: readonly PlannedTable[], scans: readonly TableScan[]): Stamps {
  return new Map(stamped.map(({ facts }, at) => [facts, stampsIn(scans[at])]));
}

/** The range with what it must be, where its stamp is the parent's. */
function expecting(range: RangeToRead, stamps: Stamps): RangeToRead {
  const { before, facts } = range;
  const isEqual = before?.stamp !== undefined && before.stamp === stamps.get(facts)?.get(range.range.bucket);
  return { ...range, expected: isEqual ? before : undefined };
}

/** What may be relied upon. */
function stampsIn(scan: TableScan | undefined): Map<string, string> | undefined {
  return scan?.damage === undefined ? scan?.stamps : undefined;
}

function addStamps({ entry, ranges, unreadable }: SavedTable, { form }: TableFacts, stamps: Map<string, string>): void {
  entry.form = form;
  for (const range of ranges) {
    const stamp = stamps.get(range.bucket);
    // A range that is not whole must never be taken for one that is.
    const isWhole = unreadable?.get(range.bucket)?.every(({ kept }) => kept) !== false;
    if (stamp !== undefined && isWhole) range.stamp = stamp;
  }
}

/** @returns how many bytes were read. What came goes into `results`. */
async function readRanges(
  ports: RowPorts,
  snapshotId: string,
  ranges: readonly RangeToRead[],
  results: Map<RangeToRead, RangeResult>,
): Promise<number> {
  // The largest first, so that no long range is begun when all else is done.
  const sizeOf = ({ facts, plan }: RangeToRead) => facts.bytes / plan.ranges.length;
  let bytes = 0;
  await mapConcurrent(
    ranges.toSorted((a, b) => sizeOf(b) - sizeOf(a)),
    ports.readers * LIMITS.tasksAhead,
    async (wanted) => {
      const { plan, range } = wanted;
      const read = async () => await ports.readRange(snapshotId, plan, range, ports.readers);
      const about = Math.min(LIMITS.rangeTargetBytes, sizeOf(wanted));
      const result = await (ports.pace?.move(about, ports.signal, read) ?? read());
      ports.progress.advance(result.bytes);
      bytes += result.bytes;
      results.set(wanted, result);
    },
    ports,
  );
  return bytes;
}

/** @throws StaleRange */
function keepRange(
  { facts, saved, range, expected }: RangeToRead,
  { unreadable, ...result }: RangeResult,
  { isDoubtful }: Reuse,
): void {
  if (unreadable !== undefined) return addAround({ saved, expected }, range, { unreadable, result });
  const isOther = expected !== undefined && expected.sha256 !== result.sha256;
  if (isOther && !isDoubtful) throw new StaleRange(facts, range.bucket);
  if (result.rows > 0) saved.ranges.push({ bucket: range.bucket, ...result });
}

/** A range that could not be read whole: where its stamp is the parent's, the parent has the rows that are lacking. */
function addAround(
  { saved, expected }: Pick<RangeToRead, "saved" | "expected">,
  { bucket }: RangePlan,
  { unreadable, result }: { unreadable: readonly UnreadableRows[]; result: RangeResult },
): void {
  const kept = expected === undefined ? {} : { kept: true as const };
  saved.unreadable ??= new Map();
  saved.unreadable.set(
    bucket,
    unreadable.map((rows) => ({ ...rows, ...kept })),
  );
  if (expected !== undefined) saved.ranges.push(expected);
  else if (result.rows > 0) saved.ranges.push({ bucket, ...result });
}
