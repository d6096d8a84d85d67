/** What somebody has set as the oldest that a restore point or a proof may be, and the longest that a restore may take. */
import { formatSpan } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { type Point, provenMs } from "./points.ts";

export interface Objectives {
  /** A restore point is never older, milliseconds. */
  rpoMs: number;
  /** A restore takes no longer. */
  rtoMs?: number | undefined;
  /** The newest proof is never older. */
  drillMs?: number | undefined;
}

/** A daily backup, and two hours for one that takes longer than the day before. */
export const DEFAULT_OBJECTIVES: Objectives = { rpoMs: 26 * 3_600_000 };

/**
 * While what was committed lately can be had from the window, a restore point need only be there for what the log has not: a daily one is
 * enough, whatever the objective.
 * @param safeUntilMs until when that is, milliseconds since 1970; undefined where nothing of it is.
 */
export function pointObjectives(objectives: Objectives, safeUntilMs: number | undefined, nowMs: number): Objectives {
  const { rpoMs } = objectives;
  if (safeUntilMs === undefined || nowMs - safeUntilMs > rpoMs) return objectives;
  return { ...objectives, rpoMs: Math.max(rpoMs, DEFAULT_OBJECTIVES.rpoMs) };
}

/** @param hasImported it has none but what was imported. */
export function noPointFinding(name: string, hasImported: boolean): Finding {
  return {
    kind: "no-restore-point",
    level: "alarm",
    message: `repository '${name}' holds no restore point of this installation${hasImported ? " but what was imported from dumps" : ""}`,
    hint: "Run 'chatkeep backup'.",
  };
}

export function overdueFindings(name: string, ageMs: number, { rpoMs }: Objectives): Finding[] {
  if (ageMs <= rpoMs) return [];
  return [
    {
      kind: "backup-overdue",
      level: "warning",
      message: `the newest restore point in '${name}' is ${formatSpan(ageMs / 1000)} old`,
      hint: `It should never be older than ${formatSpan(rpoMs / 1000)} (objectives.rpo). Run 'chatkeep run', and see with 'chatkeep schedule' that it runs every day.`,
    },
  ];
}

/**
 * Milliseconds since the newest proof of any of these points, wherever they are: a proof counts for one repository, but each
 * says that the way back works. Undefined when there is none.
 */
export function proofAge(points: readonly Pick<Point, "proof">[], nowMs: number): number | undefined {
  const times = points.flatMap((point) => provenMs(point, nowMs) ?? []);
  return times.length === 0 ? undefined : nowMs - Math.max(...times);
}

/** @param ageMs of the newest proof in any repository; undefined when there is none. */
export function proofFindings(ageMs: number | undefined, { drillMs }: Objectives): Finding[] {
  if (drillMs === undefined || ageMs === undefined || ageMs <= drillMs) return [];
  return [
    {
      kind: "proof-overdue",
      level: "warning",
      message: `no restore point was proven to restore for ${formatSpan(ageMs / 1000)}`,
      hint: `That should never be longer than ${formatSpan(drillMs / 1000)} (objectives.drill). Run 'chatkeep drill'.`,
    },
  ];
}

/** @param seconds that a drill says bringing the point back takes. */
export function recoveryFindings(name: string, seconds: number | null, { rtoMs }: Objectives): Finding[] {
  if (rtoMs === undefined || seconds === null || seconds * 1000 <= rtoMs) return [];
  return [
    {
      kind: "recovery-slow",
      level: "warning",
      message: `bringing a restore point of '${name}' back takes about ${formatSpan(seconds)}, by its last drill`,
      hint: `It should not take longer than ${formatSpan(rtoMs / 1000)} (objectives.rto). 'chatkeep show proven' says where the time goes.`,
    },
  ];
}
