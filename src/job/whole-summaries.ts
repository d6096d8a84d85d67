/** What a restore into an installation's own place, and its rollback, plan and say: values that the door prints. */
import type { Finding } from "../base/findings.ts";
import type { MatchLine } from "../chatwoot/environment-match.ts";
import type { InstallationKind } from "../installation/installation.ts";
import type { ToldMoment } from "./moment-position.ts";
import type { Part } from "./restore-findings.ts";
import type { StageState } from "./stages/journal.ts";
import type { StageName } from "./stages/stage.ts";

export interface WholePlan {
  type: "plan";
  verb: "restore";
  isWhole: true;
  point: string;
  /** The snapshot that is restored: another one may have the same name. */
  snapshot: string;
  takenAt: string;
  /** Of a point that was made of one. */
  moment?: ToldMoment;
  /** Of the point. */
  installation: string;
  chatwoot: string | null;
  place: { kind: InstallationKind; root: string | null; database: string; frontendUrl: string | null };
  /** The place is of somebody else than the point: what it is called, and by what that is seen. */
  replaces: { name: string; why: string[] } | null;
  parts: Part[];
  /** In the order in which they are done. */
  stages: { name: StageName; lines: string[] }[];
  /** Each variable, what becomes of it and why; never a value. */
  environment: MatchLine[];
  /** What stands in the way, all of it; a restore with any of these does not begin. */
  blockers: Finding[];
  findings: Finding[];
}

export interface StageSummary {
  name: StageName;
  state: StageState;
  seconds: number;
  lines: string[];
}

export interface WholeSummary {
  type: "summary";
  verb: "restore";
  isWhole: true;
  /** Of the restore: the name of its folder. */
  restore: string;
  point: string;
  /** `held`: it stopped in good order, and goes on when it is told to. */
  state: "done" | "held";
  held: { stage: StageName; why: string } | null;
  stages: StageSummary[];
  /** Of all stages together, over all calls. */
  seconds: number;
  findings: Finding[];
  /** What is left for a person, in order. */
  next: string[];
}

export interface WholeRollbackPlan {
  type: "plan";
  verb: "rollback";
  isWhole: true;
  restore: string;
  point: string;
  installation: string;
  beganAt: string;
  state: "restoring" | "done" | "undoing";
  /** In the order in which they are undone. */
  stages: StageName[];
  blockers: Finding[];
  findings: Finding[];
}

export interface WholeRollbackSummary {
  type: "summary";
  verb: "rollback";
  isWhole: true;
  restore: string;
  point: string;
  /** `held`: it stopped in good order, and goes on when it is called again. */
  state: "undone" | "held";
  held: { stage: StageName; why: string } | null;
  stages: StageSummary[];
  seconds: number;
  findings: Finding[];
  next: string[];
}

/** What `restore --discard-previous` would drop; nothing was. */
export interface DiscardPlan {
  type: "plan";
  verb: "restore";
  /** The newest first. */
  databases: { name: string; at: string; bytes: number }[];
  /** Restores into the own place of which nothing would be remembered any more. */
  restores: string[];
}

/** Databases that were put aside by restores, and are no longer wanted. */
export interface DiscardSummary {
  type: "summary";
  verb: "restore";
  discarded: { name: string; bytes: number }[];
  /** Restores into the own place of which nothing is remembered any more. */
  forgotten: string[];
  findings: Finding[];
}
