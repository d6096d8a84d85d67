import assert from "node:assert/strict";
import { test } from "node:test";
import { type Day, doRemoval, doStage, newDay } from "../../src/app/day.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { Failure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { HandClock } from "../harness/hand-clock.ts";

const BACKUP = { stage: "backup", repository: null } as const;
const FORGET = { stage: "forget", repository: "primary" } as const;

function open(): { day: Day; s: Surroundings; stop: (reason: Failure) => void } {
  const controller = new AbortController();
  const s: Surroundings = {
    signal: controller.signal,
    progress: silent,
    env: {},
    cwd: "/",
    clock: new HandClock(),
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  return { day: newDay(), s, stop: (reason) => controller.abort(reason) };
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
