import assert from "node:assert/strict";
import { test } from "node:test";
import { type Day, doRemoval, doStage, lookWhenDue, newDay } from "../../src/app/day.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { Failure } from "../../src/base/errors.ts";
import type { Finding } from "../../src/base/findings.ts";
import { silent } from "../../src/base/progress.ts";
import { HandClock } from "../harness/hand-clock.ts";

const DAY_MS = 86_400_000;
const BACKUP = { stage: "backup", repository: null } as const;
const FORGET = { stage: "forget", repository: "primary" } as const;

function open(): { day: Day; s: Surroundings; clock: HandClock; stop: (reason: Failure) => void } {
  const clock = new HandClock();
  const controller = new AbortController();
  const s: Surroundings = {
    signal: controller.signal,
    progress: silent,
    env: {},
    cwd: "/",
    clock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  return { day: newDay(), s, clock, stop: (reason) => controller.abort(reason) };
}

function told({ stages }: Day): unknown[] {
  return stages.map(({ stage, status, exit, why, error }) => [stage, status, exit, why ?? error?.code ?? null]);
}

test("a stage that ends well gives its answer, and what it found makes it 3", async () => {
  const { day, s } = open();
  assert.deepEqual(await doStage({ day, s }, BACKUP, async () => ({ summary: { point: "x" } })), { point: "x" });
  const finding = { kind: "x", level: "alarm", message: "", hint: "" } as const;
  await doStage({ day, s }, BACKUP, async () => ({ summary: {}, findings: [finding] }));
  assert.deepEqual(told(day), [
    ["backup", "done", 0, null],
    ["backup", "done", 3, null],
  ]);
  assert.deepEqual(day.findings, [finding]);
});

test("a stage that fails is told with its code and status, a fault of ours too, and gives nothing", async () => {
  const { day, s } = open();
  for (const error of [new Failure("store/full", "the disk is full"), new TypeError("x is undefined")]) {
    assert.equal(await doStage({ day, s }, BACKUP, () => Promise.reject(error)), undefined);
  }
  assert.deepEqual(told(day), [
    ["backup", "failed", 20, "store/full"],
    ["backup", "failed", 70, "internal/bug"],
  ]);
});

test("whatever a stage says when the run is stopped, it was stopped", async () => {
  const { day, s, stop } = open();
  await doStage({ day, s }, BACKUP, async () => {
    stop(new Failure("run/cancelled", "stopped by SIGTERM"));
    return await Promise.reject(new Failure("database/unreachable", "the socket closed"));
  });
  assert.equal(await doRemoval({ day, s }, FORGET, async () => ({ summary: {} })), false);
  assert.deepEqual(told(day), [
    ["backup", "failed", 130, "run/cancelled"],
    ["forget", "skipped", 0, "the run was stopped"],
  ]);
});

test("credentials that cannot delete are a note and no failure; other trouble is one", async () => {
  const { day, s } = open();
  const denied = new Failure("store/denied", "snapshots may not be deleted in 'rest:x'");
  assert.equal(await doRemoval({ day, s }, FORGET, () => Promise.reject(denied)), false);
  assert.equal(await doRemoval({ day, s }, FORGET, () => Promise.reject(new Failure("repo/locked", "x"))), false);
  assert.equal(await doRemoval({ day, s }, FORGET, async () => ({ summary: {} })), true);
  assert.deepEqual(told(day), [
    ["forget", "skipped", 0, "snapshots may not be deleted in 'rest:x'"],
    ["forget", "failed", 11, "repo/locked"],
    ["forget", "done", 0, null],
  ]);
  assert.deepEqual(
    day.findings.map(({ kind, level, subject }) => [kind, level, subject]),
    [["removal-denied", "note", "primary"]],
  );
});

test("a base that is being taken all the time puts a removal off with a note, and is an alarm when it did so for a week", async () => {
  const { day: first, s, clock } = open();
  const busy = new Failure("repo/locked", "used by chatkeep-watch", { retryAfterMs: 1000 });
  const repositories = [{ name: "primary", trouble: null, newest: null, proven: null, prunedAt: null }];
  let day: Day = { ...first, repositories };
  const nextDay = () => (day = { ...newDay(), repositories: day.repositories });
  const levels: unknown[] = [];
  for (let run = 0; run < 9; run += 1) {
    assert.equal(await doRemoval({ day, s }, FORGET, () => Promise.reject(busy)), false);
    assert.deepEqual(told(day), [["forget", "skipped", 0, "a watch takes a base there"]]);
    levels.push(...day.findings.map(({ kind, level, subject }) => `${level} ${kind} ${subject ?? ""}`));
    await clock.advance(DAY_MS);
    nextDay();
  }
  const note = "note removal-put-off primary";
  assert.deepEqual(levels, [...Array<string>(7).fill(note), ...Array<string>(2).fill("alarm removal-put-off primary")]);
  // Once it could be done it counts anew.
  assert.equal(await doRemoval({ day, s }, FORGET, async () => ({ summary: {} })), true);
  nextDay();
  await doRemoval({ day, s }, FORGET, () => Promise.reject(busy));
  assert.deepEqual(
    day.findings.map(({ level }) => level),
    ["note"],
  );
});

test("a look is due a week after the first run, then every week; 'never' is never, and a stopped run looks at nothing", async () => {
  const { day, s, clock, stop } = open();
  let looked = 0;
  const work = async () => {
    looked += 1;
    return { findings: [] };
  };
  const GONE = [6, 1, 1];
  const given = [undefined, undefined, undefined, "never", "daily"];
  for (const [index, often] of given.entries()) {
    await lookWhenDue({ day, s }, { name: "scrub", often }, work);
    await clock.advance((GONE[index] ?? 0) * DAY_MS);
  }
  stop(new Failure("run/cancelled", "stopped by SIGTERM"));
  await lookWhenDue({ day, s }, { name: "doctor", often: "daily" }, work);
  assert.deepEqual(
    day.stages.map(({ stage, status, why }) => [stage, status, why]),
    [
      ["scrub", "skipped", "next in 7 days"],
      ["scrub", "skipped", "next in 24 h 0 min"],
      ["scrub", "done", null],
      ["scrub", "skipped", "switched off"],
      ["scrub", "done", null],
      ["doctor", "skipped", "the run was stopped"],
    ],
  );
  assert.equal(looked, 2);
});

function finding(kind: string, level: "alarm" | "note", subject?: string): Finding {
  return { kind, level, message: "", hint: "", ...(subject === undefined ? {} : { subject }) };
}

test("a look tells what needs somebody and was not told yet; one that cannot look fails nothing, and is tried again", async () => {
  const { day, s } = open();
  const long = { scrub: "1960-01-01T00:00:00Z", doctor: "1960-01-01T00:00:00Z" };
  day.looks = { ...long };
  day.findings.push(finding("disk-low", "alarm", "/srv"), finding("bucket-public", "note"));
  const found = [
    finding("disk-low", "alarm", "/srv"),
    finding("disk-low", "alarm", "/var"),
    finding("bucket-public", "alarm"),
    finding("nobody-told", "note"),
  ];
  await lookWhenDue({ day, s }, { name: "doctor", often: undefined }, async () => ({ findings: found }));
  await lookWhenDue({ day, s }, { name: "scrub", often: undefined }, () =>
    Promise.reject(new Failure("database/unreachable", "no answer", { hint: "Start it." })),
  );
  assert.deepEqual(told(day), [
    ["doctor", "done", 3, null],
    ["scrub", "done", 3, null],
  ]);
  assert.deepEqual(
    day.findings.slice(2).map(({ kind, level, subject }) => [kind, level, subject]),
    [
      ["disk-low", "alarm", "/var"],
      ["bucket-public", "alarm", undefined],
      ["look-failed", "warning", "scrub"],
    ],
  );
  assert.equal(day.looks.scrub, long.scrub);
  assert.notEqual(day.looks.doctor, long.doctor);
});

test("what a clock that was years ahead dated is due at once when that is set right", async () => {
  const { day, s } = open();
  day.looks.scrub = "2036-11-28T12:00:00.000Z";
  let looked = 0;
  const work = async () => {
    looked += 1;
    return { findings: [] };
  };
  for (let times = 0; times < 2; times += 1) await lookWhenDue({ day, s }, { name: "scrub", often: "weekly" }, work);
  assert.equal(looked, 1);
});
