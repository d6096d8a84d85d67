/**
 * Rows that transactions inserted, updated and deleted, counted by the file that they lie in, so that "the DELETE on
 * conversations" can be looked for. (PostgreSQL's heapam_xlog.h, storage_xlog.h, standbydefs.h.)
 *
 * A row's record says which (sub)transaction wrote it; which of them belong together is known when the transaction ends. So
 * counts are kept until then, in bounded memory: beyond the bound everything open is forgotten, and the transactions that it
 * touches are told as not whole.
 */
import { LIMITS } from "../base/limits.ts";
import { u16, u32 } from "./numbers.ts";
import { type BodyLayout, RMGR } from "./record.ts";

/** A file of a table: what `pg_class.relfilenode` and `pg_relation_filenode` tell. */
export interface RelationFile {
  readonly tablespace: number;
  /** The database's oid; 0 for catalogues that all share. */
  readonly database: number;
  readonly relation: number;
}

/** What one transaction did to one table's file. Rows of TOAST tables, catalogues and indexes' tables are counted as any. */
export interface RowCounts extends RelationFile {
  inserted: number;
  /** Updates of both kinds; a row that moves to another partition is a deletion and an insertion. */
  updated: number;
  deleted: number;
  /** The file was cut to nothing: by a TRUNCATE of a table that the same transaction made, or by VACUUM when no row was left. */
  isEmptied: boolean;
}

const HEAP_INSERT = 0x00;
const HEAP_DELETE = 0x10;
const HEAP_UPDATE = 0x20;
const HEAP_TRUNCATE = 0x30;
const HEAP_HOT_UPDATE = 0x40;
const HEAP_OPERATION = 0x70;
const HEAP2_MULTI_INSERT = 0x50;
const STORAGE_TRUNCATE = 0x20;
/** A deletion that takes back an insertion of INSERT … ON CONFLICT (XLH_DELETE_IS_SUPER). */
const DELETE_TAKES_BACK = 0x08;

export function countsRows(rmgr: number, info: number): boolean {
  if (rmgr === RMGR.heap) {
    const operation = info & HEAP_OPERATION;
    return operation <= HEAP_TRUNCATE || operation === HEAP_HOT_UPDATE;
  }
  if (rmgr === RMGR.heap2) return (info & HEAP_OPERATION) === HEAP2_MULTI_INSERT;
  return rmgr === RMGR.storage && (info & 0xf0) === STORAGE_TRUNCATE;
}

interface Open {
  readonly files: Map<number, RowCounts>;
  /** Oids of tables that a TRUNCATE named; the log says so only with `wal_level = logical`. */
  truncated: number[];
}

/** What is known of one transaction at its end. */
export interface TransactionRows {
  readonly rows: readonly RowCounts[];
  readonly truncated: readonly number[];
  /** False where it may have done more than is counted here: it had begun before the reader did, or too much was open. */
  readonly isWhole: boolean;
}

export interface RowLedger {
  readonly open: Map<number, Open>;
  readonly prepared: Map<number, Open>;
  /** Transactions from this one on were seen from their beginning; undefined while none is known to be. */
  wholeFrom: number | undefined;
  newest: number;
  /** Files of all that is open. */
  entries: number;
  /** Numbers of pairs of tablespace and database, which with the relation's make one key. */
  readonly places: Map<string, number>;
  lastPlace: { tablespace: number; database: number; number: number };
}

export function openLedger(): RowLedger {
  return {
    open: new Map(),
    prepared: new Map(),
    wholeFrom: undefined,
    newest: 0,
    entries: 0,
    places: new Map(),
    lastPlace: { tablespace: -1, database: -1, number: -1 },
  };
}

/** Whether a transaction's number comes after another's: they go round (TransactionIdFollowsOrEquals). */
function isFrom(xid: number, first: number): boolean {
  return ((xid - first) | 0) >= 0;
}

function placeNumber(ledger: RowLedger, tablespace: number, database: number): number {
  const last = ledger.lastPlace;
  if (last.tablespace === tablespace && last.database === database) return last.number;
  const key = `${tablespace}/${database}`;
  const number = ledger.places.get(key) ?? ledger.places.size;
  ledger.places.set(key, number);
  ledger.lastPlace = { tablespace, database, number };
  return number;
}

function openOf(ledger: RowLedger, xid: number): Open {
  let open = ledger.open.get(xid);
  if (open === undefined) {
    open = { files: new Map(), truncated: [] };
    ledger.open.set(xid, open);
    ledger.entries += 1;
    if (ledger.newest === 0 || isFrom(xid, ledger.newest)) ledger.newest = xid;
  }
  return open;
}

function fileOf(ledger: RowLedger, xid: number, { tablespace, database, relation }: RelationFile): RowCounts {
  if (ledger.entries >= LIMITS.walOpenFiles) forget(ledger);
  const { files } = openOf(ledger, xid);
  const key = placeNumber(ledger, tablespace, database) * 2 ** 32 + relation;
  let counts = files.get(key);
  if (counts === undefined) {
    counts = { tablespace, database, relation, inserted: 0, updated: 0, deleted: 0, isEmptied: false };
    files.set(key, counts);
    ledger.entries += 1;
  }
  return counts;
}

/** Lets go of everything that is open: what had begun by now cannot be told whole any more. */
function forget(ledger: RowLedger): void {
  ledger.open.clear();
  ledger.prepared.clear();
  ledger.entries = 0;
  if (ledger.wholeFrom !== undefined) ledger.wholeFrom = (ledger.newest + 1) >>> 0;
}

/** Bytes of main data that a record's count needs. */
function neededBytes(rmgr: number, operation: number): number {
  if (rmgr === RMGR.storage) return 16;
  if (rmgr === RMGR.heap2) return 4;
  if (operation === HEAP_DELETE) return 8;
  return operation === HEAP_TRUNCATE ? 12 : 0;
}

/**
 * A record for which {@link countsRows} holds; `bytes[main … to)` are its main data, as far as they are there. False where they
 * are too few to be what the record says it is.
 */
export function countRows(
  ledger: RowLedger,
  record: { xid: number; rmgr: number; info: number },
  { layout, bytes, main, to }: { layout: BodyLayout; bytes: Uint8Array; main: number; to: number },
): boolean {
  const { xid, rmgr, info } = record;
  const operation = info & HEAP_OPERATION;
  if (main + neededBytes(rmgr, operation) > to) return false;
  if (rmgr === RMGR.storage) {
    // xl_smgr_truncate: u32 blocks that stay, then the file.
    if (xid !== 0 && u32(bytes, main) === 0) fileOf(ledger, xid, storageFile(bytes, main + 4)).isEmptied = true;
  } else if (rmgr === RMGR.heap2) {
    // xl_heap_multi_insert: u8 flags, padding, u16 rows.
    fileOf(ledger, xid, layout).inserted += u16(bytes, main + 2);
  } else if (operation === HEAP_INSERT) fileOf(ledger, xid, layout).inserted += 1;
  else if (operation === HEAP_UPDATE || operation === HEAP_HOT_UPDATE) fileOf(ledger, xid, layout).updated += 1;
  else if (operation === HEAP_DELETE) {
    // xl_heap_delete: u32 transaction, u16 place, u8 bits, u8 flags.
    const isTakenBack = ((bytes[main + 7] ?? 0) & DELETE_TAKES_BACK) !== 0;
    if (isTakenBack) fileOf(ledger, xid, layout).inserted -= 1;
    else fileOf(ledger, xid, layout).deleted += 1;
  } else {
    // xl_heap_truncate: u32 database, u32 count, u8 flags, padding, oids.
    const count = Math.min(u32(bytes, main + 4), (to - main - 12) >>> 2);
    const { truncated } = openOf(ledger, xid);
    for (let n = 0; n < count; n += 1) truncated.push(u32(bytes, main + 12 + 4 * n));
  }
  return true;
}

export function storageFile(bytes: Uint8Array, at: number): RelationFile {
  return { tablespace: u32(bytes, at), database: u32(bytes, at + 4), relation: u32(bytes, at + 8) };
}

function take(ledger: RowLedger, from: Map<number, Open>, xid: number): Open | undefined {
  const open = from.get(xid);
  if (open === undefined) return undefined;
  from.delete(xid);
  ledger.entries -= 1 + open.files.size;
  return open;
}

function merge(into: Open, more: Open): void {
  for (const oid of more.truncated) into.truncated.push(oid);
  for (const [key, counts] of more.files) {
    const there = into.files.get(key);
    if (there === undefined) into.files.set(key, counts);
    else {
      there.inserted += counts.inserted;
      there.updated += counts.updated;
      there.deleted += counts.deleted;
      there.isEmptied ||= counts.isEmptied;
    }
  }
}

function takeAll(ledger: RowLedger, xid: number, subxids: readonly number[]): Open {
  const all: Open = take(ledger, ledger.open, xid) ?? { files: new Map(), truncated: [] };
  for (const one of subxids) {
    const more = take(ledger, ledger.open, one);
    if (more !== undefined) merge(all, more);
  }
  return all;
}

/** Takes a transaction out that has ended, with its subtransactions. */
export function closeTransaction(ledger: RowLedger, xid: number, subxids: readonly number[]): TransactionRows {
  const all = takeAll(ledger, xid, subxids);
  const prepared = take(ledger, ledger.prepared, xid);
  if (prepared !== undefined) merge(all, prepared);
  const isWhole = ledger.wholeFrom !== undefined && isFrom(xid, ledger.wholeFrom);
  return { rows: [...all.files.values()], truncated: all.truncated, isWhole };
}

/** A transaction was prepared: it stays, whatever becomes of the server, until somebody ends it. */
export function prepareTransaction(ledger: RowLedger, xid: number, subxids: readonly number[]): void {
  const all = takeAll(ledger, xid, subxids);
  ledger.prepared.set(xid, all);
  ledger.entries += 1 + all.files.size;
}

/** The server said which transactions were running: all from `next` on begin after this, all before `oldest` have ended. */
export function noteRunning(ledger: RowLedger, { next, oldest }: { next: number; oldest: number }): void {
  ledger.wholeFrom ??= next;
  // Numbers go round: what lies far behind would come to lie ahead.
  if (isFrom(oldest, ledger.wholeFrom)) ledger.wholeFrom = oldest;
}

/** The server was stopped or had crashed: what was not prepared is gone. */
export function noteRestart(ledger: RowLedger, next: number | undefined): void {
  for (const xid of ledger.open.keys()) take(ledger, ledger.open, xid);
  if (next !== undefined) ledger.wholeFrom ??= next;
}
