/**
 * Which tables of two points differ, and the rows in which they do. A table whose tree of rows has the same id in both is
 * the same; of the others the lists of ranges say which ranges are, and only the rest is read.
 */
import { assert, Failure, isFailure, messageOf } from "../base/errors.ts";
import type { TreeNode } from "../format/node.ts";
import { rangeFile, tableFolder } from "../point/layout.ts";
import type { Manifest, TableEntry } from "../point/manifest.ts";
import { parseRanges, type RangeEntry } from "../point/ranges.ts";
import { isDamage } from "../repo/chunk.ts";
import { diffRows, isSameList, type RowChange, type RowSource } from "./diff-rows.ts";
import type { DiffSummary, DiffTable } from "./diff-summary.ts";
import type { PointReader } from "./point-reader.ts";

/** One of the two points. */
export interface Side {
  reader: PointReader;
  manifest: Manifest;
}

export type Damaged = DiffSummary["damaged"];

/** True for what keeps a part from being compared, and not the rest. */
export function isUnreadable(error: unknown): boolean {
  return isDamage(error) || isFailure(error, "point/invalid");
}

/** A table that differs, and the ranges that do, in pairs: what one of the points lacks is undefined. */
export interface TableWork {
  result: DiffTable;
  before: TableEntry | undefined;
  after: TableEntry | undefined;
  pairs: { bucket: string; before: RangeEntry[]; after: RangeEntry[] }[];
}

const folderOf = (table: TableEntry) => tableFolder(table.schema, table.name);
const DATA = "database/data";

/** The trees of all tables' rows, by folder. */
async function dataTrees({ reader }: Side): Promise<Map<string, string | undefined>> {
  const nodes = (await reader.folder(DATA)) ?? [];
  return new Map(nodes.map((node) => [node.name, node.subtree]));
}

/** Looks at lists alone. Tables in which nothing differs are not in the answer; undefined: nothing can be compared. */
export async function planTables(
  before: Side,
  after: Side,
  tables: readonly { schema: string; name: string }[],
  damaged: Damaged,
): Promise<TableWork[] | undefined> {
  const trees = await Promise.all([dataTrees(before), dataTrees(after)]).catch((error: unknown) => {
    if (!isUnreadable(error)) throw error;
    damaged.push({ what: "the rows of all tables", message: messageOf(error) });
  });
  if (trees === undefined) return undefined;
  const [treesBefore, treesAfter] = trees;
  const work: TableWork[] = [];
  for (const table of tables) {
    const [a, b] = [entryOf(before, table), entryOf(after, table)];
    const folder = tableFolder(table.schema, table.name);
    const isSame = treesBefore.get(folder) === treesAfter.get(folder);
    if (a !== undefined && b !== undefined && isSame && isSameList(a.columns, b.columns)) continue;
    const planned: TableWork = { result: emptyResult(table, a, b), before: a, after: b, pairs: [] };
    try {
      planned.pairs = pairRanges(a, b, await rangesOf(before, a), await rangesOf(after, b));
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      planned.result.isPartial = true;
      damaged.push({ what: `table ${table.schema}.${table.name}`, message: messageOf(error) });
    }
    if (differs(planned)) work.push(planned);
  }
  return work;
}

/** True where something differs, or may: rows that are only cut in another way are read before that is known. */
function differs({ result, before, after, pairs }: TableWork): boolean {
  return before === undefined || after === undefined || pairs.length > 0 || result.isPartial || hasOtherColumns(result);
}

export function hasOtherColumns({ columnsAdded, columnsRemoved }: DiffTable): boolean {
  return columnsAdded.length + columnsRemoved.length > 0;
}

export function entryOf(
  { manifest }: Side,
  { schema, name }: { schema: string; name: string },
): TableEntry | undefined {
  return manifest.tables.find((table) => table.schema === schema && table.name === name);
}

function onlyIn(a: TableEntry | undefined, b: TableEntry | undefined): string[] {
  return a === undefined || b === undefined ? [] : a.columns.filter((column) => !b.columns.includes(column));
}

function emptyResult(
  { schema, name }: { schema: string; name: string },
  before: TableEntry | undefined,
  after: TableEntry | undefined,
): DiffTable {
  return {
    schema,
    name,
    rowsBefore: before?.rows ?? null,
    rowsAfter: after?.rows ?? null,
    added: 0,
    changed: 0,
    removed: 0,
    columnsAdded: onlyIn(after, before),
    columnsRemoved: onlyIn(before, after),
    isPartial: false,
  };
}

async function rangesOf({ reader }: Side, table: TableEntry | undefined): Promise<RangeEntry[]> {
  if (table === undefined) return [];
  return parseRanges(await reader.readText(`ranges/database/${folderOf(table)}.json`));
}

function pairRanges(
  a: TableEntry | undefined,
  b: TableEntry | undefined,
  before: readonly RangeEntry[],
  after: readonly RangeEntry[],
): TableWork["pairs"] {
  if (a !== undefined && b !== undefined && before.length > 0 && after.length > 0 && !isCutAlike(a, b)) {
    return [{ bucket: "all", before: inOrder(before), after: inOrder(after) }];
  }
  const known = new Map(after.map((range) => [range.bucket, range]));
  const pairs: TableWork["pairs"] = [];
  for (const range of before) {
    const other = known.get(range.bucket);
    known.delete(range.bucket);
    if (other?.sha256 === range.sha256) continue;
    pairs.push({ bucket: range.bucket, before: [range], after: other === undefined ? [] : [other] });
  }
  for (const range of known.values()) pairs.push({ bucket: range.bucket, before: [], after: [range] });
  return pairs.toSorted(byBucket);
}

/** True when the same row is in the same range in both, as the same text. */
function isCutAlike(a: TableEntry, b: TableEntry): boolean {
  return (
    a.k === b.k &&
    a.key.kind === b.key.kind &&
    isSameList(a.key.columns, b.key.columns) &&
    isSameList(a.columns, b.columns)
  );
}

/** Buckets are numbers, or one that is none. */
function byBucket(a: { bucket: string }, b: { bucket: string }): number {
  const [one, two] = [a, b].map(({ bucket }) => (/^-?\d+$/.test(bucket) ? BigInt(bucket) : 0n));
  return one === two || one === undefined || two === undefined ? 0 : one < two ? -1 : 1;
}

function inOrder(ranges: readonly RangeEntry[]): RangeEntry[] {
  return ranges.toSorted(byBucket);
}

export interface CompareOptions {
  /** Sees each row that differs. Without it, whole ranges that came or went are counted, not read. */
  watch: ((change: RowChange) => void) | undefined;
  damaged: Damaged;
  /** Told what is done, and whether it was read. */
  onDone: (done: { ranges: number; bytes: number; isRead: boolean }) => void;
}

/** Counts the rows that differ. */
export async function compareTable(
  before: Side,
  after: Side,
  work: TableWork,
  { watch, damaged, onDone }: CompareOptions,
): Promise<void> {
  const { result } = work;
  const sources = [new TableSources(before, work.before, work.after), new TableSources(after, work.after, work.before)];
  for (const pair of work.pairs) {
    const isRead = watch !== undefined || (pair.before.length > 0 && pair.after.length > 0);
    try {
      if (isRead) {
        const [one, two] = await Promise.all(
          sources.map((source, at) => source.of(at === 0 ? pair.before : pair.after)),
        );
        assert(one !== undefined && two !== undefined, "two points are compared");
        await diffRows(one, two, {
          onChange: (change) => {
            result[change.kind] += 1;
            watch?.(change);
          },
        });
      } else {
        result.added += sumOf(pair.after, "rows");
        result.removed += sumOf(pair.before, "rows");
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      result.isPartial = true;
      const range = pair.bucket === "all" ? "" : `, range ${pair.bucket}`;
      damaged.push({ what: `table ${result.schema}.${result.name}${range}`, message: messageOf(error) });
    }
    const both = [...pair.before, ...pair.after];
    onDone({ ranges: both.length, bytes: sumOf(both, "bytes"), isRead });
  }
}

function sumOf(ranges: readonly RangeEntry[], field: "rows" | "bytes"): number {
  return ranges.reduce((sum, range) => sum + range[field], 0);
}

/** Gives the rows of one table in one of the points, range by range; its folder is read once. */
class TableSources {
  readonly #side: Side;
  readonly #table: TableEntry | undefined;
  readonly #like: TableEntry | undefined;
  #files: Promise<Map<string, TreeNode>> | undefined;

  /** @param other the table in the other point: how rows look that are not there in this one. */
  constructor(side: Side, table: TableEntry | undefined, other: TableEntry | undefined) {
    this.#side = side;
    this.#table = table;
    this.#like = table ?? other;
  }

  async of(ranges: readonly RangeEntry[]): Promise<RowSource> {
    const nodes = ranges.length === 0 ? [] : await this.#nodesOf(ranges);
    const { reader } = this.#side;
    return {
      key: this.#like?.key ?? { kind: "none", columns: [] },
      columns: this.#like?.columns ?? [],
      rows: sumOf(ranges, "rows"),
      bytes: sumOf(ranges, "bytes"),
      async *read() {
        for (const node of nodes) yield* reader.readNode(node);
      },
    };
  }

  async #nodesOf(ranges: readonly RangeEntry[]): Promise<TreeNode[]> {
    const table = this.#table;
    if (table === undefined) return [];
    this.#files ??= this.#side.reader
      .folder(`${DATA}/${folderOf(table)}`)
      .then((nodes) => new Map(nodes?.map((node) => [node.name, node])));
    const files = await this.#files;
    return ranges.map(({ bucket }) => {
      const node = files.get(rangeFile(bucket));
      if (node !== undefined) return node;
      throw new Failure("point/invalid", `range ${bucket} of table ${table.schema}.${table.name} is not in the point`);
    });
  }
}

/** The names of all tables of both, each once, in order. */
export function tablesOf(before: Side, after: Side): { schema: string; name: string }[] {
  const all = [...before.manifest.tables, ...after.manifest.tables];
  const byName = new Map(all.map(({ schema, name }) => [`${schema}.${name}`, { schema, name }]));
  return [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, table]) => table);
}
