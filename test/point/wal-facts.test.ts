/** What is told of the commits of a stretch of the log, however it was put together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { commitsJson, joinCommits, parseCommits, setBackIn, summarizeCommits } from "../../src/point/wal-facts.ts";

const SECOND = 1_000_000n;
const commits = (...seconds: readonly number[]) =>
  seconds.map((second, at) => ({ lsn: BigInt(at + 1), timeUs: BigInt(second) * SECOND }));
const setBack = (most: number, least: number) => ({ mostUs: BigInt(most) * SECOND, leastUs: BigInt(least) * SECOND });

test("a clock that was set back is told with the latest time before that and the earliest one behind it", () => {
  const cases: readonly [readonly number[], ReturnType<typeof setBack> | undefined][] = [
    [[], undefined],
    [[5, 4, 100, 95, 101], undefined],
    [[100, 3600, 110, 120], setBack(3600, 110)],
    [[100, 40, 50, 3600, 60, 70], setBack(3600, 40)],
    [[100, 89, 85], setBack(100, 89)],
  ];
  for (const [seconds, expected] of cases) {
    const made = commits(...seconds);
    assert.deepEqual(setBackIn(made.map(({ timeUs }) => timeUs)), expected, seconds.join(" "));
    const summary = summarizeCommits(made);
    assert.deepEqual(parseCommits(JSON.parse(JSON.stringify(commitsJson(summary)))), summary);
    for (let at = 1; at < made.length; at += 1) {
      const parts = [made.slice(0, at), made.slice(at)].map((part) => summarizeCommits(part));
      assert.deepEqual(joinCommits(parts).setBack, expected, `${seconds.join(" ")} in two at ${at}`);
    }
  }
});

test("what an earlier release wrote says nothing of the clock", () => {
  const { setBack: _none, ...before } = commitsJson(summarizeCommits(commits(1, 2)));
  assert.equal(parseCommits(before).setBack, undefined);
  assert.throws(() => parseCommits({ ...before, setBack: ["2026"] }), { code: "point/invalid" });
});

test("where a server wrote too little to be replayed is told of all of it together, with the last commit before", () => {
  const made = commits(1, 2, 3, 4, 5, 6);
  const records = [
    { from: 2n, to: 3n },
    { from: 4n, to: 5n },
  ];
  const whole = summarizeCommits(made, records);
  assert.deepEqual(whole.minimal, { from: 2n, to: 5n, lastUs: 2n * SECOND });
  assert.deepEqual(parseCommits(JSON.parse(JSON.stringify(commitsJson(whole)))), whole);
  for (let at = 0; at <= made.length; at += 1) {
    const part = (from: number, to: number) =>
      summarizeCommits(
        made.slice(from, to),
        records.filter((record) => record.to > BigInt(from) && record.to <= BigInt(to)),
      );
    assert.deepEqual(joinCommits([part(0, at), part(at, made.length)]).minimal, whole.minimal, String(at));
  }
  assert.equal(summarizeCommits(made).minimal, undefined);
  const json = commitsJson(whole);
  assert.throws(() => parseCommits({ ...json, minimal: { records: "x", last: null } }), { code: "point/invalid" });
});
