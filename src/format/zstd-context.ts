/**
 * zstd with contexts that are kept from chunk to chunk. Node's own `zstdCompressSync` and `zstdDecompressSync` make a stream and
 * a context of several hundred KiB for each call: for pieces of 64 KiB that takes longer than the work itself.
 *
 * What is used of a stream is not documented (docs/adr/0015-zstd-contexts-are-kept.md). So it is used in versions of Node that it
 * was tested with, and where it is seen to do what Node's own functions do; everywhere else, and for whatever it does not
 * do at once, there is nothing here, and the caller takes Node's own functions.
 */
import { Buffer } from "node:buffer";
import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from "node:zlib";

/** Longer chunks gain nothing: their own context is a small part of the work. */
export const CONTEXT_MOST = 1024 * 1024;
/** Majors of Node in which the tests of this were seen to pass. */
const TESTED: ReadonlySet<number> = new Set([24, 26]);

/** Each call does a whole frame, into memory of the context's own that the next call uses again. */
export interface ZstdContexts {
  /** @returns undefined where it could not be done. */
  compress(bytes: Uint8Array): Buffer | undefined;
  /** @param bytes One whole frame. @returns undefined unless exactly `length` bytes come out. */
  decompress(bytes: Uint8Array, length: number): Buffer | undefined;
}

/** What is used of a stream of `node:zlib`. */
interface Insides {
  readonly _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputLength: number,
      output: Uint8Array,
      outputAt: number,
      outputLength: number,
    ): void;
  } | null;
  /** What is left of the output, and of the input, after a write. */
  readonly _writeState: Uint32Array;
}

/** The most that a chunk becomes, as `ZSTD_COMPRESSBOUND` of zstd.h says, and some more. */
function boundOf(length: number): number {
  return length + (length >> 8) + 1024;
}

type Stream = ReturnType<typeof createZstdCompress> | ReturnType<typeof createZstdDecompress>;

/** One context: turns an input into an output, whole or not at all. */
class Context {
  readonly #make: () => Stream;
  readonly #flush: number;
  #stream: Stream | undefined;
  #output: Buffer = Buffer.alloc(0);

  constructor(make: () => Stream, flush: number) {
    this.#make = make;
    this.#flush = flush;
  }

  /** @param most What comes out at most. @returns undefined where more came, something of the input was left, or it failed. */
  run(input: Uint8Array, most: number): Buffer | undefined {
    // One more than may come, so that more is seen.
    if (this.#output.length <= most) this.#output = Buffer.allocUnsafeSlow(most + 1);
    const stream = (this.#stream ??= this.#begin());
    const { _handle: handle, _writeState: state } = stream as unknown as Insides;
    handle?.writeSync(this.#flush, input, 0, input.length, this.#output, 0, most + 1);
    const [outputLeft = 0, inputLeft = 1] = state;
    if (handle !== null && !stream.destroyed && inputLeft === 0 && outputLeft > 0) {
      return this.#output.subarray(0, most + 1 - outputLeft);
    }
    // It may be in the middle of something: the next call gets another.
    this.#stream = undefined;
    stream.destroy();
    return undefined;
  }

  #begin(): Stream {
    // Whoever asked is told by what is returned.
    return this.#make().on("error", () => {});
  }
}

function makeContexts(level: number): ZstdContexts {
  const params = { [constants.ZSTD_c_compressionLevel]: level };
  const compressing = new Context(() => createZstdCompress({ params }), constants.ZSTD_e_end);
  const decompressing = new Context(() => createZstdDecompress(), constants.ZSTD_e_continue);
  return {
    compress(bytes) {
      return bytes.length > CONTEXT_MOST ? undefined : compressing.run(bytes, boundOf(bytes.length));
    },
    decompress(bytes, length) {
      if (length > CONTEXT_MOST || !isOneFrame(bytes)) return undefined;
      const found = decompressing.run(bytes, length);
      return found?.length === length ? found : undefined;
    },
  };
}

/** Undefined where this Node is not known to do what is asked of it. */
export function openZstdContexts(level: number): ZstdContexts | undefined {
  if (!TESTED.has(Number.parseInt(process.versions.node, 10))) return undefined;
  try {
    const contexts = makeContexts(level);
    return doesAsNode(contexts, level) ? contexts : undefined;
  } catch {
    return undefined;
  }
}

/** Twice, as only the second frame shows what the first one left behind. */
function doesAsNode(contexts: ZstdContexts, level: number): boolean {
  return ["the first of two samples. ", "and another one, which is longer; "].every((text, at) => {
    const sample = Buffer.from(text.repeat(100 * (at + 1)), "latin1");
    const packed = contexts.compress(sample);
    if (packed === undefined || !zstdDecompressSync(packed).equals(sample)) return false;
    const theirs = zstdCompressSync(sample, { params: { [constants.ZSTD_c_compressionLevel]: level } });
    return contexts.decompress(theirs, sample.length)?.equals(sample) === true;
  });
}

const MAGIC = 0xfd2f_b528;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

/**
 * True for one frame of zstd with nothing missing at its end and nothing behind it (RFC 8878, section 3.1.1): a context says
 * what came out, and not whether the frame had ended.
 */
export function isOneFrame(bytes: Uint8Array): boolean {
  if (bytes.length < 5) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) return false;
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const checksumBytes = (descriptor & 4) === 0 ? 0 : 4;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + sizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) return false;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const kind = (header >> 1) & 3;
    if (kind === RESERVED_BLOCK) return false;
    at += 3 + (kind === RLE_BLOCK ? 1 : header >> 3);
    if ((header & 1) === 1) return at + checksumBytes === bytes.length;
  }
}
