/** A tar read as it comes, once from its beginning to its end: where nothing else can be done, or nothing need be kept. */
import type { Failure } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import {
  ANNOUNCING,
  BETWEEN,
  decodePaxRecords,
  decodeTarHeader,
  TAR_BLOCK,
  type TarHeader,
  tarPadding,
  textAt,
} from "./tar.ts";

const ZEROS = Buffer.alloc(TAR_BLOCK);
const OVER: IteratorReturnResult<void> = { value: undefined, done: true };

export interface TarEntry extends TarHeader {
  /**
   * Its bytes, before the next entry is asked for; what is not read is passed over. A part may be gone when the next one is asked
   * for, where those that came may.
   */
  read(): AsyncIterable<Buffer, void, void>;
}

export interface TarStreamOptions {
  /** PostgreSQL before 15 leaves out the zeros that end a tar. */
  readonly mayEndOpen?: boolean;
  /** It is no tar at all; it ends too early; something in it means nothing. */
  readonly failure: (what: "no-tar" | "cut-short" | "damaged") => Failure;
}

/** Bytes that come in pieces, taken in other pieces. A piece that came may be gone when the next one is asked for. */
class Pieces {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  #isCut = false;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Up to so many bytes, one at least; undefined at the end. */
  async some(most: number): Promise<Buffer | undefined> {
    while (this.#held.length === 0) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return undefined;
      this.#held = value;
    }
    const taken = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  /** Whether it ended without a part of anything, when {@link exactly} has given nothing. */
  get isAtEnd(): boolean {
    return !this.#isCut;
  }

  /** Exactly so many; undefined where it ends before. */
  async exactly(count: number): Promise<Buffer | undefined> {
    if (count === 0) return Buffer.alloc(0);
    const first = await this.some(count);
    if (first === undefined || first.length === count) return first;
    const whole = Buffer.alloc(count);
    let filled = first.copy(whole);
    while (filled < count) {
      const part = await this.some(count - filled);
      if (part === undefined) {
        this.#isCut = true;
        return undefined;
      }
      filled += part.copy(whole, filled);
    }
    return whole;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Every member of a tar: files, folders, links and whatever else there is. Paths are as they stand there, and may lead anywhere.
 * @throws what `failure` makes, and what `chunks` throws.
 */
export async function* readTarEntries(
  chunks: AsyncIterable<Buffer>,
  { mayEndOpen = false, failure }: TarStreamOptions,
): AsyncGenerator<TarEntry, void, void> {
  const pieces = new Pieces(chunks);
  try {
    let announced: { path?: string; sizeBytes?: number } = {};
    for (let isFirst = true; ; isFirst = false) {
      const block = await pieces.exactly(TAR_BLOCK);
      if (block === undefined && mayEndOpen && pieces.isAtEnd) return;
      if (block === undefined) throw failure(isFirst ? "no-tar" : "cut-short");
      if (block.equals(ZEROS)) {
        if (isFirst && !mayEndOpen) throw failure("no-tar");
        return;
      }
      const header = decodeTarHeader(block);
      if (header === undefined) throw failure(isFirst ? "no-tar" : "damaged");
      if (ANNOUNCING.has(header.type)) {
        announced = { ...announced, ...(await readAnnounced(pieces, header, failure)) };
        continue;
      }
      const isBetween = BETWEEN.has(header.type);
      const sizeBytes = isBetween ? header.sizeBytes : (announced.sizeBytes ?? header.sizeBytes);
      const entry = openEntry(pieces, { ...header, path: announced.path ?? header.path, sizeBytes }, failure);
      if (!isBetween) yield entry;
      await entry.passOver();
      if (!isBetween) announced = {};
    }
  } finally {
    await pieces.close();
  }
}

async function readAnnounced(
  pieces: Pieces,
  { type, sizeBytes }: TarHeader,
  failure: TarStreamOptions["failure"],
): Promise<{ path?: string; sizeBytes?: number }> {
  if (sizeBytes > LIMITS.tarRecordMaxBytes) throw failure("damaged");
  const record = await pieces.exactly(sizeBytes + tarPadding(sizeBytes));
  if (record === undefined) throw failure("cut-short");
  const text = record.subarray(0, sizeBytes);
  const found = type === "L" ? { path: textAt(text, 0, text.length) } : decodePaxRecords(text);
  if (found === undefined) throw failure("damaged");
  return found;
}

function openEntry(pieces: Pieces, header: TarHeader, failure: TarStreamOptions["failure"]) {
  const { sizeBytes } = header;
  let left = sizeBytes + tarPadding(sizeBytes);
  const take = async (most: number): Promise<Buffer> => {
    const part = await pieces.some(Math.min(most, left));
    if (part === undefined) throw failure("cut-short");
    left -= part.length;
    return part;
  };
  return {
    ...header,
    read() {
      let due = sizeBytes;
      // No generator: it is called for each piece that comes.
      const iterator: AsyncIterator<Buffer, void, void> = {
        async next() {
          if (due === 0) return OVER;
          const value = await take(due);
          due -= value.length;
          return { value, done: false };
        },
        async return() {
          due = 0;
          return OVER;
        },
      };
      return { [Symbol.asyncIterator]: () => iterator };
    },
    async passOver(): Promise<void> {
      for (;;) {
        if (left === 0) return;
        await take(left);
      }
    },
  };
}
