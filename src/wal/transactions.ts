/**
 * Ends of transactions in the write-ahead log. (PostgreSQL's xact.h: xl_xact_commit, xl_xact_abort, xl_xact_prepare;
 * xactdesc.c: ParseCommitRecord, ParseAbortRecord, ParsePrepareRecord.) After the time come the parts that the flags name, in
 * this order: database, subtransactions, files to be dropped, statistics to be dropped (15 and later), invalidations
 * (commits only), number and name of the prepared transaction, origin.
 */
import { i64, u16, u32 } from "./numbers.ts";
import { type RelationFile, storageFile } from "./rows.ts";

/** The upper three bits but one of a record's info. */
const OPERATION = 0x70;
const HAS_FLAGS = 0x80;
const COMMIT = 0x00;
const PREPARE = 0x10;
const ABORT = 0x20;
const COMMIT_PREPARED = 0x30;
const ABORT_PREPARED = 0x40;

const FLAG_DATABASE = 0x1;
const FLAG_SUBTRANSACTIONS = 0x2;
const FLAG_FILES = 0x4;
const FLAG_INVALIDATIONS = 0x8;
const FLAG_TWO_PHASE = 0x10;
const FLAG_NAME = 0x80;
const FLAG_STATISTICS = 0x100;

/** Between 1970 and 2000, from where on PostgreSQL counts microseconds. */
const EPOCH_US = 946_684_800_000_000n;
/** PREPARE's name, with the zero at its end (GIDSIZE). */
const NAME_BYTES = 200;

export type TransactionKind = "commit" | "abort" | "prepare";

/** What a record says of a transaction. */
export interface TransactionRecord {
  readonly kind: TransactionKind;
  readonly xid: number;
  /** Microseconds since 1970, by the server's clock. */
  readonly timeUs: bigint;
  readonly subxids: readonly number[];
  /** Files that went with it: of tables, indexes and TOAST tables that were dropped, truncated or rewritten. */
  readonly dropped: readonly RelationFile[];
  /** The name that PREPARE TRANSACTION gave it; undefined where it was not prepared. */
  readonly gid: string | undefined;
}

/** A PostgreSQL timestamp in microseconds since 1970. */
export function timestampUs(bytes: Uint8Array, at: number): bigint {
  return i64(bytes, at) + EPOCH_US;
}

export function tellsOfTransaction(info: number): boolean {
  return (info & OPERATION) <= ABORT_PREPARED;
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly to: number;
}

/** Passes over `length` bytes and says where they begin; undefined where they are not there. */
function pass(cursor: Cursor, length: number): number | undefined {
  const { at, to } = cursor;
  if (length > to - at) return undefined;
  cursor.at = at + length;
  return at;
}

/** A list with its count before it: where it begins, and how many there are. */
function passList(cursor: Cursor, itemBytes: number): { at: number; count: number } | undefined {
  const counted = pass(cursor, 4);
  if (counted === undefined) return undefined;
  const count = u32(cursor.bytes, counted);
  const at = pass(cursor, count * itemBytes);
  return at === undefined ? undefined : { at, count };
}

function readXids(bytes: Uint8Array, at: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => u32(bytes, at + 4 * n));
}

/** Text up to its zero; undefined where there is none before `to`. */
function readText(bytes: Uint8Array, at: number, to: number): string | undefined {
  const end = bytes.indexOf(0, at);
  return end < 0 || end >= to ? undefined : Buffer.from(bytes.subarray(at, end)).toString("utf8");
}

export interface TransactionBytes {
  readonly from: number;
  readonly to: number;
  /** More belongs to it than is there: then what is there is told. */
  readonly isCut: boolean;
  readonly xid: number;
  readonly info: number;
  readonly major: number;
}

/**
 * Reads the main data of a record for which {@link tellsOfTransaction} holds: `bytes[from … to)`. Undefined where they are not
 * as the major writes them.
 */
export function parseTransaction(
  bytes: Uint8Array,
  { from, to, isCut, xid, info, major }: TransactionBytes,
): TransactionRecord | undefined {
  const operation = info & OPERATION;
  if (operation === PREPARE) return parsePrepare(bytes, { from, to, isCut, major });
  const isCommit = operation === COMMIT || operation === COMMIT_PREPARED;
  if (!isCommit && operation !== ABORT && operation !== ABORT_PREPARED) return undefined;
  if (to - from < 8) return undefined;
  const cursor: Cursor = { bytes, at: from + 8, to };
  const found = {
    kind: isCommit ? ("commit" as const) : ("abort" as const),
    xid,
    timeUs: timestampUs(bytes, from),
    subxids: [],
    dropped: [],
    gid: undefined,
  };
  if ((info & HAS_FLAGS) === 0) return found;
  const flagsAt = pass(cursor, 4);
  const parts = flagsAt === undefined ? undefined : parseParts(cursor, u32(bytes, flagsAt), major);
  if (parts === undefined) return isCut ? found : undefined;
  return { ...found, ...parts, xid: parts.xid ?? xid };
}

interface Parts {
  subxids: number[];
  dropped: RelationFile[];
  xid: number | undefined;
  gid: string | undefined;
}

function parseParts(cursor: Cursor, flags: number, major: number): Parts | undefined {
  const { bytes } = cursor;
  const parts: Parts = { subxids: [], dropped: [], xid: undefined, gid: undefined };
  if ((flags & FLAG_DATABASE) !== 0 && pass(cursor, 8) === undefined) return undefined;
  if ((flags & FLAG_SUBTRANSACTIONS) !== 0) {
    const list = passList(cursor, 4);
    if (list === undefined) return undefined;
    parts.subxids = readXids(bytes, list.at, list.count);
  }
  if ((flags & FLAG_FILES) !== 0) {
    const list = passList(cursor, 12);
    if (list === undefined) return undefined;
    parts.dropped = Array.from({ length: list.count }, (_, n) => storageFile(bytes, list.at + 12 * n));
  }
  // An item has the kind, the database and the object: of 32 bits until 17, of 64 from 18 on.
  if ((flags & FLAG_STATISTICS) !== 0 && passList(cursor, major >= 18 ? 16 : 12) === undefined) return undefined;
  if ((flags & FLAG_INVALIDATIONS) !== 0 && passList(cursor, 16) === undefined) return undefined;
  if ((flags & FLAG_TWO_PHASE) !== 0) {
    const at = pass(cursor, 4);
    if (at === undefined) return undefined;
    parts.xid = u32(bytes, at);
  }
  if ((flags & FLAG_NAME) !== 0) {
    parts.gid = readText(bytes, cursor.at, Math.min(cursor.to, cursor.at + NAME_BYTES));
    if (parts.gid === undefined) return undefined;
  }
  return parts;
}

/**
 * The head of xl_xact_prepare: u32 magic, u32 length, u32 transaction, u32 database, i64 time, u32 owner, u32 subtransactions,
 * counts of what follows (two more of them from 15 on), u16 length of the name, origin. Name and subtransactions follow, each
 * beginning at a multiple of eight.
 */
function parsePrepare(
  bytes: Uint8Array,
  { from, to, isCut, major }: Pick<TransactionBytes, "from" | "to" | "isCut" | "major">,
): TransactionRecord | undefined {
  const headBytes = major >= 15 ? 72 : 64;
  if (to - from < headBytes) return undefined;
  const nameBytes = u16(bytes, from + headBytes - 18);
  const count = isCut ? 0 : u32(bytes, from + 28);
  const subxidsAt = from + headBytes + Math.ceil(nameBytes / 8) * 8;
  const gid = readText(bytes, from + headBytes, Math.min(to, from + headBytes + nameBytes));
  if (gid === undefined || subxidsAt + 4 * count > to) return undefined;
  return {
    kind: "prepare",
    xid: u32(bytes, from + 8),
    timeUs: timestampUs(bytes, from + 16),
    subxids: readXids(bytes, subxidsAt, count),
    dropped: [],
    gid,
  };
}
