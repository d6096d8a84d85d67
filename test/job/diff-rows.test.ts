/** Comparing the rows of two points: against a naive model, for every kind of key. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { type CopyRow, copyRows, readCopyField } from "../../src/job/copy-text.ts";
import { changedColumns, diffRows, type RowSource } from "../../src/job/diff-rows.ts";

type Value = string | null;
type Row = Value[];

const NAMES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\b": String.raw`\b`,
  "\f": String.raw`\f`,
  "\n": String.raw`\n`,
  "\r": String.raw`\r`,
  "\t": String.raw`\t`,
  "\v": String.raw`\v`,
};

/** As PostgreSQL writes it. */
function copyField(value: Value): string {
  return value === null ? String.raw`\N` : value.replaceAll(/[\\\b\f\n\r\t\v]/g, (char) => NAMES[char] ?? char);
}

function copyText(rows: readonly Row[]): Buffer {
  return Buffer.from(rows.map((row) => `${row.map(copyField).join("\t")}\n`).join(""));
}

/** The text in pieces of a length that no row fits. */
async function* pieces(text: Buffer, length: number): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < text.length; at += length) yield text.subarray(at, at + length);
}

interface Shape {
  key: RowSource["key"];
  columns: string[];
  length?: number;
}

function sourceOf(rows: readonly Row[], { key, columns, length = 7 }: Shape): RowSource {
  const text = copyText(rows);
  return { key, columns, rows: rows.length, bytes: text.length, read: () => pieces(text, length) };
}

function valuesOf(row: CopyRow): Row {
  return row.columns.map((column) => row.value(column));
}

/** What is told, as text: `+`, `-` or `~` and the rows' values. */
async function told(before: RowSource, after: RowSource, rowsAtOnce?: number): Promise<string[]> {
  const lines: string[] = [];
  await diffRows(before, after, {
    ...(rowsAtOnce === undefined ? {} : { rowsAtOnce }),
    onChange: (change) => {
      if (change.kind === "added") lines.push(`+ ${JSON.stringify(valuesOf(change.after))}`);
      else if (change.kind === "removed") lines.push(`- ${JSON.stringify(valuesOf(change.before))}`);
      else lines.push(`~ ${JSON.stringify([valuesOf(change.before), valuesOf(change.after)])}`);
    },
  });
  return lines.toSorted();
}

/** The same, with all rows in memory. */
function modelByKey(before: readonly Row[], after: readonly Row[], width: number): string[] {
  const keyOf = (row: Row) => JSON.stringify(row.slice(0, width));
  const [old, now] = [before, after].map((rows) => new Map(rows.map((row) => [keyOf(row), row])));
  const lines: string[] = [];
  for (const [key, row] of old ?? []) {
    const other = now?.get(key);
    if (other === undefined) lines.push(`- ${JSON.stringify(row)}`);
    else if (JSON.stringify(other) !== JSON.stringify(row)) lines.push(`~ ${JSON.stringify([row, other])}`);
  }
  for (const [key, row] of now ?? []) if (old?.has(key) !== true) lines.push(`+ ${JSON.stringify(row)}`);
  return lines.toSorted();
}

function modelOfLines(before: readonly Row[], after: readonly Row[]): string[] {
  const left = before.map((row) => JSON.stringify(row));
  const lines: string[] = [];
  for (const row of after.map((one) => JSON.stringify(one))) {
    const at = left.indexOf(row);
    if (at < 0) lines.push(`+ ${row}`);
    else left.splice(at, 1);
  }
  return [...lines, ...left.map((row) => `- ${row}`)].toSorted();
}

/** Little to choose from, so that rows are often equal, and everything that COPY writes in another way. */
const VALUE = fc.oneof(
  fc.constantFrom<Value[]>(null, "", "\\N", "\\", "a\tb", "line\nline", "\b\f\r\v", "Ünïcode 😀", "a", "b"),
  fc.string({ maxLength: 4 }).map((text) => text.replaceAll("\0", "")),
);
const TEXT = VALUE.map((value) => value ?? "");
const BIG = 2n ** 63n;
const ID = fc.oneof(fc.integer({ min: -5, max: 30 }).map(BigInt), fc.bigInt({ min: -BIG, max: BIG - 1n }));
const PIECE = fc.integer({ min: 1, max: 40 });

const rowsById = fc
  .uniqueArray(fc.tuple(ID, VALUE, VALUE), { selector: ([id]) => id, maxLength: 25 })
  .map((rows) =>
    rows.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([id, ...values]): Row => [id.toString(), ...values]),
  );
const rowsByText = fc
  .uniqueArray(fc.tuple(TEXT, TEXT, VALUE), { selector: ([a, b]) => JSON.stringify([a, b]), maxLength: 25 })
  .map((rows) => rows.map((row): Row => [...row]));
const anyRows = fc.array(fc.tuple(VALUE, VALUE), { maxLength: 25 }).map((rows) => rows.map((row): Row => [...row]));

const BY_ID: Shape = { key: { kind: "integer", columns: ["id"] }, columns: ["id", "a", "b"] };
const BY_TEXT: Shape = { key: { kind: "columns", columns: ["a", "b"] }, columns: ["a", "b", "c"] };
const BY_NOTHING: Shape = { key: { kind: "none", columns: [] }, columns: ["a", "b"] };

test("with an integer key, what differs is what a comparison in memory finds", async () => {
  await fc.assert(
    fc.asyncProperty(rowsById, rowsById, PIECE, PIECE, async (before, after, one, two) => {
      const found = await told(sourceOf(before, { ...BY_ID, length: one }), sourceOf(after, { ...BY_ID, length: two }));
      assert.deepEqual(found, modelByKey(before, after, 1));
    }),
    { numRuns: 300 },
  );
});

test("so with a key of text columns, in one pass or in many, in whatever order the rows come", async () => {
  await fc.assert(
    fc.asyncProperty(rowsByText, rowsByText, PIECE, fc.constantFrom(2, 100), async (before, after, length, atOnce) => {
      const shape = { ...BY_TEXT, length };
      const found = await told(sourceOf(before, shape), sourceOf(after.toReversed(), shape), atOnce);
      assert.deepEqual(found, modelByKey(before, after, 2));
    }),
    { numRuns: 300 },
  );
});

test("so without a key, where the same row may be there several times", async () => {
  await fc.assert(
    fc.asyncProperty(anyRows, anyRows, PIECE, fc.constantFrom(2, 100), async (before, after, length, atOnce) => {
      const shape = { ...BY_NOTHING, length };
      const found = await told(sourceOf(before, shape), sourceOf(after, shape), atOnce);
      assert.deepEqual(found, modelOfLines(before, after));
    }),
    { numRuns: 300 },
  );
});

function oneRow(value: Value): Row[] {
  return [["1", value, "x"]];
}

test("NULL, an empty text and the text that looks like NULL are three things", async () => {
  for (const before of [null, "", "\\N"]) {
    for (const after of [null, "", "\\N"]) {
      const found = await told(sourceOf(oneRow(before), BY_ID), sourceOf(oneRow(after), BY_ID));
      const expected =
        before === after
          ? []
          : [
              `~ ${JSON.stringify([
                ["1", before, "x"],
                ["1", after, "x"],
              ])}`,
            ];
      assert.deepEqual(found, expected);
    }
  }
});

test("a column that only one of the points has makes no row differ; the others are compared", async () => {
  const before = sourceOf(
    [
      ["1", "a", "x"],
      ["2", "b", "y"],
    ],
    { ...BY_ID, columns: ["id", "a", "old"] },
  );
  const after = sourceOf(
    [
      ["1", "new", "a"],
      ["2", "new", "B"],
    ],
    { ...BY_ID, columns: ["id", "added", "a"] },
  );
  assert.deepEqual(await told(before, after), [
    `~ ${JSON.stringify([
      ["2", "b", "y"],
      ["2", "new", "B"],
    ])}`,
  ]);

  const lines = { key: BY_NOTHING.key, columns: ["a", "old"] };
  const without = sourceOf(
    [
      ["a", "1"],
      ["a", "2"],
    ],
    lines,
  );
  const later = sourceOf([["a"], ["c"]], { key: BY_NOTHING.key, columns: ["a"] });
  assert.deepEqual(await told(without, later), ['+ ["c"]', '- ["a","1"]']);
});

test("where the key itself changed, rows are told apart by all they have", async () => {
  const before = sourceOf([["1", "a", "x"]], BY_ID);
  const after = sourceOf([["1", "a", "y"]], { ...BY_ID, key: { kind: "columns", columns: ["a"] } });
  assert.deepEqual(await told(before, after), ['+ ["1","a","y"]', '- ["1","a","x"]']);
});

test("the columns in which a row changed are named", async () => {
  const names: string[][] = [];
  await diffRows(sourceOf([["1", null, "x\ty"]], BY_ID), sourceOf([["1", "", "x\ty"]], BY_ID), {
    onChange: (change) => {
      if (change.kind === "changed") names.push(changedColumns(change.before, change.after));
    },
  });
  assert.deepEqual(names, [["a"]]);
});

test("rows out of order and a text that ends within a row are refused, not told as differences", async () => {
  const good = sourceOf([["1", "a", "b"]], BY_ID);
  const swapped = sourceOf(
    [
      ["2", "a", "b"],
      ["1", "a", "b"],
    ],
    BY_ID,
  );
  const cut: RowSource = { ...good, read: () => pieces(Buffer.from("1\ta\tb\n2\ta"), 4) };
  for (const bad of [swapped, cut]) {
    await assert.rejects(told(good, bad), (error: unknown) => isFailure(error, "point/invalid"));
    await assert.rejects(told(bad, good), (error: unknown) => isFailure(error, "point/invalid"));
  }
});

test("what COPY escapes is read back", async () => {
  await fc.assert(
    fc.asyncProperty(anyRows, PIECE, async (rows, length) => {
      const read = await Array.fromAsync(copyRows(["a", "b"], pieces(copyText(rows), length)), valuesOf);
      assert.deepEqual(read, rows);
    }),
  );
  assert.equal(readCopyField(String.raw`\N`), null);
  assert.equal(readCopyField(String.raw`\\N`), "\\N");
});
