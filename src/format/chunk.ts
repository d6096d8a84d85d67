/**
 * A chunk as it is packed: its bytes compressed with zstd, unless they would not shrink.
 *
 * Whether to try is decided on four samples: compressing what cannot be compressed (photos, videos, archives) is the
 * most expensive thing that a backup could do for nothing.
 */
import type { Buffer } from "node:buffer";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { releaseUnpacked } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { openZstdContexts } from "./zstd-context.ts";

export type ChunkType = "data" | "tree";

/** A chunk ready to be sealed. */
export interface PackedChunk {
  /** The chunk's own bytes (not a copy) when they are stored raw. */
  readonly bytes: Uint8Array;
  /** Length before compression; 0 for a chunk that is stored raw. */
  readonly uncompressedLength: number;
}

const SAMPLES = 4;
const SAMPLE_BYTES = 1024;
/** Compressed bytes are kept only when they are no more than this part of the chunk: unpacking costs time, too. */
const WORTHWHILE = 0.97;

/**
 * Measured on text: level 2 takes half as long again as level 1 and saves 6 %; level 3 would save 2 % more, level 4 takes
 * twice as long as level 2 and saves 4 %.
 */
const LEVEL = 2;

/** zstd's quickest without loss of its entropy coding: for what is compressed in hundreds of MiB at once, while somebody waits. */
export const QUICK_LEVEL = 1;

/** Of shorter chunks the look whether they are random takes a noticeable part of the time that it takes to compress them. */
const SHORT_BYTES = 128 * 1024;

/** Compresses a chunk when that pays. Trees always are: stock restic would rewrite those that are not. */
export function packChunk(bytes: Uint8Array, type: ChunkType = "data"): PackedChunk {
  return packBy((raw) => compress(raw, LEVEL), bytes, { type });
}

function compress(bytes: Uint8Array, level: number): Buffer {
  const params = { [constants.ZSTD_c_compressionLevel]: level };
  return zstdCompressSync(bytes, { params, chunkSize: Math.max(bytes.length, 1024) });
}

/** @param isLooked False: compressed without a look whether that is worth trying. */
function packBy(
  compressBy: (bytes: Uint8Array) => Buffer,
  bytes: Uint8Array,
  { type, isLooked = true }: { type: ChunkType; isLooked?: boolean },
): PackedChunk {
  const raw = { bytes, uncompressedLength: 0 };
  if (bytes.length === 0) return raw;
  if (type === "data" && isLooked && looksRandom(bytes)) return raw;
  const packed = compressBy(bytes);
  if (type === "data" && packed.length > bytes.length * WORTHWHILE) return raw;
  return { bytes: packed, uncompressedLength: bytes.length };
}

/**
 * The chunk's own bytes (not a copy when it was stored raw).
 * @throws {Failure} `repo/damaged` when they are not a zstd frame of exactly that length.
 */
export function unpackChunk(bytes: Uint8Array, uncompressedLength: number): Uint8Array {
  return uncompressedLength === 0 ? bytes : unpackZstd(bytes, { length: uncompressedLength });
}

/** Packs and unpacks chunks one after the other, in memory that is used again: the hot path. */
export interface Packer {
  /**
   * As {@link packChunk}; what is packed lies there until the next call of this. A short chunk that comes after one which became
   * half as long is compressed without a look.
   */
  pack(bytes: Uint8Array, type: ChunkType): PackedChunk;
  /** As {@link unpackChunk}, with the same errors; the bytes lie there until the next call of this. */
  unpack(bytes: Uint8Array, uncompressedLength: number): Uint8Array;
  /** What either of them made is not needed any more: memory that is too large to be kept is given back at once. */
  release(made: Uint8Array): void;
}

/** One for each who packs or unpacks, and who does not begin with the next chunk before the last one is done with. */
export function openPacker(level: number = LEVEL): Packer {
  const contexts = openZstdContexts(level);
  const kept = new WeakSet<ArrayBufferLike>();
  const keep = (bytes: Buffer | undefined): Buffer | undefined => {
    if (bytes !== undefined) kept.add(bytes.buffer);
    return bytes;
  };
  /** Whether the last chunk became half as long, or less: then the next one is not random, either. */
  let hasShrunk = false;
  return {
    pack(bytes, type) {
      const isLooked = !hasShrunk || bytes.length > SHORT_BYTES;
      const packed = packBy((raw) => keep(contexts?.compress(raw)) ?? compress(raw, level), bytes, { type, isLooked });
      hasShrunk = packed.uncompressedLength > 0 && packed.bytes.length * 2 <= bytes.length;
      return packed;
    },
    unpack(bytes, uncompressedLength) {
      // A length that the frame itself denies is told of by the other way.
      const isSaid = uncompressedLength > 0 && frameContentSize(bytes) === uncompressedLength;
      const unpacked = isSaid ? keep(contexts?.decompress(bytes, uncompressedLength)) : undefined;
      return unpacked ?? unpackChunk(bytes, uncompressedLength);
    },
    release(made) {
      if (!kept.has(made.buffer)) releaseUnpacked(made);
    },
  };
}

/** How often each value came; used again, for it is asked for every chunk. */
const COUNTS = new Uint32Array(256);

/**
 * True when the order of byte values gives an entropy coder next to nothing to save: Pearson's chi-square of the byte
 * counts in four samples. For random bytes it is 255 ± 23. Each percent that an entropy coder could save adds about
 * 0.11 for each sampled byte; JPEG's entropy-coded data lies there. Much less than 255 is no accident either: such
 * bytes follow a rule.
 */
export function looksRandom(bytes: Uint8Array): boolean {
  const isWhole = bytes.length <= SAMPLES * SAMPLE_BYTES;
  const sampled = isWhole ? bytes.length : SAMPLES * SAMPLE_BYTES;
  const counts = COUNTS.fill(0);
  let chiSquare = -sampled;
  for (let sample = 0; sample < (isWhole ? 1 : SAMPLES); sample++) {
    const middle = Math.floor(((2 * sample + 1) * bytes.length) / (2 * SAMPLES));
    const from = isWhole ? 0 : middle - SAMPLE_BYTES / 2;
    const to = isWhole ? bytes.length : from + SAMPLE_BYTES;
    for (let at = from; at < to; at++) counts[bytes[at] as number] = (counts[bytes[at] as number] as number) + 1;
    let squares = 0;
    for (const count of counts) squares += count * count;
    chiSquare = (squares * 256) / sampled - sampled;
    // It only grows from sample to sample.
    if (chiSquare >= 350 + 0.33 * sampled) return false;
  }
  return chiSquare > 130;
}

const ZSTD_MAGIC = 0xfd2f_b528;

/** The length that a zstd frame says it unpacks to (RFC 8878, section 3.1.1.1); undefined when it does not say. */
function frameContentSize(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 18 || view.getUint32(0, true) !== ZSTD_MAGIC) return undefined;
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  switch (descriptor >> 6) {
    case 0:
      return isSingleSegment ? view.getUint8(at) : undefined;
    case 1:
      return view.getUint16(at, true) + 256;
    case 2:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}

/**
 * Unpacks one zstd frame, with a bound on what comes out that the frame's own header cannot raise.
 * @param options `length`: exactly this much must come out; else at most `LIMITS.unpackedMaxBytes`.
 * @throws {Failure} `repo/damaged` when the bytes are not zstd, or more (or less) comes out.
 */
export function unpackZstd(bytes: Uint8Array, { length }: { length?: number } = {}): Buffer {
  const claimed = frameContentSize(bytes);
  const expected = length ?? claimed;
  if (claimed !== undefined && claimed !== expected) {
    throw new Failure("repo/damaged", `compressed bytes unpack to ${claimed} bytes instead of ${expected}`);
  }
  if ((expected ?? 0) > LIMITS.unpackedMaxBytes) {
    throw new Failure(
      "repo/damaged",
      `compressed bytes claim to unpack to ${expected} bytes, which is more than allowed`,
    );
  }
  let unpacked: Buffer;
  try {
    // One more than comes out, or the decoder would ask for a second piece of memory. What only the frame says may be a lie.
    const most = length === undefined ? LIMITS.chunkMaxBytes : LIMITS.unpackedMaxBytes;
    const chunkSize = Math.min(Math.max(expected ?? bytes.length * 4, 1024), most) + 1;
    unpacked = zstdDecompressSync(bytes, { maxOutputLength: expected || LIMITS.unpackedMaxBytes, chunkSize });
  } catch (error) {
    throw new Failure("repo/damaged", `compressed bytes do not unpack: ${messageOf(error)}`, { cause: error });
  }
  if (expected !== undefined && unpacked.length !== expected) {
    throw new Failure("repo/damaged", `compressed bytes unpack to ${unpacked.length} bytes instead of ${expected}`);
  }
  return unpacked;
}
