import assert from "node:assert/strict";
import { test } from "node:test";
import { firstTimeline, isAncestor, parseHistory, timelineAt } from "../../src/wal/history.ts";

const TEXT = [
  "# by hand",
  "1\t0/3000158\tno recovery target specified",
  "",
  "3\t16/B374D848\tbefore 2026-11-28 10:00:00.000000+00",
  "",
].join("\n");

const history = {
  timeline: 5,
  parents: [
    { timeline: 1, switchLsn: 0x300_0158n, reason: "no recovery target specified" },
    { timeline: 3, switchLsn: 0x16_b374_d848n, reason: "before 2026-11-28 10:00:00.000000+00" },
  ],
};

test("a history is read as PostgreSQL writes it", () => {
  assert.deepEqual(parseHistory(5, TEXT), history);
  assert.deepEqual(parseHistory(2, "1\t0/3000158\t\n"), {
    timeline: 2,
    parents: [{ timeline: 1, switchLsn: 0x300_0158n, reason: "" }],
  });
  assert.deepEqual(parseHistory(2, "1\t0/3000158"), parseHistory(2, "1 0/3000158 \r\n"));
});

test("what PostgreSQL would refuse is no history", () => {
  for (const text of [
    "1\n",
    "one\t0/1\tno\n",
    "1\t0/123456789\tno\n",
    "3\t0/1\ta\n1\t0/2\tb\n",
    "1\t0/2\ta\n3\t0/1\tb\n",
    "5\t0/1\titself\n",
    "0\t0/1\tnone\n",
  ]) {
    assert.equal(parseHistory(5, text), undefined, text);
  }
});

test("each byte is of one timeline", () => {
  assert.equal(timelineAt(history, 0n), 1);
  assert.equal(timelineAt(history, 0x300_0157n), 1);
  assert.equal(timelineAt(history, 0x300_0158n), 3);
  assert.equal(timelineAt(history, 0x16_b374_d848n), 5);
  assert.equal(timelineAt(firstTimeline(), 7n), 1);
});

function is(timeline: number, lsn: bigint): boolean {
  return isAncestor(history, { timeline, lsn });
}

test("a timeline counts up to where it was left", () => {
  assert.ok(is(1, 0x300_0158n) && is(3, 0x400_0000n) && is(5, 0n) && is(5, 1n << 60n));
  assert.ok(!is(1, 0x300_0159n) && !is(2, 0n) && !is(6, 0n));
});
