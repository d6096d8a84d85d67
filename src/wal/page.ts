/**
 * Pages of the write-ahead log. Each begins with a header of 24 bytes; the first of a segment has 16 more, which say whose
 * log it is. (PostgreSQL's xlog_internal.h: XLogPageHeaderData and XLogLongPageHeaderData.)
 *
 *     0 u16 magic   2 u16 flags   4 u32 timeline   8 u64 address   16 u32 bytes left of the record before   20 padding
 *     24 u64 system identifier   32 u32 segment size   36 u32 page size
 *
 * Numbers are little-endian: the log is written in the order of the machine, and every machine that is backed up has this one.
 */
import { formatLsn, type Lsn } from "./lsn.ts";
import { u16, u32, u64 } from "./numbers.ts";
import type { WalProblem, WalProblemKind } from "./problem.ts";
import { type TimelineHistory, timelineAt } from "./history.ts";

/** The page's magic number by major (XLOG_PAGE_MAGIC): it is raised with every change of the log's format. */
const MAGICS: ReadonlyMap<number, number> = new Map([
  [13, 0xd106],
  [14, 0xd10d],
  [15, 0xd110],
  [16, 0xd113],
  [17, 0xd116],
  [18, 0xd118],
]);

export const SHORT_HEADER_BYTES = 24;
export const LONG_HEADER_BYTES = 40;

/** The page begins with the rest of a record. */
const FLAG_CONTINUES = 0x1;
const FLAG_LONG = 0x2;
/** The page begins anew, and what was written before it of a record does not count: the server had crashed there. */
const FLAG_OVERWRITES = 0x8;
/** 0x4 says that pages may be left out of archives; it is set by servers and of no meaning here. */
const ALL_FLAGS = 0xf;

/** True for majors whose log can be read. */
export function isKnownMajor(major: number): boolean {
  return MAGICS.has(major);
}

/** What the pages of a log must say. */
export interface PageRules {
  /** The server's major version, 13 to 18. */
  readonly major: number;
  /** The cluster's system identifier, in decimal. */
  readonly systemId: string;
  /** The timeline that is read, and whose children it is. */
  readonly history: TimelineHistory;
  readonly segmentBytes: number;
  /** The server's `wal_block_size`. */
  readonly pageBytes: number;
}

export function isLongHeader(header: Uint8Array): boolean {
  return (u16(header, 2) & FLAG_LONG) !== 0;
}

/** Bytes of a record that go on on this page and those after it; 0 where a record begins. */
export function continuedBytes(header: Uint8Array): number {
  return (u16(header, 2) & FLAG_CONTINUES) === 0 ? 0 : u32(header, 16);
}

/** Whether the record that was under way before this page is given up. */
export function overwrites(header: Uint8Array): boolean {
  return (u16(header, 2) & FLAG_OVERWRITES) !== 0;
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase()}`;
}

function seenVersion(magic: number): string {
  const major = [...MAGICS].find(([, of]) => of === magic)?.[0];
  return major === undefined ? hex(magic) : `${hex(magic)} (PostgreSQL ${major})`;
}

/**
 * What does not fit of a page's header, which is whole (40 bytes where {@link isLongHeader}); undefined where all of it does.
 * The same is asked as by PostgreSQL's XLogReaderValidatePageHeader, but for the timeline, of which the history is known here.
 */
export function checkPage(header: Uint8Array, at: Lsn, rules: PageRules): WalProblem | undefined {
  const magic = u16(header, 0);
  const flags = u16(header, 2);
  const wrong = (kind: WalProblemKind, expected: string, seen: string) => ({ kind, lsn: at, expected, seen });
  if (header.subarray(0, SHORT_HEADER_BYTES).every((byte) => byte === 0)) return wrong("end", "there", "all zeros");
  const own = MAGICS.get(rules.major) ?? 0;
  if (magic !== own) return wrong("version", `${hex(own)} (PostgreSQL ${rules.major})`, seenVersion(magic));
  if ((flags & ~ALL_FLAGS) !== 0) return wrong("page", "known flags", hex(flags));
  if ((flags & FLAG_LONG) !== 0) {
    const problem = checkLong(header, rules, wrong);
    if (problem !== undefined) return problem;
  } else if (at % BigInt(rules.segmentBytes) === 0n) {
    return wrong("page", "the long header of a segment's first page", "a short one");
  }
  const address = u64(header, 8);
  if (address !== at) return wrong("page-address", formatLsn(at), formatLsn(address));
  const timeline = timelineAt(rules.history, at);
  const seen = u32(header, 4);
  return seen === timeline ? undefined : wrong("timeline", String(timeline), String(seen));
}

function checkLong(
  header: Uint8Array,
  { systemId, segmentBytes, pageBytes }: PageRules,
  wrong: (kind: WalProblemKind, expected: string, seen: string) => WalProblem,
): WalProblem | undefined {
  const [system, segment, page] = [String(u64(header, 24)), u32(header, 32), u32(header, 36)];
  if (system !== systemId) return wrong("system", systemId, system);
  if (segment !== segmentBytes) return wrong("segment-size", String(segmentBytes), String(segment));
  return page === pageBytes ? undefined : wrong("page-size", String(pageBytes), String(page));
}
