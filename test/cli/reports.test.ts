/** What people read: each report as a whole, so that a change of its words is seen. */
import type { WindowLine } from "../../src/job/window-summary.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { formatFindings, statusOf } from "../../src/cli/findings.ts";
import { plainLook, widthOf } from "../../src/cli/look.ts";
import { formatBackup } from "../../src/cli/reports/backup.ts";
import { formatLost, formatRepair } from "../../src/cli/reports/repair.ts";
import { formatPrune } from "../../src/cli/reports/prune.ts";
import { formatCopy, formatNotCopied } from "../../src/cli/reports/copy.ts";
import { formatDoctor } from "../../src/cli/reports/doctor.ts";
import { formatDrill } from "../../src/cli/reports/drill.ts";
import { formatDatabaseExport, formatExport, formatImport, formatNotImported } from "../../src/cli/reports/export.ts";
import { formatForget } from "../../src/cli/reports/forget.ts";
import { formatGuard, formatReasons } from "../../src/cli/reports/guard.ts";
import { formatHolds } from "../../src/cli/reports/hold.ts";
import { formatAdded, formatInit, formatReturn } from "../../src/cli/reports/init.ts";
import { formatKeys, formatUnreadable } from "../../src/cli/reports/key.ts";
import { formatKit } from "../../src/cli/reports/kit.ts";
import { formatList } from "../../src/cli/reports/list.ts";
import { formatEntries } from "../../src/cli/reports/ls.ts";
import { formatPlan, formatRestored } from "../../src/cli/reports/restore.ts";
import { formatNotify } from "../../src/cli/reports/notify.ts";
import { formatFailures, formatRun } from "../../src/cli/reports/run.ts";
import { formatServers, formatStarted, formatStopped } from "../../src/cli/reports/run-server.ts";
import { formatSchedule } from "../../src/cli/reports/schedule.ts";
import { formatScrub } from "../../src/cli/reports/scrub.ts";
import { formatShow } from "../../src/cli/reports/show.ts";
import { formatStatus } from "../../src/cli/reports/status.ts";
import { MOMENT } from "./moment-entry.ts";
import { STATUS, STATUS_OF_PLACE, WATCH, WINDOW } from "./status-summaries.ts";
import { formatStats, formatUncounted } from "../../src/cli/reports/stats.ts";
import { formatUnlock } from "../../src/cli/reports/unlock.ts";
import { formatProblems, formatVerify } from "../../src/cli/reports/verify.ts";
import { GUARD_BACK, GUARD_HELD, GUARD_WELL, GUARD_WRONG } from "./guard-summaries.ts";
import { NOTIFIED, RUN, RUN_FAILED, SCHEDULED } from "./run-summaries.ts";
import { POINT_SERVED, SERVER_ACCESS, SERVER_STARTED } from "./server-summaries.ts";
import {
  BACKUP,
  COPY,
  DOCTOR,
  DRILL,
  ENTRIES,
  DATABASE_EXPORTED,
  EXPORTED,
  FORGET,
  HOLDS,
  IMPORTED,
  INIT,
  KEYS,
  KIT,
  LIST,
  PLAN,
  PRUNED,
  REPAIRED,
  RESTORED,
  SCRUB,
  SHOW,
  UNLOCK,
  VERIFY,
} from "./summaries.ts";
import { STATS } from "./stats-summary.ts";

/** Of an installation that is protected continuously. */
const WINDOWS: WindowLine[] = [
  {
    installation: "0a61c0de-0000-4000-8000-000000000001",
    from: "2026-11-17T08:00:00.000000Z",
    kept: { bases: 3, spans: 1008 },
    forgotten: { bases: 1, spans: 144, follows: 2, journal: 0 },
  },
];

const LOOK = plainLook(Date.parse("2026-11-23T17:00:00Z"));
/** When the server was heard last. */
const HEARD = "2026-11-23T16:40:00.000Z";
const PROVEN_MOMENT = { point: "b".repeat(64), at: "2026-11-23T16:58:30.000Z", ageSeconds: 90 };
const NARROW = { ...LOOK, width: 60 };
const asText = { serializers: [(text: string) => text] };

const REPORTS: Record<string, string[]> = {
  "a daily run": formatRun(RUN, LOOK),
  "a daily run that failed": [...formatRun(RUN_FAILED, LOOK), ...formatFailures(RUN_FAILED, LOOK)],
  "a daily run, narrow": formatRun(RUN, NARROW),
  "an upgrade that went well": formatGuard(GUARD_WELL, LOOK),
  "an upgrade that went wrong": [...formatReasons(GUARD_WRONG, LOOK), ...formatGuard(GUARD_WRONG, LOOK)],
  "an upgrade that was undone, narrow": formatGuard(GUARD_BACK, NARROW),
  "an upgrade that is undone but for what somebody must decide": formatGuard(GUARD_HELD, LOOK),
  "when it runs": formatSchedule(SCHEDULED, LOOK),
  "what was installed": formatSchedule({ ...SCHEDULED, action: "install", lastRun: null }, LOOK),
  "what was removed": formatSchedule({ ...SCHEDULED, action: "remove", removed: SCHEDULED.installed }, LOOK),
  "trial notices": formatNotify(NOTIFIED, LOOK),
  "who is told": formatNotify({ ...NOTIFIED, tested: false, channels: [] }, LOOK),
  "the keys of a repository": [...formatKeys(KEYS, LOOK), ...formatUnreadable(KEYS)],
  "a key that was added": formatKeys({ ...KEYS, action: "add", added: SHOW.line.point, files: ["/root/maria"] }, LOOK),
  "a key that was removed": formatKeys({ ...KEYS, action: "remove", removed: SHOW.line.point }, LOOK),
  "a password that was changed": formatKeys(
    { ...KEYS, action: "passwd", added: KEYS.keys[0]?.key ?? "", removed: SHOW.line.point },
    LOOK,
  ),
  "a recovery kit": formatKit(KIT, LOOK),
  "a recovery kit without a password": formatKit({ ...KIT, withPassword: false }, LOOK),
  sizes: formatStats(STATS, LOOK),
  "sizes on a narrow terminal": formatStats(STATS, NARROW),
  "sizes of a repository without a point": formatStats({ ...STATS, points: [], otherSizes: [], newest: null }, LOOK),
  "sizes with something that cannot be read": formatUncounted({
    ...STATS,
    damaged: [
      { name: "aa", message: "tree aa is in no pack of the repository", points: [], continuous: [] },
      {
        name: "bb",
        message: "tree bb is damaged",
        points: [SHOW.line.point],
        continuous: ["the base of 2026-11-23T15:58:50Z"],
      },
    ],
  }),
  "a backup": formatBackup(BACKUP, LOOK),
  "a first backup": formatBackup(
    { ...BACKUP, parent: null, storage: { ...BACKUP.storage, missing: 0, purged: 0 } },
    LOOK,
  ),
  "a dry run of a backup": formatBackup({ ...BACKUP, point: null }, LOOK),
  "a backup from a standby": formatBackup(
    { ...BACKUP, database: { ...BACKUP.database, snapshotSeconds: 9.8, standby: { lagSeconds: 12 } } },
    LOOK,
  ),
  "a backup with copies": formatBackup(
    {
      ...BACKUP,
      copies: [
        { repository: "offsite", points: 3, bytes: 12_897_484, brought: 2, ok: true },
        {
          repository: "usb",
          points: 0,
          bytes: 0,
          brought: 0,
          ok: false,
          message: "there is no repository in '/mnt/usb'",
        },
      ],
    },
    LOOK,
  ),
  "a backup into an immutable repository": formatBackup(
    { ...BACKUP, retention: { files: 412, extended: 37, until: "2026-12-09T02:30:11.000Z" } },
    LOOK,
  ),
  "a prune": formatPrune(PRUNED, LOOK),
  "a prune of an immutable repository": formatPrune(
    { ...PRUNED, retained: { packs: 48, bytes: 690_000_000, until: "2026-12-23T02:30:11.000Z" } },
    LOOK,
  ),
  "what a prune would do": formatPrune({ ...PRUNED, dryRun: true, others: ["offsite", "usb"] }, LOOK),
  "a prune with nothing to do": formatPrune(
    {
      ...PRUNED,
      packs: { kept: 310, removed: 0, repacked: 0, unindexed: 0, written: 0 },
      bytes: { before: 6_012_954_214, freed: 0, copied: 0, unused: 104_857_600 },
    },
    LOOK,
  ),
  "a repair": formatRepair({ ...REPAIRED, damaged: REPAIRED.damaged.slice(0, 1), lost: [] }, LOOK),
  "a repair that lacks something": [...formatRepair(REPAIRED, LOOK), ...formatLost(REPAIRED, LOOK)],
  "a repair with nothing to do": formatRepair({ ...REPAIRED, damaged: [], lost: [], fromOther: 0 }, LOOK),
  "a copy": formatCopy(COPY, LOOK),
  "an exported file": formatExport(EXPORTED, LOOK),
  "an exported database": formatDatabaseExport(DATABASE_EXPORTED, LOOK),
  "an exported database as SQL": formatDatabaseExport(
    { ...DATABASE_EXPORTED, format: "plain", file: "/mnt/a b.sql" },
    LOOK,
  ),
  "an exported file with an odd name": formatExport({ ...EXPORTED, file: "/mnt/stick/it's acme.tar" }, LOOK),
  "an export that went on, with a password that was given": formatExport(
    { ...EXPORTED, wasBegun: true, passwordFile: null },
    LOOK,
  ),
  "a server that was left running": formatStarted(SERVER_STARTED, LOOK),
  "a server of a repository and configuration that were named": formatStarted(
    { ...SERVER_STARTED, repository: "rest:https://acme@host/desk" },
    LOOK,
    { config: "/srv/acme desk.yml", repository: "rest:https://acme:secret@host/desk" },
  ),
  "a restore point's server, asked through its socket": formatStarted(
    {
      ...SERVER_STARTED,
      started: {
        ...SERVER_STARTED.started,
        point: POINT_SERVED,
        lastCommitAt: null,
        replayedTo: null,
        access: {
          ...SERVER_ACCESS,
          host: "/var/tmp/chatkeep-recovered-3fa91c/c/s",
          port: 5432,
          url: "postgresql://chatkeep_look_3fa91c@/chatwoot_production?host=%2Fvar%2Ftmp%2Fchatkeep-recovered-3fa91c%2Fc%2Fs&port=5432",
        },
      },
    },
    LOOK,
  ),
  "servers that run": [
    ...formatServers(
      {
        servers: [
          SERVER_STARTED.started,
          { ...SERVER_STARTED.started, id: "77ab01", state: "recovering", access: null },
          { ...SERVER_STARTED.started, id: "90cd12", state: "unseen" },
        ],
      },
      LOOK,
    ),
    ...formatServers({ servers: [] }, LOOK),
  ],
  "servers that were ended": [
    ...formatStopped({ type: "summary", verb: "restore", stopped: ["3fa91c"], others: [] }),
    ...formatStopped({ type: "summary", verb: "restore", stopped: [], others: [] }),
    ...formatStopped({ type: "summary", verb: "restore", stopped: [], others: ["77ab01", "90cd12"] }),
  ],
  "an imported file": formatImport(IMPORTED, LOOK),
  "an imported file whose points were there": formatImport({ ...IMPORTED, imported: [], skipped: 1, others: 0 }, LOOK),
  "an imported file that is damaged": [
    ...formatImport({ ...IMPORTED, failed: COPY.failed }, LOOK),
    ...formatNotImported({ ...IMPORTED, failed: COPY.failed }, LOOK),
  ],
  "a copy with nothing to do": formatCopy({ ...COPY, copied: [], failed: [], skipped: 3 }, LOOK),
  "points that could not be copied": formatNotCopied(COPY, LOOK),
  "what doctor found": formatDoctor(DOCTOR, LOOK),
  "what doctor found where all is well": formatDoctor({ ...DOCTOR, findings: [] }, LOOK),
  "the list of restore points": formatList(LIST, LOOK),
  "the list of restore points on a narrow terminal": formatList(LIST, NARROW),
  "a list with a window": formatList({ ...LIST, points: LIST.points.slice(0, 1), windows: [WINDOW] }, LOOK),
  "how everything is": formatStatus(STATUS, LOOK),
  "how everything is where the watch died": formatStatus(
    { ...STATUS, watch: { isRunning: false, ageSeconds: 4_000, report: WATCH } },
    LOOK,
  ),
  "how everything is where a repository is away since the log began": formatStatus(
    {
      ...STATUS,
      repositories: [],
      watch: {
        isRunning: true,
        ageSeconds: 2,
        report: {
          ...WATCH,
          repositories: WATCH.repositories.map((one) => (one.name === "usb" ? { ...one, durable: null } : one)),
        },
      },
    },
    LOOK,
  ),
  "how everything is where the server is away": formatStatus(
    {
      ...STATUS,
      newestMoment: { repository: "primary", at: HEARD, ageSeconds: 1200 },
      repositories: [],
      watch: {
        isRunning: true,
        ageSeconds: 2,
        report: {
          ...WATCH,
          log: WATCH.log === null ? null : { ...WATCH.log, lagBytes: 0, lagSeconds: 0, heard: HEARD },
        },
      },
    },
    LOOK,
  ),
  "how everything is where a moment was proven, and no restore point": formatStatus(
    {
      ...STATUS,
      watch: null,
      lastProof: null,
      lastMomentProof: { repository: "primary", ...PROVEN_MOMENT },
      repositories: STATUS.repositories.slice(0, 1).map((repository) => ({
        ...repository,
        installations: repository.installations.map((one) => ({ ...one, proven: null, provenMoment: PROVEN_MOMENT })),
      })),
    },
    LOOK,
  ),
  "how everything is where points are made every few minutes": formatStatus(
    {
      ...STATUS,
      findings: [],
      watch: {
        isRunning: true,
        ageSeconds: 2,
        report: {
          ...WATCH,
          mode: "interval",
          why: "the role may not replicate",
          log: null,
          base: null,
          points: { last: "2026-11-23T16:56:00.000Z", seconds: 4, next: "2026-11-23T17:01:00.000Z" },
          repositories: WATCH.repositories.slice(0, 1),
        },
      },
    },
    LOOK,
  ),
  "what a repository has, with no configuration": formatStatus(STATUS_OF_PLACE, LOOK),
  "how everything is before anything was done": formatStatus(
    {
      ...STATUS_OF_PLACE,
      lastBackup: null,
      newestMoment: null,
      repositories: [{ name: "primary", trouble: null, installations: [] }],
    },
    LOOK,
  ),
  "a list with a window where there are other repositories": formatList(
    { ...LIST, points: LIST.points.slice(0, 1), windows: [WINDOW], otherRepositories: ["offsite"] },
    LOOK,
  ),
  "an empty list": formatList({ ...LIST, points: [] }, LOOK),
  "a restore point": formatShow(SHOW, LOOK),
  "a restore point of a moment": formatShow({ ...SHOW, moment: MOMENT }, LOOK),
  "a restore point that nobody has proven": formatShow({ ...SHOW, proof: null }, LOOK),
  "files of a restore point": formatEntries(ENTRIES, LOOK),
  "a look at live files": formatScrub(SCRUB, LOOK),
  "a look at live files on a narrow terminal": formatScrub(SCRUB, NARROW),
  "a look at live files that are all right": formatScrub({ ...SCRUB, problems: [], point: null }, LOOK),
  "a verification": formatVerify(VERIFY, LOOK),
  "a verification without errors": formatVerify({ ...VERIFY, errors: 0, problems: [], bytesRead: 0 }, LOOK),
  "what a verification found": formatProblems(VERIFY, LOOK),
  "a drill": formatDrill(DRILL, LOOK),
  "a drill that proved nothing": formatDrill(
    {
      ...DRILL,
      proven: false,
      recovery: null,
      checks: DRILL.checks.map((check, index) => ({ ...check, ok: index !== 1 })),
    },
    LOOK,
  ),
  "the plan of a restore": formatPlan(PLAN, LOOK),
  "the plan of a restore of a moment": formatPlan({ ...PLAN, moment: MOMENT }, LOOK),
  "the plan of a restore from another repository than the first": formatPlan(
    {
      ...PLAN,
      repository: "offsite",
      repositoryWhy: "it goes to 2026-11-23T10:31:07.482911Z, 'primary' to 2026-11-23T08:02:11.019377Z",
    },
    LOOK,
  ),
  "the plan of a restore into a server of which little is known": formatPlan(
    { ...PLAN, estimate: { diskBytes: 160_432_128, freeBytes: null, seconds: null } },
    LOOK,
  ),
  "the plan of a restore that cannot begin": formatPlan(
    {
      ...PLAN,
      steps: PLAN.steps.slice(0, 1),
      blockers: [
        {
          kind: "database-not-empty",
          level: "alarm",
          message: "database 'chatwoot_new' is not empty: it has 90 tables",
          hint: "Name a new database in --database-url: it is made when it does not exist.",
        },
      ],
    },
    LOOK,
  ),
  "a restore": formatRestored(RESTORED, LOOK),
  "what was forgotten": formatForget(FORGET, LOOK),
  "what would be forgotten": formatForget({ ...FORGET, dryRun: true }, LOOK),
  "nothing to forget": formatForget({ ...FORGET, kept: FORGET.kept.slice(0, 1), forgotten: [], records: 0 }, LOOK),
  "what was forgotten of continuous protection": formatForget(
    { ...FORGET, kept: FORGET.kept.slice(0, 1), continuous: WINDOWS },
    LOOK,
  ),
  "named points that were forgotten": formatForget({ ...FORGET, kept: [] }, LOOK),
  "the holds": formatHolds(HOLDS, LOOK),
  "a repository without holds": formatHolds({ ...HOLDS, holds: [] }, LOOK),
  "a hold": formatHolds({ ...HOLDS, action: "held", changed: true, holds: HOLDS.holds.slice(0, 1) }, LOOK),
  "a hold that is let go": formatHolds({ ...HOLDS, action: "released", holds: HOLDS.holds.slice(0, 1) }, LOOK),
  "locks that were removed": formatUnlock(UNLOCK, LOOK),
  "no lock to remove": formatUnlock({ ...UNLOCK, removed: [], left: [] }, LOOK),
  "an init": formatInit(INIT, LOOK),
  "an init in a container": formatInit({ ...INIT, inContainer: true }, LOOK),
  "an init of one more repository": formatAdded(INIT, LOOK),
  "an init from a repository": formatReturn({ ...INIT, created: false }, LOOK),
};

for (const [name, lines] of Object.entries(REPORTS)) {
  test(name, (t) => {
    t.assert.snapshot(lines.join("\n"), asText);
  });
}

test("no report has lines that end in spaces", () => {
  for (const [name, lines] of Object.entries(REPORTS)) {
    for (const line of lines) assert.equal(line, line.trimEnd(), name);
  }
});

test("on a terminal a list is never wider than it", () => {
  for (const width of [60, 80, 100, 200]) {
    for (const line of formatList(LIST, { ...LOOK, width })) assert.ok(widthOf(line) <= width, `${width}: ${line}`);
  }
});

const FINDINGS: Finding[] = [
  { kind: "tree-dirty", level: "note", message: "the code has 2 uncommitted changes", hint: "They are saved." },
  {
    kind: "file-missing",
    level: "alarm",
    message: "3 uploaded files are missing",
    hint: "Look for them in an older point.",
  },
  { kind: "near-full", level: "warning", message: "the disk is nearly full", hint: "Make room." },
];

test("findings stand worst first, each with a word and its hint", () => {
  assert.deepEqual(formatFindings(FINDINGS, LOOK), [
    "alarm: 3 uploaded files are missing",
    "  Look for them in an older point.",
    "warning: the disk is nearly full",
    "  Make room.",
    "note: the code has 2 uncommitted changes",
    "  They are saved.",
  ]);
});

test("alarms and warnings end with 3, notes with 0", () => {
  assert.equal(statusOf(FINDINGS), 3);
  assert.equal(statusOf(FINDINGS.slice(0, 1)), 0);
  assert.equal(statusOf([]), 0);
});
