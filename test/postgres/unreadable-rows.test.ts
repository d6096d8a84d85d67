/** Which ids cannot be read, found by halving; and what is left to be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as assertAll, asyncProperty, bigInt, uniqueArray } from "fast-check";
import { Failure } from "../../src/base/errors.ts";
import { type RangeDigest, RangeReader, type ReadOptions, type RowsPlan } from "../../src/postgres/range-reader.ts";
import type { RangePlan, TablePlan } from "../../src/postgres/ranges.ts";
import { findUnreadable, partsWithout, whyUnreadable } from "../../src/postgres/unreadable-rows.ts";

/** Fails for each part that has one of these ids; counts how often it was asked. */
function serverWithout(bad: ReadonlySet<bigint>) {
  const asked = { count: 0 };
  const tryRead = async ({ from = 0n, to = 0n }: { from?: bigint; to?: bigint }) => {
    asked.count += 1;
    const first = [...bad].find((id) => id >= from && id < to);
    return await Promise.resolve(first === undefined ? undefined : `row ${first}`);
  };
  return { asked, tryRead };
}

const range = { bucket: "0", from: 0n, to: 1024n };

test("the ids that cannot be read are found, side by side ones together, and all others are left", async () => {
  await assertAll(
    asyncProperty(uniqueArray(bigInt(0n, 1023n), { minLength: 1, maxLength: 40 }), async (ids) => {
      const bad = new Set(ids);
      const found = await findUnreadable(range, "damaged", serverWithout(bad).tryRead);
      const named = found.flatMap(({ from, to }) => {
        const [first, last] = [BigInt(from ?? 0), BigInt(to ?? 0)];
        return Array.from({ length: Number(last - first) + 1 }, (_, at) => first + BigInt(at));
      });
      assert.deepEqual(
        named,
        [...bad].toSorted((a, b) => Number(a - b)),
      );
      for (const [at, { to }] of found.entries()) {
        const next = found[at + 1];
        if (next !== undefined) assert.ok(BigInt(next.from ?? 0) > BigInt(to ?? 0) + 1n);
      }
      const parts = partsWithout(range, found);
      const left = parts.reduce((sum, { from = 0n, to = 0n }) => sum + (to - from), 0n);
      assert.equal(left, 1024n - BigInt(bad.size));
      assert.ok(parts.every(({ from = 0n, to = 0n, bucket }) => from < to && bucket === "0"));
      assert.ok([...bad].every((id) => !parts.some(({ from = 0n, to = 0n }) => id >= from && id < to)));
    }),
    { numRuns: 50 },
  );
});

test("a trouble that has passed leaves nothing to name", async () => {
  assert.deepEqual(await findUnreadable(range, "once", async () => await Promise.resolve(undefined)), []);
  assert.deepEqual(partsWithout(range, []), [range]);
});

test("after so many tries what is left is named as it is, and no row is left out of both", async () => {
  const bad = new Set(Array.from({ length: 4000 }, (_, at) => BigInt(at) * 1000n + 7n));
  const { asked, tryRead } = serverWithout(bad);
  const wide = { bucket: "0", from: 0n, to: 2n ** 40n };
  const found = await findUnreadable(wide, "damaged", tryRead);
  assert.ok(asked.count < 2100, `${asked.count} tries`);
  for (const id of bad) assert.ok(found.some(({ from, to }) => id >= BigInt(from ?? 0) && id <= BigInt(to ?? 0)));
});

test("a table without ids is named as a whole", async () => {
  const { asked, tryRead } = serverWithout(new Set());
  const found = await findUnreadable({ bucket: "all" }, "damaged", tryRead);
  assert.deepEqual([found, asked.count], [[{ from: null, to: null, why: "damaged" }], 0]);
  assert.deepEqual(partsWithout({ bucket: "all" }, found), []);
});

test("only what says that rows cannot be read is taken for it", () => {
  const cause = new Error("invalid page in block 7");
  assert.equal(
    whyUnreadable(new Failure("database/unreadable", "the server cannot", { cause })),
    "invalid page in block 7",
  );
  for (const error of [new Failure("database/failed", "no"), new Failure("database/unreachable", "gone"), cause, "x"])
    assert.equal(whyUnreadable(error), undefined);
});

/** A reader of a disk that fails now and then: rows fail from the read on that is named with them, counted from one. */
class FlakyReader extends RangeReader {
  readonly #bad: ReadonlyMap<bigint, number>;
  whole = 0;

  constructor(bad: ReadonlyMap<bigint, number>) {
    super({ host: "nowhere", port: 1, user: "", database: "" }, { signal: new AbortController().signal });
    this.#bad = bad;
  }

  override async readRange(
    _snapshot: string,
    _table: RowsPlan,
    asked: RangePlan,
    _sink: (chunk: Buffer) => Promise<void>,
    { without }: ReadOptions = {},
  ): Promise<RangeDigest> {
    if (asked.bucket === "0") this.whole += 1;
    const ids = partsWithout(asked, without ?? []).flatMap(({ from = 0n, to = 0n }) =>
      Array.from({ length: Number(to - from) }, (_, at) => from + BigInt(at)),
    );
    const first = ids.find((id) => this.whole >= (this.#bad.get(id) ?? Infinity));
    if (first !== undefined) throw new Failure("database/unreadable", `row ${first}`);
    return await Promise.resolve({ rows: ids.length, bytes: 0, sha256: "" });
  }
}

async function readAround(bad: ReadonlyMap<bigint, number>) {
  let begun = 1;
  const reader = new FlakyReader(bad);
  const again = () => void (begun += 1);
  const of: RangePlan = { bucket: "0", from: 0n, to: 16n };
  const found = await reader.readAround("", {} as TablePlan, of, { sink: async () => {}, again });
  return { begun, rows: found.rows, named: found.unreadable?.map(({ from, to }) => `${from}-${to}`) };
}

test("rows that can be read when they are looked for, and not when they are saved, are looked for again, three times", async () => {
  assert.deepEqual(await readAround(new Map([[3n, 1]])), { begun: 2, rows: 15, named: ["3-3"] });
  const later = new Map([
    [3n, 1],
    [9n, 2],
    [10n, 3],
  ]);
  assert.deepEqual(await readAround(later), { begun: 4, rows: 13, named: ["3-3", "9-10"] });
  await assert.rejects(readAround(new Map([...later, [12n, 4]])), (error) => whyUnreadable(error) === "row 12");
});
