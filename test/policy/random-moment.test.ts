import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { randomMoment } from "../../src/policy/random-moment.ts";
import { serve, windowOf } from "../../src/policy/window.ts";
import { base, piece } from "./clusters.ts";

const WINDOW = windowOf({
  bases: [base("A", { from: 0, to: 2 }), base("B", { from: 24, to: 25 })],
  pieces: [piece({ from: 0, to: 16 }), piece({ from: 24, to: 32 })],
  histories: [],
});

test("every number gives a moment that can be had, and the first and last ones are the window's ends", () => {
  const lengths = WINDOW.ranges.map(({ fromUs, toUs = 0n }) => toUs - fromUs + 1n);
  const total = lengths.reduce((sum, length) => sum + length, 0n);
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: total - 1n }), (at) => {
      const us = randomMoment(WINDOW, (end) => {
        assert.equal(end, total);
        return at;
      });
      assert.ok(us !== undefined && serve(WINDOW, { us }) !== undefined);
    }),
  );
  assert.equal(
    randomMoment(WINDOW, () => 0n),
    WINDOW.ranges[0]?.fromUs,
  );
  assert.equal(
    randomMoment(WINDOW, () => total - 1n),
    WINDOW.ranges.at(-1)?.toUs,
  );
  assert.equal(
    randomMoment(WINDOW, () => lengths[0] ?? 0n),
    WINDOW.ranges[1]?.fromUs,
  );
});

test("a window without a commit has no moment", () => {
  const nothing = windowOf({ bases: [], pieces: [], histories: [] });
  assert.equal(
    randomMoment(nothing, () => assert.fail("there is nothing to choose from")),
    undefined,
  );
});
