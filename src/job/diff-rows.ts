/**
 * What differs between two texts of the same table's rows. Rows with an integer key come in its order, so both are read
 * once, side by side. What orders other rows is the server's business (numbers, times, collations), so they are matched
 * by their key's text, and without a key counted line by line: in as many passes as it takes to keep what is remembered
 * small.
 */
import { hash } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { TableEntry } from "../point/manifest.ts";
import { CopyLines, copyRows, CopyRow } from "./copy-text.ts";

const TAB = 0x09;

/** One table, or some ranges of it, in one of the two points. */
export interface RowSource {
  key: TableEntry["key"];
  columns: readonly string[];
  rows: number;
  bytes: number;
  /** From the beginning, each time. */
  read(): AsyncIterable<Buffer>;
}

export type RowChange =
  | { kind: "added"; after: CopyRow }
  | { kind: "removed"; before: CopyRow }
  | { kind: "changed"; before: CopyRow; after: CopyRow };

export interface DiffRowsOptions {
  /** Called for each row that differs; rows are valid only until it returns. */
  onChange: (change: RowChange) => void;
  /** Lower for tests. */
  rowsAtOnce?: number;
}

/** Columns that only one of the two has are no difference of a row: the table says so once. */
export async function diffRows(before: RowSource, after: RowSource, options: DiffRowsOptions): Promise<void> {
  const [key = ""] = before.key.columns;
  const isSameKey =
    before.key.kind === after.key.kind && before.key.columns.join("\0") === after.key.columns.join("\0");
  if (isSameKey && before.key.kind === "integer") await mergeById(key, before, after, options);
  else if (isSameKey && before.key.kind === "columns") await matchByKey(before, after, options);
  else await countLines(before, after, options);
}

export function commonColumns(a: readonly string[], b: readonly string[]): string[] {
  return a.filter((column) => b.includes(column));
}

/** The columns that both have and in which the rows differ. */
export function changedColumns(before: CopyRow, after: CopyRow): string[] {
  return commonColumns(before.columns, after.columns).filter((column) => before.raw(column) !== after.raw(column));
}

function differ(before: CopyRow, after: CopyRow): boolean {
  if (before.line.equals(after.line) && isSameList(before.columns, after.columns)) return false;
  return changedColumns(before, after).length > 0;
}

export function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, at) => item === b[at]);
}

/** An integer key is the first column, so that a row need not be parted for it. */
function idOf({ line, columns }: CopyRow, key: string): string {
  const end = line.indexOf(TAB);
  const at = columns.indexOf(key);
  if (at !== 0) throw new Failure("point/invalid", `the rows do not begin with their '${key}'`);
  return line.toString("latin1", 0, end < 0 ? line.length : end);
}

/** Stands at one row of a source whose rows come in the order of an integer key. */
class ById {
  row: CopyRow | undefined;
  id = 0n;
  readonly #key: string;
  readonly #source: RowSource;
  readonly #lines: CopyLines;

  constructor(key: string, source: RowSource) {
    this.#key = key;
    this.#source = source;
    this.#lines = new CopyLines(source.read());
  }

  async advance(): Promise<void> {
    const isFirst = this.row === undefined;
    const waiting = this.#lines.advance();
    if (waiting !== undefined) await waiting;
    const { line } = this.#lines;
    this.row = line && new CopyRow(this.#source.columns, line);
    if (this.row === undefined) return;
    const text = idOf(this.row, this.#key);
    // Two rows out of order would be told as one removed and one added, of a table in which nothing changed.
    if (!/^-?\d{1,19}$/.test(text) || (!isFirst && BigInt(text) <= this.id)) {
      throw new Failure("point/invalid", `the rows are not in the order of their '${this.#key}'`);
    }
    this.id = BigInt(text);
  }

  async close(): Promise<void> {
    await this.#lines.close();
  }
}

async function mergeById(key: string, a: RowSource, b: RowSource, { onChange }: DiffRowsOptions): Promise<void> {
  const [before, after] = [new ById(key, a), new ById(key, b)];
  try {
    await Promise.all([before.advance(), after.advance()]);
    while (before.row !== undefined || after.row !== undefined) {
      if (after.row === undefined || (before.row !== undefined && before.id < after.id)) {
        if (before.row !== undefined) onChange({ kind: "removed", before: before.row });
        await before.advance();
      } else if (before.row === undefined || after.id < before.id) {
        onChange({ kind: "added", after: after.row });
        await after.advance();
      } else {
        if (differ(before.row, after.row)) onChange({ kind: "changed", before: before.row, after: after.row });
        await before.advance();
        await after.advance();
      }
    }
  } finally {
    await Promise.all([before.close(), after.close()]);
  }
}

/** Calls with one share of the keys after the other, each small enough to be remembered. */
async function inPasses(
  { rows, bytes }: RowSource,
  rowsAtOnce: number = LIMITS.diffRowsAtOnce,
  pass: (isMine: (key: string) => boolean) => Promise<void>,
): Promise<void> {
  const passes = Math.max(1, Math.ceil(rows / rowsAtOnce), Math.ceil(bytes / LIMITS.diffBytesAtOnce));
  for (let at = 0; at < passes; at += 1) {
    await pass((key) => passes === 1 || hash("md5", key, "buffer").readUInt32BE() % passes === at);
  }
}

/** A row that outlives the piece of text that it was read in. */
function keep(row: CopyRow): CopyRow {
  return new CopyRow(row.columns, Buffer.from(row.line));
}

function textOf(row: CopyRow, columns: readonly string[]): string {
  return columns.map((column) => row.raw(column)).join("\t");
}

async function matchByKey(a: RowSource, b: RowSource, { onChange, rowsAtOnce }: DiffRowsOptions): Promise<void> {
  const key = a.key.columns;
  await inPasses(a, rowsAtOnce, async (isMine) => {
    const left = new Map<string, CopyRow>();
    for await (const row of copyRows(a.columns, a.read())) {
      const text = textOf(row, key);
      if (isMine(text)) left.set(text, keep(row));
    }
    for await (const after of copyRows(b.columns, b.read())) {
      const text = textOf(after, key);
      if (!isMine(text)) continue;
      const before = left.get(text);
      left.delete(text);
      if (before === undefined) onChange({ kind: "added", after });
      else if (differ(before, after)) onChange({ kind: "changed", before, after });
    }
    for (const before of left.values()) onChange({ kind: "removed", before });
  });
}

async function countLines(a: RowSource, b: RowSource, { onChange, rowsAtOnce }: DiffRowsOptions): Promise<void> {
  const columns = commonColumns(a.columns, b.columns);
  await inPasses(a, rowsAtOnce, async (isMine) => {
    const left = new Map<string, { row: CopyRow; count: number }>();
    for await (const row of copyRows(a.columns, a.read())) {
      const text = textOf(row, columns);
      if (!isMine(text)) continue;
      const known = left.get(text);
      if (known === undefined) left.set(text, { row: keep(row), count: 1 });
      else known.count += 1;
    }
    for await (const after of copyRows(b.columns, b.read())) {
      const text = textOf(after, columns);
      if (!isMine(text)) continue;
      const known = left.get(text);
      if (known === undefined || known.count === 0) onChange({ kind: "added", after });
      else known.count -= 1;
    }
    for (const { row, count } of left.values()) {
      for (let at = 0; at < count; at += 1) onChange({ kind: "removed", before: row });
    }
  });
}
