import assert from "node:assert/strict";
import { test } from "node:test";
import { WATCH } from "../cli/status-summaries.ts";
import { formatMetrics, formatWatchMetrics } from "../../src/job/run-metrics.ts";
import { describeRun } from "../../src/job/run-notice.ts";
import { type RunSummary, statusAfter, worstExit } from "../../src/job/run-summary.ts";
import { RUN, RUN_FAILED } from "../cli/run-summaries.ts";
import { parseMetrics } from "../harness/metrics.ts";

const asText = { serializers: [(text: string) => text] };

const NOTICES: Record<string, RunSummary> = {
  "a run that failed": RUN_FAILED,
  "one of many that failed": { ...RUN_FAILED, failingSince: "2026-11-20T02:31:00.000Z" },
  "a run with findings": { ...RUN, outcome: "finding", exit: 3, findings: RUN_FAILED.findings },
  "a run that went well": RUN,
};

for (const [what, summary] of Object.entries(NOTICES)) {
  test(`what is told of ${what}`, (t) => {
    const { title, text } = describeRun(summary, "Europe/Berlin");
    assert.match(title, /^[\x20-\x7E]+$/);
    t.assert.snapshot(`${title}\n\n${text}`, asText);
  });
}

test("a backup that was made is told apart from one that was not", () => {
  const stages = RUN_FAILED.stages.map((stage) =>
    stage.stage === "drill" ? stage : { ...stage, status: "done" as const },
  );
  const drillFailed = { ...RUN_FAILED, stages };
  assert.doesNotMatch(describeRun(drillFailed, "UTC").title, /NO BACKUP/);
});

test("a run that went well does not say that all is well while files are missing, and tells their ids alone", () => {
  const storage = { blobs: 20, bytes: 20, copied: 0, reused: 8, missing: 12, purged: 0 };
  const stages = RUN.stages.map((stage) => (stage.stage === "backup" ? { ...stage, summary: { storage } } : stage));
  const { title, text } = describeRun({ ...RUN, stages }, "UTC");
  assert.match(title, /backed up; 12 files missing, as before$/);
  assert.match(text, /^ {2}12 files are missing or damaged, as before\. 'chatkeep show' names them\.$/m);

  const named = { message: "1 file is not there: voice.ogg (blob 1)", discreet: "1 file is not there: blob 1" };
  const findings = [{ kind: "blobs-missing", level: "alarm", hint: "", ...named }] as const;
  const found: RunSummary = { ...RUN, outcome: "finding", exit: 3, findings: [...findings] };
  const told = JSON.stringify([describeRun(found, "UTC"), statusAfter(found, "chatkeep 0")]);
  assert.match(told, /not there: blob 1/);
  assert.doesNotMatch(told, /voice/);
});

function exits(...all: number[]): number {
  return worstExit(
    all.map((exit) => ({ exit })),
    [],
  );
}

test("the worst status is the first in the documented order", () => {
  assert.equal(exits(0, 0), 0);
  assert.equal(exits(0, 3), 3);
  assert.equal(exits(3, 1, 0), 1);
  assert.equal(exits(1, 20, 11), 20);
  assert.equal(exits(20, 13), 13);
  assert.equal(exits(70, 130), 130);
  assert.equal(worstExit([{ exit: 0 }], [{ kind: "x", level: "warning", message: "", hint: "" }]), 3);
  assert.equal(worstExit([{ exit: 0 }], [{ kind: "x", level: "note", message: "", hint: "" }]), 0);
});

test("the metrics are what Prometheus reads, with the times as gauges", () => {
  const families = parseMetrics(formatMetrics(statusAfter(RUN, "chatkeep 0")));
  const value = (name: string, labels: Record<string, string> = {}) =>
    families.get(`chatkeep_${name}`)?.samples.find((sample) => {
      return Object.entries(labels).every(([label, wanted]) => sample.labels[label] === wanted);
    })?.value;
  assert.equal(value("last_success_timestamp_seconds"), Date.parse(RUN.endedAt) / 1000);
  assert.equal(value("last_run_outcome", { outcome: "success" }), 1);
  assert.equal(value("last_run_outcome", { outcome: "failure" }), 0);
  assert.equal(
    value("newest_point_timestamp_seconds", { repository: "primary" }),
    Date.parse(RUN.repositories[0]?.newest?.at ?? "") / 1000,
  );
  assert.equal(value("newest_proof_timestamp_seconds", { repository: "offsite" }), undefined, "never proven");
  assert.equal(value("repository_up", { repository: "offsite" }), 0);
  for (const { type } of families.values()) assert.equal(type, "gauge");
});

test("the window has its times, and a watch's own file what changes by the second", () => {
  const [first] = RUN.repositories;
  assert.ok(first !== undefined);
  const window = { from: "2026-11-17T02:00:04.000000Z", to: "2026-11-23T16:59:57.500000Z" };
  const run = parseMetrics(formatMetrics(statusAfter({ ...RUN, repositories: [{ ...first, window }] }, "chatkeep 0")));
  const ends = ["start", "end"].map((name) => run.get(`chatkeep_window_${name}_timestamp_seconds`)?.samples[0]?.value);
  assert.deepEqual(ends, [Date.parse("2026-11-17T02:00:04Z") / 1000, Date.parse("2026-11-23T16:59:57.500Z") / 1000]);
  assert.ok(!formatMetrics(statusAfter(RUN, "chatkeep 0")).includes("chatkeep_window"), "no window, no sample");

  const watch = parseMetrics(formatWatchMetrics(WATCH, "acme"));
  const samples = (name: string) =>
    watch.get(`chatkeep_watch_${name}`)?.samples.map(({ labels, value }) => `${labels["repository"] ?? ""} ${value}`);
  assert.deepEqual(samples("lag_bytes"), [" 232"]);
  assert.deepEqual(samples("lag_seconds"), [" 1.2"]);
  assert.deepEqual(samples("files_waiting"), ["primary 1", "usb 25"]);
  assert.deepEqual(samples("repository_up"), ["primary 1", "usb 0"]);
  assert.deepEqual(samples("report_timestamp_seconds"), [` ${Date.parse(WATCH.at) / 1000}`]);
  assert.equal(samples("safe_until_timestamp_seconds"), undefined, "nothing is known of when it had everything");
  const { log } = WATCH;
  const repositories = WATCH.repositories.map((one) => ({ ...one, safeUntil: WATCH.at }));
  const silent = formatWatchMetrics({ ...WATCH, repositories, log: log && { ...log, heard: WATCH.since } }, "acme");
  assert.match(silent, new RegExp(`server_heard_timestamp_seconds{.*} ${Date.parse(WATCH.since) / 1000}\n`));
  assert.match(silent, new RegExp(`safe_until_.*repository="primary"} ${Date.parse(WATCH.at) / 1000}\n`));
  assert.ok(!formatWatchMetrics({ ...WATCH, log: null }, "acme").includes("lag"), "points of minutes have no lag");
  const names = [...watch.keys()].filter((name) => run.has(name));
  assert.deepEqual(names, [], "one name in two files is read as none");
});

test("a failed run keeps the time of the last that went well", () => {
  const status = statusAfter(RUN_FAILED, "chatkeep 0");
  assert.equal(status.lastSuccess, RUN_FAILED.lastSuccess);
  assert.equal(statusAfter(RUN, "chatkeep 0").lastSuccess, RUN.endedAt);
});

test("names with quotes and line ends do not break the metrics", () => {
  const odd = 'a "b"\\\nc';
  const [first] = RUN.repositories;
  assert.ok(first !== undefined);
  const text = formatMetrics(statusAfter({ ...RUN, repositories: [{ ...first, name: odd }] }, "chatkeep 0"));
  const [sample] = parseMetrics(text).get("chatkeep_repository_up")?.samples ?? [];
  assert.equal(sample?.labels["repository"], odd);
});
