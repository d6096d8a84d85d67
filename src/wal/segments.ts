/**
 * Puts a stream of the write-ahead log into the files that PostgreSQL keeps it in: bytes in order become parts of segments,
 * and with the last part of each comes its SHA-256. Nothing is held but that sum: parts are views of what was pushed.
 */
import { createHash, type Hash } from "node:crypto";
import { type Lsn, segmentName, segmentStart } from "./lsn.ts";

export interface SegmentPart {
  /** The file's name, as in `pg_wal`. */
  readonly name: string;
  /** The segment's first byte, of which the file may lack some: see `offset`. */
  readonly start: Lsn;
  /** Where in the segment these bytes lie. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** With the segment's last byte: over all of its bytes that were pushed, in hexadecimal; all there are where they began at 0. */
  readonly sha256: string | undefined;
}

/** A segment of which the end has not come. */
export interface OpenSegment {
  readonly name: string;
  readonly start: Lsn;
  /** Which of its bytes were pushed: from `from`, up to and without `to`. */
  readonly from: number;
  readonly to: number;
  /** Over these bytes, in hexadecimal. */
  readonly sha256: string;
}

export interface Segmenter {
  /** The parts of the bytes that follow those of the push before. */
  push(bytes: Uint8Array): SegmentPart[];
  /** The segment that is not whole; undefined at a segment's end. */
  open(): OpenSegment | undefined;
  /** Fills the segment up with zeros, as the server does after a switch: what follows is the next segment. Nothing at a segment's end. */
  pad(): Iterable<SegmentPart>;
  /** The byte that comes next. */
  readonly position: Lsn;
}

/** Zeros are given in pieces of so many bytes. */
const ZEROS = new Uint8Array(64 * 1024);

/** `from` is the first byte that will be pushed: a segment's, or the first segment lacks those before it. */
export function createSegmenter(options: { timeline: number; from: Lsn; segmentBytes: number }): Segmenter {
  const { timeline, from, segmentBytes } = options;
  let start = segmentStart(from, segmentBytes);
  let first = Number(from - start);
  let offset = first;
  let hash: Hash = createHash("sha256");

  function take(bytes: Uint8Array): SegmentPart {
    hash.update(bytes);
    const part = { name: segmentName(timeline, start, segmentBytes), start, offset, bytes, sha256: undefined };
    offset += bytes.length;
    if (offset < segmentBytes) return part;
    const sha256 = hash.digest("hex");
    hash = createHash("sha256");
    start += BigInt(segmentBytes);
    first = offset = 0;
    return { ...part, sha256 };
  }

  function push(bytes: Uint8Array): SegmentPart[] {
    const parts: SegmentPart[] = [];
    for (let at = 0; at < bytes.length;) {
      const count = Math.min(bytes.length - at, segmentBytes - offset);
      parts.push(take(bytes.subarray(at, at + count)));
      at += count;
    }
    return parts;
  }

  return {
    push,
    open() {
      if (offset === first) return undefined;
      const name = segmentName(timeline, start, segmentBytes);
      return { name, start, from: first, to: offset, sha256: hash.copy().digest("hex") };
    },
    *pad() {
      while (offset > first) yield take(ZEROS.subarray(0, Math.min(ZEROS.length, segmentBytes - offset)));
    },
    get position() {
      return start + BigInt(offset);
    },
  };
}
