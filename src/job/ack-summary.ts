/** What `ack` tells. */
import type { Finding } from "../base/findings.ts";
import type { AckedFall } from "../point/ack.ts";

/** One acknowledgement. */
export interface AckLine {
  point: string;
  takenAt: string;
  finding: string;
  reason: string | null;
  at: string;
  /** Null when its file is damaged. */
  by: string | null;
}

export interface AckSummary {
  type: "summary";
  verb: "ack";
  action: "listed" | "acknowledged";
  repository: string;
  /** Where it is known now: every configured repository that was reached. */
  repositories: string[];
  /** False when the very same was acknowledged already. */
  changed: boolean;
  /** The restore point that was acknowledged, or that awaits it; null where none does. */
  point: string | null;
  takenAt: string | null;
  /** What it says that accounts lost. */
  falls: AckedFall[];
  /** When listed: other findings of the newest point that can be acknowledged by their kind. */
  awaiting: Finding[];
  /** Earlier ones when listed; the new one else. */
  acks: AckLine[];
  findings: Finding[];
}
