/** What a day looks at that no backup does, every week or so: live files again, and the installation as `doctor` does. */
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { type Finding, needsAttention } from "../base/findings.ts";
import type { RunLooks } from "../job/run-summary.ts";
import type { Surroundings } from "./surroundings.ts";

export type LookName = keyof RunLooks;

/**
 * When it was last looked, in milliseconds since 1970. Where nothing is known of it the time counts from now: who has just
 * set Chatkeep up was shown what there is to see.
 */
export function lastLook(looks: RunLooks, name: LookName, nowMs: number): number {
  const last = parseZonedInstant(looks[name] ?? "");
  if (last !== undefined) return last;
  looks[name] = formatInstant(nowMs);
  return nowMs;
}

export interface Looked<T extends object> {
  summary: T | { error: string };
  /** What needs somebody; what is only worth saying is in the summary. */
  findings: Finding[];
}

/** That one cannot look is no failure of the day, and is tried again the next. */
export async function look<T extends { findings: readonly Finding[] }>(
  name: LookName,
  work: () => Promise<T>,
  { looks, told }: { looks: RunLooks; told: readonly Finding[] },
  { clock, signal }: Pick<Surroundings, "clock" | "signal">,
): Promise<Looked<T>> {
  try {
    const summary = await work();
    looks[name] = formatInstant(clock.now());
    return {
      summary,
      findings: summary.findings.filter((finding) => needsAttention([finding]) && !isTold(finding, told)),
    };
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || signal.aborted) throw error;
    const hint = `${error.hint ?? "The message says why."} The next run tries it again, and so does 'chatkeep ${name}'.`;
    const message = `'${name}' could not look: ${error.message}`;
    return {
      summary: { error: error.message },
      findings: [{ kind: "look-failed", level: "warning", subject: name, message, hint }],
    };
  }
}

/** Of the same thing, or of all such things at once. */
function isTold({ kind, subject }: Finding, told: readonly Finding[]): boolean {
  return told.some((one) => {
    const isSame = one.subject === undefined || subject === undefined || one.subject === subject;
    return one.kind === kind && needsAttention([one]) && isSame;
  });
}
