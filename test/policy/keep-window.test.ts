import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { type KeptSpan, parseWindow, planWindow } from "../../src/policy/keep-window.ts";
import { type Moment, serve, type WindowBase, windowOf, type WindowParts } from "../../src/policy/window.ts";
import { base, cluster, history, piece, POSITIONS } from "./clusters.ts";

const second = 1_000_000n;

function span(id: string, from: number, to: number, timeline = 1): KeptSpan {
  return { ...piece({ from, to, timeline }), id, writtenUs: BigInt(to) * second };
}

function quiet(id: string, from: number, to: number): KeptSpan {
  return { ...span(id, from, to), firstCommitUs: undefined, lastCommitUs: undefined };
}

function plan(parts: Omit<WindowParts, "pieces"> & { spans: readonly KeptSpan[] }, seconds: number, now = 1000) {
  const { spans, bases, histories } = parts;
  const window = windowOf({ bases, pieces: spans, histories });
  return planWindow({ window, bases, spans }, { nowUs: BigInt(now) * second, windowUs: BigInt(seconds) * second });
}

function names(all: readonly { readonly id: string }[]): string {
  return all.map(({ id }) => id).join(" ");
}

test("the newest base before the window stays with all of the log behind it; what is older goes, the oldest first", () => {
  const bases = [base("A", { from: 0, to: 2 }), base("B", { from: 34, to: 36 }), base("C", { from: 64, to: 66 })];
  const spans = [4, 3, 2, 1, 0].map((at) => span(`s${at}`, at * 20, at * 20 + 20));
  const planned = plan({ bases, spans, histories: [] }, 50);
  assert.equal(planned.fromUs, 50n * second);
  assert.equal(names(planned.removeBases), "A");
  // B's first segment begins at 32.
  assert.equal(names(planned.removeSpans), "s0");
  assert.deepEqual(planned.needed, [{ systemId: "7", timeline: 1, from: 32n, to: 100n }]);
  const none = plan({ bases, spans, histories: [] }, 66);
  assert.equal(names(none.removeBases) + names(none.removeSpans), "");
});

test("a machine that stood still forgets nothing, and a clock that is behind no more", () => {
  const bases = [base("A", { from: 0, to: 2 }), base("B", { from: 64, to: 66 })];
  const spans = [span("s0", 0, 60), span("s1", 60, 80)];
  const stood = plan({ bases, spans, histories: [] }, 50, 1_000_000);
  assert.equal(names([...stood.removeBases, ...stood.removeSpans]), "");
  const behind = plan({ bases, spans, histories: [] }, 10, 30);
  assert.equal(names([...behind.removeBases, ...behind.removeSpans]), "");
});

test("what can be brought back now stays while log comes without a commit, however old its base is", () => {
  const bases = [base("A", { from: 0, to: 2 })];
  const planned = plan({ bases, spans: [quiet("s0", 0, 60), quiet("s1", 60, 400)], histories: [] }, 50);
  assert.equal(planned.fromUs, 350n * second);
  assert.equal(names([...planned.removeBases, ...planned.removeSpans]), "");
  assert.deepEqual(planned.needed, [{ systemId: "7", timeline: 1, from: 0n, to: 400n }]);
});

test("what an old server still wrote goes when the window has passed it, and not what the new one came from", () => {
  const bases = [base("A", { from: 0, to: 2 })];
  const histories = [history(2, [1, 18])];
  const spans = [span("old", 0, 16), span("tail", 16, 30), span("new", 16, 90, 2)];
  assert.equal(names(plan({ bases, spans, histories }, 20).removeSpans), "");
  const later = [...bases, base("B", { from: 40, to: 42, timeline: 2 })];
  const planned = plan({ bases: later, spans, histories }, 20);
  assert.equal(names([...planned.removeBases, ...planned.removeSpans]), "A old tail");
});

/** As {@link base}, by a clock that was off by some seconds, written when it was taken. */
function off(id: string, [from, to]: [number, number], seconds: number, isWrittenSo = false) {
  const ahead = BigInt(seconds) * second;
  const one = base(id, { from, to });
  const times = { beganUs: one.beganUs + ahead, endedUs: BigInt(to) * second + ahead };
  return { ...one, ...times, writtenUs: BigInt(to) * second + (isWrittenSo ? ahead : 0n) };
}

test("a base that a wrong clock dated goes when the others of its time do, and takes none with it", () => {
  const spans = [4, 3, 2, 1, 0].map((at) => span(`s${at}`, at * 20, at * 20 + 20));
  for (const seconds of [100_000, -30]) {
    for (const isWrittenSo of [false, true]) {
      const made = (of: readonly [string, [number, number], number][], windowS: number) => {
        const bases = of.map(([id, place, by]) => off(id, place, by, isWrittenSo && by !== 0));
        return plan({ bases, spans, histories: [] }, windowS);
      };
      // It is the one before the window, it is older than that, and it lies within it.
      const before = made(
        [
          ["A", [0, 2], 0],
          ["B", [34, 36], seconds],
          ["C", [64, 66], 0],
        ],
        50,
      );
      assert.equal(names(before.removeBases), "A", `${seconds}`);
      const older = made(
        [
          ["A", [0, 2], seconds],
          ["B", [34, 36], 0],
          ["C", [64, 66], 0],
        ],
        50,
      );
      assert.equal(names(older.removeBases), "A", `${seconds}`);
      const within = made(
        [
          ["A", [0, 2], 0],
          ["B", [34, 36], 0],
          ["C", [64, 66], seconds],
        ],
        50,
      );
      assert.equal(names(within.removeBases), "A", `${seconds}`);
      assert.equal(within.needed[0]?.from, 32n, `${seconds}`);
    }
  }
});

test("log of a clock that was ahead goes when it was written before the window", () => {
  const bases = [base("A", { from: 0, to: 2 }), base("B", { from: 34, to: 36 })];
  const ahead = { ...span("s0", 0, 20), lastCommitUs: 100_000n * second };
  const planned = plan({ bases, spans: [ahead, span("s1", 20, 40), span("s2", 40, 100)], histories: [] }, 50);
  assert.equal(names([...planned.removeBases, ...planned.removeSpans]), "A s0");
});

const DAY = 86_400;

function written(id: string, [from, to]: [number, number], day: number, timeline = 1): KeptSpan {
  return { ...quiet(id, from, to), timeline, writtenUs: BigInt(day * DAY) * second };
}

test("log that no base serves stays while it is young, for the base may come back", () => {
  const spans = [written("s0", [0, 20], 1), written("s1", [40, 60], 9), written("s2", [60, 90], 10)];
  const planned = plan({ bases: [], spans, histories: [] }, 2 * DAY, 20 * DAY);
  assert.equal(names(planned.removeSpans), "s0");
});

test("a base that is under way has the log from its beginning, however short the window is, when it comes", () => {
  const hour = 3_600;
  const under = (bases: WindowBase[], spans: KeptSpan[]) =>
    names(plan({ bases, spans, histories: [] }, hour, 20 * DAY).removeSpans);
  const spans = [written("s0", [0, 20], 8), written("s1", [20, 40], 9), written("s2", [40, 60], 10)];
  // The first one; the first of another cluster; the first behind a gap, on a timeline whose history is not known, too.
  assert.equal(under([], spans), "");
  assert.equal(under([{ ...base("A", { from: 0, to: 2 }), systemId: "8" }], spans), "");
  const gapped = [...spans, written("behind", [64, 80], 9), written("later", [80, 90], 11)];
  assert.equal(under([base("A", { from: 0, to: 2 })], gapped), "");
  assert.equal(under([base("A", { from: 0, to: 2 })], [...spans, written("new", [64, 80], 10, 2)]), "");
  // Nothing can begin with what lies before a base that is there.
  const missed = [written("missed", [0, 20], 9), written("s1", [40, 60], 10), written("s2", [60, 90], 10.5)];
  assert.equal(under([base("A", { from: 41, to: 42 })], missed), "missed");
});

test("whatever there is, no moment within the window is lost, and forgetting again finds nothing", () => {
  fc.assert(
    fc.property(cluster, fc.integer({ min: 1, max: 60 }), ({ bases, pieces, histories }, seconds) => {
      const spans = pieces.map((one, at): KeptSpan => ({ ...one, id: `s${at}`, writtenUs: one.lastCommitUs ?? 0n }));
      const { fromUs, keepBases, keepSpans, removeBases, removeSpans } = plan({ bases, spans, histories }, seconds);
      for (const one of [...removeBases, ...removeSpans]) assert.ok(one.to * second < fromUs, one.id);
      const before = windowOf({ bases, pieces: spans, histories });
      const after = windowOf({ bases: keepBases, pieces: keepSpans, histories });
      const isServed = (window: typeof before, moment: Moment) => serve<WindowBase>(window, moment) !== undefined;
      for (let lsn = 1n; lsn < BigInt(POSITIONS + 24); lsn += 1n) {
        if (lsn * second < fromUs) continue;
        for (const timeline of [1, 2, 3]) {
          const moment = { lsn, timeline };
          if (isServed(before, moment)) assert.ok(isServed(after, moment), `${lsn} on ${timeline}`);
        }
        const moment = { us: lsn * second };
        if (isServed(before, moment)) assert.ok(isServed(after, moment), `at ${lsn}`);
      }
      const again = plan({ bases: keepBases, spans: keepSpans, histories }, seconds);
      assert.equal(names([...again.removeBases, ...again.removeSpans]), "");
    }),
    { numRuns: 1000 },
  );
});

test("a length of the window is days and hours", () => {
  assert.equal(parseWindow("7d"), 604_800n * second);
  assert.equal(parseWindow("2d12h"), 216_000n * second);
  for (const text of ["", "0d", "7", "1m", "-1d", "1h1d"]) {
    assert.throws(
      () => parseWindow(text),
      (error) => isFailure(error, "usage/invalid"),
      text,
    );
  }
});
