/** What `status` and `list` answer, for the tests of the reports. */
import type { WatchStatus } from "../../src/job/watch-book.ts";
import type { WindowReport } from "../../src/job/window-summary.ts";
import type { StatusSummary } from "../../src/job/status-summary.ts";

const ONE = "0a61c0de-0000-4000-8000-000000000001";
const SYSTEM = "7000000000000000001";

export const WINDOW: WindowReport = {
  installation: ONE,
  ranges: [
    {
      from: "2026-11-17T02:00:04.000000Z",
      to: "2026-11-20T11:30:12.123456Z",
      timeline: 1,
      timelines: [1],
      systemId: SYSTEM,
      bases: 1,
      left: null,
    },
    {
      from: "2026-11-20T12:02:40.000000Z",
      to: "2026-11-23T16:59:57.001002Z",
      timeline: 2,
      timelines: [1, 2],
      systemId: SYSTEM,
      bases: 2,
      left: null,
    },
  ],
  gaps: [
    {
      reason: "log-missing",
      from: "2026-11-20T11:30:12.123456Z",
      to: "2026-11-20T12:02:40.000000Z",
      timeline: 1,
      systemId: SYSTEM,
    },
  ],
  lastBase: { at: "2026-11-22T02:00:04.000000Z", bytes: 2_147_483_648 },
  moments: [
    {
      point: "5b".padEnd(64, "7"),
      moment: "2026-11-23T11:31:00.000000Z",
      timeline: 2,
      madeAt: "2026-11-23T12:00:00.000Z",
      provenAt: "2026-11-23T13:00:00Z",
    },
    {
      point: "6c".padEnd(64, "8"),
      moment: "2026-11-20T09:00:00.000000Z",
      timeline: 1,
      madeAt: "2026-11-23T12:30:00.000Z",
      provenAt: null,
    },
  ],
  recovery: {
    seconds: 152,
    bytes: { base: 2_147_483_648, log: 314_572_800 },
    rates: {
      base: { bytesPerSecond: 80 * 1024 * 1024, measurements: 4 },
      log: { bytesPerSecond: 20 * 1024 * 1024, measurements: 0 },
    },
    saveSeconds: 12,
    loadSeconds: 34,
  },
  unusable: 0,
};

export const WATCH: WatchStatus = {
  schema: 1,
  program: "chatkeep 0.1.0",
  host: "desk-1",
  pid: 4711,
  since: "2026-11-20T12:02:00.000Z",
  at: "2026-11-23T16:59:58.000Z",
  mode: "stream",
  why: null,
  log: {
    systemId: SYSTEM,
    timeline: 2,
    server: "0/9000148",
    received: "0/9000148",
    durable: "0/9000060",
    lagBytes: 232,
    lagSeconds: 1.2,
    lastCommit: "2026-11-23T16:59:57.001002Z",
    slot: {
      name: "chatkeep_0a61c0de",
      permanent: true,
      retainedBytes: 16_777_216,
      safeBytes: 1_056_964_608,
      status: "reserved",
    },
  },
  points: null,
  repositories: [
    { name: "primary", durable: "0/9000060", files: 214, filesWaiting: 1, trouble: null, since: null },
    {
      name: "usb",
      durable: "0/8000000",
      files: 190,
      filesWaiting: 25,
      trouble: "there is no repository in '/mnt/usb'",
      since: "2026-11-23T16:40:00.000Z",
    },
  ],
  base: { at: "2026-11-22T02:00:04.000Z", repository: "primary", bytes: 2_147_483_648, seconds: 61 },
  findings: [],
};

const NEWEST = { point: "3f".padEnd(64, "1"), at: "2026-11-23T02:30:00.000Z", ageSeconds: 52_200 };
const PROVEN = { point: "2e".padEnd(64, "1"), at: "2026-11-22T03:00:00.000Z", ageSeconds: 136_800 };

const SAFE = { at: "2026-11-23T16:59:57.000Z", ageSeconds: 3 };

export const STATUS: StatusSummary = {
  type: "summary",
  verb: "status",
  installation: { id: ONE, name: "acme" },
  objectives: { rpoSeconds: 300, rtoSeconds: 7_200, drillSeconds: 691_200 },
  lastBackup: { repository: "primary", ...NEWEST },
  newestMoment: { repository: "primary", ...SAFE },
  lastProof: { repository: "primary", ...PROVEN },
  run: {
    endedAt: "2026-11-23T02:41:00.000Z",
    ageSeconds: 51_540,
    outcome: "success",
    exit: 0,
    lastSuccess: "2026-11-23T02:41:00.000Z",
    failingSince: null,
  },
  watch: { isRunning: true, ageSeconds: 2, report: WATCH },
  repositories: [
    {
      name: "primary",
      trouble: null,
      installations: [
        {
          installation: { id: ONE, name: "acme" },
          points: 14,
          newest: NEWEST,
          proven: PROVEN,
          recoverSeconds: 34,
          safeUntil: SAFE,
          window: WINDOW,
        },
      ],
    },
    {
      name: "usb",
      trouble: { code: "repo/missing", message: "there is no repository in '/mnt/usb'", hint: "Is it mounted?" },
      installations: [],
    },
  ],
  findings: [
    {
      kind: "repo-missing",
      level: "alarm",
      subject: "usb",
      message: "repository 'usb': there is no repository in '/mnt/usb'",
      hint: "Is it mounted?",
    },
  ],
};

/** Nobody has configured anything, and no watch runs. */
export const STATUS_OF_PLACE: StatusSummary = {
  ...STATUS,
  installation: null,
  objectives: { rpoSeconds: 93_600, rtoSeconds: null, drillSeconds: null },
  lastProof: null,
  run: null,
  watch: null,
  repositories: STATUS.repositories.slice(0, 1).map((repository) => ({
    ...repository,
    installations: repository.installations.map((one) => ({
      ...one,
      proven: null,
      recoverSeconds: null,
      window: { ...WINDOW, recovery: WINDOW.recovery && { ...WINDOW.recovery, loadSeconds: null } },
    })),
  })),
  findings: [],
};
