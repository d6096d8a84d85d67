import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import {
  formatFolders,
  formatMissing,
  formatRanges,
  parseFolders,
  parseMissing,
  parseRanges,
} from "../../src/point/ranges.ts";

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

test("missing files come back as they were written, a line each, whatever their names hold", () => {
  const blobs = ["plain.jpg", "two\nlines", "émoji 🎉", ""].map((filename, at) => ({
    id: String(at),
    key: `key${at}`,
    filename,
    bytes: 3,
    reason: "missing" as const,
    since: "2026-11-01T00:00:00Z",
  }));
  const lines = formatMissing(blobs).split("\n");
  assert.equal(lines.pop(), "");
  assert.deepEqual(lines.map(parseMissing), blobs);
  for (const bad of ["", "{}", "3", '{"id":"1","key":"k"', "null"])
    assert.throws(
      () => parseMissing(bad),
      (error) => isFailure(error, "point/invalid"),
    );
});
