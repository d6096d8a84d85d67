/** Whether a time after the last commit of the log is that commit's moment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lastCommitBefore } from "../../src/job/last-commit.ts";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { type Window, windowOf } from "../../src/policy/window.ts";
import { formatMicros } from "../../src/point/continuous.ts";
import { formatLsn } from "../../src/wal/lsn.ts";

const SECOND = 1_000_000n;
const COMMIT = 1_764_000_000n * SECOND;
const LINE = { systemId: "7", timeline: 1 };

function window(to: bigint): Window {
  const base = {
    ...LINE,
    id: "A",
    segmentBytes: 16,
    from: 0n,
    to: 8n,
    beganUs: COMMIT - 60n * SECOND,
    endedUs: undefined,
  };
  const piece = { ...LINE, from: 0n, to, firstCommitUs: COMMIT - 30n * SECOND, lastCommitUs: COMMIT };
  return windowOf({ bases: [base], pieces: [piece], histories: [] });
}

function report(evenUs: bigint | undefined, line: { systemId: string; timeline: number } = LINE): WatchStatus {
  const even = evenUs === undefined ? {} : { even: { at: formatMicros(evenUs), lsn: formatLsn(40n) } };
  return { log: { ...line, ...even } } as unknown as WatchStatus;
}

test("a time after the last commit is that commit's where all that the server had by then is there", () => {
  const two = COMMIT + 120n * SECOND;
  const known = report(COMMIT + 180n * SECOND);
  assert.equal(lastCommitBefore(window(40n), two, known), COMMIT);
  assert.equal(lastCommitBefore(window(48n), two, known), COMMIT);
  assert.equal(lastCommitBefore(window(39n), two, known), undefined, "this repository lacks some of it");
  assert.equal(lastCommitBefore(window(40n), COMMIT, known), undefined, "the window has it");
});

test("nobody knows it without a report, of another server, or of a time that was just over", () => {
  const asked = COMMIT + 120n * SECOND;
  const all = window(40n);
  assert.equal(lastCommitBefore(all, asked, undefined), undefined);
  assert.equal(lastCommitBefore(all, asked, report(undefined)), undefined);
  assert.equal(lastCommitBefore(all, asked, { log: null } as WatchStatus), undefined);
  const late = COMMIT + 180n * SECOND;
  assert.equal(lastCommitBefore(all, asked, report(late, { ...LINE, systemId: "8" })), undefined);
  assert.equal(lastCommitBefore(all, asked, report(late, { ...LINE, timeline: 2 })), undefined);
  assert.equal(lastCommitBefore(all, asked, report(asked + 9n * SECOND)), undefined, "it may not be in the log yet");
  assert.equal(lastCommitBefore(all, asked, report(asked + 10n * SECOND)), COMMIT);
});
