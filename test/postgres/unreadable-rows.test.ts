/** Which ids cannot be read, found by halving; and what is left to be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as assertAll, asyncProperty, bigInt, uniqueArray } from "fast-check";
import { Failure } from "../../src/base/errors.ts";
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
