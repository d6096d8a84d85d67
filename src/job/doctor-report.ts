/** What `doctor` has found so far: a check that fails is a finding, and the others go on. */
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { DoctorSummary, TriedPlace } from "./summaries.ts";

export interface Report {
  facts: DoctorSummary["facts"];
  places: TriedPlace[];
  findings: Finding[];
}

export function emptyReport(): Report {
  return { facts: [], places: [], findings: [] };
}

export function addTo(report: Report, { facts = [], places = [], findings = [] }: Partial<Report>): void {
  report.facts.push(...facts);
  report.places.push(...places);
  report.findings.push(...findings);
}

/** A failure is a finding here: the other checks go on. */
export async function attempt<T>(report: Report, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || error.code === "run/cancelled") throw error;
    // Two checks may meet the same trouble.
    if (report.findings.some(({ message }) => message === error.message)) return undefined;
    report.findings.push({
      kind: error.code.replace("/", "-"),
      level: "alarm",
      message: error.message,
      hint: error.hint ?? "Mend it, then run 'chatkeep doctor' again.",
    });
    return undefined;
  }
}
