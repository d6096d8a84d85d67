/** When a watch is dead, until when what was committed is safe, and what of that needs somebody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pointObjectives } from "../../src/job/objectives.ts";
import {
  NO_WATCH,
  safeUntilMs,
  type WatchFacts,
  watchFindings,
  watchState,
  windowFindings,
} from "../../src/job/watch-findings.ts";
import { WATCH, WINDOW } from "../cli/status-summaries.ts";

const HOUR = 3_600_000;
const AT = Date.parse(WATCH.at);
/** Of its last commit. */
const END = Date.parse("2026-11-23T16:59:57.001Z");

function facts(given: Partial<WatchFacts> = {}): WatchFacts {
  return { report: WATCH, isAlive: true, isConfigured: true, ...given };
}

const kindsAt = (given: Partial<WatchFacts>, ms: number) =>
  watchFindings(facts(given), AT + ms).map(({ kind, level, message }) => `${level} ${kind}: ${message}`);

test("a watch runs whose process is there and whose report is no older than a minute", () => {
  assert.deepEqual(kindsAt({}, 60_000), []);
  assert.deepEqual(
    kindsAt({ isAlive: undefined }, 60_000),
    [],
    "one of another container is known by its report alone",
  );
  assert.deepEqual(kindsAt({ isAlive: false }, 2_000), [
    "alarm watch-not-running: continuous protection does not run: its last word is 2.0 s old",
  ]);
  assert.deepEqual(kindsAt({}, 60_001), [
    "alarm watch-not-running: continuous protection does not run: its last word is 1 min 0 s old, though its process 4711 is there",
  ]);
  assert.equal(watchState(facts(), AT + 90_000).isRunning, false);
  // Its last word is of a clock that was set back since.
  assert.equal(watchState(facts({ isAlive: undefined }), AT - 90_000).isRunning, false);
  // One that only cannot write may not be sent to a start that fails.
  assert.match(watchFindings(facts(), AT + 90_000)[0]?.hint ?? "", /^Look first whether the disk .* is full/);
});

test("where nobody asked for a watch and none has run, none is missed", () => {
  assert.deepEqual(kindsAt({ report: undefined, isConfigured: false }, 0), []);
  assert.equal(kindsAt({ isConfigured: false }, HOUR).length, 1);
  assert.deepEqual(kindsAt({ report: undefined, isAlive: undefined }, 0), [
    "alarm watch-not-running: continuous protection does not run and has left no report on this machine",
  ]);
});

test("a database in which nothing is written is safe until its server was heard, where a repository has all of it", () => {
  const [primary] = WATCH.repositories;
  assert.ok(primary !== undefined);
  const state = (safeMs: number | undefined, isRunning = true) => {
    const own = safeMs === undefined ? {} : { safeUntil: new Date(safeMs).toISOString() };
    return { isRunning, ageSeconds: 2, report: { ...WATCH, repositories: [{ ...primary, ...own }] } };
  };
  assert.equal(safeUntilMs("primary", WINDOW, state(AT), AT), AT);
  assert.equal(
    safeUntilMs("primary", WINDOW, state(END + 1), AT),
    END + 1,
    "the server is away since: its log, as it was then",
  );
  assert.equal(safeUntilMs("primary", WINDOW, state(END - 1), AT), END, "what lies in it is there");
  assert.equal(
    safeUntilMs("primary", WINDOW, state(AT, false), AT),
    AT,
    "so it was when a watch that is dead wrote last",
  );
  assert.equal(safeUntilMs("primary", WINDOW, state(undefined), AT), END);
  assert.equal(safeUntilMs("offsite", WINDOW, state(AT), AT), END);
  assert.equal(safeUntilMs("primary", undefined, state(AT), AT), undefined, "without a base the log is nothing");
  assert.equal(safeUntilMs("primary", WINDOW, NO_WATCH, AT), END);
});

test("a commit of a clock that was years ahead says nothing of what is safe, and hides no alarm", () => {
  const [range] = WINDOW.ranges;
  assert.ok(range !== undefined);
  const ahead = { ...WINDOW, ranges: [{ ...range, to: "2036-11-23T16:59:57.001000Z" }] };
  assert.equal(safeUntilMs("primary", ahead, NO_WATCH, AT), undefined);
  const [primary] = WATCH.repositories;
  assert.ok(primary !== undefined);
  const report = { ...WATCH, repositories: [{ ...primary, safeUntil: new Date(AT).toISOString() }] };
  const watch = { isRunning: false, ageSeconds: 4_000, report };
  assert.equal(safeUntilMs("primary", ahead, watch, AT), AT);
  const expected = { objectives: { rpoMs: 300_000 }, windowMs: 24 * HOUR, nowMs: AT + HOUR };
  const kinds = windowFindings("primary", { window: ahead, watch }, expected).map(({ kind }) => kind);
  assert.ok(kinds.includes("window-behind"), kinds.join(" "));
});

test("a window that does not reach the objective is an alarm, however new a point is; one that does asks for no point of minutes", () => {
  const dead = { isRunning: false, ageSeconds: 4_000, report: WATCH };
  const objectives = { rpoMs: 300_000 };
  const asked = (nowMs: number, windowMs = 24 * HOUR) => ({ objectives, windowMs, nowMs });
  const kinds = (nowMs: number, watch = dead, windowMs?: number) =>
    windowFindings("primary", { window: WINDOW, watch }, asked(nowMs, windowMs)).map(
      ({ kind, level }) => `${level} ${kind}`,
    );
  assert.deepEqual(kinds(END + 300_000), []);
  assert.deepEqual(kinds(END + 300_001), ["alarm window-behind"]);
  assert.deepEqual(pointObjectives(objectives, END, END + 300_000).rpoMs, 26 * HOUR);
  assert.deepEqual(pointObjectives(objectives, END, END + 300_001).rpoMs, 300_000);
  assert.deepEqual(pointObjectives({ rpoMs: 48 * HOUR }, END, END).rpoMs, 48 * HOUR);
  assert.deepEqual(kinds(END, dead, 7 * 24 * HOUR), ["note window-short"], "there was a gap three days ago");
  assert.deepEqual(kinds(END + HOUR, { ...dead, report: { ...WATCH, mode: "interval" } }), []);
  const copy = windowFindings("offsite", { window: WINDOW, watch: dead }, asked(END + HOUR));
  assert.deepEqual(copy, [], "what nobody watches into has what copies bring");
});
