/** Times as people and PostgreSQL write them: with a zone, or none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatInstant, lacksZone, parseZonedInstant, withZones } from "../../src/base/clock.ts";

const read = (text: string) => {
  const ms = parseZonedInstant(text);
  return ms === undefined ? undefined : formatInstant(ms);
};

test("a time is read with its zone, however that is written", () => {
  const same = [
    "2026-11-23T15:58:50Z",
    "2026-11-23T16:58:50+01:00",
    "2026-11-23T16:58:50+0100",
    "2026-11-23 16:58:50+01",
    "2026-11-23 16:58:50.000000+01",
    "2026-11-23 15:58:50 UTC",
    "2026-11-23T21:28:50+05:30",
    "2026-11-23T07:58:50-08",
  ];
  for (const text of same) assert.equal(read(text), "2026-11-23T15:58:50.000Z", text);
  // The hour that comes twice when the clocks go back, and a leap day.
  assert.equal(read("2026-10-25T02:30+02:00"), "2026-10-25T00:30:00.000Z");
  assert.equal(read("2026-10-25T02:30+01:00"), "2026-10-25T01:30:00.000Z");
  assert.equal(read("2028-02-29T12:00Z"), "2028-02-29T12:00:00.000Z");
});

test("what is no time, or of a day that is not there, is none", () => {
  const none = ["2026-02-29T12:00Z", "2026-11-31T12:00+01:00", "2026-13-01T12:00Z", "2026-11-23T25:00Z", "16:58Z"];
  for (const text of [...none, "2026-11-23T16:58:60Z", "2026-11-23T16:58+25:00", "2026-11-23T16:58 CET", "now"]) {
    assert.equal(read(text), undefined, text);
    assert.equal(lacksZone(text), false, text);
  }
});

test("a time without a zone is none, and known for one that lacks it", () => {
  const texts = [
    "2026-10-25T02:30",
    "2026-10-25 02:30:00",
    "2026-10-25T02:30:00.123",
    "2026-10-25",
    "16:58",
    "9:05:10",
  ];
  for (const text of texts) {
    assert.equal(read(text), undefined, text);
    assert.equal(lacksZone(text), true, text);
  }
});

test("a day and time without a zone are told with those that may be meant: UTC and this machine's", () => {
  const zone = process.env["TZ"];
  try {
    process.env["TZ"] = "Europe/Berlin";
    assert.deepEqual(withZones("2026-11-29 15:03:40"), ["2026-11-29T15:03:40Z", "2026-11-29T15:03:40+01:00"]);
    assert.deepEqual(withZones("2026-07-01T15:03"), ["2026-07-01T15:03Z", "2026-07-01T15:03+02:00"]);
    process.env["TZ"] = "America/St_Johns";
    assert.deepEqual(withZones("2026-11-29T15:03:40.25")[1], "2026-11-29T15:03:40.25-03:30");
    process.env["TZ"] = "UTC";
    assert.deepEqual(withZones("2026-11-29T15:03:40"), ["2026-11-29T15:03:40Z"]);
    for (const text of ["2026-11-29", "15:03", "2026-02-30T12:00"]) assert.deepEqual(withZones(text), [], text);
  } finally {
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
  }
});
