/** How much room a restored database takes, by what its point says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { estimateDisk } from "../../src/job/estimate.ts";
import type { Manifest } from "../../src/point/manifest.ts";

const MIB = 1024 * 1024;

function estimateOf(tableBytes: readonly number[], databaseBytes?: number): number {
  const tables = tableBytes.map((bytes) => ({ bytes }));
  return estimateDisk({ tables, server: { databaseBytes } } as unknown as Manifest) / MIB;
}

test("a new database costs what one without a row costs, and the rows come on top", () => {
  assert.equal(estimateOf([]), 8);
  assert.equal(estimateOf([0, 0]), 8);
  assert.equal(estimateOf([MIB, MIB]), 8 + 4 * 2);
  // The database's own size is the better guess where it is the smaller.
  assert.equal(estimateOf([MIB, MIB], 5 * MIB), 8 + 5);
  assert.equal(estimateOf([MIB, MIB], 500 * MIB), 8 + 4 * 2);
});
