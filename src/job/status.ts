/** How well an installation is protected, at a glance: what its repositories have, what runs, and what needs somebody. */
import type { Clock } from "../base/clock.ts";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { failureOf, isFailure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import type { Repository } from "../repo/repository.ts";
import {
  type Objectives,
  overdueFindings,
  noPointFinding,
  pointObjectives,
  proofFindings,
  recoveryFindings,
} from "./objectives.ts";
import { isImported, listPoints, type Point, type PointList, pointsAhead, provenMs, recoverSeconds } from "./points.ts";
import type { RecoveryMeasure } from "./recovery-pace.ts";
import type { RunStatus } from "./run-summary.ts";
import type { RecoveredServer } from "./server-summary.ts";
import type { InstallationStatus, RepositoryStatus, StatusPoint, StatusSummary } from "./status-summary.ts";
import { NO_WATCH, safeUntilMs, type WatchFacts, watchFindings, watchState, windowFindings } from "./watch-findings.ts";
import { reportWindows } from "./window-report.ts";
import type { WatchState, WindowReport } from "./window-summary.ts";

export interface StatusPorts {
  /** The configured installation; where it is undefined, all that the repositories have. */
  readonly installation: { readonly id: string; readonly name: string } | undefined;
  readonly names: readonly string[];
  readonly open: (name: string) => Promise<Repository>;
  readonly objectives: Objectives;
  /** `retention.window`. */
  readonly windowMs: number;
  /** Read anew each time, as a repository may take long to answer. Undefined where nothing is configured. */
  readonly watch: (() => Promise<WatchFacts>) | undefined;
  /** Of recoveries on this machine, the oldest first. */
  readonly measures: readonly RecoveryMeasure[];
  /** Of the last daily run. */
  readonly run: RunStatus | undefined;
  /** Servers that were left running here to be looked at. */
  readonly servers?: readonly RecoveredServer[];
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** @throws only what is no failure of a repository. */
export async function status(ports: StatusPorts): Promise<StatusSummary> {
  const { installation, names, objectives, watch, run, clock } = ports;
  const repositories: RepositoryStatus[] = [];
  const findings: Finding[] = [];
  for (const name of names) {
    ports.progress.stage(`looking at repository '${name}'`);
    const { state, found } = await lookAt(name, ports);
    repositories.push(state);
    findings.push(...found);
  }
  const nowMs = clock.now();
  const lastProof = newestOf(repositories, ({ proven }) => proven);
  const lastMomentProof = newestOf(repositories, ({ provenMoment }) => provenMoment ?? null);
  findings.push(...proofFindings(lastProof === null ? undefined : lastProof.ageSeconds * 1000, objectives));
  const facts = await watch?.();
  const watching = facts === undefined ? NO_WATCH : watchState(facts, clock.now());
  if (facts !== undefined) findings.push(...watchFindings(facts, clock.now()));
  if (watching.isRunning) findings.push(...(watching.report?.findings ?? []));
  findings.push(...runFindings(run, findings));
  return {
    type: "summary",
    verb: "status",
    installation: installation === undefined ? null : { id: installation.id, name: installation.name },
    objectives: {
      rpoSeconds: objectives.rpoMs / 1000,
      rtoSeconds: objectives.rtoMs === undefined ? null : objectives.rtoMs / 1000,
      drillSeconds: objectives.drillMs === undefined ? null : objectives.drillMs / 1000,
    },
    lastBackup: newestOf(repositories, ({ newest }) => newest),
    newestMoment: newestOf(repositories, ({ safeUntil }) => safeUntil),
    lastProof,
    ...(lastMomentProof === null ? {} : { lastMomentProof }),
    run: run === undefined ? null : lastRun(run, nowMs),
    watch: watching.report === null && facts?.isConfigured !== true ? null : watching,
    ...(ports.servers === undefined || ports.servers.length === 0 ? {} : { servers: [...ports.servers] }),
    repositories,
    findings: sortFindings(findings),
  };
}

async function lookAt(name: string, ports: StatusPorts): Promise<{ state: RepositoryStatus; found: Finding[] }> {
  try {
    const repository = await ports.open(name);
    const list = await listPoints(repository, ports);
    const windows = await reportWindows(repository, list, { ...ports, installationId: ports.installation?.id });
    const watch = await watchOf(ports);
    const installations = installationsIn({ name, list, windows, watch }, ports);
    const found = installations.flatMap((one) => findingsOf(name, one, watch, ports));
    return { state: { name, trouble: null, installations }, found };
  } catch (error) {
    const { code, message, hint = null } = failureOf(error);
    if (ports.signal.aborted || !isFailure(error) || code === "internal/bug") throw error;
    const why = { kind: code.replace("/", "-"), level: "alarm", subject: name } as const;
    const found = [{ ...why, message: `repository '${name}': ${message}`, hint: hint ?? "See why." }];
    return { state: { name, trouble: { code, message, hint }, installations: [] }, found };
  }
}

interface Looked {
  name: string;
  list: PointList;
  windows: readonly WindowReport[];
  watch: WatchState;
}

function installationsIn({ name, list, windows, watch }: Looked, ports: StatusPorts): InstallationStatus[] {
  const { installation, clock } = ports;
  const names = new Map<string, string>();
  for (const window of windows) names.set(window.installation, "");
  for (const { installationId, snapshot } of list.points) names.set(installationId, snapshot.hostname ?? "");
  const known = installation === undefined ? [...names] : [[installation.id, installation.name] as const];
  return known.map(([id, called]) => {
    const points = list.points.filter(({ installationId }) => installationId === id);
    const provenMoment = newestProof(
      list.moments.filter(({ installationId }) => installationId === id),
      clock.now(),
    );
    const window = windows.find((one) => one.installation === id);
    const untilMs = safeUntilMs(name, window, watch, clock.now());
    return {
      installation: { id, name: called },
      points: points.length,
      ...newestPoints(points, clock.now()),
      ...(provenMoment === undefined ? {} : { provenMoment: line(provenMoment, clock.now()) }),
      safeUntil: untilMs === undefined ? null : instant(untilMs, clock.now()),
      window: window ?? null,
    };
  });
}

function instant(atMs: number, nowMs: number): { at: string; ageSeconds: number } {
  return { at: formatInstant(atMs), ageSeconds: Math.max(0, Math.round((nowMs - atMs) / 1000)) };
}

async function watchOf({ watch, clock }: StatusPorts): Promise<WatchState> {
  return watch === undefined ? NO_WATCH : watchState(await watch(), clock.now());
}

/** Neither one from a clock that was ahead nor an imported dump must hide that no backup was made since. */
function newestPoints(points: readonly Point[], nowMs: number) {
  const ahead = pointsAhead(points, nowMs);
  const newest = points.find((point) => !ahead.includes(point) && !isImported(point));
  const proven = newestProof(points, nowMs);
  return {
    newest: newest === undefined ? null : line({ point: newest, atMs: newest.takenAtMs }, nowMs),
    proven: proven === undefined ? null : line(proven, nowMs),
    recoverSeconds: proven === undefined ? null : recoverSeconds(proven.point),
  };
}

function newestProof(points: readonly Point[], nowMs: number): { point: Point; atMs: number } | undefined {
  return points
    .flatMap((point) => {
      const atMs = provenMs(point, nowMs);
      return atMs === undefined ? [] : [{ point, atMs }];
    })
    .toSorted((a, b) => b.atMs - a.atMs)[0];
}

function line({ point, atMs }: { point: Point; atMs: number }, nowMs: number): Omit<StatusPoint, "repository"> {
  return { point: point.id, ...instant(atMs, nowMs) };
}

/** Without a configuration nobody has said what is to be there. */
function findingsOf(name: string, state: InstallationStatus, watch: WatchState, ports: StatusPorts): Finding[] {
  const { objectives, windowMs, clock } = ports;
  if (ports.installation === undefined) return [];
  const nowMs = clock.now();
  const window = state.window ?? undefined;
  const asked = pointObjectives(objectives, safeUntilMs(name, window, watch, nowMs), nowMs);
  return [
    ...(state.newest === null
      ? [noPointFinding(name, state.points > 0)]
      : overdueFindings(name, state.newest.ageSeconds * 1000, asked)),
    ...recoveryFindings(name, state.recoverSeconds, objectives),
    ...windowFindings(name, { window, watch }, { objectives, windowMs, nowMs }),
  ];
}

function newestOf<T extends { ageSeconds: number }>(
  repositories: readonly RepositoryStatus[],
  pick: (one: InstallationStatus) => T | null,
): (T & { repository: string }) | null {
  const all = repositories.flatMap(({ name, installations }) =>
    installations.flatMap((one) => {
      const found = pick(one);
      return found === null ? [] : [{ repository: name, ...found }];
    }),
  );
  return all.toSorted((a, b) => a.ageSeconds - b.ageSeconds)[0] ?? null;
}

function lastRun({ lastRun: last, lastSuccess, failingSince }: RunStatus, nowMs: number): StatusSummary["run"] {
  const { endedAt, outcome, exit } = last;
  const ageSeconds = Math.max(0, Math.round((nowMs - (parseZonedInstant(endedAt) ?? 0)) / 1000));
  return { endedAt, ageSeconds, outcome, exit, lastSuccess, failingSince };
}

/** What is looked at anew here: what the last run said of it may be over. */
const SEEN_ANEW: ReadonlySet<string> = new Set([
  "backup-overdue",
  "no-restore-point",
  "proof-overdue",
  "recovery-slow",
  "pieces-unusable",
  "watch-not-running",
  "window-behind",
  "window-short",
]);

/** That the last daily run failed, and what else it told that needs somebody. */
function runFindings(run: RunStatus | undefined, known: readonly Finding[]): Finding[] {
  if (run === undefined) return [];
  const isKnown = ({ kind, subject }: Finding) => known.some((one) => one.kind === kind && one.subject === subject);
  const told = run.findings.filter((one) => one.level !== "note" && !SEEN_ANEW.has(one.kind) && !isKnown(one));
  const failed = run.lastRun.stages.filter((stage) => stage.status === "failed");
  if (run.lastRun.outcome !== "failure") return told;
  const why = failed.map(({ stage, repository, message }) => {
    return `${stage}${repository === null ? "" : ` in '${repository}'`}: ${message ?? "see why"}`;
  });
  return [
    {
      kind: "run-failed",
      level: "alarm",
      message: `the last daily run failed${why.length === 0 ? "" : `: ${why.join("; ")}`}`,
      hint: "Mend what it names, then run 'chatkeep run'.",
    },
    ...told,
  ];
}
