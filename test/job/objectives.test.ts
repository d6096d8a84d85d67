import assert from "node:assert/strict";
import { test } from "node:test";
import { overdueFindings, proofAge, proofFindings, recoveryFindings } from "../../src/job/objectives.ts";
import type { Point } from "../../src/job/points.ts";

const HOUR = 3_600_000;
const OBJECTIVES = { rpoMs: 26 * HOUR, rtoMs: 2 * HOUR, drillMs: 8 * 24 * HOUR };

test("a point, a proof and a restore are told of only beyond their objective", () => {
  assert.deepEqual(overdueFindings("primary", 26 * HOUR, OBJECTIVES), []);
  assert.deepEqual(proofFindings(8 * 24 * HOUR, OBJECTIVES), []);
  assert.deepEqual(recoveryFindings("primary", 7_200, OBJECTIVES), []);
  const told = [
    ...overdueFindings("primary", 27 * HOUR, OBJECTIVES),
    ...proofFindings(9 * 24 * HOUR, OBJECTIVES),
    ...recoveryFindings("primary", 7_300, OBJECTIVES),
  ];
  assert.deepEqual(
    told.map(({ kind, message }) => [kind, message]),
    [
      ["backup-overdue", "the newest restore point in 'primary' is 27 h 0 min old"],
      ["proof-overdue", "no restore point was proven to restore for 9 days"],
      ["recovery-slow", "bringing a restore point of 'primary' back takes about 2 h 1 min, by its last drill"],
    ],
  );
});

test("what nobody has set is no objective, and what is not known is not overdue", () => {
  assert.deepEqual(proofFindings(9_000 * HOUR, { rpoMs: HOUR }), []);
  assert.deepEqual(proofFindings(undefined, OBJECTIVES), []);
  assert.deepEqual(recoveryFindings("primary", null, OBJECTIVES), []);
});

function point(at: string, proven: boolean): Pick<Point, "proof"> {
  return { proof: { at, proven } as Point["proof"] };
}

test("a proof is as old as the newest that proved something", () => {
  const now = Date.parse("2026-11-28T12:00:00Z");
  const points = [point("2026-11-28T11:00:00Z", false), point("2026-11-28T09:00:00Z", true), { proof: undefined }];
  assert.equal(proofAge(points, now), 3 * HOUR);
  assert.equal(proofAge([{ proof: undefined }], now), undefined);
  // Of a clock that was ahead: it would be the newest for years.
  assert.equal(proofAge([...points, point("2036-11-28T11:00:00Z", true)], now), 3 * HOUR);
  assert.equal(proofAge([point("2026-11-28T12:05:00Z", true)], now), -300_000, "clocks differ a little");
});
