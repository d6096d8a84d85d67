/**
 * Records of the write-ahead log. (PostgreSQL's xlogrecord.h: XLogRecord; xlogreader.c: DecodeXLogRecord.) A head of 24 bytes:
 *
 *     0 u32 length, the head included   4 u32 transaction   8 u64 where the record before begins
 *     16 u8 info   17 u8 resource manager   18 padding   20 u32 CRC-32C over the body, then over the head's first 20 bytes
 *
 * The body begins with a list: blocks (pages that the record changes), where it came from, and how long the main data is; then
 * follow each block's page image and data, and the main data last.
 */
import { u16, u32 } from "./numbers.ts";

export const RECORD_HEAD_BYTES = 24;
/** Of them the checksum counts so many. */
export const SUMMED_HEAD_BYTES = 20;
/** PostgreSQL makes no longer one (XLogRecordMaxSize is 1,020 MiB; before 16 the bound was that of a palloc). */
export const RECORD_MAX_BYTES = 2 ** 30;

/** Resource managers (rmgrlist.h), of those whose records are looked into. */
export const RMGR = { xlog: 0, xact: 1, storage: 2, standby: 8, heap2: 9, heap: 10 } as const;
/** The last one of PostgreSQL's own; those of extensions (15 and later) begin at 128. */
const LAST_OWN_RMGR = 21;
const FIRST_CUSTOM_RMGR = 128;

/** The upper half of a record's info, which its resource manager uses. */
export const INFO_MASK = 0xf0;

export function isResourceManager(rmgr: number, major: number): boolean {
  return rmgr <= LAST_OWN_RMGR || (major >= 15 && rmgr >= FIRST_CUSTOM_RMGR);
}

/** Where what matters lies of a body; made once and filled again, for there are millions. */
export interface BodyLayout {
  /** The file of the first block: 0 where the record has none. */
  tablespace: number;
  database: number;
  relation: number;
  /** Where the main data begin, from the body's beginning, and how long they are. */
  mainAt: number;
  mainBytes: number;
}

export function emptyLayout(): BodyLayout {
  return { tablespace: 0, database: 0, relation: 0, mainAt: 0, mainBytes: 0 };
}

const DATA_SHORT = 255;
const DATA_LONG = 254;
const ORIGIN = 253;
const TOPLEVEL_XID = 252;
const LAST_BLOCK = 32;

const BLOCK_HAS_IMAGE = 0x10;
const BLOCK_SAME_RELATION = 0x80;
const IMAGE_HAS_HOLE = 0x01;

/** The bits of an image's info that say it is compressed: 15 gave each method its own. */
function compressedBits(major: number): number {
  return major >= 15 ? 0x1c : 0x02;
}

/** Bytes of a block's entry, the id included. */
function blockEntryBytes(bytes: Uint8Array, at: number, major: number): number {
  const flags = bytes[at + 1] ?? 0;
  let length = 4 + 4 + ((flags & BLOCK_SAME_RELATION) === 0 ? 12 : 0);
  if ((flags & BLOCK_HAS_IMAGE) !== 0) {
    const info = bytes[at + 8] ?? 0;
    length += 5;
    if ((info & compressedBits(major)) !== 0 && (info & IMAGE_HAS_HOLE) !== 0) length += 2;
  }
  return length;
}

/**
 * Reads the list at the beginning of a body of `length` bytes, of which `bytes[from … to)` are there. False where it is not
 * laid out as the major does it.
 */
export function readLayout(
  into: BodyLayout,
  bytes: Uint8Array,
  { from, to, length, major }: { from: number; to: number; length: number; major: number },
): boolean {
  let at = from;
  into.tablespace = into.database = into.relation = into.mainBytes = 0;
  into.mainAt = length;
  let isFirst = true;
  // Bytes of images and data that the list has promised: when there is nothing else, it is at its end.
  let promised = 0;
  while (length - (at - from) > promised) {
    const id = bytes[at] ?? 0;
    if (id === DATA_SHORT || id === DATA_LONG) {
      into.mainBytes = id === DATA_SHORT ? (bytes[at + 1] ?? 0) : u32(bytes, at + 1);
      into.mainAt = length - into.mainBytes;
      at += id === DATA_SHORT ? 2 : 5;
      return at <= to && at - from + promised + into.mainBytes === length;
    }
    if (id === ORIGIN) at += 3;
    else if (id === TOPLEVEL_XID) at += 5;
    else if (id <= LAST_BLOCK) {
      const entry = blockEntryBytes(bytes, at, major);
      promised += u16(bytes, at + 2) + (((bytes[at + 1] ?? 0) & BLOCK_HAS_IMAGE) === 0 ? 0 : u16(bytes, at + 4));
      if (isFirst) {
        into.tablespace = u32(bytes, at + entry - 16);
        into.database = u32(bytes, at + entry - 12);
        into.relation = u32(bytes, at + entry - 8);
        isFirst = false;
      }
      at += entry;
    } else return false;
    if (at > to) return false;
  }
  return at - from + promised === length;
}
