import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { LIMITS } from "../../src/base/limits.ts";
import { bucketOf, chooseJ, chooseK, rangeOf } from "../../src/postgres/ranges.ts";

const id = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test("every id lies in exactly the range that its bucket names", () => {
  fc.assert(
    fc.property(id, fc.integer({ min: 0, max: 63 }), (value, k) => {
      const range = rangeOf(bucketOf(value, k), k);
      assert(range.from !== undefined && range.to !== undefined);
      assert(range.from <= value && value < range.to);
      assert.equal(range.to - range.from, 1n << BigInt(k));
      assert.notEqual(bucketOf(range.from - 1n, k), bucketOf(value, k));
      assert.notEqual(bucketOf(range.to, k), bucketOf(value, k));
      // The last id is one that PostgreSQL has.
      assert(range.from >= -(2n ** 63n) && range.to - 1n < 2n ** 63n);
    }),
  );
});

test("buckets are named by the floor in decimal", () => {
  const cases: [bigint, number, string][] = [
    [0n, 10, "0"],
    [1023n, 10, "0"],
    [1024n, 10, "1"],
    [-1n, 10, "-1"],
    [-1024n, 10, "-1"],
    [-1025n, 10, "-2"],
    [2n ** 63n - 1n, 63, "0"],
    [-(2n ** 63n), 63, "-1"],
    [2n ** 62n, 0, "4611686018427387904"],
  ];
  for (const [value, k, bucket] of cases) assert.equal(rangeOf(bucketOf(value, k), k).bucket, bucket);
});

test("a range is about as large as it should be, and its chunks too", () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: LIMITS.rangeTargetBytes, noNaN: true }), (bytesPerRow) => {
      const k = chooseK(bytesPerRow);
      const range = 2 ** k * bytesPerRow;
      assert(range < LIMITS.rangeTargetBytes * 1.001 && range > LIMITS.rangeTargetBytes * 0.499);
      const chunk = 2 ** chooseJ(k) * bytesPerRow;
      if (k >= 4) assert(chunk <= 2 * LIMITS.rangeChunkBytes && chunk >= LIMITS.rangeChunkBytes / 2);
    }),
  );
  assert.deepEqual([chooseK(0), chooseK(1e12), chooseJ(0), chooseJ(63)], [24, 0, 0, 59]);
});
