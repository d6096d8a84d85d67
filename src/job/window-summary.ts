/** What the reports say of continuous protection. */

/** What continuous protection keeps of an installation, and what went. */
export interface WindowLine {
  /** Its id. */
  installation: string;
  /** From here on nothing was taken away: ISO 8601 in UTC. */
  from: string;
  kept: { bases: number; spans: number };
  /** `follows`: snapshots of files; `journal`: objects. */
  forgotten: { bases: number; spans: number; follows: number; journal: number };
}
