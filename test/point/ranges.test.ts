import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { formatFolders, formatRanges, parseFolders, parseRanges } from "../../src/point/ranges.ts";

const RANGES = [
  { bucket: "-1", rows: 2, bytes: 30, sha256: "aa" },
  { bucket: "0", rows: 5, bytes: 70, sha256: "bb" },
];

test("ranges come back as they were written, one a line", () => {
  const text = formatRanges(RANGES);
  assert.deepEqual(parseRanges(text), RANGES);
  assert.equal(text.split("\n").length, RANGES.length + 3);
});

test("no ranges are a list too", () => {
  assert.deepEqual(parseRanges(formatRanges([])), []);
});

test("folders come back as they were written", () => {
  const folders = [{ folder: "0", count: 3, bytes: 10, withoutChecksum: 0, hash: "x" }];
  assert.deepEqual(parseFolders(formatFolders(folders)), folders);
});

for (const text of ["", "{}", "[]", "null", '{"ranges":3}', '{"folders":[]}']) {
  test(`'${text}' is refused as a list of ranges`, () => {
    assert.throws(
      () => parseRanges(text),
      (error) => isFailure(error, "point/invalid"),
    );
  });
}
