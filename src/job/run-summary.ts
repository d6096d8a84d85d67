/** What the daily run answers, and what it leaves for the next one and for whoever watches. */
import type { ErrorCode } from "../base/errors.ts";
import { discreetly, needsAttention, type Finding } from "../base/findings.ts";

export type RunOutcome = "success" | "finding" | "failure";

export interface RunStage {
  stage:
    | "hook before"
    | "backup"
    | "drill"
    | "drill of a moment"
    | "forget"
    | "prune"
    | "scrub"
    | "doctor"
    | "hook after";
  /** Where each repository has its own; null where the stage is one. */
  repository: string | null;
  status: "done" | "failed" | "skipped";
  /** Of a stage that was left out: why. */
  why: string | null;
  /** What the verb alone would have ended with. */
  exit: number;
  seconds: number;
  error: { code: ErrorCode; message: string; hint: string | null } | null;
  /** What the verb alone would have answered. */
  summary: object | null;
}

/** What there is to restore from one repository. */
export interface RepositoryState {
  name: string;
  /** Why it could not be looked at; null when it could. The rest is then what was known before. */
  trouble: string | null;
  newest: { point: string; at: string } | null;
  /** The newest proof: of which point, and when it was made. */
  proven: { point: string; at: string } | null;
  /** Between these any moment can be had; lacking where it is not protected continuously, and in what earlier builds wrote. */
  window?: { from: string; to: string };
  /** Where the log is followed: the newest moment that was proven, by its point, and when that was. */
  moments?: { proven: { point: string; at: string } | null };
  /** When this machine last pruned it. */
  prunedAt: string | null;
  /** Since when it could not be forgotten or pruned because a watch took a base whenever that was tried; RFC 3339. */
  putOff?: { forget?: string; prune?: string };
}

/** When each was last done, or since when the time to it counts. RFC 3339. */
export interface RunLooks {
  scrub?: string;
  doctor?: string;
}

export interface NoticeOutcome {
  channel: string;
  kind: string;
  delivered: boolean;
  /** It is from an earlier run. */
  isLate: boolean;
  /** Why not; null when it was delivered. */
  message: string | null;
}

export interface RunSummary {
  type: "summary";
  verb: "run";
  installation: { id: string; name: string };
  host: string;
  startedAt: string;
  endedAt: string;
  seconds: number;
  outcome: RunOutcome;
  exit: number;
  stages: RunStage[];
  repositories: RepositoryState[];
  /** Lacking in what earlier builds wrote. */
  looks?: RunLooks;
  /** When a run before this one ended without a failure. */
  lastSuccess: string | null;
  /** Since when every run has failed; null when this one, or the one before, did not. */
  failingSince: string | null;
  notices: NoticeOutcome[];
  findings: Finding[];
}

/** The status file, and what the next run goes by. */
export interface RunStatus {
  schema: 1;
  program: string;
  installation: { id: string; name: string };
  host: string;
  lastRun: {
    startedAt: string;
    endedAt: string;
    seconds: number;
    outcome: RunOutcome;
    exit: number;
    stages: { stage: string; repository: string | null; status: RunStage["status"]; message: string | null }[];
  };
  /** When a run last ended without a failure. */
  lastSuccess: string | null;
  failingSince: string | null;
  repositories: RepositoryState[];
  looks?: RunLooks;
  findings: Finding[];
}

/** What stands for the worst of several statuses: the first of these that there is. */
export const WORST_FIRST = [130, 70, 13, 12, 10, 20, 11, 2, 1, 3, 0] as const;

export function worstExit(stages: readonly Pick<RunStage, "exit">[], findings: readonly Finding[]): number {
  const found = new Set(stages.map(({ exit }) => exit));
  if (needsAttention(findings)) found.add(3);
  return WORST_FIRST.find((exit) => found.has(exit)) ?? 0;
}

export function outcomeOf(exit: number): RunOutcome {
  if (exit === 0) return "success";
  return exit === 3 ? "finding" : "failure";
}

export function statusAfter(summary: RunSummary, program: string): RunStatus {
  const { installation, host, startedAt, endedAt, seconds, outcome, exit, stages, repositories, findings } = summary;
  return {
    schema: 1,
    program,
    installation,
    host,
    lastRun: {
      startedAt,
      endedAt,
      seconds,
      outcome,
      exit,
      stages: stages.map(({ stage, repository, status, error, why }) => {
        return { stage, repository, status, message: error?.message ?? why };
      }),
    },
    lastSuccess: outcome === "failure" ? summary.lastSuccess : endedAt,
    failingSince: summary.failingSince,
    repositories,
    ...(summary.looks === undefined ? {} : { looks: summary.looks }),
    findings: discreetly(findings.filter(({ level }) => level !== "note")),
  };
}
