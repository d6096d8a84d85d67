/**
 * Checks a stream of the write-ahead log while it comes, in pieces of any size, and tells what ended in it. What PostgreSQL
 * would refuse at recovery is refused here: page headers, the chain of records, and each record's checksum. (PostgreSQL's
 * xlogreader.c, as a machine that is pushed: `push` goes from step to step, and where the bytes end it stays.)
 *
 *     page ── a page's header ──► what was under way, else `head`
 *     skip ── the rest of a record that began before the stream ──► pad
 *     head ── a record's head ──► body            (zeros: the end)
 *     body ── summed, and kept where it is looked into ──► pad
 *     pad  ── up to the next multiple of eight ──► head, or tail after a switch
 *     tail ── up to the segment's end, which a switch left empty ──► page
 *
 * At each page's end the step waits while the next page's header is read. Memory is bounded whatever a record's length
 * (`walTransactionBytes` and `walRowBytes` of limits.ts), and nothing of what was pushed is held.
 */
import { bug } from "../base/errors.ts";
import { CRC32C_START, extendCrc32c, finishCrc32c } from "./crc32c.ts";
import { lookedAtBytes, SWITCH, tell, type WalEvent } from "./events.ts";
import { firstTimeline, type TimelineHistory } from "./history.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import { u32, u64 } from "./numbers.ts";
import {
  checkPage,
  continuedBytes,
  isKnownMajor,
  isLongHeader,
  LONG_HEADER_BYTES,
  overwrites,
  type PageRules,
  SHORT_HEADER_BYTES,
} from "./page.ts";
import type { WalProblem, WalProblemKind } from "./problem.ts";
import {
  type BodyLayout,
  emptyLayout,
  INFO_MASK,
  isResourceManager,
  readLayout,
  RECORD_HEAD_BYTES,
  RECORD_MAX_BYTES,
  RMGR,
  SUMMED_HEAD_BYTES,
} from "./record.ts";
import { openLedger, type RowLedger } from "./rows.ts";

export interface WalReaderOptions {
  /** The first byte that will be pushed: where a page begins (a segment's, usually), or a record. */
  readonly from: Lsn;
  /** The server's major version, 13 to 18. */
  readonly major: number;
  /** The cluster's system identifier, in decimal, as IDENTIFY_SYSTEM tells it. */
  readonly systemId: string;
  /** The timeline that is read, with its history: pages before a switch say their parent's number. A number stands for one without parents. */
  readonly timeline: TimelineHistory | number;
  readonly segmentBytes: number;
  /** The server's `wal_block_size`; 8,192 when nothing is said. */
  readonly pageBytes?: number;
}

/** What one push brought. */
export interface WalPush {
  /** What ended in it, in order. */
  readonly events: readonly WalEvent[];
  /** What does not fit; from then on nothing more is read, and every push says the same. */
  readonly problem: WalProblem | undefined;
}

export interface WalReader {
  /** Goes on with the bytes that follow those of the push before. */
  push(bytes: Uint8Array): WalPush;
  /** The byte that comes next. */
  readonly position: Lsn;
  /** Where the first record began that was read whole; undefined before there is one. */
  readonly firstRecord: Lsn | undefined;
  /** The end of the last whole record (of the segment, after a switch): all from {@link firstRecord} to here is sound. */
  readonly validTo: Lsn;
  /** Records that were read whole. */
  readonly records: number;
  readonly problem: WalProblem | undefined;
}

type Step = "skip" | "head" | "body" | "pad" | "tail";

/** Positions are counted from the first byte's segment on, so that they are exact as numbers. */
interface State {
  readonly rules: PageRules;
  /** Where position 0 is. */
  readonly origin: Lsn;
  readonly originLow: number;
  readonly originHigh: number;
  readonly ledger: RowLedger;
  readonly layout: BodyLayout;
  at: number;
  step: Step;
  /** Bytes of this page that are not read yet; at 0 the next page's header comes. */
  pageLeft: number;
  readonly page: Uint8Array;
  pageFill: number;
  isFirstPage: boolean;
  /** Bytes that the step still takes. */
  left: number;
  readonly head: Uint8Array;
  headFill: number;
  recordAt: number;
  bodyBytes: number;
  crc: number;
  /** What is kept of a body that does not come in one piece. */
  kept: Uint8Array;
  keptFill: number;
  keep: number;
  readonly scratch: Uint8Array;
  /** Where the record before began; −1 before there is one. */
  prev: number;
  first: number;
  validTo: number;
  records: number;
  events: WalEvent[];
  pending: WalEvent | undefined;
  problem: WalProblem | undefined;
}

const SCRATCH_BYTES = 16_384;
const NOTHING: readonly WalEvent[] = [];
const NO_BYTES = new Uint8Array(0);

/** @throws Failure `internal/bug` for a major that is not known, and for a beginning where no record can begin. */
export function createWalReader(options: WalReaderOptions): WalReader {
  const s = begin(options);
  return {
    push(bytes) {
      advance(s, bytes);
      const { events, problem } = s;
      if (events.length === 0) return { events: NOTHING, problem };
      s.events = [];
      return { events, problem };
    },
    get position() {
      return lsnOf(s, s.at);
    },
    get firstRecord() {
      return s.first < 0 ? undefined : lsnOf(s, s.first);
    },
    get validTo() {
      return lsnOf(s, s.validTo);
    },
    get records() {
      return s.records;
    },
    get problem() {
      return s.problem;
    },
  };
}

function begin({ from, major, systemId, timeline, segmentBytes, pageBytes = 8192 }: WalReaderOptions): State {
  if (!isKnownMajor(major)) throw bug(`the write-ahead log of PostgreSQL ${major} is not known`);
  const origin = from - (from % BigInt(segmentBytes));
  const at = Number(from - origin);
  const inPage = at % pageBytes;
  if (inPage % 8 !== 0 || (inPage > 0 && inPage < SHORT_HEADER_BYTES))
    throw bug(`no record begins at ${formatLsn(from)}`);
  const history = typeof timeline === "number" ? firstTimeline(timeline) : timeline;
  return {
    rules: { major, systemId, history, segmentBytes, pageBytes },
    origin,
    originLow: Number(origin & 0xffff_ffffn),
    originHigh: Number(origin >> 32n),
    ledger: openLedger(),
    layout: emptyLayout(),
    at,
    step: "head",
    pageLeft: inPage === 0 ? 0 : pageBytes - inPage,
    page: new Uint8Array(LONG_HEADER_BYTES),
    pageFill: 0,
    isFirstPage: inPage === 0,
    left: 0,
    head: new Uint8Array(RECORD_HEAD_BYTES),
    headFill: 0,
    recordAt: 0,
    bodyBytes: 0,
    crc: CRC32C_START,
    kept: NO_BYTES,
    keptFill: 0,
    keep: 0,
    scratch: new Uint8Array(SCRATCH_BYTES),
    prev: -1,
    first: -1,
    validTo: at,
    records: 0,
    events: [],
    pending: undefined,
    problem: undefined,
  };
}

function lsnOf(s: State, at: number): Lsn {
  return s.origin + BigInt(at);
}

function refuse(s: State, kind: WalProblemKind, at: number, expected: string, seen: string): void {
  s.problem = { kind, lsn: lsnOf(s, at), expected, seen };
}

function advance(s: State, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length && s.problem === undefined) {
    if (s.pageLeft === 0 && s.step !== "tail") {
      at = takePage(s, bytes, at);
      continue;
    }
    const there = s.step === "tail" ? bytes.length - at : Math.min(bytes.length - at, s.pageLeft);
    if (s.step === "head") at = takeHead(s, bytes, at, there);
    else if (s.step === "body") at = takeBody(s, bytes, at, there);
    else at = passOver(s, at, there);
  }
}

/** So many bytes of the page were read. */
function move(s: State, count: number): void {
  s.at += count;
  s.pageLeft -= count;
}

function takePage(s: State, bytes: Uint8Array, at: number): number {
  const wanted = s.pageFill >= SHORT_HEADER_BYTES ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
  const count = Math.min(bytes.length - at, wanted - s.pageFill);
  s.page.set(bytes.subarray(at, at + count), s.pageFill);
  s.pageFill += count;
  s.at += count;
  if (s.pageFill === wanted && (wanted === LONG_HEADER_BYTES || !isLongHeader(s.page))) beginPage(s);
  return at + count;
}

/** Bytes of the record under way that have not come; undefined where none is under way. */
function awaited(s: State): number {
  if (s.step === "head") return s.headFill === 0 ? 0 : u32(s.head, 0) - s.headFill;
  return s.step === "pad" ? 0 : s.left;
}

function beginPage(s: State): void {
  const pageAt = s.at - s.pageFill;
  s.problem = checkPage(s.page, lsnOf(s, pageAt), s.rules);
  if (s.problem !== undefined) return;
  s.pageLeft = s.rules.pageBytes - s.pageFill;
  s.pageFill = 0;
  const continued = continuedBytes(s.page);
  if (s.isFirstPage) {
    s.isFirstPage = false;
    if (continued > 0) {
      s.step = "skip";
      s.left = continued;
    }
    return;
  }
  const expected = awaited(s);
  if (overwrites(s.page) && expected > 0) {
    // The server had crashed amid the record and went on here without its rest.
    s.step = "head";
    s.headFill = 0;
    s.pending = undefined;
    return;
  }
  if (continued !== expected) refuse(s, "continuation", pageAt, `${expected} bytes`, `${continued} bytes`);
}

function passOver(s: State, at: number, there: number): number {
  const count = Math.min(there, s.left);
  if (s.step === "tail") s.at += count;
  else move(s, count);
  s.left -= count;
  if (s.left > 0) return at + count;
  if (s.step === "skip") {
    s.step = "pad";
    s.left = -s.at & 7;
    s.recordAt = -1;
    if (s.left === 0) finishPad(s);
  } else if (s.step === "pad") finishPad(s);
  else {
    s.step = "head";
    s.validTo = s.at;
  }
  return at + count;
}

function takeHead(s: State, bytes: Uint8Array, at: number, there: number): number {
  if (s.headFill === 0) {
    s.recordAt = s.at;
    if (there >= RECORD_HEAD_BYTES) {
      if (!checkHead(s, bytes, at)) return at;
      const length = RECORD_HEAD_BYTES + s.bodyBytes;
      // Most records come whole: then nothing of them is copied.
      if (length <= there) {
        const crc = extendCrc32c(CRC32C_START, bytes, at + RECORD_HEAD_BYTES, at + length);
        move(s, length);
        finishRecord(s, { head: bytes, headAt: at, crc, body: bytes, from: at + RECORD_HEAD_BYTES, to: at + length });
        return at + length;
      }
    }
  }
  const count = Math.min(there, RECORD_HEAD_BYTES - s.headFill);
  s.head.set(bytes.subarray(at, at + count), s.headFill);
  s.headFill += count;
  move(s, count);
  // Of zeros no more is waited for: there may be none.
  if (s.headFill >= 4 && u32(s.head, 0) === 0) refuse(s, "end", s.recordAt, "there", "all zeros");
  else if (s.headFill === RECORD_HEAD_BYTES && checkHead(s, s.head, 0)) beginBody(s);
  return at + count;
}

function checkHead(s: State, bytes: Uint8Array, at: number): boolean {
  const length = u32(bytes, at);
  const rmgr = bytes[at + 17] ?? 0;
  if (length === 0) refuse(s, "end", s.recordAt, "there", "all zeros");
  else if (length < RECORD_HEAD_BYTES || length > RECORD_MAX_BYTES) {
    refuse(s, "length", s.recordAt, `${RECORD_HEAD_BYTES} bytes to 1 GiB`, `${length} bytes`);
  } else if (!isResourceManager(rmgr, s.rules.major)) {
    refuse(s, "resource-manager", s.recordAt, `one of PostgreSQL ${s.rules.major}`, String(rmgr));
  } else if (!isLinked(s, bytes, at + 8)) {
    const expected = s.prev < 0 ? "a position before it" : formatLsn(lsnOf(s, s.prev));
    refuse(s, "prev", s.recordAt, expected, formatLsn(u64(bytes, at + 8)));
  } else {
    s.bodyBytes = length - RECORD_HEAD_BYTES;
    return true;
  }
  return false;
}

/** Whether the position at `at` is where the record before began; of the first nothing is known but that it is earlier. */
function isLinked(s: State, bytes: Uint8Array, at: number): boolean {
  if (s.prev < 0) return u64(bytes, at) < lsnOf(s, s.recordAt);
  const low = s.originLow + s.prev;
  return u32(bytes, at) === low % 2 ** 32 && u32(bytes, at + 4) === s.originHigh + Math.floor(low / 2 ** 32);
}

function beginBody(s: State): void {
  s.step = "body";
  s.left = s.bodyBytes;
  s.crc = CRC32C_START;
  s.keptFill = 0;
  s.keep = Math.min(s.bodyBytes, lookedAtBytes(s.head[17] ?? 0, s.head[16] ?? 0));
  s.kept = s.keep <= SCRATCH_BYTES ? s.scratch : new Uint8Array(s.keep);
  if (s.left === 0) finishBody(s);
}

function takeBody(s: State, bytes: Uint8Array, at: number, there: number): number {
  const count = Math.min(there, s.left);
  s.crc = extendCrc32c(s.crc, bytes, at, at + count);
  const kept = Math.min(count, s.keep - s.keptFill);
  if (kept > 0) {
    s.kept.set(bytes.subarray(at, at + kept), s.keptFill);
    s.keptFill += kept;
  }
  s.left -= count;
  move(s, count);
  if (s.left === 0) finishBody(s);
  return at + count;
}

function finishBody(s: State): void {
  const { crc, kept, keptFill } = s;
  s.kept = NO_BYTES;
  finishRecord(s, { head: s.head, headAt: 0, crc, body: kept, from: 0, to: keptFill });
}

interface RecordBytes {
  readonly head: Uint8Array;
  readonly headAt: number;
  /** Over the body. */
  readonly crc: number;
  readonly body: Uint8Array;
  readonly from: number;
  readonly to: number;
}

/** All bytes of a record have come; `s.at` is behind the last of them. */
function finishRecord(s: State, { head, headAt, crc, body, from, to }: RecordBytes): void {
  const sum = finishCrc32c(extendCrc32c(crc, head, headAt, headAt + SUMMED_HEAD_BYTES));
  const said = u32(head, headAt + SUMMED_HEAD_BYTES);
  if (sum !== said) {
    refuse(s, "crc", s.recordAt, said.toString(16).padStart(8, "0"), sum.toString(16).padStart(8, "0"));
    return;
  }
  const info = head[headAt + 16] ?? 0;
  const rmgr = head[headAt + 17] ?? 0;
  s.step = "pad";
  s.left = -s.at & 7;
  s.headFill = 0;
  if (lookedAtBytes(rmgr, info) > 0) {
    const { major } = s.rules;
    const isRead = readLayout(s.layout, body, { from, to, length: s.bodyBytes, major });
    const event = isRead ? tellOf(s, { rmgr, info, xid: u32(head, headAt + 4), body, from, to }) : "odd";
    if (event === "odd") {
      refuse(
        s,
        "layout",
        s.recordAt,
        `as PostgreSQL ${major} writes it`,
        `another (kind ${rmgr}, 0x${info.toString(16)})`,
      );
      return;
    }
    s.pending = event;
  }
  if (s.left === 0) finishPad(s);
}

interface Found {
  readonly rmgr: number;
  readonly info: number;
  readonly xid: number;
  readonly body: Uint8Array;
  readonly from: number;
  readonly to: number;
}

function tellOf(s: State, { rmgr, info, xid, body, from, to }: Found): WalEvent | "odd" | undefined {
  const { layout } = s;
  const isSwitch = rmgr === RMGR.xlog && (info & INFO_MASK) === SWITCH;
  const end = s.at + s.left;
  // Positions as big numbers are dear: of rows nobody asks for them.
  const tells = rmgr === RMGR.xact || rmgr === RMGR.xlog;
  return tell(
    {
      lsn: tells ? lsnOf(s, isSwitch ? segmentEnd(s, end) : end) : 0n,
      startLsn: tells ? lsnOf(s, s.recordAt) : 0n,
      xid,
      rmgr,
      info,
      layout,
      bytes: body,
      main: from + layout.mainAt,
      to,
      isCut: to - from < s.bodyBytes,
    },
    s.ledger,
    s.rules.major,
  );
}

function segmentEnd(s: State, at: number): number {
  const { segmentBytes } = s.rules;
  return Math.ceil(at / segmentBytes) * segmentBytes;
}

/** The record is whole, with what fills it up: only now is it told, so that nothing is told beyond what has come. */
function finishPad(s: State): void {
  s.step = "head";
  if (s.recordAt < 0) return;
  s.prev = s.recordAt;
  if (s.first < 0) s.first = s.recordAt;
  s.validTo = s.at;
  s.records += 1;
  const event = s.pending;
  if (event === undefined) return;
  s.pending = undefined;
  s.events.push(event);
  if (event.kind !== "switch" || segmentEnd(s, s.at) === s.at) return;
  s.step = "tail";
  s.left = segmentEnd(s, s.at) - s.at;
  s.pageLeft = 0;
}
