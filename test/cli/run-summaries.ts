/** What the daily run and its helpers answer, for the tests of what people read. */
import type { RunSummary } from "../../src/job/run-summary.ts";
import type { NotifySummary, ScheduleSummary } from "../../src/job/schedule-summary.ts";

const FIRST = "4f3a91c2".padEnd(64, "0");
const SECOND = "b07d55e1".padEnd(64, "1");

export const RUN: RunSummary = {
  type: "summary",
  verb: "run",
  installation: { id: "6f1c0000-0000-4000-8000-000000000001", name: "acme" },
  host: "web1",
  startedAt: "2026-11-23T01:42:10.000Z",
  endedAt: "2026-11-23T01:47:31.000Z",
  seconds: 321,
  outcome: "success",
  exit: 0,
  stages: [
    { stage: "backup", repository: null, status: "done", why: null, exit: 0, seconds: 312, error: null, summary: null },
    {
      stage: "drill",
      repository: null,
      status: "skipped",
      why: "next in 5 days",
      exit: 0,
      seconds: 0,
      error: null,
      summary: null,
    },
    {
      stage: "forget",
      repository: "primary",
      status: "done",
      why: null,
      exit: 0,
      seconds: 4.5,
      error: null,
      summary: null,
    },
  ],
  repositories: [
    {
      name: "primary",
      trouble: null,
      newest: { point: FIRST, at: "2026-11-23T01:42:12.000Z" },
      proven: { point: SECOND, at: "2026-11-21T01:50:00.000Z" },
      prunedAt: "2026-11-21T01:55:00.000Z",
    },
    {
      name: "offsite",
      trouble: "s3.example.com does not answer",
      newest: { point: SECOND, at: "2026-11-22T01:40:00.000Z" },
      proven: null,
      prunedAt: null,
    },
  ],
  lastSuccess: "2026-11-22T01:49:00.000Z",
  failingSince: null,
  notices: [{ channel: "ops", kind: "email", delivered: true, isLate: true, message: null }],
  findings: [],
};

export const RUN_FAILED: RunSummary = {
  ...RUN,
  outcome: "failure",
  exit: 20,
  stages: [
    {
      stage: "backup",
      repository: null,
      status: "failed",
      why: null,
      exit: 20,
      seconds: 2,
      error: {
        code: "store/full",
        message: "the disk of '/var/backups/chatkeep' is full",
        hint: "Free some space there; what was saved before is intact.",
      },
      summary: null,
    },
    {
      stage: "drill",
      repository: null,
      status: "failed",
      why: null,
      exit: 1,
      seconds: 40,
      error: {
        code: "drill/not-proven",
        message: "the newest restore point in 'primary' was not proven: rows",
        hint: "Do not count on this point.",
      },
      summary: null,
    },
    {
      stage: "forget",
      repository: "primary",
      status: "skipped",
      why: "the backup failed",
      exit: 0,
      seconds: 0,
      error: null,
      summary: null,
    },
  ],
  failingSince: RUN.startedAt,
  findings: [
    {
      kind: "ping-failed",
      level: "warning",
      message: "the address of 'ping' was not called: hc.example.com answered 503",
      hint: "The service has trouble of its own.",
    },
  ],
};

export const SCHEDULED: ScheduleSummary = {
  type: "summary",
  verb: "schedule",
  action: "show",
  by: "systemd",
  times: "30 2 * * *",
  timeZone: "Europe/Berlin",
  calendar: ["*-*-* 02:30:00 Europe/Berlin"],
  installed: ["/etc/systemd/system/chatkeep-acme.service", "/etc/systemd/system/chatkeep-acme.timer"],
  removed: [],
  manifest: null,
  next: "2026-11-24T01:30:00.000Z",
  lastRun: { startedAt: RUN.startedAt, endedAt: RUN.endedAt, outcome: "failure", exit: 20 },
  lastSuccess: "2026-11-22T01:49:00.000Z",
  findings: [],
};

export const NOTIFIED: NotifySummary = {
  type: "summary",
  verb: "notify",
  tested: true,
  channels: [
    {
      name: "ops",
      kind: "email",
      on: ["failure", "finding"],
      waiting: 2,
      delivered: false,
      message: "mail server smtp.example.com:587: connect ECONNREFUSED",
      hint: "Are server, port and security right, and may this machine reach it?",
    },
    {
      name: "ping",
      kind: "ping",
      on: ["start", "success", "failure"],
      waiting: 0,
      delivered: true,
      message: null,
      hint: null,
    },
  ],
};
