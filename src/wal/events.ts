/** What is worth telling of a record of the write-ahead log. */
import type { Lsn } from "./lsn.ts";
import { u32 } from "./numbers.ts";
import { type BodyLayout, RMGR } from "./record.ts";
import {
  closeTransaction,
  countRows,
  countsRows,
  noteRestart,
  noteRunning,
  prepareTransaction,
  type RowLedger,
  type TransactionRows,
} from "./rows.ts";
import { parseTransaction, tellsOfTransaction, timestampUs, type TransactionRecord } from "./transactions.ts";
import { LIMITS } from "../base/limits.ts";

interface Told {
  /** The end of the record, as PostgreSQL tells positions to recover to; with `startLsn`, where it begins. */
  readonly lsn: Lsn;
  readonly startLsn: Lsn;
}

/** A transaction ended (or a part of one was rolled back: an abort of its own, told with that part's number). */
export interface TransactionEnd extends Told, Omit<TransactionRecord, "kind">, TransactionRows {
  readonly kind: "commit" | "abort";
}

/** PREPARE TRANSACTION: what it did is told with its end. */
export interface Prepared extends Told {
  readonly kind: "prepare";
  readonly xid: number;
  readonly timeUs: bigint;
  readonly gid: string;
}

/** pg_create_restore_point. */
export interface NamedPoint extends Told {
  readonly kind: "restore-point";
  readonly timeUs: bigint;
  readonly name: string;
}

/** The server was started with other settings: recovery must have at least these (xl_parameter_change). */
export interface SettingsChange extends Told {
  readonly kind: "settings";
  readonly settings: {
    readonly max_connections: number;
    readonly max_worker_processes: number;
    readonly max_wal_senders: number;
    readonly max_prepared_transactions: number;
    readonly max_locks_per_transaction: number;
  };
  /** With `minimal`, what follows cannot be replayed from a base: a new one is needed. */
  readonly walLevel: "minimal" | "replica" | "logical";
}

/** The server was shut down cleanly, or has come up after a crash: nothing but prepared transactions was open here. */
export interface Restart extends Told {
  readonly kind: "restart";
}

/** The first record of a new timeline (xl_end_of_recovery); a promotion may write a restart instead. */
export interface TimelineStart extends Told {
  readonly kind: "timeline";
  readonly timeUs: bigint;
  readonly timeline: number;
  readonly parent: number;
}

/** pg_switch_wal: what is left of the segment is padding; `lsn` is where the next one begins. */
export interface Switch extends Told {
  readonly kind: "switch";
}

/** After a crash, a record that had been written in part is given up; it began at `lost`. */
export interface Overwritten extends Told {
  readonly kind: "overwritten";
  readonly lost: Lsn;
}

export type WalEvent =
  | TransactionEnd
  | Prepared
  | NamedPoint
  | SettingsChange
  | Restart
  | TimelineStart
  | Switch
  | Overwritten;

const CHECKPOINT_SHUTDOWN = 0x00;
export const SWITCH = 0x40;
const PARAMETER_CHANGE = 0x60;
const RESTORE_POINT = 0x70;
const END_OF_RECOVERY = 0x90;
const OVERWRITE_CONTRECORD = 0xd0;
const RUNNING_XACTS = 0x10;
const READ_OF_XLOG = new Set([
  CHECKPOINT_SHUTDOWN,
  SWITCH,
  PARAMETER_CHANGE,
  RESTORE_POINT,
  END_OF_RECOVERY,
  OVERWRITE_CONTRECORD,
]);

/** Heads of records that are looked into only at their beginning. */
const HEAD_BYTES = 4096;
/** xl_restore_point's name, with the zero at its end (MAXFNAMELEN). */
const NAME_BYTES = 64;

/** How much of a record's body is looked at, in bytes; 0 where it is only checked. */
export function lookedAtBytes(rmgr: number, info: number): number {
  if (rmgr === RMGR.xact) return tellsOfTransaction(info) ? LIMITS.walTransactionBytes : 0;
  if (rmgr === RMGR.xlog) return READ_OF_XLOG.has(info & 0xf0) ? HEAD_BYTES : 0;
  if (rmgr === RMGR.standby) return (info & 0xf0) === RUNNING_XACTS ? HEAD_BYTES : 0;
  return countsRows(rmgr, info) ? LIMITS.walRowBytes : 0;
}

/** A record whose checksum is right, and what is there of its body. */
export interface WholeRecord extends Told {
  readonly xid: number;
  readonly rmgr: number;
  readonly info: number;
  readonly layout: BodyLayout;
  readonly bytes: Uint8Array;
  /** Where the main data begin in `bytes`, and where what is there of the record ends. */
  readonly main: number;
  readonly to: number;
  /** The record goes on behind `to`: it is longer than what is looked at. */
  readonly isCut: boolean;
}

/** What a record tells; undefined where it tells nothing, and "odd" where it is not as the major writes it. */
export function tell(record: WholeRecord, ledger: RowLedger, major: number): WalEvent | "odd" | undefined {
  const { rmgr, bytes, main } = record;
  if (rmgr === RMGR.xact) return tellTransaction(record, ledger, major);
  if (rmgr === RMGR.xlog) return tellServer(record, ledger);
  if (rmgr === RMGR.standby) {
    // xl_running_xacts: u32 count, u32 of subtransactions, bool, padding, u32 next, u32 oldest that runs.
    if (record.to - main < 20) return "odd";
    noteRunning(ledger, { next: u32(bytes, main + 12), oldest: u32(bytes, main + 16) });
    return undefined;
  }
  return countRows(ledger, record, record) || record.isCut ? undefined : "odd";
}

function tellTransaction(record: WholeRecord, ledger: RowLedger, major: number): WalEvent | "odd" {
  const { lsn, startLsn, xid, info, bytes, main, to, isCut } = record;
  const found = parseTransaction(bytes, { from: main, to, isCut, xid, info, major });
  if (found === undefined) return "odd";
  const { kind, gid = "", timeUs } = found;
  if (kind === "prepare") {
    prepareTransaction(ledger, found.xid, found.subxids);
    return { kind, lsn, startLsn, xid: found.xid, timeUs, gid };
  }
  const rows = closeTransaction(ledger, found.xid, found.subxids);
  return { ...found, kind, lsn, startLsn, ...rows, isWhole: rows.isWhole && !isCut };
}

/** The log's own records (pg_control.h: XLOG_*; xlog_internal.h). */
function tellServer(record: WholeRecord, ledger: RowLedger): WalEvent | "odd" | undefined {
  const { lsn, startLsn, info, bytes, main, to } = record;
  const told = { lsn, startLsn };
  const has = (length: number) => to - main >= length;
  switch (info & 0xf0) {
    case SWITCH:
      return { kind: "switch", ...told };
    case CHECKPOINT_SHUTDOWN:
      // CheckPoint: u64 redo, u32 timeline, u32 the one before, flags, u64 next transaction.
      if (!has(32)) return "odd";
      noteRestart(ledger, u32(bytes, main + 24));
      return { kind: "restart", ...told };
    case END_OF_RECOVERY:
      if (!has(16)) return "odd";
      noteRestart(ledger, undefined);
      return {
        kind: "timeline",
        ...told,
        timeUs: timestampUs(bytes, main),
        timeline: u32(bytes, main + 8),
        parent: u32(bytes, main + 12),
      };
    case RESTORE_POINT: {
      if (!has(8 + NAME_BYTES)) return "odd";
      const [name = ""] = Buffer.from(bytes.subarray(main + 8, main + 8 + NAME_BYTES))
        .toString("utf8")
        .split("\0");
      return { kind: "restore-point", ...told, timeUs: timestampUs(bytes, main), name };
    }
    case PARAMETER_CHANGE:
      return has(24) ? tellSettings(record) : "odd";
    default: {
      if (!has(8)) return "odd";
      const lost = BigInt(u32(bytes, main)) | (BigInt(u32(bytes, main + 4)) << 32n);
      return { kind: "overwritten", ...told, lost };
    }
  }
}

function tellSettings({ lsn, startLsn, bytes, main }: WholeRecord): SettingsChange | "odd" {
  const number = (n: number) => u32(bytes, main + 4 * n);
  const walLevel = (["minimal", "replica", "logical"] as const)[number(5)];
  if (walLevel === undefined) return "odd";
  return {
    kind: "settings",
    lsn,
    startLsn,
    settings: {
      max_connections: number(0),
      max_worker_processes: number(1),
      max_wal_senders: number(2),
      max_prepared_transactions: number(3),
      max_locks_per_transaction: number(4),
    },
    walLevel,
  };
}
