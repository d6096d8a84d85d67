/**
 * Two versions of one stretch of the log: which one is the server's. A version that does not read on from what lies before it (a
 * checksum, a link, a page's header) is none, nor is one that ends before another's next record is whole; where several do, the one
 * that leads into the segment behind. Pure.
 */
import type { WalEvent } from "./events.ts";
import type { Lsn } from "./lsn.ts";
import type { WalReader } from "./reader.ts";

/** A part of one segment, and where it begins. */
export interface Part {
  readonly from: Lsn;
  readonly bytes: Uint8Array;
}

export interface Segment {
  readonly start: Lsn;
  readonly segmentBytes: number;
  /** What is there of it, in any order. */
  readonly parts: readonly Part[];
  /** The segment before, and the one behind, whole or as far as they go; undefined where they are not there. */
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
  /** Reads from a segment's beginning on; undefined where the server's major is not known, and nobody can tell. */
  readonly open: ((from: Lsn) => WalReader) | undefined;
}

export interface SettledSegment {
  /** Up to where each part counts: its end, or where it begins to be another log than the server's. */
  readonly ends: readonly Lsn[];
  /** Where versions begin of which nobody can tell which one is right. */
  readonly undecidedFrom: Lsn | undefined;
  /** When what was committed last before that was, in this segment or the one before; microseconds since 1970. */
  readonly lastCommitUs: bigint | undefined;
}

/** `ends`: before a record behind the fork is whole, so that nothing in it was ever acknowledged. */
type Verdict = "broken" | "ends" | "fits" | "joins";

export function settleSegment(segment: Segment): SettledSegment {
  const { parts } = segment;
  const ends = parts.map(({ from, bytes }) => from + BigInt(bytes.length));
  for (;;) {
    const at = firstDifference(parts, ends);
    if (at === undefined) return { ends, undecidedFrom: undefined, lastCommitUs: undefined };
    const there = parts.flatMap(({ from }, index) => (from <= at && (ends[index] ?? at) > at ? [index] : []));
    const wrong = wrongOnes(segment, { ends, at, there });
    if (wrong.length === 0) {
      const prefix = prefixOf(segment, { ends, at, there });
      const lastCommitUs = prefix === undefined ? undefined : readerBefore(segment, prefix)?.lastCommitUs;
      return { ends, undecidedFrom: at, lastCommitUs };
    }
    for (const index of wrong) ends[index] = at;
  }
}

interface Fork {
  readonly ends: readonly Lsn[];
  readonly at: Lsn;
  /** Indexes of the parts that have the byte. */
  readonly there: readonly number[];
}

/** Indexes of those that are not the log; none where nobody can tell. */
function wrongOnes(segment: Segment, fork: Fork): number[] {
  const { parts } = segment;
  const { ends, at, there } = fork;
  const led = prefixOf(segment, fork);
  if (led === undefined) return [];
  const verdicts = there.map((index) => {
    const { from, bytes } = parts[index] ?? { from: at, bytes: led };
    return verdictOn(segment, { led, at }, bytes.subarray(Number(at - from), Number((ends[index] ?? at) - from)));
  });
  const byteOf = (index: number) => parts[index]?.bytes[Number(at - (parts[index]?.from ?? at))];
  // Another part may have the rest of its record.
  const isContinued = (index: number) =>
    parts.some(({ from }, other) => {
      const end = ends[index] ?? at;
      return from <= end && (ends[other] ?? from) > end && (from > at || byteOf(other) === byteOf(index));
    });
  const broken = there.filter((_, index) => verdicts[index] === "broken");
  if (broken.length > 0) return broken.length < there.length ? broken : [];
  const ending = there.filter((index, nth) => verdicts[nth] === "ends" && !isContinued(index));
  if (ending.length > 0) return ending.length < there.length ? ending : [];
  const joining = new Set(there.filter((_, index) => verdicts[index] === "joins").map(byteOf));
  return joining.size === 1 ? there.filter((index) => !joining.has(byteOf(index))) : [];
}

/** The segment's bytes before a position, on which all agree; undefined where some are not there. */
function prefixOf({ start, parts }: Segment, { ends, at }: Fork): Uint8Array | undefined {
  const prefix = new Uint8Array(Number(at - start));
  let filled = start;
  while (filled < at) {
    const index = parts.findIndex(({ from }, each) => from <= filled && (ends[each] ?? from) > filled);
    const part = parts[index];
    if (part === undefined) return undefined;
    const end = (ends[index] ?? at) < at ? (ends[index] ?? at) : at;
    prefix.set(part.bytes.subarray(Number(filled - part.from), Number(end - part.from)), Number(filled - start));
    filled = end;
  }
  return prefix;
}

function verdictOn(segment: Segment, { led, at }: { led: Uint8Array; at: Lsn }, version: Uint8Array): Verdict {
  const { start, segmentBytes, after } = segment;
  const reader = readerBefore(segment, led)?.reader;
  if (reader === undefined) return "fits";
  const { problem } = reader.push(version);
  if (problem !== undefined) return "broken";
  if (reader.position < start + BigInt(segmentBytes) && reader.validTo <= at) return "ends";
  const end = start + BigInt(segmentBytes);
  if (after === undefined || reader.position < end) return "fits";
  const behind = reader.push(after);
  if (reader.validTo > end) return "joins";
  return behind.problem === undefined ? "fits" : "broken";
}

/** A reader that has read what lies before; undefined where that cannot be read, so that nothing can be said of what follows. */
function readerBefore(
  { start, segmentBytes, before, open }: Segment,
  prefix: Uint8Array,
): { reader: WalReader; lastCommitUs: bigint | undefined } | undefined {
  for (const led of before?.length === segmentBytes ? [before, undefined] : [undefined]) {
    const reader = open?.(led === undefined ? start : start - BigInt(segmentBytes));
    if (reader === undefined) return undefined;
    const events: WalEvent[] = [];
    if (led !== undefined) events.push(...reader.push(led).events);
    const pushed = reader.push(prefix);
    if (pushed.problem !== undefined) continue;
    const last = [...events, ...pushed.events].findLast(({ kind }) => kind === "commit" || kind === "abort");
    return { reader, lastCommitUs: last !== undefined && "timeUs" in last ? last.timeUs : undefined };
  }
  return undefined;
}

/** The first position at which two parts that have it differ. */
function firstDifference(parts: readonly Part[], ends: readonly Lsn[]): Lsn | undefined {
  let first: Lsn | undefined;
  for (const [index, one] of parts.entries()) {
    for (const [after, other] of parts.slice(index + 1).entries()) {
      const from = one.from > other.from ? one.from : other.from;
      const [end, otherEnd] = [ends[index] ?? from, ends[index + 1 + after] ?? from];
      const to = end < otherEnd ? end : otherEnd;
      if (to <= from) continue;
      const within = ({ from: begin, bytes }: Part) => bytes.subarray(Number(from - begin), Number(to - begin));
      const at = differsAt(within(one), within(other));
      if (at !== undefined && (first === undefined || from + BigInt(at) < first)) first = from + BigInt(at);
    }
  }
  return first;
}

const BLOCK = 64 * 1024;

/** The first byte in which two differ that are as long as each other; undefined where they are the same. */
export function differsAt(one: Uint8Array, other: Uint8Array): number | undefined {
  for (let block = 0; block < one.length; block += BLOCK) {
    const [a, b] = [one, other].map((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    if (a === undefined || b === undefined || a.subarray(block, block + BLOCK).equals(b.subarray(block, block + BLOCK)))
      continue;
    for (let at = block; ; at += 1) if (one[at] !== other[at]) return at;
  }
  return undefined;
}
