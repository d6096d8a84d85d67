/**
 * Positions in PostgreSQL's write-ahead log, and the names of the files that hold it. A position is a byte's number since the
 * cluster was made (64 bits); PostgreSQL writes it as two halves in hexadecimal (`pg_lsn`, `16/B374D848`).
 */
import { Failure } from "../base/errors.ts";

/** Bytes since the cluster was made; from 0 to 2^64 − 1. */
export type Lsn = bigint;

const TEXT = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;
const SEGMENT_NAME = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/;
const HALF = 32n;
const LOW = 0xffff_ffffn;

/** True for text that PostgreSQL reads as a `pg_lsn`. */
export function isLsn(text: string): boolean {
  return TEXT.test(text);
}

/** @throws Failure `usage/invalid` for what is no position. */
export function parseLsn(text: string): Lsn {
  const match = TEXT.exec(text);
  if (match === null) {
    throw new Failure("usage/invalid", `'${text.slice(0, 40)}' is not a position in the write-ahead log`, {
      hint: "Write it as PostgreSQL does, as 0/16B3748.",
    });
  }
  return (BigInt(`0x${match[1] ?? ""}`) << HALF) | BigInt(`0x${match[2] ?? ""}`);
}

/** As PostgreSQL writes it: `0/16B3748`. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> HALF).toString(16).toUpperCase()}/${(lsn & LOW).toString(16).toUpperCase()}`;
}

/** Where the segment begins that holds a byte. `segmentBytes` is the server's `wal_segment_size`, a power of two. */
export function segmentStart(lsn: Lsn, segmentBytes: number): Lsn {
  return lsn - (lsn % BigInt(segmentBytes));
}

/** The name of the file that holds a byte of a timeline, as in `pg_wal` (XLogFileName). */
export function segmentName(timeline: number, lsn: Lsn, segmentBytes: number): string {
  const perId = (1n << HALF) / BigInt(segmentBytes);
  const number = lsn / BigInt(segmentBytes);
  return [BigInt(timeline), number / perId, number % perId]
    .map((part) => part.toString(16).toUpperCase().padStart(8, "0"))
    .join("");
}

/** The timeline and the first byte of a segment; undefined for what is not the name of one. */
export function parseSegmentName(name: string, segmentBytes: number): { timeline: number; start: Lsn } | undefined {
  const match = SEGMENT_NAME.exec(name);
  if (match === null) return undefined;
  const [timeline, id, low] = match.slice(1).map((part) => BigInt(`0x${part}`));
  if (timeline === undefined || id === undefined || low === undefined) return undefined;
  const perId = (1n << HALF) / BigInt(segmentBytes);
  if (low >= perId) return undefined;
  return { timeline: Number(timeline), start: (id * perId + low) * BigInt(segmentBytes) };
}

/** The name of the file that tells a timeline's history: `00000002.history`. */
export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
}
