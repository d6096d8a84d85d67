import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBar } from "../../src/cli/bars.ts";

test("a bar is as long as its share, in eighths of a column", () => {
  assert.equal(formatBar(100, 100, 4), "████");
  assert.equal(formatBar(50, 100, 4), "██");
  assert.equal(formatBar(3, 64, 8), "▍");
  assert.equal(formatBar(200, 100, 4), "████");
});

test("nothing has no bar, and something has one however little it is", () => {
  assert.equal(formatBar(0, 100, 10), "");
  assert.equal(formatBar(0, 0, 10), "");
  assert.equal(formatBar(1, 1e12, 10), "▏");
});
