/** The only place that reads the time. Everything else is handed a {@link Clock}, so that tests can set it. */
import { setTimeout as sleepFor } from "node:timers/promises";

export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01Z. */
  now(): number;
  /** Milliseconds on a clock that never jumps, the same in all threads of the process. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => Number(process.hrtime.bigint()) / 1e6,
  async sleep(ms, signal) {
    try {
      await sleepFor(ms, undefined, signal ? { signal } : {});
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    }
  },
};

/** Milliseconds since 1970 of a date as HTTP writes it; undefined for what is none. */
export function parseHttpDate(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

const TIMED = /^\d{4}-\d\d-(\d\d)[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?/;
const ZONE = /^(?: ?(Z|UTC)|([+-]\d\d)(?::?(\d\d))?)$/;

/**
 * Milliseconds since 1970 of a time that says its zone, as `Z`, `UTC` or an offset, which PostgreSQL writes as `+01`; undefined for anything
 * else.
 */
export function parseZonedInstant(text: string): number | undefined {
  const [time = "", day] = TIMED.exec(text) ?? [];
  const [zone, utc, hours, minutes = "00"] = ZONE.exec(text.slice(time.length)) ?? [];
  if (time === "" || zone === undefined) return undefined;
  const iso = time.replace(" ", "T");
  const ms = Date.parse(`${iso}${utc === undefined ? `${hours}:${minutes}` : "Z"}`);
  // A day that its month does not have would be one of the next.
  const isThere = new Date(`${iso.slice(0, 10)}T00:00:00Z`).getUTCDate() === Number(day);
  return Number.isNaN(ms) || !isThere ? undefined : ms;
}

/** True for a date or a time that does not say its zone. */
export function lacksZone(text: string): boolean {
  return /^\d{4}-\d\d-\d\d([T ]\d\d(:\d\d){0,2}(\.\d+)?)?$|^\d{1,2}:\d\d(:\d\d(\.\d+)?)?$/.test(text);
}

/**
 * A day and time that lack their zone, as UTC's and, where that is another, as this machine's own: each with the zone. None for a day
 * alone, a time of day alone, or a day that is not there.
 */
export function withZones(text: string): string[] {
  const iso = text.replace(" ", "T");
  const utcMs = parseZonedInstant(`${iso}Z`);
  if (utcMs === undefined) return [];
  // Without a zone it is read as this machine's.
  const minutes = Math.round((utcMs - Date.parse(iso)) / 60_000);
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60].map((part) =>
    String(part).padStart(2, "0"),
  );
  const offset = `${minutes < 0 ? "-" : "+"}${hours}:${rest}`;
  return minutes === 0 ? [`${iso}Z`] : [`${iso}Z`, `${iso}${offset}`];
}

/** Milliseconds since 1970 of a time of day in this machine's own zone. @param month from 1. */
export function localInstant(
  ...[year, month, day, hour, minute, second]: readonly [number, number, number, number, number, number]
): number {
  return new Date(year, month - 1, day, hour, minute, second).getTime();
}

/** For libraries that take nothing else. */
export function dateOf(ms: number): Date {
  return new Date(ms);
}

/** RFC 3339 in UTC with milliseconds. */
export function formatInstant(ms: number): string {
  return new Date(ms).toISOString();
}
