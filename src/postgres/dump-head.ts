/** The beginning of an archive of pg_dump, of any version: who made it, of what, and when. Pure. */
import { localInstant, parseZonedInstant } from "../base/clock.ts";

export interface DumpHead {
  /** In this machine's zone: an archive has the local time of the machine that made it, as pg_restore reads it too. */
  madeAtMs: number;
  database: string | null;
  /** As the server and pg_dump call themselves: `15.20 (Debian 15.20-1)`. */
  serverVersion: string | null;
  programVersion: string | null;
}

export const ARCHIVE_MAGIC = "PGDMP";

/** @returns undefined for what is no archive, or is cut off within its first lines. */
export function decodeDumpHead(bytes: Buffer): DumpHead | undefined {
  if (bytes.toString("latin1", 0, ARCHIVE_MAGIC.length) !== ARCHIVE_MAGIC) return undefined;
  const [minor = 0, , integerBytes = 0] = bytes.subarray(6, 9);
  let at = 11;
  const integer = (): number => {
    if (at + 1 + integerBytes > bytes.length) throw new RangeError();
    const value = bytes.readUIntLE(at + 1, integerBytes);
    const isNegative = bytes[at] !== 0;
    at += 1 + integerBytes;
    return isNegative ? -value : value;
  };
  const text = (): string | null => {
    const length = integer();
    if (length < 0) return null;
    if (at + length > bytes.length) throw new RangeError();
    at += length;
    return bytes.toString("utf8", at - length, at);
  };
  if (integerBytes < 1 || integerBytes > 6) return undefined;
  try {
    // What it is compressed with: a level, and since version 1.15 a byte.
    if (minor >= 15) at += 1;
    else integer();
    const [second, minute, hour, day, month, year] = [integer(), integer(), integer(), integer(), integer(), integer()];
    integer();
    const madeAtMs = localInstant(year + 1900, month + 1, day, hour, minute, second);
    return { madeAtMs, database: text(), serverVersion: text(), programVersion: text() };
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** The major version in what a server or program calls itself: `9.6.24` is 9. */
export function majorOf(version: string | null | undefined): number | undefined {
  const major = /^(\d+)/.exec(version ?? "")?.[1];
  return major === undefined ? undefined : Number(major);
}

/** A time as `pg_dump --verbose` writes it, `2026-11-28 15:52:10 UTC`: of no zone that is known, it is this machine's. */
export function parseDumpTime(text: string): number | undefined {
  const [, date, zone = ""] = /^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?: (\S+))?$/.exec(text) ?? [];
  if (date === undefined) return undefined;
  if (zone === "UTC" || zone === "GMT") return parseZonedInstant(`${date}Z`);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = date.split(/\D/).map(Number);
  return localInstant(year, month, day, hour, minute, second);
}
