import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  legsOf,
  nearest,
  placeAlong,
  placeOf,
  serve,
  type Window,
  windowOf,
  type WindowParts,
  type WindowPiece,
} from "../../src/policy/window.ts";
import type { TimelineHistory } from "../../src/wal/history.ts";
import { base, cluster, history, piece, POSITIONS, SEGMENT } from "./clusters.ts";

const SYSTEM = base("A", { from: 0, to: 2 }).systemId;

function made(parts: Partial<WindowParts>): Window {
  return windowOf({ bases: [], pieces: [], histories: [], ...parts });
}

function shown({ ranges, gaps }: Window): string[] {
  return [
    ...ranges.map(({ timeline, from, to, bases }) => {
      return `${timeline}: ${from}-${to} by ${bases.map((one) => one.base.id).join(" ")}`;
    }),
    ...gaps.map(({ reason, timeline, from, to }) => `${reason} ${timeline}: ${from}-${to}`),
  ];
}

test("pieces that touch or overlap make one range, from the end of the first base on", () => {
  const pieces = [piece({ from: 0, to: 20 }), piece({ from: 16, to: 40 }), piece({ from: 40, to: 44 })];
  const window = made({ bases: [base("A", { from: 10, to: 12 }), base("B", { from: 30, to: 33 })], pieces });
  assert.deepEqual(shown(window), ["1: 12-44 by A B"]);
  const [range] = window.ranges;
  assert.deepEqual([range?.fromUs, range?.toUs], [12_000_000n, 44_000_000n]);
  assert.deepEqual(serve(window, "now")?.base.id, "B");
  assert.deepEqual(serve(window, { us: 32_999_999n })?.base.id, "A");
  assert.deepEqual(serve(window, { us: 33_000_000n })?.base.id, "B");
  assert.deepEqual(serve(window, { lsn: 33n })?.legs, [{ timeline: 1, from: 30n, to: 44n }]);
  for (const us of [11_999_999n, 44_000_001n]) assert.equal(serve(window, { us }), undefined);
  assert.deepEqual(nearest(window, 1n), { beforeUs: undefined, afterUs: 12_000_000n });
  assert.deepEqual(nearest(window, 50_000_000n), { beforeUs: 44_000_000n, afterUs: undefined });
});

function log(from: number, to: number): WindowPiece {
  return piece({ from, to });
}

test("each thing that lacks has its reason", () => {
  const cases: Record<string, [Partial<WindowParts>, string[]]> = {
    "nothing at all": [{}, []],
    "a span lacks": [
      { bases: [base("A", { from: 0, to: 2 }), base("B", { from: 24, to: 25 })], pieces: [log(0, 16), log(24, 32)] },
      ["1: 2-16 by A", "1: 25-32 by B", "log-missing 1: 16-24"],
    ],
    "behind a gap no base": [
      { bases: [base("A", { from: 0, to: 2 })], pieces: [log(0, 16), log(24, 32)] },
      ["1: 2-16 by A", "log-missing 1: 16-24", "no-base 1: 24-32"],
    ],
    "behind a gap the base comes late": [
      { bases: [base("A", { from: 0, to: 2 }), base("B", { from: 41, to: 42 })], pieces: [log(0, 16), log(24, 50)] },
      ["1: 2-16 by A", "1: 42-50 by B", "log-missing 1: 16-24", "no-base 1: 24-42"],
    ],
    "log and no base": [{ pieces: [log(0, 16)] }, ["no-base 1: 0-16"]],
    "a base whose log lacks": [{ bases: [base("A", { from: 0, to: 2 })] }, ["base-without-log 1: 0-2"]],
    "a base whose log begins in its segment, and not with it": [
      { bases: [base("A", { from: 12, to: 14 })], pieces: [log(9, 30)] },
      ["no-base 1: 9-30", "base-without-log 1: 12-14"],
    ],
    "log before the first base is no gap": [
      { bases: [base("A", { from: 20, to: 22 })], pieces: [log(0, 40)] },
      ["1: 22-40 by A"],
    ],
  };
  for (const [what, [parts, expected]] of Object.entries(cases)) assert.deepEqual(shown(made(parts)), expected, what);
});

test("after a promotion the range goes on, and what the old server still wrote is a range of its own", () => {
  const parts = {
    bases: [base("A", { from: 0, to: 2 })],
    pieces: [piece({ from: 0, to: 24 }), piece({ from: 16, to: 40, timeline: 2 })],
  };
  assert.deepEqual(shown(made(parts)), ["1: 2-24 by A", "history-unknown 2: 16-40"]);
  const window = made({ ...parts, histories: [history(2, [1, 18])] });
  assert.deepEqual(shown(window), ["1: 18-24 by A", "2: 2-40 by A"]);
  assert.deepEqual(serve(window, "now")?.legs, [
    { timeline: 1, from: 0n, to: 18n },
    { timeline: 2, from: 18n, to: 40n },
  ]);
  assert.equal(serve(window, { lsn: 20n })?.range.timeline, 2);
  assert.equal(serve(window, { lsn: 20n, timeline: 1 })?.range.timeline, 1);
  assert.equal(serve(window, { lsn: 10n, timeline: 1 })?.range.timeline, 2);
  assert.equal(serve(window, { lsn: 30n, timeline: 1 }), undefined);
  const named = (lsn: bigint, timeline: number) => placeOf(window, { systemId: SYSTEM, timeline, lsn });
  assert.deepEqual(named(10n, 1), { lsn: 10n });
  assert.deepEqual(named(18n, 1), { lsn: 18n });
  assert.deepEqual(named(20n, 2), { lsn: 20n });
  assert.deepEqual(named(20n, 1), { lsn: 20n, timeline: 1 });
  // Right after the promotion, too: soon the new server has that position.
  const young = made({
    ...parts,
    histories: [history(2, [1, 18])],
    pieces: [...parts.pieces.slice(0, 1), piece({ from: 16, to: 19, timeline: 2 })],
  });
  assert.deepEqual(placeOf(young, { systemId: SYSTEM, timeline: 1, lsn: 22n }), { lsn: 22n, timeline: 1 });
  const reached = (lsn: bigint, timeline: number) => placeAlong(window, { systemId: SYSTEM, timeline, lsn });
  assert.deepEqual(reached(10n, 2), { lsn: 10n });
  assert.deepEqual(reached(20n, 2), { lsn: 20n });
  assert.deepEqual(reached(20n, 1), { lsn: 20n, timeline: 1 });
});

test("a base of the old timeline that ended behind the switch serves nothing on the new one", () => {
  const window = made({
    bases: [base("A", { from: 16, to: 20 }), base("B", { from: 26, to: 27, timeline: 2 })],
    pieces: [piece({ from: 0, to: 24 }), piece({ from: 16, to: 40, timeline: 2 })],
    histories: [history(2, [1, 18])],
  });
  assert.deepEqual(shown(window), ["1: 20-24 by A", "2: 27-40 by B"]);
});

test("another cluster behind the same name begins a range of its own, with the time between as a gap", () => {
  const window = made({
    bases: [base("A", { from: 0, to: 2 }), base("B", { from: 100, to: 101, systemId: "8" })],
    pieces: [piece({ from: 0, to: 24 }), piece({ from: 96, to: 120, systemId: "8" })],
  });
  assert.deepEqual(shown(window), ["1: 2-24 by A", "1: 101-120 by B", "other-cluster 1: 101-101"]);
  assert.deepEqual(placeOf(window, { systemId: SYSTEM, timeline: 1, lsn: 20n }), { lsn: 20n });
  assert.equal(serve(window, "now")?.range.systemId, "8");
  const both = made({
    bases: [base("A", { from: 0, to: 2 }), base("B", { from: 10, to: 11, systemId: "8" })],
    pieces: [piece({ from: 0, to: 24 }), { ...piece({ from: 8, to: 24, systemId: "8" }), lastCommitUs: 99_000_000n }],
  });
  assert.deepEqual(placeOf(both, { systemId: "8", timeline: 1, lsn: 20n }), { lsn: 20n });
  const old = placeOf(both, { systemId: SYSTEM, timeline: 1, lsn: 20n });
  assert.deepEqual(old, { systemId: SYSTEM, timeline: 1, lsn: 20n });
  assert.equal(serve(both, old)?.range.systemId, SYSTEM);
  const later = made({
    bases: [base("A", { from: 0, to: 2 }), base("B", { from: 10, to: 11, systemId: "8" })],
    pieces: [piece({ from: 0, to: 24 }), { ...piece({ from: 8, to: 16, systemId: "8" }), lastCommitUs: 99_000_000n }],
  });
  assert.deepEqual(placeOf(later, { systemId: SYSTEM, timeline: 1, lsn: 20n }), old);
});

test("a base whose end was not timed serves from the last commit that its log may hold", () => {
  const untimed = { ...base("A", { from: 0, to: 10 }), endedUs: undefined };
  const window = made({ bases: [untimed], pieces: [piece({ from: 0, to: 16 }), piece({ from: 16, to: 32 })] });
  assert.deepEqual(window.ranges[0]?.fromUs, 16_000_000n);
});

test("where its log has no commit it serves from the first one behind it, and not from when it began", () => {
  const untimed = { ...base("A", { from: 0, to: 10 }), endedUs: undefined };
  const quiet = { ...piece({ from: 0, to: 16 }), firstCommitUs: undefined, lastCommitUs: undefined };
  const window = made({ bases: [untimed], pieces: [quiet, piece({ from: 20, to: 32 }), piece({ from: 16, to: 20 })] });
  assert.equal(window.ranges[0]?.fromUs, 17_000_000n);
  assert.equal(serve(window, { us: 16_999_999n }), undefined);
  assert.equal(serve(window, { us: 17_000_000n })?.base.id, "A");
  const silent = made({ bases: [untimed], pieces: [quiet] });
  assert.equal(silent.ranges[0]?.fromUs, untimed.beganUs, "nothing was committed since");
});

type Cluster = Omit<WindowParts, "histories"> & { histories: (TimelineHistory & { systemId: string })[] };

/** Whether the state at a position can be had on the line of a timeline, byte by byte. */
function canBeHad({ pieces, bases, histories }: Cluster, head: number, lsn: bigint): boolean {
  const legs = legsOf(
    head,
    histories.find(({ timeline }) => timeline === head),
  );
  const ownerOf = (byte: bigint) => legs.find(({ to }) => to === undefined || byte < to)?.timeline;
  const isThere = (byte: bigint) =>
    pieces.some(({ timeline, from, to }) => timeline === ownerOf(byte) && from <= byte && byte < to);
  return bases.some((one) => {
    const leg = legs.find(({ timeline }) => timeline === one.timeline);
    if (leg === undefined || one.to < leg.from || (leg.to !== undefined && one.to > leg.to) || one.to > lsn)
      return false;
    const begin = one.from - (one.from % BigInt(SEGMENT));
    for (let byte = begin < leg.from ? leg.from : begin; byte < lsn; byte += 1n) if (!isThere(byte)) return false;
    // A base without any log is not known to be one that this log belongs to.
    return isThere(begin < leg.from ? leg.from : begin);
  });
}

test("a moment is in the window exactly when its bytes are there, whatever lacks", () => {
  fc.assert(
    fc.property(cluster, (parts) => {
      const window = windowOf(parts);
      for (let head = 1; head <= parts.histories.length + 1; head += 1) {
        const own = legsOf(
          head,
          parts.histories.find(({ timeline }) => timeline === head),
        ).at(-1);
        // Before a timeline's own bytes the state is its parent's, which is asked for by the parent's number.
        for (let lsn = (own?.from ?? 0n) + 1n; lsn < BigInt(POSITIONS + 24); lsn += 1n) {
          const served = serve(window, { lsn, timeline: head });
          const isLeft = parts.histories.some(({ parents }) =>
            parents.some((one) => one.timeline === head && one.switchLsn === lsn),
          );
          // Where a timeline was left its state and its child's are one.
          if (!isLeft) assert.equal(served !== undefined, canBeHad(parts, head, lsn), `${head} at ${lsn}`);
          if (served === undefined) continue;
          assert.ok(served.base.to <= lsn);
          const [first] = served.legs;
          assert.equal(first?.from, served.base.from);
          for (const [at, leg] of served.legs.entries()) {
            if (at > 0) assert.equal(leg.from, served.legs[at - 1]?.to);
          }
        }
      }
    }),
    { numRuns: 1000 },
  );
});
