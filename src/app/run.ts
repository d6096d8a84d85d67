/** The daily run: one at a time on this machine, watched by a dead-man's switch, told to people, kept in a status file. */
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { discreetly, sortFindings } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { formatMetrics } from "../job/run-metrics.ts";
import { describeRun } from "../job/run-notice.ts";
import { outcomeOf, type RunStatus, type RunSummary, statusAfter, worstExit } from "../job/run-summary.ts";
import type { Notice } from "../notify/notice.ts";
import { makeFolders } from "../system/folders.ts";
import { replaceFile } from "../system/replace-file.ts";
import { heldSince, lockRun, type RunLock } from "../system/run-lock.ts";
import { openChannels, openPings, type Pings } from "./channels.ts";
import { type Config, loadConfig, type LoadedConfig } from "./config.ts";
import { type Day, doStage, newDay, workThroughDay } from "./day.ts";
import { type Hook, hookOf, runHook } from "./hooks.ts";
import { PROGRAM } from "./program.ts";
import { readPassword } from "./secrets.ts";
import { markBegun, openStateFolder, readStatus, type StateFolder } from "./state-folder.ts";
import { callSwitch, pingFailed, tellAll } from "./telling.ts";
import { timeZoneOf } from "./tidy.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { readWatch } from "./watched.ts";

/**
 * @throws Failure `run/locked` when another run is under way, and what keeps it from beginning; whatever fails then is in
 * the summary.
 */
export async function runDay(globals: Globals, s: Surroundings): Promise<RunSummary> {
  const { loaded, state } = await prepare(globals, s);
  const { config } = loaded;
  await using lock = await lockOrTell(state, globals, s);
  if (lock.takenOverFrom !== undefined) {
    s.progress.say(`the run that began ${lock.takenOverFrom} never ended: its process is gone`);
  }
  const begun = { atMs: s.clock.now(), monotonicMs: s.clock.monotonic() };
  await markBegun(state, begun.atMs);
  const before = await readStatus(state);
  const day = newDay(before);
  // Also that the redactor knows every secret before a hook prints one.
  await hidePasswords(config, s);
  const listeners = await openChannels(config, s);
  const pings = await findPings(config, day, s);
  day.findings.push(...(await callSwitch(pings.start, { ...s })));
  const watched = async () => await readWatch(loaded, s);
  if (await runBefore(config, day, s)) await workThroughDay({ globals, config, before, watched, day, s });
  await runAfter(config, day, s);
  const summary = summarize({ config, day, before, begun }, s);
  return await finish({ summary, loaded, state, pings, listeners }, s);
}

/** What a run cannot begin without. That it is lacking is told to whoever can be reached. */
async function prepare(globals: Globals, s: Surroundings): Promise<{ loaded: LoadedConfig; state: StateFolder }> {
  try {
    const loaded = await loadConfig(globals, s);
    return { loaded, state: await openStateFolder(loaded, s) };
  } catch (error) {
    if (isFailure(error) && !s.signal.aborted) await (await import("./not-begun.ts")).tellNotBegun(error, globals, s);
    throw error;
  }
}

/** A run that hangs tells nobody, so the next one does. */
async function lockOrTell({ lock }: StateFolder, globals: Globals, s: Surroundings): Promise<RunLock> {
  try {
    return await lockRun(lock, s);
  } catch (error) {
    const since = isFailure(error, "run/locked") ? await heldSince(lock) : undefined;
    if (isFailure(error) && since !== undefined && s.clock.now() - since > LIMITS.runHangsMs) {
      await (await import("./not-begun.ts")).tellNotBegun(error, globals, s, { isOnceADay: true });
    }
    throw error;
  }
}

/** One that cannot be read is told by whoever needs it; one that a command prints is asked for only then. */
async function hidePasswords({ repositories }: Config, s: Surroundings): Promise<void> {
  for (const repository of repositories) {
    if (repository["password-command"] !== undefined) continue;
    await readPassword(repository, s).catch((error: unknown) => {
      if (!isFailure(error)) throw error;
    });
  }
}

/** An address that cannot be read must not keep a backup from being made. */
async function findPings(config: Config, day: Day, s: Surroundings): Promise<Pings> {
  try {
    return await openPings(config.ping, s);
  } catch (error) {
    if (!isFailure(error)) throw error;
    day.findings.push(pingFailed(error));
    return { start: undefined, success: undefined, failure: undefined };
  }
}

/** False when the day's work must not begin. */
async function runBefore({ hooks, installation }: Config, day: Day, s: Surroundings): Promise<boolean> {
  const hook = hookOf(hooks?.before);
  if (hook === undefined) return true;
  const facts = { hook: "before", installation, point: undefined, exit: undefined, outcome: undefined } as const;
  s.progress.stage("running the hook before");
  const done = await doStage({ day, s }, { stage: "hook before", repository: null }, async () => {
    return { summary: {}, findings: await tryHook(hook, hook.isIgnored, () => runHook(hook, facts, s)) };
  });
  return done !== undefined;
}

async function runAfter({ hooks, installation }: Config, day: Day, s: Surroundings): Promise<void> {
  const hook = hookOf(hooks?.after);
  if (hook === undefined || s.signal.aborted) return;
  const exit = worstExit(day.stages, day.findings);
  const facts = { hook: "after", installation, point: day.point, exit, outcome: outcomeOf(exit) } as const;
  s.progress.stage("running the hook after");
  // What was made stays made: that it fails is a finding.
  await doStage({ day, s }, { stage: "hook after", repository: null }, async () => {
    return { summary: {}, findings: await tryHook(hook, true, () => runHook(hook, facts, s)) };
  });
}

async function tryHook({ isIgnored }: Hook, isFinding: boolean, work: () => Promise<void>): Promise<Finding[]> {
  try {
    await work();
    return [];
  } catch (error) {
    if (!isFinding || !isFailure(error, "hook/failed")) throw error;
    const level = isIgnored ? "note" : "warning";
    return [{ kind: "hook-failed", level, message: error.message, hint: error.hint ?? "See what it printed." }];
  }
}

interface Ended {
  config: Config;
  day: Day;
  before: RunStatus | undefined;
  begun: { atMs: number; monotonicMs: number };
}

function summarize({ config, day, before, begun }: Ended, { clock }: Surroundings): RunSummary {
  const exit = worstExit(day.stages, day.findings);
  const outcome = outcomeOf(exit);
  const { id, name } = config.installation;
  const startedAt = formatInstant(begun.atMs);
  return {
    type: "summary",
    verb: "run",
    installation: { id, name },
    host: hostname(),
    startedAt,
    endedAt: formatInstant(clock.now()),
    seconds: Math.round((clock.monotonic() - begun.monotonicMs) / 100) / 10,
    outcome,
    exit,
    stages: day.stages,
    repositories: day.repositories,
    looks: day.looks,
    lastSuccess: before?.lastSuccess ?? null,
    failingSince: outcome === "failure" ? (before?.failingSince ?? startedAt) : null,
    notices: [],
    findings: sortFindings(day.findings),
  };
}

interface Finishing {
  summary: RunSummary;
  loaded: LoadedConfig;
  state: StateFolder;
  pings: Pings;
  listeners: Awaited<ReturnType<typeof openChannels>>;
}

/** The status first: it must be there also when telling takes long. What telling adds goes into it once more. */
async function finish({ summary, loaded, state, pings, listeners }: Finishing, s: Surroundings): Promise<RunSummary> {
  const { config } = loaded;
  const withFiles = addFindings(summary, await writeStatus(summary, config, state, s));
  // A run that was stopped says so all the same, in bounds.
  const signal = s.signal.aborted ? AbortSignal.timeout(LIMITS.lastWordsMs) : s.signal;
  const tools = { ...s, signal, folder: state.notices };
  s.progress.stage("telling how it went");
  const told = await tellAll(listeners, noticeOf(withFiles, config), tools);
  const url = summary.outcome === "failure" ? pings.failure : pings.success;
  const pinged = await callSwitch(url, tools);
  const notices = { ...withFiles, notices: told.notices };
  const whole = addFindings(notices, [...told.findings, ...pinged]);
  if (whole !== notices) await writeStatus(whole, config, state, s);
  return whole;
}

function addFindings(summary: RunSummary, more: readonly Finding[]): RunSummary {
  if (more.length === 0) return summary;
  const findings = sortFindings([...summary.findings, ...more]);
  const exit = worstExit([...summary.stages, summary], findings);
  return { ...summary, findings, exit, outcome: outcomeOf(exit) };
}

function noticeOf(summary: RunSummary, config: Config): Notice {
  const { title, text } = describeRun(summary, timeZoneOf(config));
  const { installation, host, startedAt, endedAt, exit, outcome, stages, findings } = summary;
  return {
    outcome,
    title,
    text,
    facts: {
      installation,
      host,
      startedAt,
      endedAt,
      exit,
      stages: stages.map(({ stage, repository, status, why, error }) => ({ stage, repository, status, why, error })),
      findings: discreetly(findings).map(({ kind, level, message, hint }) => ({ kind, level, message, hint })),
    },
  };
}

/** Readable by others where the configuration names them: whoever watches is somebody else. */
async function writeStatus(
  summary: RunSummary,
  config: Config,
  state: StateFolder,
  s: Surroundings,
): Promise<Finding[]> {
  const status = s.redact(statusAfter(summary, PROGRAM));
  const text = `${JSON.stringify(status, null, 1)}\n`;
  const own = { path: state.status, text, mode: 0o600 };
  const named = [
    ...(config["status-file"] === undefined ? [] : [{ path: config["status-file"], text, mode: 0o644 }]),
    ...(config["metrics-file"] === undefined
      ? []
      : [{ path: config["metrics-file"], text: formatMetrics(status), mode: 0o644 }]),
  ];
  const findings: Finding[] = [];
  for (const { path, text, mode } of [own, ...named]) {
    const file = resolve(s.cwd, path);
    try {
      await makeFolders(dirname(file));
      await replaceFile(file, text, mode);
    } catch (error) {
      if (error instanceof Failure) throw error;
      findings.push({
        kind: "status-not-written",
        level: "warning",
        subject: file,
        message: `'${file}' cannot be written: ${messageOf(error)}`,
        hint: "Who watches that file sees an older run. Make room, or let Chatkeep write there.",
      });
    }
  }
  return findings;
}
