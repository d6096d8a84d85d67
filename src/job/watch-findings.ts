/** What a watch's report, and the window that it makes, mean for whoever counts on them. Pure. */
import { formatSpan, plural } from "../base/bytes.ts";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { parseMicros } from "../point/continuous.ts";
import type { Objectives } from "./objectives.ts";
import type { WatchStatus } from "./watch-book.ts";
import type { WatchState, WindowReport } from "./window-summary.ts";

export interface WatchFacts {
  /** What it wrote down last; undefined where nothing, or nothing that can be read, is there. */
  readonly report: WatchStatus | undefined;
  /** Whether its process is there; undefined where it is another machine's, or another container's. */
  readonly isAlive: boolean | undefined;
  /** The configuration has `watch:`. */
  readonly isConfigured: boolean;
}

/** Where nothing is known of one. */
export const NO_WATCH: WatchState = { isRunning: false, ageSeconds: null, report: null };

/**
 * A watch writes down how it is every few seconds: one that does not is dead or hangs, whatever its process looks like. So is one whose last
 * word lies in the future, before this machine's clock was set back.
 */
export function watchState({ report, isAlive }: WatchFacts, nowMs: number): WatchState {
  if (report === undefined) return NO_WATCH;
  const ageMs = nowMs - (parseZonedInstant(report.at) ?? 0);
  const isRunning = isAlive !== false && Math.abs(ageMs) <= LIMITS.watchSilentMs;
  return { isRunning, ageSeconds: Math.max(0, Math.round(ageMs / 1000)), report };
}

/** An alarm where somebody counts on a watch that does not run. */
export function watchFindings(facts: WatchFacts, nowMs: number): Finding[] {
  const { isRunning, ageSeconds, report } = watchState(facts, nowMs);
  if (isRunning || (report === null && !facts.isConfigured)) return [];
  const never = "and has left no report on this machine";
  const silent = report === null ? never : `: its last word is ${formatSpan(ageSeconds ?? 0)} old`;
  const isThere = facts.isAlive === true;
  const hangs = isThere ? `, though its process ${report?.pid ?? ""} is there` : "";
  return [
    {
      kind: "watch-not-running",
      level: "alarm",
      message: `continuous protection does not run${report === null ? " " : ""}${silent}${hangs}`,
      hint: isThere
        ? "Look first whether the disk of its state folder is full: then it only cannot write its report, and does so again when there is room; started anew there, it would not begin. Else it hangs: end it, and start it anew."
        : "Start it: 'chatkeep watch', or the service that runs it; it goes on from where it was. If it is not wanted any more, 'chatkeep watch --remove', and take 'watch' out of the configuration.",
    },
  ];
}

/**
 * Until when what was committed is in a repository, in milliseconds since 1970; undefined where nothing of it is, or the database's
 * server has a clock that says nothing: what a year from now is safe must hide no alarm of today. A database in which nothing
 * is written has no new commits: a watch says until when it knew that there are none. It knows as long as the server tells it.
 */
export function safeUntilMs(
  name: string,
  window: WindowReport | undefined,
  { report }: WatchState,
  nowMs: number,
): number | undefined {
  const end = windowEndMs(window);
  const own = report?.repositories.find((repository) => repository.name === name);
  if (end === undefined) return undefined;
  const known = [end, parseZonedInstant(own?.safeUntil ?? "") ?? end].filter(
    (ms) => ms <= nowMs + LIMITS.commitAheadMs,
  );
  return known.length === 0 ? undefined : Math.max(...known);
}

/** Of the newest moment; of a range in which nothing was committed, of its beginning. */
export function windowEndMs(window: WindowReport | undefined): number | undefined {
  const last = window?.ranges.at(-1);
  return last === undefined ? undefined : toMs(last.to ?? last.from);
}

function toMs(micros: string): number | undefined {
  const us = parseMicros(micros);
  return us === undefined ? undefined : Number(us / 1000n);
}

export interface WindowExpectations {
  readonly objectives: Objectives;
  /** `retention.window` in milliseconds. */
  readonly windowMs: number;
  readonly nowMs: number;
}

/** What the window of one repository lacks of what was asked for. */
export function windowFindings(
  name: string,
  { window, watch }: { window: WindowReport | undefined; watch: WatchState },
  { objectives, windowMs, nowMs }: WindowExpectations,
): Finding[] {
  const untilMs = safeUntilMs(name, window, watch, nowMs);
  const fromMs = toMs(window?.ranges.at(-1)?.from ?? "");
  const findings = unusableFindings(name, window);
  // Where points are made every few minutes, they are what must not be too old.
  if (window === undefined || untilMs === undefined || fromMs === undefined || watch.report?.mode === "interval")
    return findings;
  if (nowMs - untilMs > objectives.rpoMs && isWatched(name, watch)) {
    findings.push({
      kind: "window-behind",
      level: "alarm",
      subject: name,
      message: `what was written after ${formatInstant(untilMs)}, ${formatSpan((nowMs - untilMs) / 1000)} ago, cannot be brought back from '${name}' but for what restore points have`,
      hint: `It should never be more than ${formatSpan(objectives.rpoMs / 1000)} (objectives.rpo). 'chatkeep status' says how the watch is, and what holds it up.`,
    });
  }
  if (nowMs - fromMs < windowMs) {
    findings.push({
      kind: "window-short",
      level: "note",
      subject: name,
      message: `any moment can be had from '${name}' since ${formatInstant(fromMs)} without a gap, and retention.window asks for ${formatSpan(windowMs / 1000)}`,
      hint: "It grows by itself. If more should be there, 'chatkeep list' shows what lies before, and why there is a gap.",
    });
  }
  return findings;
}

function unusableFindings(name: string, window: WindowReport | undefined): Finding[] {
  const count = window?.unusable ?? 0;
  if (count === 0) return [];
  return [
    {
      kind: "pieces-unusable",
      level: "warning",
      subject: name,
      message: `${plural(count, "piece")} of continuous protection in '${name}' cannot be used`,
      hint: "Something changed what was stored. 'chatkeep list' shows whether a moment lacks for that; a watch that begins fetches again what the server or another repository still has. Look at the disk or the service that holds the repository, and run 'chatkeep verify --read-data'.",
    },
  ];
}

/** One that is not watched into any more is a copy: it has what 'chatkeep copy' brought. */
function isWatched(name: string, { report }: WatchState): boolean {
  return report?.repositories.some((repository) => repository.name === name) === true;
}
