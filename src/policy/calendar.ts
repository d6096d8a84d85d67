/**
 * Instants as a calendar on the wall shows them: in an IANA time zone, with its summer time, and ISO weeks. Nothing here
 * reads a clock; an instant is milliseconds since 1970-01-01Z.
 */
import { Failure } from "../base/errors.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** What a calendar and a clock on the wall say. Months and days from 1. */
export interface WallTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

/** Days since 1970-01-01 in the Gregorian calendar; a month beyond 12 or below 1 moves the year. */
export function daysOf({ year, month, day }: Pick<WallTime, "year" | "month" | "day">): number {
  const y = year + Math.floor((month - 1) / 12);
  const m = ((((month - 1) % 12) + 12) % 12) + 1;
  // The year is counted from March, so that the leap day is its last.
  const shifted = m <= 2 ? y - 1 : y;
  const dayOfYear = Math.floor((153 * ((m + 9) % 12) + 2) / 5) + day - 1;
  const leaps = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  return shifted * 365 + leaps + dayOfYear - 719_468;
}

export function daysInMonth(year: number, month: number): number {
  return daysOf({ year, month: month + 1, day: 1 }) - daysOf({ year, month, day: 1 });
}

/** ISO 8601: weeks begin on Monday, and the first one of a year holds its first Thursday. */
export function isoWeek(wall: Pick<WallTime, "year" | "month" | "day">): { year: number; week: number } {
  const days = daysOf(wall);
  // 1970-01-01 was a Thursday; Monday is 0.
  const weekday = (((days + 3) % 7) + 7) % 7;
  const thursday = days - weekday + 3;
  const year = [wall.year - 1, wall.year, wall.year + 1].findLast(
    (candidate) => daysOf({ year: candidate, month: 1, day: 1 }) <= thursday,
  );
  const first = daysOf({ year: year ?? wall.year, month: 1, day: 1 });
  return { year: year ?? wall.year, week: Math.floor((thursday - first) / 7) + 1 };
}

/** A length of time as restic writes it: `1y5m7d3h`. */
export interface Span {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

/** @throws Failure `usage/invalid` for a text that is no length of time, or none at all. */
export function parseSpan(text: string): Span {
  const match = /^(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?$/.exec(text);
  const [years = 0, months = 0, days = 0, hours = 0] = (match?.slice(1) ?? []).map((part) => Number(part ?? 0));
  if (years + months + days + hours === 0) {
    throw new Failure("usage/invalid", `'${text}' is no length of time`, {
      hint: "Write years, months, days and hours as in 1y6m, 30d or 2d12h.",
    });
  }
  return { years, months, days, hours };
}

export class Zone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat;

  /** @throws Failure `usage/invalid` for a zone that is not known. */
  constructor(name: string) {
    this.name = name;
    try {
      this.#format = new Intl.DateTimeFormat("en-US-u-ca-gregory-nu-latn", {
        timeZone: name,
        hourCycle: "h23",
        year: "numeric",
        month: "numeric",
        day: "numeric",
        hour: "numeric",
        minute: "numeric",
        second: "numeric",
      });
    } catch (cause) {
      throw new Failure("usage/invalid", `'${name}' is no time zone`, {
        hint: "Use a name of the IANA database, as in Europe/Berlin or UTC.",
        cause,
      });
    }
  }

  wallTime(timeMs: number): WallTime {
    const parts = new Map<string, number>();
    for (const { type, value } of this.#format.formatToParts(timeMs)) parts.set(type, Number(value));
    const of = (type: string) => parts.get(type) ?? 0;
    return {
      year: of("year"),
      month: of("month"),
      day: of("day"),
      hour: of("hour"),
      minute: of("minute"),
      second: of("second"),
    };
  }

  /** How far the wall's clock is ahead of UTC at that instant, milliseconds. */
  offsetMs(timeMs: number): number {
    return asUtc(this.wallTime(timeMs)) - Math.floor(timeMs / 1000) * 1000;
  }

  /** The instant at which the wall shows this; the earlier one where it does so twice or, the clock being put forward, never. */
  instantOf(wall: WallTime): number {
    const utc = asUtc(wall);
    const candidates = [utc - DAY_MS, utc + DAY_MS].map((near) => ({ at: utc - this.offsetMs(near), near }));
    const shown = candidates.filter(({ at }) => asUtc(this.wallTime(at)) === utc);
    return Math.min(...(shown.length > 0 ? shown : candidates).map(({ at }) => at));
  }

  /**
   * So long before an instant: years, months and days by the calendar, hours by the clock. A day that the month does not
   * have is its last.
   */
  before(timeMs: number, span: Span): number {
    const wall = this.wallTime(timeMs);
    const months = wall.year * 12 + wall.month - 1 - span.years * 12 - span.months;
    const year = Math.floor(months / 12);
    const month = months - year * 12 + 1;
    const day = Math.min(wall.day, daysInMonth(year, month)) - span.days;
    const sub = timeMs - Math.floor(timeMs / 1000) * 1000;
    return this.instantOf({ ...wall, year, month, day }) + sub - span.hours * HOUR_MS;
  }
}

/** A day beyond the month's end, or below 1, is one of another month. */
function asUtc(wall: WallTime): number {
  return ((daysOf(wall) * 24 + wall.hour) * 60 + wall.minute) * 60_000 + wall.second * 1000;
}
