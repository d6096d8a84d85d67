import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { RowCutter } from "../../src/postgres/row-cutter.ts";

const MAX = 1000;

interface Cut {
  chunks: Buffer[];
  rows: number;
}

async function cut(pieces: readonly Buffer[], j: number | undefined, max = MAX, bufferSize = max + 64): Promise<Cut> {
  const chunks: Buffer[] = [];
  const cutter = new RowCutter({
    j,
    chunkMaxBytes: max,
    // What is left in a buffer from an earlier use must not matter.
    buffer: Buffer.alloc(bufferSize, "7\t\n"),
    sink: async (chunk) => {
      chunks.push(Buffer.from(chunk));
    },
  });
  for (const piece of pieces) await cutter.write(piece);
  await cutter.end();
  return { chunks, rows: cutter.rows };
}

function split(text: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < text.length; i += 1) {
    const size = sizes.length === 0 ? text.length : (sizes[i % sizes.length] ?? 1);
    pieces.push(text.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

const ids = fc.uniqueArray(
  fc.oneof(
    fc.bigInt({ min: -40n, max: 400n }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.bigInt({ min: 10n ** 15n - 20n, max: 10n ** 15n + 20n }),
  ),
  { maxLength: 120 },
);
const rows = ids.chain((list) =>
  fc.tuple(
    ...list
      .toSorted((a, b) => (a < b ? -1 : 1))
      .map((id) => fc.integer({ min: 0, max: 40 }).map((n) => ({ id, n: n > 38 ? 2500 : n }))),
  ),
);
const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 6 });

function textOf(list: readonly { id: bigint; n: number }[]): Buffer {
  return Buffer.from(list.map(({ id, n }) => (n === 0 ? `${id}\n` : `${id}\t${"x".repeat(n)}\n`)).join(""));
}

test("chunks end where the slot of the ids changes, and nowhere else but at the longest length", async () => {
  await fc.assert(
    fc.asyncProperty(rows, sizes, fc.integer({ min: 0, max: 63 }), async (list, pieces, j) => {
      const text = textOf(list);
      const found = await cut(split(text, pieces), j);
      const expected: Buffer[] = [];
      for (let at = 0; at < list.length;) {
        let end = at;
        const slot = (list[at]?.id ?? 0n) >> BigInt(j);
        while (end < list.length && (list[end]?.id ?? 0n) >> BigInt(j) === slot) end += 1;
        const group = textOf(list.slice(at, end));
        for (let from = 0; from < group.length; from += MAX) expected.push(group.subarray(from, from + MAX));
        at = end;
      }
      assert.deepEqual(found.chunks.map(String), expected.map(String));
      assert.equal(found.rows, list.length);
    }),
  );
});

/** Rows of no id, long enough together for several chunks; always the same, for by chance there may be one chunk alone. */
function plainRows(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`row ${i} ${hash("sha512", String(i))}\n`));
}

test("rows without ids are cut by their content: however they arrive, the chunks are the same", async () => {
  const text = Buffer.concat(plainRows(20_000));
  const max = 8 * 1024 * 1024;
  const whole = await cut([text], undefined, max);
  const bits = await cut(split(text, [65_536, 17, 40_000]), undefined, max);
  assert.deepEqual(
    bits.chunks.map((chunk) => chunk.length),
    whole.chunks.map((chunk) => chunk.length),
  );
  assert.deepEqual(Buffer.concat(whole.chunks), text);
  assert.equal(whole.rows, 20_000);
  assert(whole.chunks.length > 1, "2.6 MB are more than one chunk");
  for (const chunk of whole.chunks) assert.equal(chunk.at(-1), 0x0a, "a chunk ends with a row");
});

test("a row that is added among rows without ids changes few chunks", async () => {
  const list = plainRows(40_000);
  const max = 8 * 1024 * 1024;
  const before = await cut([Buffer.concat(list)], undefined, max);
  const more = list.toSpliced(10_000, 0, Buffer.from("a new one\n"));
  const later = await cut([Buffer.concat(more)], undefined, max);
  const known = new Set(before.chunks.map(String));
  const changed = later.chunks.filter((chunk) => !known.has(String(chunk)));
  assert(before.chunks.length >= 4);
  assert(changed.length <= 3, `${changed.length} of ${later.chunks.length} chunks changed`);
});

test("a row that is longer than the buffer passes through in pieces of the longest length", async () => {
  const text = Buffer.from(`1\t${"y".repeat(10 * MAX)}\n2\tz\n`);
  for (const j of [0, undefined]) {
    const { chunks, rows } = await cut(split(text, [333]), j);
    assert.deepEqual(Buffer.concat(chunks), text);
    assert.equal(rows, 2);
    assert(chunks.every((chunk) => chunk.length <= MAX));
  }
});

test("no rows give no chunks", async () => {
  assert.deepEqual(await cut([], 3), { chunks: [], rows: 0 });
});

test("text that is no rows with ids is a bug and is said", async () => {
  const wrong: [string, number | undefined][] = [
    ["x\tno id\n", 3],
    ["\tempty\n", 3],
    ["1\tno end", 3],
    ["no end", undefined],
    ["123456789012345678901234567890\tlong\n", 3],
  ];
  for (const [text, j] of wrong) {
    await assert.rejects(cut([Buffer.from(text)], j), { code: "internal/bug" }, text);
  }
});
