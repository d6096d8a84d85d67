/**
 * Cuts the text of COPY into chunks while it passes: where the ids of the rows cross a multiple of 2^j, so that a
 * changed row changes one chunk; for rows without such ids, where a hash of the row says so, so that an inserted row
 * changes one or two; and never longer than a chunk may be. Where it cuts depends on the content alone, not on how
 * the bytes arrive.
 */
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

const NEWLINE = 0x0a;
const TAB = 0x09;
const MINUS = 0x2d;
const ZERO = 0x30;
/** Digits that a double holds exactly. */
const EXACT_DIGITS = 15;
/** More text than that is no 64-bit number. */
const ID_MAX_LENGTH = 20;

/** Without ids a chunk has at least so much … */
const MIN_BYTES = LIMITS.rangeChunkBytes / 4;
/** … and so much more on average. */
const SPREAD_BYTES = LIMITS.rangeChunkBytes - MIN_BYTES;
/** What the buffer must have beyond a chunk: an id, and the mark of the end. */
const SPARE_BYTES = 64;
/** Bytes at each end of a row that its hash looks at. */
const HASHED_BYTES = 32;

export interface RowCutterOptions {
  /** Cut at multiples of 2^j of the id with which each line begins; undefined: by the rows' hashes. */
  j: number | undefined;
  /** Takes a chunk, which is only valid until the promise resolves. */
  sink: (chunk: Buffer) => Promise<void>;
  /** A buffer to work in, at least 64 bytes longer than a chunk may be; kept between uses. */
  buffer: Buffer;
  /** Lower for tests. */
  chunkMaxBytes?: number;
}

export class RowCutter {
  readonly #j: number | undefined;
  readonly #width: number;
  readonly #sink: (chunk: Buffer) => Promise<void>;
  readonly #buffer: Buffer;
  readonly #max: number;
  /** The open chunk is `start … filled`; `line` is where the row begins that is looked at. */
  #start = 0;
  #filled = 0;
  #line = 0;
  /** Where the search for the end of the row goes on. */
  #scan = 0;
  #slot: number | bigint | undefined;
  #slotIsRead = false;
  #rows = 0;

  constructor(options: RowCutterOptions) {
    this.#j = options.j;
    this.#width = 2 ** (options.j ?? 0);
    this.#sink = options.sink;
    this.#buffer = options.buffer;
    this.#max = options.chunkMaxBytes ?? LIMITS.chunkMaxBytes;
    assert(this.#buffer.length >= this.#max + SPARE_BYTES, "the cutter's buffer is too short");
  }

  /** Rows that were complete so far. */
  get rows(): number {
    return this.#rows;
  }

  async write(data: Buffer): Promise<void> {
    let taken = 0;
    while (taken < data.length) {
      const room = this.#buffer.length - 1;
      if (this.#filled === room) this.#moveToFront();
      const size = Math.min(data.length - taken, room - this.#filled);
      data.copy(this.#buffer, this.#filled, taken, taken + size);
      this.#filled += size;
      taken += size;
      await this.#cut();
    }
  }

  /** Gives out what is left. @throws Failure `internal/bug` when the last row has no end. */
  async end(): Promise<void> {
    assert(this.#line === this.#filled, "the text of COPY ends within a row");
    await this.#emit(this.#filled);
  }

  async #emit(end: number): Promise<void> {
    if (end > this.#start) await this.#sink(this.#buffer.subarray(this.#start, end));
    this.#start = end;
  }

  #moveToFront(): void {
    const shift = this.#start;
    assert(shift > 0, "the cutter has no room for a row");
    this.#buffer.copyWithin(0, shift, this.#filled);
    this.#start = 0;
    this.#filled -= shift;
    this.#line = Math.max(-1, this.#line - shift);
    this.#scan -= shift;
  }

  async #cut(): Promise<void> {
    // A row end that is none: the search stops here instead of running into what an earlier use left behind.
    this.#buffer[this.#filled] = NEWLINE;
    for (;;) {
      if (!this.#slotIsRead && this.#j !== undefined) {
        const slot = this.#slotAt(this.#line);
        if (slot === undefined) break;
        if (this.#slot !== undefined && slot !== this.#slot) await this.#emit(this.#line);
        this.#slot = slot;
        this.#slotIsRead = true;
      }
      const newline = this.#buffer.indexOf(NEWLINE, this.#scan);
      const isComplete = newline < this.#filled;
      const end = isComplete ? newline + 1 : this.#filled;
      // Full before the row ends: the chunk is closed in the middle of a row.
      while (end - this.#start > this.#max) await this.#emit(this.#start + this.#max);
      this.#scan = end;
      if (!isComplete) break;
      const closes = this.#j === undefined && this.#closesAfter(end);
      this.#rows += 1;
      this.#line = end;
      this.#slotIsRead = false;
      if (closes) await this.#emit(end);
    }
  }

  /** The slot of the row that begins at `at`; undefined while its id is not all there. */
  #slotAt(at: number): number | bigint | undefined {
    const buffer = this.#buffer;
    const isNegative = buffer[at] === MINUS;
    let value = 0;
    let position = isNegative && at < this.#filled ? at + 1 : at;
    const first = position;
    for (; position < this.#filled; position += 1) {
      const byte = buffer[position] ?? 0;
      if (byte === TAB || byte === NEWLINE) break;
      assert(byte >= ZERO && byte <= ZERO + 9 && position - at < ID_MAX_LENGTH, "a row does not begin with its id");
      value = value * 10 + (byte - ZERO);
    }
    if (position >= this.#filled) return undefined;
    assert(position > first, "a row begins without an id");
    if (position - first <= EXACT_DIGITS) return Math.floor((isNegative ? -value : value) / this.#width);
    const slot = BigInt(buffer.toString("latin1", at, position)) >> BigInt(this.#j ?? 0);
    // The same kind of number for both ways, so that slots can be compared.
    return slot >= -(2n ** 52n) && slot <= 2n ** 52n ? Number(slot) : slot;
  }

  /** A row closes its chunk as often as its length is of the wanted chunk: then chunks have that length on average. */
  #closesAfter(end: number): boolean {
    if (end - this.#start < MIN_BYTES) return false;
    const begin = Math.max(this.#line, this.#start);
    return hashRow(this.#buffer, begin, end) < ((end - begin) / SPREAD_BYTES) * 2 ** 32;
  }
}

/** FNV-1a over both ends of the row, then mixed (murmur3's finalizer), as FNV's high bits are weak. */
function hashRow(buffer: Buffer, begin: number, end: number): number {
  let hash = 0x811c9dc5;
  const headEnd = Math.min(end, begin + HASHED_BYTES);
  for (let i = begin; i < headEnd; i += 1) hash = Math.imul(hash ^ (buffer[i] ?? 0), 0x01000193);
  for (let i = Math.max(headEnd, end - HASHED_BYTES); i < end; i += 1)
    hash = Math.imul(hash ^ (buffer[i] ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
