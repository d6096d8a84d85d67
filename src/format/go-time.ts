/**
 * Instants as Go writes them in JSON (RFC 3339 with up to nine digits after the second, none of them a trailing zero).
 * Elsewhere they are counted in nanoseconds since 1970-01-01Z.
 */
import { Failure } from "../base/errors.ts";

/** The instant of everything that carries none of its own. */
export const EPOCH = "1970-01-01T00:00:00Z";

const SHAPE =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/;
const DAY_SECONDS = 86_400;

/** Days from 1970-01-01 of a day in the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms"). */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  return (
    era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468
  );
}

function civilFromDays(days: number): { year: number; month: number; day: number } {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1,
  };
}

/** {@link SHAPE} without its groups, and only days that every month has: nearly all, and several times as fast. */
const COMMON =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** True for text that Go reads as an instant. */
export function isGoTime(text: string): boolean {
  if (COMMON.test(text)) return true;
  const match = SHAPE.exec(text);
  if (match === null) return false;
  const [, year, month, day] = match;
  const days = daysFromCivil(Number(year), Number(month), Number(day));
  return civilFromDays(days).day === Number(day);
}

/**
 * Nanoseconds since 1970-01-01Z.
 * @throws {Failure} `repo/damaged` when the text is no instant.
 */
export function parseGoTime(text: string): bigint {
  const match = SHAPE.exec(text);
  if (match === null || !isGoTime(text)) throw new Failure("repo/damaged", `'${text.slice(0, 40)}' is not an instant`);
  const [, year, month, day, hour, minute, second, fraction = "", sign, zoneHour = "0", zoneMinute = "0"] = match;
  const local =
    daysFromCivil(Number(year), Number(month), Number(day)) * DAY_SECONDS +
    Number(hour) * 3600 +
    Number(minute) * 60 +
    Number(second);
  const ahead = (Number(zoneHour) * 3600 + Number(zoneMinute) * 60) * (sign === "-" ? -1 : 1);
  return BigInt(local - ahead) * 1_000_000_000n + BigInt(fraction.padEnd(9, "0"));
}

function pad(value: number, digits = 2): string {
  return value.toString().padStart(digits, "0");
}

/** In UTC. Years 0–9999 only: restic can write no others. */
export function formatGoTime(nanoseconds: bigint): string {
  const fraction = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const seconds = Number((nanoseconds - fraction) / 1_000_000_000n);
  const days = Math.floor(seconds / DAY_SECONDS);
  const inDay = seconds - days * DAY_SECONDS;
  const { year, month, day } = civilFromDays(days);
  if (year < 0 || year > 9999) throw new Failure("usage/invalid", "an instant outside the years 0 to 9999");
  const date = `${pad(year, 4)}-${pad(month)}-${pad(day)}`;
  const time = `${pad(Math.floor(inDay / 3600))}:${pad(Math.floor(inDay / 60) % 60)}:${pad(inDay % 60)}`;
  const digits = fraction === 0n ? "" : `.${fraction.toString().padStart(9, "0").replace(/0+$/, "")}`;
  return `${date}T${time}${digits}Z`;
}
