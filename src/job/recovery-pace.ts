/** How fast moments were brought back on this machine, so that it can be said how long the next one takes. */
import { LIMITS } from "../base/limits.ts";

/** What one recovery of a moment took. */
export interface RecoveryMeasure {
  /** When it ended: RFC 3339. */
  at: string;
  /** Reading the base's files from the repository. */
  base: { bytes: number; seconds: number };
  /** From the server's start until it had replayed the log, and took connections. */
  log: { bytes: number; seconds: number };
  /** Saving what came back as a restore point. */
  saveSeconds: number;
}

export interface Rate {
  bytesPerSecond: number;
  /** By so many recoveries; 0: it is assumed. */
  measurements: number;
}

export interface Pace {
  base: Rate;
  log: Rate;
  /** Of the newest recovery; null where there was none. */
  saveSeconds: number | null;
}

/** @param measures the oldest first. Of one that had little to read or replay, starting is what was measured: it says nothing. */
export function paceOf(measures: readonly RecoveryMeasure[]): Pace {
  return {
    base: rateOf(measures.map(({ base }) => base)),
    log: rateOf(measures.map(({ log }) => log)),
    saveSeconds: measures.at(-1)?.saveSeconds ?? null,
  };
}

function rateOf(parts: readonly { bytes: number; seconds: number }[]): Rate {
  const telling = parts.filter(({ bytes, seconds }) => bytes >= LIMITS.measuredBytes && seconds > 0);
  if (telling.length === 0) return { bytesPerSecond: LIMITS.replayRate, measurements: 0 };
  const sum = (of: "bytes" | "seconds") => telling.reduce((total, part) => total + part[of], 0);
  return { bytesPerSecond: Math.round(sum("bytes") / sum("seconds")), measurements: telling.length };
}

/** One more; the oldest goes where there are {@link LIMITS.measuresKept}. */
export function withMeasure(measures: readonly RecoveryMeasure[], newest: RecoveryMeasure): RecoveryMeasure[] {
  return [...measures, newest].slice(-LIMITS.measuresKept);
}

/** What a file of them says; none for what no version of this program wrote. */
export function parseMeasures(text: string): RecoveryMeasure[] {
  try {
    const { schema, recoveries } = JSON.parse(text) as { schema?: unknown; recoveries?: unknown };
    return schema === 1 && Array.isArray(recoveries) ? recoveries.filter(isMeasure) : [];
  } catch {
    return [];
  }
}

export function formatMeasures(recoveries: readonly RecoveryMeasure[]): string {
  return `${JSON.stringify({ schema: 1, recoveries }, null, 1)}\n`;
}

function isMeasure(value: unknown): value is RecoveryMeasure {
  const { at, base, log, saveSeconds } = (value ?? {}) as Partial<RecoveryMeasure>;
  const numbers = [base?.bytes, base?.seconds, log?.bytes, log?.seconds, saveSeconds];
  return typeof at === "string" && numbers.every((one) => typeof one === "number" && one >= 0);
}
