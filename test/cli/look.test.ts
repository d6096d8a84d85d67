import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clip,
  colouredLook,
  hintWidth,
  padEnd,
  padStart,
  plainLook,
  proseWidth,
  widthOf,
  wrap,
} from "../../src/cli/look.ts";

test("the width of a text is what a terminal needs for it", () => {
  for (const [text, width] of [
    ["", 0],
    ["abc", 3],
    ["é", 1],
    ["e\u0301", 1],
    ["日本", 4],
    ["🙂", 2],
    ["\u001B[31mred\u001B[0m", 3],
    ["✓ ok", 4],
  ] as const) {
    assert.equal(widthOf(text), width, text);
  }
});

test("padding counts columns, not characters", () => {
  assert.equal(padEnd("日本", 6), "日本  ");
  assert.equal(padStart("日本", 6), "  日本");
  assert.equal(padEnd("longer", 3), "longer");
});

test("clipping never exceeds the width and says that something is missing", () => {
  assert.equal(clip("abcdef", 6), "abcdef");
  assert.equal(clip("abcdef", 4), "abc…");
  assert.equal(clip("日本語", 4), "日…");
  assert.equal(clip("abc", 0), "");
});

test("wrapping keeps every word, indents every line and breaks only at spaces", () => {
  const text = "a hint that is a sentence with averyveryverylongword in it";
  const lines = wrap(text, 20, "  ");
  assert.ok(lines.every((line) => line.startsWith("  ")));
  assert.ok(lines.every((line) => line.length <= 20 || line.trim() === "averyveryverylongword"));
  assert.equal(lines.map((line) => line.trim()).join(" "), text);
});

test("prose fits the terminal; hints in a log are never broken", () => {
  assert.equal(proseWidth(plainLook(0, 60)), 60);
  assert.equal(proseWidth(plainLook(0, 240)), 100);
  assert.equal(hintWidth(plainLook(0)), Infinity);
  assert.equal(hintWidth(plainLook(0, 60)), 60);
});

test("without colour there is no escape sequence at all", () => {
  assert.equal(plainLook(0).paint("red", "x"), "x");
  assert.equal(colouredLook(0).paint("red", "x"), "\u001B[31mx\u001B[0m");
});
