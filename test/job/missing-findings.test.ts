import assert from "node:assert/strict";
import { test } from "node:test";
import { missingFindings } from "../../src/job/findings.ts";
import type { MissingBlob } from "../../src/point/manifest.ts";

const STARTED = "2026-11-28T02:30:00.000Z";
const MARCH = "2026-03-03T02:30:00.000Z";
const MAY = "2026-05-05T02:30:00.000Z";

function told(...missing: Partial<MissingBlob>[]): string[] {
  const whole = missing.map((some, at): MissingBlob => {
    return { id: String(at), key: "k", filename: "f", bytes: 1, reason: "missing", since: MARCH, ...some };
  });
  const found = missingFindings({
    point: "ab12cd34ef".repeat(6),
    startedAt: STARTED,
    service: "local",
    missing: whole,
  });
  return found.map(({ level, message }) => `${level}: ${message}`);
}

test("what a point lacks of the uploaded files is told with how many, and since when", () => {
  assert.deepEqual(told({}), [
    "note: restore point ab12cd34 lacks 1 uploaded file of storage 'local', or has it damaged: since 2026-03-03",
  ]);
  assert.deepEqual(told({ since: MAY }, { reason: "altered" }, { reason: "unreadable" }), [
    "note: restore point ab12cd34 lacks 3 uploaded files of storage 'local', or has them damaged: since 2026-03-03, the last since 2026-05-05",
  ]);
});

test("it is an alarm while the newest point is the first to say so", () => {
  assert.deepEqual(told({}, { since: STARTED }), [
    "alarm: restore point ab12cd34 lacks 2 uploaded files of storage 'local', or has them damaged: since 2026-03-03, the last since 2026-11-28, 1 of them new in this point",
  ]);
});

test("what Chatwoot deleted, and what an earlier copy stands in for, is not lost", () => {
  assert.deepEqual(told(), []);
  assert.deepEqual(told({ reason: "purged" }, { kept: true, since: STARTED }), []);
});
