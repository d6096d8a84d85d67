/** What recoveries took says how long the next one takes, and what was not measured is said to be assumed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import {
  formatMeasures,
  paceOf,
  parseMeasures,
  type RecoveryMeasure,
  withMeasure,
} from "../../src/job/recovery-pace.ts";

const MIB = 1024 * 1024;

function measure(more: Partial<RecoveryMeasure> = {}): RecoveryMeasure {
  return {
    at: "2026-11-29T03:00:00.000Z",
    base: { bytes: 800 * MIB, seconds: 10 },
    log: { bytes: 300 * MIB, seconds: 6 },
    saveSeconds: 7,
    ...more,
  };
}

test("without a recovery the pace is assumed", () => {
  const assumed = { bytesPerSecond: LIMITS.replayRate, measurements: 0 };
  assert.deepEqual(paceOf([]), { base: assumed, log: assumed, saveSeconds: null });
});

test("the more a recovery had to do, the more it counts; what was saved last is as it was", () => {
  const pace = paceOf([measure(), measure({ base: { bytes: 200 * MIB, seconds: 10 }, saveSeconds: 9 })]);
  assert.deepEqual(pace.base, { bytesPerSecond: 50 * MIB, measurements: 2 });
  assert.deepEqual(pace.log, { bytesPerSecond: 50 * MIB, measurements: 2 });
  assert.equal(pace.saveSeconds, 9);
});

test("one that replayed next to nothing says nothing of how fast the log is replayed", () => {
  const short = measure({ log: { bytes: MIB, seconds: 2 } });
  assert.deepEqual(paceOf([short]).log, { bytesPerSecond: LIMITS.replayRate, measurements: 0 });
  assert.equal(paceOf([short, measure()]).log.bytesPerSecond, 50 * MIB);
});

test("the newest are remembered, and read as they were written", () => {
  let kept: RecoveryMeasure[] = [];
  for (let n = 1; n <= LIMITS.measuresKept + 3; n += 1) kept = withMeasure(kept, measure({ saveSeconds: n }));
  assert.equal(kept.length, LIMITS.measuresKept);
  assert.equal(kept.at(-1)?.saveSeconds, LIMITS.measuresKept + 3);
  assert.deepEqual(parseMeasures(formatMeasures(kept)), kept);
});

test("a file that is torn, or of another version, has none; and one line of nonsense hides no other", () => {
  for (const text of ["", "{", "null", '{"schema":2,"recoveries":[]}', '{"schema":1,"recoveries":{}}']) {
    assert.deepEqual(parseMeasures(text), [], text);
  }
  const odd = [null, 7, {}, { ...measure(), log: { bytes: -1, seconds: 1 } }, { ...measure(), base: null }];
  const text = JSON.stringify({ schema: 1, recoveries: [...odd, measure()] });
  assert.deepEqual(parseMeasures(text), [measure()]);
});
