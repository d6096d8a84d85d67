/** What `guard` answers: see `summaries.ts`. */
import type { Finding } from "../base/findings.ts";

export interface GuardSummary {
  type: "summary";
  verb: "guard";
  /**
   * `well`: Chatwoot is well after the command. `wrong`: it is not, and all is as the command left it. `back`: it was not, and
   * everything is as it was before. `forgotten`: somebody said that nothing is left to do.
   */
  outcome: "well" | "wrong" | "back" | "forgotten";
  /** Without secrets. */
  command: string;
  /** As a shell tells it; null where nobody saw the end. */
  status: number | null;
  /** What ended it, if a signal did. */
  signal: string | null;
  point: string;
  repository: string;
  takenAt: string;
  /** Releases; null where they are not known. */
  before: string | null;
  after: string | null;
  /** What is other than before, a line each. */
  changes: string[];
  /** What went wrong. */
  reasons: Finding[];
  /** What was put back, a line each, in order. */
  back: string[];
  /** What is left for a person, in order. */
  next: string[];
  seconds: number;
  findings: Finding[];
}
