/** What `status` answers. */
import type { ErrorCode } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { RunOutcome } from "./run-summary.ts";
import type { RecoveredServer } from "./server-summary.ts";
import type { WatchState, WindowReport } from "./window-summary.ts";

/** A restore point, or the proof of one. */
export interface StatusPoint {
  repository: string;
  point: string;
  /** When it was taken, or proven. */
  at: string;
  ageSeconds: number;
}

/** What a repository has of one installation. */
export interface InstallationStatus {
  installation: { id: string; name: string };
  points: number;
  newest: Omit<StatusPoint, "repository"> | null;
  proven: Omit<StatusPoint, "repository"> | null;
  /** The newest proof of a moment, by the point that was made of it; absent where none was proven. */
  provenMoment?: Omit<StatusPoint, "repository">;
  /** How long bringing a point back takes, by the newest proof; null where none says it. */
  recoverSeconds: number | null;
  /** Until when what was committed can be brought back from the window. */
  safeUntil: { at: string; ageSeconds: number } | null;
  /** Null where it is not protected continuously. */
  window: WindowReport | null;
}

export interface RepositoryStatus {
  name: string;
  /** Why it could not be looked at; null when it could. */
  trouble: { code: ErrorCode; message: string; hint: string | null } | null;
  installations: InstallationStatus[];
}

export interface StatusSummary {
  type: "summary";
  verb: "status";
  /** The configured one; null where there is no configuration, or the repository is none of its. */
  installation: { id: string; name: string } | null;
  objectives: { rpoSeconds: number; rtoSeconds: number | null; drillSeconds: number | null };
  lastBackup: StatusPoint | null;
  /** Until when any moment can be had, in the repository that has most: null where nothing is protected continuously. */
  newestMoment: Omit<StatusPoint, "point"> | null;
  lastProof: StatusPoint | null;
  /** When a moment was last proven; absent where none was. */
  lastMomentProof?: StatusPoint;
  /** The last daily run on this machine; null where none has ended. */
  run: {
    endedAt: string;
    ageSeconds: number;
    outcome: RunOutcome;
    exit: number;
    lastSuccess: string | null;
    failingSince: string | null;
  } | null;
  /** Null where nobody asked for one, and none has run here. */
  watch: WatchState | null;
  /** Those of `restore --run`; absent where none runs. */
  servers?: RecoveredServer[];
  repositories: RepositoryStatus[];
  findings: Finding[];
}
