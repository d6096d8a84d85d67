/** Gives transactions of a recorded log other times, as a server does whose clock was wrong. */
import { CRC32C_START, extendCrc32c, finishCrc32c } from "../../src/wal/crc32c.ts";
import type { Lsn } from "../../src/wal/lsn.ts";

const PAGE = 8192;
const HEADER_BYTES = 24;
/** Microseconds between 1970 and 2000. */
const SINCE_2000_US = 946_684_800_000_000n;
/** Of the main data: a record has nothing else, and says its length in one byte or in four. */
const SHORT = 255;

/** @param segments whole, one behind the other. @param startLsn of a commit's or an abort's record. */
export function setTime(segments: readonly { start: Lsn; bytes: Buffer }[], startLsn: Lsn, timeUs: bigint): void {
  const at = placesOf(segments, startLsn, HEADER_BYTES);
  const head = Buffer.from(at.map(({ bytes, index }) => bytes[index] ?? 0));
  const places = placesOf(segments, startLsn, head.readUInt32LE(0));
  const record = Buffer.from(places.map(({ bytes, index }) => bytes[index] ?? 0));
  const main = HEADER_BYTES + (record[HEADER_BYTES] === SHORT ? 2 : 5);
  record.writeBigInt64LE(timeUs - SINCE_2000_US, main);
  const crc = extendCrc32c(CRC32C_START, record, HEADER_BYTES, record.length);
  record.writeUInt32LE(finishCrc32c(extendCrc32c(crc, record, 0, 20)), 20);
  for (const [n, { bytes, index }] of places.entries()) bytes[index] = record[n] ?? 0;
}

/** Where each byte of a record lies, around the heads of pages. */
function placesOf(segments: readonly { start: Lsn; bytes: Buffer }[], startLsn: Lsn, length: number) {
  const places: { bytes: Buffer; index: number }[] = [];
  for (let lsn = startLsn; places.length < length; lsn += 1n) {
    const segment = segments.find(({ start, bytes }) => lsn >= start && lsn < start + BigInt(bytes.length));
    if (segment === undefined) throw new Error("the record ends in no segment");
    const index = Number(lsn - segment.start);
    if (index % PAGE < (index < PAGE ? 40 : 24)) continue;
    places.push({ bytes: segment.bytes, index });
  }
  return places;
}
