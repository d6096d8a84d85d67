/**
 * The day's work, stage by stage: a backup with its copies, a drill when one is due, then what takes something away, then a look at what no backup sees. A stage
 * that fails is told, and those that make sense without it still run: after a backup or a drill that failed nothing is
 * forgotten or pruned.
 */
import { type Failure, failureOf, isFailure, type ErrorCode } from "../base/errors.ts";
import { type Finding, needsAttention } from "../base/findings.ts";
import { ERRORS } from "../base/errors.ts";
import { formatSpan } from "../base/bytes.ts";
import { shortId } from "../base/ids.ts";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { proofFindings, recoveryFindings } from "../job/objectives.ts";
import type { RepositoryState, RunLooks, RunStage, RunStatus } from "../job/run-summary.ts";
import type { BackupSummary, DrillSummary } from "../job/summaries.ts";
import { type WatchFacts, watchFindings, watchState } from "../job/watch-findings.ts";
import { runBackup } from "./back-up.ts";
import type { Config } from "./config.ts";
import { oftenMs } from "./config-daily.ts";
import { lastLook, look, type LookName } from "./looks.ts";
import { objectivesOf } from "./objectives.ts";
import { surveyRepositories } from "./survey.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface Day {
  stages: RunStage[];
  repositories: RepositoryState[];
  looks: RunLooks;
  findings: Finding[];
  /** Of the point that was made. */
  point: string | undefined;
}

interface Context {
  globals: Globals;
  config: Config;
  before: RunStatus | undefined;
  /** What a watch writes down of itself on this machine, read anew each time: a stage may take long. */
  watched: () => Promise<WatchFacts>;
  day: Day;
  s: Surroundings;
}

/** A day on which nothing was done yet. */
export function newDay(before?: RunStatus): Day {
  return { stages: [], repositories: [], looks: { ...before?.looks }, findings: [], point: undefined };
}

/** Does the day's work, and tells of it in `day`. Throws nothing but what is no failure of a stage. */
export async function workThroughDay(context: Context): Promise<void> {
  const { day, s } = context;
  const made = await doStage(context, { stage: "backup", repository: null }, async () => await makeBackup(context));
  day.point = made?.point ?? undefined;
  await survey(context);
  await drillWhenDue(context);
  await drillMomentWhenDue(context);
  const failed = day.stages.find((stage) => stage.status === "failed" && !isOfPlace(stage))?.stage;
  // What was saved may be half restored, and no older point goes for it.
  const half = day.findings.some(({ kind }) => kind === "restore-unfinished") ? "a restore is not finished" : undefined;
  const why = s.signal.aborted ? STOPPED : failed === undefined ? half : `the ${failed} failed`;
  for (const { name, trouble } of day.repositories) {
    const blocked = why ?? (trouble === null ? undefined : "the repository could not be looked at");
    await forgetIn(context, name, blocked);
    await pruneWhenDue(context, name, blocked);
  }
  const newest = newestProof(day.repositories);
  const age = newest === undefined ? undefined : s.clock.now() - newest;
  day.findings.push(...proofFindings(age, objectivesOf(context.config)));
  day.findings.push(...watchFindings(await context.watched(), s.clock.now()));
  await lookAround(context);
}

/** A moment that could not be recovered here, for want of a server say, says nothing of what is stored. */
function isOfPlace({ stage, error }: RunStage): boolean {
  return stage === "drill of a moment" && error?.code !== "drill/not-proven";
}

const STOPPED = "the run was stopped";

interface Done<T extends object> {
  summary: T;
  findings?: readonly Finding[];
  error?: { code: ErrorCode; message: string; hint: string };
}

/** One stage: its outcome goes into the day, its answer back; undefined when it failed. */
export async function doStage<T extends object>(
  { day, s }: Pick<Context, "day" | "s">,
  named: Pick<RunStage, "stage" | "repository">,
  work: () => Promise<Done<T>>,
): Promise<T | undefined> {
  const started = s.clock.monotonic();
  const seconds = () => Math.round((s.clock.monotonic() - started) / 100) / 10;
  const base = { ...named, why: null };
  try {
    const { summary, findings = [], error } = await work();
    day.findings.push(...findings);
    const exit = error === undefined ? (needsAttention(findings) ? 3 : 0) : ERRORS[error.code].exit;
    const status = error === undefined ? "done" : "failed";
    day.stages.push({ ...base, status, exit, seconds: seconds(), error: error ?? null, summary });
    return error === undefined ? summary : undefined;
  } catch (error) {
    const { code, message, hint = null } = failureOf(s.signal.aborted ? s.signal.reason : error);
    const told = { code, message: message.split("\n")[0] ?? "", hint };
    day.stages.push({
      ...base,
      status: "failed",
      exit: ERRORS[code].exit,
      seconds: seconds(),
      error: told,
      summary: null,
    });
    return undefined;
  }
}

export function leaveOut(
  { day }: Pick<Context, "day">,
  named: Pick<RunStage, "stage" | "repository">,
  why: string,
): void {
  day.stages.push({ ...named, status: "skipped", why, exit: 0, seconds: 0, error: null, summary: null });
}

async function makeBackup({ globals, s }: Context): Promise<Done<BackupSummary>> {
  const summary = await runBackup(globals, { full: false, tags: [], dryRun: false }, s);
  return { summary, findings: summary.findings };
}

async function survey({ globals, config, before, watched, day, s }: Context): Promise<void> {
  const names = globals.repository === undefined ? config.repositories.map(({ name }) => name) : [globals.repository];
  const known = before?.repositories ?? [];
  day.repositories = known.filter(({ name }) => names.includes(name));
  if (s.signal.aborted) return;
  try {
    const watch = async () => watchState(await watched(), s.clock.now());
    const { states, findings } = await surveyRepositories(names, known, { globals, config, watch }, s);
    day.repositories = states;
    day.findings.push(...findings);
  } catch (error) {
    if (!s.signal.aborted) throw error;
  }
}

/** Milliseconds since 1970; undefined when there is none. */
function newestProof(repositories: readonly RepositoryState[]): number | undefined {
  const times = repositories.flatMap(({ proven }) => parseZonedInstant(proven?.at ?? "") ?? []);
  return times.length === 0 ? undefined : Math.max(...times);
}

/** Why it is not due; undefined when it is, as where this machine's clock was ahead when it was done last. */
function notDue(lastMs: number | undefined, everyMs: number | undefined, nowMs: number): string | undefined {
  if (everyMs === undefined) return "switched off";
  if (lastMs === undefined || nowMs - lastMs > everyMs - LIMITS.dueEarlyMs) return undefined;
  if (lastMs > nowMs + LIMITS.clockDifferenceMs) return undefined;
  const next = lastMs + everyMs - nowMs;
  return `next in ${formatSpan(Math.max(0, next) / 1000)}`;
}

async function drillWhenDue(context: Context): Promise<void> {
  const { globals, config, day, s } = context;
  const named = { stage: "drill", repository: null } as const;
  const every = oftenMs(config.schedule?.drill ?? "weekly");
  const hasPoint = day.repositories.some(({ newest }) => newest !== null);
  const why = s.signal.aborted
    ? STOPPED
    : hasPoint
      ? notDue(newestProof(day.repositories), every, s.clock.now())
      : "there is no restore point";
  if (why !== undefined) return leaveOut(context, named, why);
  const summary = await doStage(context, named, async () => {
    const drilled = await (
      await import("./drills.ts")
    ).runDrill(globals, undefined, { all: false, inPlaceServer: false }, s);
    const recovery = recoveryFindings(drilled.repository, drilled.recovery?.seconds ?? null, objectivesOf(config));
    return { summary: drilled, findings: recovery, ...notProven(drilled) };
  });
  if (summary === undefined) return;
  const state = day.repositories.find(({ name }) => name === summary.repository);
  if (state !== undefined) state.proven = { point: summary.point, at: formatInstant(s.clock.now()) };
}

/** Where the log is followed, any moment of its window by chance: the point that was drilled says nothing of it. */
async function drillMomentWhenDue(context: Context): Promise<void> {
  const { globals, config, day, s } = context;
  const followed = day.repositories.flatMap(({ moments }) => moments ?? []);
  if (followed.length === 0) return;
  const named = { stage: "drill of a moment", repository: null } as const;
  const { drill, moment } = config.schedule ?? {};
  const proofs = followed.flatMap(({ proven }) => parseZonedInstant(proven?.at ?? "") ?? []);
  const last = proofs.length === 0 ? undefined : Math.max(...proofs);
  const why = s.signal.aborted ? STOPPED : notDue(last, oftenMs(moment ?? drill ?? "weekly"), s.clock.now());
  if (why !== undefined) return leaveOut(context, named, why);
  const summary = await doStage(context, named, async () => {
    const { RANDOM, runDrill } = await import("./drills.ts");
    const drilled = await runDrill(globals, undefined, { all: false, at: RANDOM, inPlaceServer: false }, s);
    return { summary: drilled, ...notProven(drilled, "a moment") };
  });
  const state = day.repositories.find(({ name }) => name === summary?.repository);
  if (state?.moments !== undefined && summary !== undefined)
    state.moments.proven = { point: summary.point, at: formatInstant(s.clock.now()) };
}

function notProven(
  { proven, checks, repository, point }: DrillSummary,
  what = "the newest restore point",
): Pick<Done<DrillSummary>, "error"> {
  if (proven) return {};
  const failed = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  return {
    error: {
      code: "drill/not-proven",
      message: `${what} in '${repository}' was not proven: ${failed.join(", ")}`,
      hint: `Do not count on this point. 'chatkeep show ${what === "a moment" ? shortId(point) : "latest"}' says which check failed; 'chatkeep verify --read-data' tells whether the repository is damaged.`,
    },
  };
}

async function forgetIn(context: Context, name: string, blocked: string | undefined): Promise<void> {
  const { globals, config, s } = context;
  const named = { stage: "forget", repository: name } as const;
  const why = config.retention === undefined ? "the configuration has no retention" : blocked;
  if (why !== undefined) return leaveOut(context, named, why);
  await doRemoval(context, named, async () => {
    const { runForget } = await import("./tidy.ts");
    const flags = { points: [], keep: {}, window: undefined, installation: undefined, all: false };
    const summary = await runForget({ ...globals, repository: name }, flags, s);
    return { summary, findings: summary.findings };
  });
}

async function pruneWhenDue(context: Context, name: string, blocked: string | undefined): Promise<void> {
  const { globals, config, day, s } = context;
  const named = { stage: "prune", repository: name } as const;
  const state = stateIn(day, name);
  const every = oftenMs(config.schedule?.prune ?? "weekly");
  const last = parseZonedInstant(state?.prunedAt ?? "");
  const forgetting = day.stages.find(({ stage, repository }) => stage === "forget" && repository === name);
  const failed =
    forgetting?.status === "failed" ? "the forget failed" : forgetting?.why === IN_USE ? forgetting.why : undefined;
  const isUnasked = config.retention === undefined && config.schedule?.prune === undefined;
  const unasked = isUnasked ? "the configuration has no retention" : undefined;
  const why = blocked ?? failed ?? unasked ?? notDue(last, every, s.clock.now());
  if (why !== undefined) return leaveOut(context, named, why);
  const isDone = await doRemoval(context, named, async () => {
    const { runPrune } = await import("./upkeep.ts");
    const byDefault = { maxUnused: undefined, maxRepack: undefined, dryRun: false };
    return { summary: await runPrune({ ...globals, repository: name }, byDefault, s) };
  });
  if (isDone && state !== undefined) state.prunedAt = formatInstant(s.clock.now());
}

/** After all else, so that nothing is told twice. */
async function lookAround(context: Context): Promise<void> {
  const { globals, config, s } = context;
  await lookWhenDue(context, { name: "scrub", often: config.schedule?.scrub }, async () => {
    return await (await import("./scrub.ts")).runScrub(globals, { all: false }, s);
  });
  await lookWhenDue(context, { name: "doctor", often: config.schedule?.doctor }, async () => {
    return await (await import("./doctor.ts")).runDoctor(globals, s);
  });
}

/** @param options.often as the configuration has it; weekly where it says nothing. */
export async function lookWhenDue(
  context: Pick<Context, "day" | "s">,
  { name, often = "weekly" }: { name: LookName; often: string | undefined },
  work: () => Promise<{ findings: readonly Finding[] }>,
): Promise<void> {
  const { day, s } = context;
  const named = { stage: name, repository: null } as const;
  const every = oftenMs(often);
  const now = s.clock.now();
  const due = every === undefined ? notDue(undefined, every, now) : notDue(lastLook(day.looks, name, now), every, now);
  const why = s.signal.aborted ? STOPPED : due;
  if (why !== undefined) return leaveOut(context, named, why);
  await doStage(context, named, async () => await look(name, work, { looks: day.looks, told: day.findings }, s));
}

/** A watch that takes a base needs the repository for as long as that takes. */
const IN_USE = "a watch takes a base there";

/**
 * Credentials that cannot delete are somebody's choice, and no failure; they are told as a note. Nor is a base that is being taken for longer
 * than a removal waits: it is tried again with the next run, and told as an alarm when nothing came of it for a week.
 */
export async function doRemoval(
  context: Pick<Context, "day" | "s">,
  named: { stage: "forget" | "prune"; repository: string },
  work: () => Promise<Done<object>>,
): Promise<boolean> {
  const { day, s } = context;
  if (s.signal.aborted) {
    leaveOut(context, named, STOPPED);
    return false;
  }
  let skipped: { why: string; finding: Finding } | undefined;
  const summary = await doStage(context, named, async () => {
    try {
      return await work();
    } catch (error) {
      if (isFailure(error, "store/denied")) skipped = { why: error.message, finding: denied(named, error.message) };
      else if (isOfWatch(error)) skipped = { why: IN_USE, finding: putOff(context, named, error.message) };
      else throw error;
      return { summary: {} };
    }
  });
  if (skipped === undefined) {
    if (summary !== undefined) delete stateIn(day, named.repository)?.putOff?.[named.stage];
    return summary !== undefined;
  }
  day.stages.pop();
  leaveOut(context, named, skipped.why);
  day.findings.push(skipped.finding);
  return false;
}

function stateIn({ repositories }: Day, name: string): RepositoryState | undefined {
  return repositories.find((known) => known.name === name);
}

/** The lock that was waited for is one that a watch holds while it stores something. */
function isOfWatch(error: unknown): error is Failure {
  return isFailure(error, "repo/locked") && error.retryAfterMs !== undefined;
}

interface Removal {
  readonly stage: "forget" | "prune";
  readonly repository: string;
}

function denied({ stage, repository }: Removal, message: string): Finding {
  return {
    kind: "removal-denied",
    level: "note",
    subject: repository,
    message: `nothing was removed in '${repository}': ${message}`,
    hint: `If that is meant, run 'chatkeep ${stage} --repository ${repository}' from where it may; else give it the right.`,
  };
}

function putOff({ day, s }: Pick<Context, "day" | "s">, { stage, repository }: Removal, message: string): Finding {
  const now = s.clock.now();
  const state = stateIn(day, repository);
  const since = state?.putOff?.[stage] ?? formatInstant(now);
  if (state !== undefined) state.putOff = { ...state.putOff, [stage]: since };
  const sinceMs = parseZonedInstant(since) ?? now;
  const isLong = now - sinceMs > LIMITS.putOffMostMs - LIMITS.dueEarlyMs;
  return {
    kind: "removal-put-off",
    level: isLong ? "alarm" : "note",
    subject: repository,
    message: `nothing was removed in '${repository}'${isLong ? ` since ${since}` : ""}: ${message}`,
    hint: isLong
      ? `The repository grows. 'chatkeep status' says whether a watch takes bases without end; a higher watch.base-rate makes each shorter, and 'chatkeep ${stage} --repository ${repository}' removes what is old when none is taken.`
      : `A watch takes a base there, for longer than 'chatkeep ${stage}' waits. Nothing is to be done: the next run tries it again.`,
  };
}
