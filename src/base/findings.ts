/**
 * A finding is something the user must know while the run goes on.
 *
 * `alarm`: data is being lost or a restore would fail. `warning`: look at it soon. `note`: known, acknowledged
 * or merely worth saying. Alarms and warnings make a backup end with exit status 3; notes do not.
 */
export type FindingLevel = "alarm" | "warning" | "note";

export interface Finding {
  /** Stable, kebab-case; scripts rely on it. */
  readonly kind: string;
  readonly level: FindingLevel;
  /** Lower case, no full stop, names the thing. */
  readonly message: string;
  /** A sentence that says what to do. */
  readonly hint: string;
  /** What it is about, where the message says more than has to stay the same for it to be known. */
  readonly subject?: string;
  /** Which one it is, where another of its kind about the same is news, too. */
  readonly event?: string;
  /** The message without what people wrote, as names of files: for whatever leaves the machine. */
  readonly discreet?: string;
  /** What it names, where it is known for as long as nothing is added. */
  readonly names?: readonly string[];
}

const RANK: Record<FindingLevel, number> = { alarm: 0, warning: 1, note: 2 };

/** Worst first; equal levels keep their order. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  return findings.toSorted((a, b) => RANK[a.level] - RANK[b.level]);
}

/** For notices, and for files that others may read. */
export function discreetly(findings: readonly Finding[]): Finding[] {
  return findings.map(({ discreet, ...finding }) => ({ ...finding, message: discreet ?? finding.message }));
}

/** True when a run with these findings must end with exit status 3. */
export function needsAttention(findings: readonly Finding[]): boolean {
  return findings.some((finding) => finding.level !== "note");
}
