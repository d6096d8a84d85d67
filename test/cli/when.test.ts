import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAge, formatUtc } from "../../src/cli/when.ts";

const NOW = Date.parse("2026-11-23T17:00:00Z");

test("an age is told in the largest unit that still says something", () => {
  for (const [at, text] of [
    ["2026-11-23T16:59:30Z", "just now"],
    ["2026-11-23T16:58:50Z", "1 min ago"],
    ["2026-11-23T15:00:00+01:00", "3 h ago"],
    ["2026-11-22T16:00:00Z", "25 h ago"],
    ["2026-11-20T17:00:00Z", "3 days ago"],
    ["2026-11-23T17:30:00Z", "in the future"],
    ["nonsense", ""],
  ] as const) {
    assert.equal(formatAge(at, NOW), text, at);
  }
});

test("an instant is shown in UTC, whatever its offset", () => {
  assert.equal(formatUtc("2026-11-23T17:58:50.123+01:00"), "2026-11-23 16:58:50 UTC");
  assert.equal(formatUtc("2026-11-23T16:58:50.123456789Z"), "2026-11-23 16:58:50 UTC");
  assert.equal(formatUtc("nonsense"), "nonsense");
});
