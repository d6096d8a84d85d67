/**
 * Tablespaces that a segment of the log makes. Their records name a folder of the machine that wrote them, and a server that replays
 * one takes that folder for its own: see `postgres/recovery-tablespaces.ts`, which has them name another one.
 *
 * A record is looked for by what nothing but its head has at that place, whatever lies before it, and counts where its checksum does.
 * All of it comes in steps of eight bytes, between which a page's header may lie. (PostgreSQL's tablespace.h: xl_tblspc_create_rec.)
 */
import { assert } from "../base/errors.ts";
import { CRC32C_START, extendCrc32c, finishCrc32c } from "./crc32c.ts";
import { u32, u64 } from "./numbers.ts";
import { continuedBytes, LONG_HEADER_BYTES, SHORT_HEADER_BYTES } from "./page.ts";
import { RECORD_HEAD_BYTES, RECORD_MAX_BYTES, SUMMED_HEAD_BYTES } from "./record.ts";

/** `info` 0x00, resource manager 5, and padding, as one number. */
const MAKES_TABLESPACE = 0x0000_0500;
const DATA_SHORT = 255;
const DATA_LONG = 254;
const SLASH = 0x2f;
/** A path is shorter than 1,024 bytes. */
const MOST_BYTES = 1200;
/** A switch leaves the rest of a segment empty. */
const MOST_BETWEEN = 2n ** 30n;
/** The oid, one character of a path and its end. */
const LEAST_BYTES = RECORD_HEAD_BYTES + 2 + 4 + 2;

export interface MadeTablespace {
  readonly oid: number;
  /** Its folder, as the record has it: absolute. */
  readonly location: Buffer;
  /** Where each byte of the record lies in the segment. */
  readonly places: readonly number[];
  /** Where the folder's name begins in the record. */
  readonly locationAt: number;
}

export interface MadeTablespaces {
  readonly whole: readonly MadeTablespace[];
  /** A record that makes one goes beyond the segment's beginning or end. */
  readonly isCut: boolean;
}

/** A part of a segment: pages from a position in it on. */
export interface SegmentPart {
  /** Begins where numbers of four bytes may. */
  readonly bytes: Uint8Array;
  /** Where that lies in the segment. */
  readonly origin: number;
  readonly segmentBytes: number;
  readonly pageBytes: number;
}

/** The size of a page, by the beginning of a segment; undefined where that is none. */
export function pageBytesOf(beginning: Uint8Array): number | undefined {
  const size = u32(beginning, 36);
  return size >= 1024 && size <= 65_536 && size % 1024 === 0 ? size : undefined;
}

/** @param range where the third step of a record's head lies, in the segment: what is around that must be there. */
export function madeTablespaces(part: SegmentPart, { from, to }: { from: number; to: number }): MadeTablespaces {
  const { bytes, origin } = part;
  const whole: MadeTablespace[] = [];
  let isCut = false;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  const last = Math.min(words.length, (to - origin) >> 2);
  for (let word = (Math.max(from, LONG_HEADER_BYTES) - origin) >> 2; word < last; word += 2) {
    if (words[word] !== MAKES_TABLESPACE) continue;
    const found = recordAround(part, origin + (word << 2));
    if (found === "cut") isCut = true;
    else if (found !== undefined) whole.push(found);
  }
  return { whole, isCut };
}

function headerBytes(at: number, pageBytes: number): number {
  return at < pageBytes ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
}

/** The step before a step; below 0 where that is in the segment before. */
function before(pageBytes: number, at: number): number {
  const inPage = at % pageBytes;
  return inPage === headerBytes(at, pageBytes) ? at - inPage - 8 : at - 8;
}

function after(pageBytes: number, at: number): number {
  const next = at + 8;
  return next % pageBytes === 0 ? next + SHORT_HEADER_BYTES : next;
}

/** @param at where the third step of a record's head may lie. */
function recordAround(part: SegmentPart, at: number): MadeTablespace | "cut" | undefined {
  const { bytes, origin, segmentBytes, pageBytes } = part;
  const second = before(pageBytes, at);
  const first = second < 0 ? second : before(pageBytes, second);
  const body = after(pageBytes, at);
  if (first < 0) return isContinued(bytes) && looksMade(part, body) ? "cut" : undefined;
  const length = u32(bytes, first - origin);
  if (length < LEAST_BYTES || length > MOST_BYTES || !isBehind(part, second)) return undefined;
  if (body < segmentBytes && !looksMade(part, body)) return undefined;
  const places: number[] = [];
  for (let step = first; places.length < length; step = after(pageBytes, step)) {
    if (step >= segmentBytes) return "cut";
    for (let byte = 0; byte < 8 && places.length < length; byte += 1) places.push(step + byte);
  }
  const record = bytesAt(part, places);
  if (sumOf(record) !== u32(record, SUMMED_HEAD_BYTES)) return undefined;
  const locationAt = RECORD_HEAD_BYTES + (record[RECORD_HEAD_BYTES] === DATA_SHORT ? 2 : 5) + 4;
  const end = record.indexOf(0, locationAt);
  if (end < 0) return undefined;
  return { oid: u32(record, locationAt - 4), location: record.subarray(locationAt, end), places, locationAt };
}

function bytesAt({ bytes, origin }: SegmentPart, places: readonly number[]): Buffer {
  return Buffer.from(places.map((place) => bytes[place - origin] ?? 0));
}

/** Whether a record says that the one before it lies not far before its page. */
function isBehind({ bytes, origin, pageBytes }: SegmentPart, at: number): boolean {
  const page = u64(bytes, at - (at % pageBytes) - origin + 8);
  const previous = u64(bytes, at - origin);
  return previous < page + BigInt(pageBytes) && previous + BigInt(RECORD_MAX_BYTES) + MOST_BETWEEN > page;
}

/** The segment begins with the rest of a record that is no longer than one that makes a tablespace. */
function isContinued(beginning: Uint8Array): boolean {
  const left = continuedBytes(beginning);
  return left > 0 && left <= MOST_BYTES;
}

/** A folder inside the data folder has no name here, and needs none. */
function looksMade({ bytes, origin }: SegmentPart, body: number): boolean {
  const at = body - origin;
  if (bytes[at] === DATA_LONG) return u32(bytes, at + 1) <= MOST_BYTES;
  return bytes[at] === DATA_SHORT && bytes[at + 6] === SLASH;
}

function sumOf(record: Uint8Array): number {
  const body = extendCrc32c(CRC32C_START, record, RECORD_HEAD_BYTES, record.length);
  return finishCrc32c(extendCrc32c(body, record, 0, SUMMED_HEAD_BYTES));
}

/** The record with another folder's name, which is as long. */
export function movedTablespace(
  part: SegmentPart,
  { places, locationAt, location }: MadeTablespace,
  name: string,
): Buffer {
  assert(name.length === location.length, "a tablespace's new name has another length");
  const record = bytesAt(part, places);
  record.write(name, locationAt, "latin1");
  record.writeUInt32LE(sumOf(record), SUMMED_HEAD_BYTES);
  return record;
}
