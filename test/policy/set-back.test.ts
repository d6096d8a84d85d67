/** A clock that was set back: which moments a window has, by which base, and where the log passes a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { passagesOf } from "../../src/policy/set-back.ts";
import { serve, windowOf, type WindowPiece } from "../../src/policy/window.ts";
import { base, piece } from "./clusters.ts";

const S = 1_000_000n;

/** Log of eight positions, with commits of these seconds. */
function timed(from: number, first: number, last: number, setBack?: [most: number, least: number]): WindowPiece {
  const times = { firstCommitUs: BigInt(first) * S, lastCommitUs: BigInt(last) * S };
  const [most, least] = setBack ?? [];
  if (most === undefined || least === undefined) return { ...piece({ from, to: from + 8 }), ...times };
  const back = { mostUs: BigInt(most) * S, leastUs: BigInt(least) * S };
  return { ...piece({ from, to: from + 8 }), ...times, setBack: back };
}

const first = { ...base("A", { from: 0, to: 2 }), beganUs: 90n * S, endedUs: 95n * S };

function passages(pieces: readonly WindowPiece[], second: number): string[] {
  const window = windowOf({ bases: [first], pieces, histories: [] });
  return passagesOf(window.ranges[0]?.samples ?? [], BigInt(second) * S).map(({ from, to }) => `${from}-${to}`);
}

function servedBy(bases: Parameters<typeof windowOf>[0]["bases"], pieces: readonly WindowPiece[], second: number) {
  return serve(windowOf({ bases, pieces, histories: [] }), { us: BigInt(second) * S })?.base.id;
}

/** It ran ahead by far from the second piece on, and was set right before the fourth. */
const AHEAD = [
  timed(0, 100, 190),
  timed(8, 90_000, 90_100),
  timed(16, 90_200, 90_300),
  timed(24, 300, 400),
  timed(32, 410, 500),
];

test("a clock that ran ahead and was set right: the window ends with the last commit, and what came since is passed last", () => {
  const { ranges } = windowOf({ bases: [first], pieces: AHEAD, histories: [] });
  assert.deepEqual([ranges[0]?.fromUs, ranges[0]?.toUs], [95n * S, 500n * S]);
  assert.deepEqual(passages(AHEAD, 350), ["24-32", "0-16"]);
  assert.deepEqual(passages(AHEAD, 405), ["24-40", "0-16"]);
  // Before, and while it was wrong, the log passes a time once.
  for (const second of [150, 250]) assert.deepEqual(passages(AHEAD, second), [], `${second}`);
  assert.deepEqual(passages(AHEAD, 90_250), ["16-24"]);
  for (const second of [95, 150, 250, 350, 500, 90_250]) assert.equal(servedBy([first], AHEAD, second), "A");
  for (const second of [94, 90_301]) assert.equal(servedBy([first], AHEAD, second), undefined);
});

test("it is noticed within one piece of the log, too, and in pieces that overlap it is not made up", () => {
  const within = [timed(0, 100, 500, [90_000, 300]), timed(8, 510, 600)];
  assert.deepEqual(passages(within, 550), ["8-16", "0-8"]);
  assert.equal(windowOf({ bases: [first], pieces: within, histories: [] }).ranges[0]?.toUs, 600n * S);
  const overlapping = [timed(0, 100, 190), timed(4, 150, 250), timed(12, 240, 300)];
  for (const second of [140, 170, 200, 245]) assert.deepEqual(passages(overlapping, second), []);
});

test("commits that come a little out of order are no clock that was set back", () => {
  assert.deepEqual(passages([timed(0, 100, 190), timed(8, 185, 250)], 187), []);
  const { ranges } = windowOf({ bases: [first], pieces: [timed(0, 100, 192), timed(8, 185, 190)], histories: [] });
  assert.equal(ranges[0]?.toUs, 192n * S);
});

test("a base that was taken while the clock was ahead serves what came when it was right again", () => {
  const ahead = { ...base("B", { from: 12, to: 14 }), beganUs: 90_150n * S, endedUs: 90_160n * S };
  for (const second of [350, 500, 90_250]) assert.equal(servedBy([first, ahead], AHEAD, second), "B", `${second}`);
  for (const second of [150, 250, 90_050]) assert.equal(servedBy([first, ahead], AHEAD, second), "A", `${second}`);
  const { ranges } = windowOf({ bases: [ahead], pieces: AHEAD, histories: [] });
  assert.deepEqual([ranges[0]?.fromUs, ranges[0]?.toUs], [300n * S, 500n * S]);
});

test("of a clock that was set back to stay, what it has not had again is that of the first time", () => {
  const pieces = [timed(0, 100, 190), timed(8, 200, 290), timed(16, 150, 160), timed(24, 170, 180)];
  const behind = { ...base("B", { from: 18, to: 20 }), beganUs: 155n * S, endedUs: 156n * S };
  assert.equal(servedBy([first, behind], pieces, 175), "B");
  assert.equal(servedBy([first, behind], pieces, 250), "A");
  assert.deepEqual(passages(pieces, 175), ["24-32", "0-8"]);
  assert.deepEqual(passages(pieces, 250), ["8-16"]);
});
