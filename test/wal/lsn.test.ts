import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatLsn, isLsn, parseLsn, parseSegmentName, segmentName, segmentStart } from "../../src/wal/lsn.ts";

const lsn = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const segmentBytes = fc.integer({ min: 20, max: 30 }).map((power) => 2 ** power);

test("a position is written as PostgreSQL writes it, and read back", () => {
  assert.equal(formatLsn(0x16_b374_d848n), "16/B374D848");
  assert.equal(formatLsn(0n), "0/0");
  fc.assert(fc.property(lsn, (at) => assert.equal(parseLsn(formatLsn(at)), at)));
  for (const text of ["", "16", "16/", "/1", "0/123456789", "g/1", "0/1 ", "2026-11-23"]) assert.ok(!isLsn(text), text);
});

test("the file of a position has PostgreSQL's name", () => {
  // select pg_walfile_name('16/B374D848') with segments of 16 MiB, on timeline 1; and with 1 GiB.
  assert.equal(segmentName(1, 0x16_b374_d848n, 2 ** 24), "0000000100000016000000B3");
  assert.equal(segmentName(31, 0x16_b374_d848n, 2 ** 30), "0000001F0000001600000002");
});

test("a segment's name says where it begins", () => {
  fc.assert(
    fc.property(lsn, segmentBytes, fc.integer({ min: 1, max: 2 ** 32 - 1 }), (at, bytes, timeline) => {
      const start = segmentStart(at, bytes);
      assert.deepEqual(parseSegmentName(segmentName(timeline, at, bytes), bytes), { timeline, start });
    }),
  );
  assert.equal(parseSegmentName("000000010000001600000100", 2 ** 24), undefined);
  assert.equal(parseSegmentName("00000001.history", 2 ** 24), undefined);
});
