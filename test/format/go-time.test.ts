/** Instants as Go writes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { EPOCH, formatGoTime, isGoTime, parseGoTime } from "../../src/format/go-time.ts";
import { refusal } from "./refusal.ts";

const SECOND = 1_000_000_000n;

test("instants in any zone and with any number of digits are understood", () => {
  const table: readonly (readonly [string, bigint])[] = [
    [EPOCH, 0n],
    ["1970-01-01T00:00:00.000000001Z", 1n],
    ["1969-12-31T23:59:59.999999999Z", -1n],
    ["2024-02-29T12:34:56.12Z", 1709210096n * SECOND + 120_000_000n],
    ["2024-02-29T14:34:56.12+02:00", 1709210096n * SECOND + 120_000_000n],
    ["2024-02-29T03:04:56.12-09:30", 1709210096n * SECOND + 120_000_000n],
    ["0001-01-01T00:00:00Z", -62135596800n * SECOND],
    ["9999-12-31T23:59:59Z", 253402300799n * SECOND],
  ];
  for (const [text, nanoseconds] of table) assert.equal(parseGoTime(text), nanoseconds, text);
});

test("what Go would not read is refused", () => {
  const bad = [
    "",
    "2024-02-30T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "2024-04-31T00:00:00Z",
    "2024-13-01T00:00:00Z",
    "2024-00-01T00:00:00Z",
    "2024-01-00T00:00:00Z",
    "2024-01-01T24:00:00Z",
    "2024-01-01T00:60:00Z",
    "2024-01-01T00:00:60Z",
    "2024-01-01T00:00:00",
    "2024-01-01 00:00:00Z",
    "2024-01-01T00:00:00.Z",
    "2024-01-01T00:00:00.1234567890Z",
    "2024-01-01T00:00:00+25:00",
    "2024-01-01T00:00:00+0200",
    "24-01-01T00:00:00Z",
    " 2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00Z\n",
    '2024-01-01T00:00:00Z"',
  ];
  for (const text of bad) {
    assert.equal(isGoTime(text), false, text);
    refusal(() => parseGoTime(text));
  }
});

test("every instant is written as it is read, and as JavaScript's own dates have it", () => {
  const range = { min: -62135596800n * SECOND, max: 253402300799n * SECOND };
  fc.assert(
    fc.property(fc.bigInt(range), (nanoseconds) => {
      const text = formatGoTime(nanoseconds);
      assert.ok(isGoTime(text), text);
      assert.equal(parseGoTime(text), nanoseconds);
      assert.doesNotMatch(text, /0Z$(?<=\..*)/);
      assert.equal(BigInt(Date.parse(text)), floorDivide(nanoseconds, 1_000_000n), text);
    }),
    { numRuns: 1000 },
  );
});

test("days around every end of February and of the year are right", () => {
  for (let year = 1; year <= 2400; year += year < 1890 ? 97 : 1) {
    for (const day of ["02-28", "03-01", "12-31", "01-01"]) {
      const text = `${String(year).padStart(4, "0")}-${day}T00:00:00Z`;
      assert.equal(parseGoTime(text), BigInt(Date.parse(text)) * 1_000_000n, text);
      assert.equal(formatGoTime(parseGoTime(text)), text);
    }
  }
});

test("years beyond four digits cannot be written", () => {
  assert.throws(() => formatGoTime(253402300800n * SECOND), /outside the years/);
  assert.throws(() => formatGoTime(-70000000000n * SECOND), /outside the years/);
});

function floorDivide(value: bigint, by: bigint): bigint {
  return (value - (((value % by) + by) % by)) / by;
}
