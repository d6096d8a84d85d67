/** `guard`: a proven restore point, somebody's own command, and a look whether Chatwoot is well after it. */
import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { keepImages } from "../installation/images.ts";
import { readReleases } from "../installation/releases.ts";
import { judge, type Judged } from "../job/guard-judge.ts";
import { type Looked, lookAround, settle } from "../job/guard-look.ts";
import { type GuardedPoint, type GuardRecord, readGuard, refuseUnfinished, writeGuard } from "../job/guard-record.ts";
import { refuseUnfinished as refuseUnfinishedRestore } from "../job/restore-journals.ts";
import type { GuardSummary } from "../job/guard-summary.ts";
import { type AttachedResult, runAttached } from "../system/attached.ts";
import { lockRun } from "../system/run-lock.ts";
import { fallLimitsOf } from "./alarms.ts";
import { loadConfig, type LoadedConfig } from "./config.ts";
import { commandOf, shownCommand } from "./guard-command.ts";
import { holdGuarded, releaseGuarded } from "./guard-hold.ts";
import { type PointFlags, provePoint } from "./guard-point.ts";
import { type FoundInstallation, openInstallation } from "./installation.ts";
import { type Point, type PointList, pointOfSnapshot } from "../job/points.ts";
import { guardFile, openStateFolder, type StateFolder } from "./state-folder.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface GuardFlags extends PointFlags {
  /** What stood behind `--`. */
  command: readonly string[];
}

export interface CheckFlags {
  /** How long Chatwoot may take to be well, milliseconds. */
  waitMs: number;
  /** Our standard output is a program's to read. */
  isOutputTaken: boolean;
}

/** An opened state folder, and the only run on this machine. */
export interface GuardSession {
  globals: Globals;
  loaded: LoadedConfig;
  state: StateFolder;
  s: Surroundings;
}

/**
 * Holds the lock of the daily run: neither a backup in the middle of a migration, nor two at once.
 * @throws Failure `run/locked` when another run is under way.
 */
export async function withGuard<T>(
  globals: Globals,
  s: Surroundings,
  work: (session: GuardSession) => Promise<T>,
): Promise<T> {
  const loaded = await loadConfig(globals, s);
  const state = await openStateFolder(loaded, s);
  await using lock = await lockRun(state.lock, s);
  if (lock.takenOverFrom !== undefined) s.progress.say(`the run of ${lock.takenOverFrom} is gone, and left its lock`);
  return await work({ globals, loaded, state, s });
}

/**
 * @param onCommand called just before the command has the terminal.
 * @throws Failure before the command is begun: then nothing was changed. Whatever comes after is in the summary.
 */
export async function runGuard(
  globals: Globals,
  flags: GuardFlags & CheckFlags,
  s: Surroundings,
  onCommand: () => void,
): Promise<GuardSummary> {
  return await withGuard(globals, s, async (session) => {
    const started = s.clock.monotonic();
    const file = guardFile(session.state);
    refuseUnfinished(await readGuard(file));
    await refuseUnfinishedRestore(join(session.state.path, "restore"));
    const words = await commandOf(flags.command, s);
    const { point, findings } = await provePoint(globals, flags, s);
    const salt = randomBytes(16).toString("hex");
    const before = await look(session, salt);
    const record: GuardRecord = {
      schema: 1,
      id: randomUUID(),
      startedAt: formatInstant(s.clock.now()),
      command: s.redact(shownCommand(flags.command)),
      point,
      stage: "running",
      salt,
      // What a service said of itself may hold anything.
      before: { ...before, health: s.redact(before.health), worries: s.redact(before.worries) },
      ended: null,
    };
    if (before.project !== null) await keepImages(before.project, s);
    await writeGuard(file, record);
    findings.push(...(await holdGuarded(globals, point, s)));
    s.progress.say(`restore point ${shortId(point.id)} is proven; now: ${record.command}`);
    onCommand();
    const ended = await runAttached(words, {
      cwd: s.cwd,
      env: s.env,
      isOutputTaken: flags.isOutputTaken,
      takeSignals: s.takeSignals,
    });
    // Whether it only needs longer is no question where its command failed, and somebody waits for the answer.
    const waitMs = ended.status === 0 ? flags.waitMs : 0;
    const summary = await finish(session, { ...record, ended }, { ...flags, waitMs });
    const seconds = Math.round((s.clock.monotonic() - started) / 100) / 10;
    return { ...summary, seconds, findings: [...findings, ...beforeFindings(before), ...summary.findings] };
  });
}

/** Looks again at what an earlier one left. @throws Failure `usage/invalid` where there is none. */
export async function checkGuard(globals: Globals, flags: CheckFlags, s: Surroundings): Promise<GuardSummary> {
  return await withGuard(globals, s, async (session) => {
    const record = await lastGuard(session);
    if (record.stage === "going-back") refuseUnfinished(record);
    return await finish(session, record, flags);
  });
}

/** Says that nothing is left to do. */
export async function forgetGuard(globals: Globals, s: Surroundings): Promise<GuardSummary> {
  return await withGuard(globals, s, async (session) => {
    const record = await lastGuard(session);
    await writeGuard(guardFile(session.state), { ...record, stage: "forgotten" });
    const findings = await releaseGuarded(globals, record.point, s);
    return { ...summaryOf(record, { outcome: "forgotten" }), findings };
  });
}

/** @throws Failure `usage/invalid` where there is none that something could be done about. */
export async function lastGuard({ state }: GuardSession): Promise<GuardRecord> {
  const record = await readGuard(guardFile(state));
  if (record !== undefined && record.stage !== "forgotten" && record.stage !== "back") return record;
  throw new Failure("usage/invalid", "no guard left anything to do on this machine", {
    hint: "'chatkeep guard -- COMMAND' begins one.",
  });
}

/** Waits, looks and judges; keeps what came of it. */
async function finish(session: GuardSession, record: GuardRecord, { waitMs }: CheckFlags): Promise<GuardSummary> {
  const { globals, state, s } = session;
  const started = s.clock.monotonic();
  const file = guardFile(state);
  await writeGuard(file, { ...record, stage: record.stage === "running" ? "ran" : record.stage });
  const { judged, after } = await lookAndJudge(session, record, waitMs);
  const isWell = judged.reasons.length === 0;
  await writeGuard(file, { ...record, stage: isWell ? "well" : "wrong" });
  if (isWell) judged.findings.push(...(await releaseGuarded(globals, record.point, s)));
  const seconds = Math.round((s.clock.monotonic() - started) / 100) / 10;
  const outcome = isWell ? "well" : "wrong";
  return { ...summaryOf(record, { outcome }), ...judged, after, next: isWell ? WELL : WRONG, seconds };
}

const WELL = [
  "Look at it yourself: log in, open a conversation with a picture, send a message.",
  "If something turns out to be wrong, 'chatkeep guard --back' still puts everything back. What was written since the restore point is then kept beside it, in the database that is put aside.",
];

const WRONG = [
  "Everything as it was: 'chatkeep guard --back'. What was written since the restore point is kept beside it, in the database that is put aside.",
  "Or mend it by hand, then 'chatkeep guard --check' looks again.",
];

export function summaryOf(record: GuardRecord, { outcome }: Pick<GuardSummary, "outcome">): GuardSummary {
  const { command, ended, point, before } = record;
  return {
    type: "summary",
    verb: "guard",
    outcome,
    command,
    status: ended?.status ?? null,
    signal: ended?.signal ?? null,
    point: point.id,
    repository: point.repository,
    takenAt: point.takenAt,
    before: before.version,
    after: null,
    changes: [],
    reasons: [],
    back: [],
    next: [],
    seconds: 0,
    findings: [],
  };
}

export async function lookAndJudge(
  session: GuardSession,
  { before, salt, ended, stage }: GuardRecord,
  waitMs: number,
): Promise<{ judged: Judged; after: string | null }> {
  const { loaded, s } = session;
  const { config } = loaded;
  const open = async () => await openInstallation(config.installation, s, config.database);
  const isVersionFound = config.installation.version === undefined;
  const health = await settle({ open, waitMs, isVersionFound }, s);
  let after: Looked | undefined;
  let unseen: { message: string; hint: string } | undefined;
  try {
    after = await look(session, salt);
  } catch (error) {
    s.signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    unseen = { message: `Chatwoot could not be looked at: ${error.message}`, hint: error.hint ?? "See why." };
  }
  // Who looks again later asks how it is now; nobody saw how the command of a guard that was killed ended.
  const command: AttachedResult = (stage === "running" ? ended : null) ?? { status: 0, signal: null };
  const limits = fallLimitsOf(config.alarms);
  const judged = judge({ before, after, unseen, command, health, limits, known: await readReleases() });
  return { judged, after: after?.version ?? null };
}

export async function openGuarded({ loaded: { config }, s }: GuardSession): Promise<FoundInstallation> {
  return await openInstallation(config.installation, s, config.database);
}

/** The very point, whatever else has come to have its name. @throws Failure `point/not-found`. */
export function pointOf(list: PointList, { id, snapshot }: GuardedPoint): Point {
  const named = [...list.points, ...list.moments].find((one) => one.id === id);
  const found = pointOfSnapshot(list, snapshot) ?? named;
  if (found !== undefined) return found;
  throw new Failure("point/not-found", `restore point ${shortId(id)} from before the upgrade is no longer there`, {
    hint: "A copy in another repository does as well: name it with --repository.",
  });
}

async function look(session: GuardSession, salt: string): Promise<Looked> {
  const { loaded, s } = session;
  const { config } = loaded;
  const found = await openGuarded(session);
  const { clock, progress, signal } = s;
  return await lookAround({
    found,
    salt,
    storageSettings: async () => await storageSettings(config, s),
    clock,
    progress,
    signal,
  });
}

function beforeFindings({ health, databaseBytes, disks }: Looked): Finding[] {
  const findings: Finding[] = [];
  if (health !== null && !health.isWell) {
    findings.push({
      kind: "guard-was-not-well",
      level: "warning",
      message: `Chatwoot was not well before the command: ${health.detail}`,
      hint: "What is wrong now may have been wrong before.",
    });
  }
  const disk = disks.find(({ what }) => what.includes("PostgreSQL"));
  if (disk !== undefined && disk.freeBytes < databaseBytes * 1.1) {
    findings.push({
      kind: "guard-no-room",
      level: "warning",
      message: `there would have been no room to go back: the database has ${formatBytes(databaseBytes)}, and its disk ${formatBytes(disk.freeBytes)} free`,
      hint: "A restore loads it beside the one that is there. Make room, or give the disk more.",
    });
  }
  return findings;
}
