/**
 * The index: where each chunk lies. At most 64 bytes a chunk, in shared memory, so that every worker looks into the
 * same table and none has a copy.
 *
 * Rows of 48 bytes (id, pack and type, offset, length, unpacked length) in segments that never move; beside them a
 * hash table with open addressing holds row numbers. SHA-256 ids are their own hash. A table of 2^n slots needs n bits
 * for a row's number; the rest of the slot holds bits of the id, so that rows of other chunks are hardly ever looked at:
 * each look is a wait for memory.
 */
import { assert } from "../base/errors.ts";
import { parseChunkId, type ChunkId, type PackId } from "../base/ids.ts";
import type { ChunkType } from "../format/chunk.ts";
import { SEAL_OVERHEAD } from "../format/crypto.ts";
import { ROW_WORDS, type ScannedPack } from "../format/index-scan.ts";
import { packHeaderBytes, type PackEntry } from "../format/pack.ts";
import { packSizeBytes, type PackRecord } from "./pack-record.ts";

/** One copy of a chunk. */
export interface ChunkLocation {
  readonly pack: PackId;
  readonly offset: number;
  /** Sealed. */
  readonly length: number;
  /** 0 when stored raw. */
  readonly uncompressedLength: number;
}

/** What another thread needs to look into the same index. */
export interface SharedIndexParts {
  readonly segments: readonly SharedArrayBuffer[];
  readonly slots: SharedArrayBuffer;
}

const ID_WORDS = 8;
const PACK = 8;
const OFFSET = 9;
const LENGTH = 10;
const UNPACKED = 11;
/** In the word of the pack: this copy cannot be read. Packs are numbered below it. */
const DISTRUSTED = 2 ** 31;
const SEGMENT_BITS = 15;
const SEGMENT_ROWS = 1 << SEGMENT_BITS;
const NO_CHUNK = parseChunkId("0".repeat(64));
/** What one chunk takes of its pack's header. */
const RAW_IN_HEADER = inHeaderBytes(0);
const COMPRESSED_IN_HEADER = inHeaderBytes(1);

const FIRST_SLOTS = 1 << 12;

/** Looks chunks up in an index of another thread; what is added there later may or may not be seen. */
export class SharedIndexView {
  protected segments: Uint32Array[];
  protected slots: Int32Array;
  protected readonly scratch = new Uint32Array(ID_WORDS);
  readonly #scratchBytes = Buffer.from(this.scratch.buffer);

  constructor(parts: SharedIndexParts) {
    this.segments = parts.segments.map((segment) => new Uint32Array(segment));
    this.slots = new Int32Array(parts.slots);
  }

  has(type: ChunkType, id: ChunkId): boolean {
    return this.rowOf(type, id) >= 0;
  }

  /** The same for the 32 bytes of an id, without a detour through text. */
  hasBytes(type: ChunkType, id: Uint8Array): boolean {
    this.#scratchBytes.set(id);
    return this.nextRow(type, this.firstSlot()).row >= 0;
  }

  /** A number below `rows` that stands for this chunk (its first copy), or -1. Good for sets of bits. */
  rowOf(type: ChunkType, id: ChunkId): number {
    this.setScratch(id);
    return this.nextRow(type, this.firstSlot()).row;
  }

  protected setScratch(id: ChunkId): void {
    const written = this.#scratchBytes.write(id, "hex");
    assert(written === ID_WORDS * 4, "a chunk id has 32 bytes");
  }

  protected firstSlot(): number {
    return (this.scratch[0] ?? 0) & (this.slots.length - 1);
  }

  /** What a slot holds for the scratch id at a row that is this number less one. */
  protected slotOf(number: number): number {
    return number | ((this.scratch[1] ?? 0) & -this.slots.length);
  }

  /** The first row from this slot on that holds the scratch id, and the slot after it; -1 at an empty slot. */
  protected nextRow(type: ChunkType, from: number): { row: number; slot: number } {
    const isTree = type === "tree" ? 1 : 0;
    const mask = this.slots.length - 1;
    const tag = this.slotOf(0);
    for (let slot = from; ; slot = (slot + 1) & mask) {
      const held = Atomics.load(this.slots, slot);
      if (held === 0) return { row: -1, slot };
      if (((held ^ tag) & ~mask) !== 0) continue;
      const row = (held & mask) - 1;
      const segment = this.segments[row >>> SEGMENT_BITS];
      // A segment that was made after this view: its chunks are not known here yet.
      if (segment === undefined) continue;
      const at = (row & (SEGMENT_ROWS - 1)) * ROW_WORDS;
      const pack = segment[at + PACK] ?? 0;
      if (pack < DISTRUSTED && (pack & 1) === isTree && this.#isScratch(segment, at)) {
        return { row, slot: (slot + 1) & mask };
      }
    }
  }

  #isScratch(segment: Uint32Array, at: number): boolean {
    for (let word = 0; word < ID_WORDS; word += 1) {
      if (segment[at + word] !== this.scratch[word]) return false;
    }
    return true;
  }

  protected writeRow(row: number, fields: { pack: number; entry: Omit<PackEntry, "id"> }): void {
    const segment = this.segments[row >>> SEGMENT_BITS];
    assert(segment !== undefined, "a row beyond the index");
    const at = (row & (SEGMENT_ROWS - 1)) * ROW_WORDS;
    segment.set(this.scratch, at);
    segment[at + PACK] = fields.pack * 2 + (fields.entry.type === "tree" ? 1 : 0);
    segment[at + OFFSET] = fields.entry.offset;
    segment[at + LENGTH] = fields.entry.length;
    segment[at + UNPACKED] = fields.entry.uncompressedLength;
  }
}

export class ChunkIndex extends SharedIndexView {
  /** Of the rows of a whole segment. */
  static readonly segmentBytes = SEGMENT_ROWS * ROW_WORDS * 4;
  #parts: { segments: SharedArrayBuffer[]; slots: SharedArrayBuffer };
  #rows = 0;
  readonly #packs: PackId[] = [];
  readonly #packNumbers = new Map<PackId, number>();

  constructor() {
    const parts = { segments: [], slots: new SharedArrayBuffer(FIRST_SLOTS * 4) };
    super(parts);
    this.#parts = parts;
  }

  /** How many copies of chunks are indexed. */
  get size(): number {
    return this.#rows;
  }

  get packCount(): number {
    return this.#packs.length;
  }

  /** In the order of their numbers. */
  get packNames(): readonly PackId[] {
    return this.#packs;
  }

  /** What all of it takes, without the names of the packs. */
  get memoryBytes(): number {
    return this.#parts.slots.byteLength + this.#parts.segments.length * ChunkIndex.segmentBytes;
  }

  /** To be sent to a worker, which makes a {@link SharedIndexView} of it. */
  get sharedTables(): SharedIndexParts {
    return { segments: [...this.#parts.segments], slots: this.#parts.slots };
  }

  hasPack(id: PackId): boolean {
    return this.#packNumbers.has(id);
  }

  /** Every copy of a chunk. */
  find(type: ChunkType, id: ChunkId): ChunkLocation[] {
    this.setScratch(id);
    const found: ChunkLocation[] = [];
    let next = this.nextRow(type, this.firstSlot());
    while (next.row >= 0) {
      found.push(this.#locationOf(next.row));
      next = this.nextRow(type, next.slot);
    }
    return found;
  }

  /** Makes room for so many chunks at once; what comes beyond that makes its own. Only before anything was added. */
  reserve(chunks: number): void {
    assert(this.#rows === 0, "room in an index that is in use");
    let slots = this.slots.length;
    while (chunks * 4 > slots * 3) slots *= 2;
    this.#useSlots(new SharedArrayBuffer(slots * 4));
  }

  #useSlots(slots: SharedArrayBuffer): void {
    this.#parts = { segments: this.#parts.segments, slots };
    this.slots = new Int32Array(slots);
  }

  /** Adds what a pack holds; saying it twice changes nothing. */
  add(record: Pick<PackRecord, "id" | "entries">): void {
    const pack = this.#numberOf(record.id);
    for (const entry of record.entries) {
      this.setScratch(entry.id);
      this.#addScratch(pack, entry);
    }
  }

  /** The same for a pack as an index file lists it. */
  addScanned({ id, rows }: ScannedPack): void {
    const pack = this.#numberOf(id);
    for (let at = 0; at < rows.length; at += ROW_WORDS) {
      for (let word = 0; word < ID_WORDS; word += 1) this.scratch[word] = rows[at + word] as number;
      this.#addScratch(pack, {
        type: rows[at + PACK] === 1 ? "tree" : "data",
        offset: rows[at + OFFSET] as number,
        length: rows[at + LENGTH] as number,
        uncompressedLength: rows[at + UNPACKED] as number,
      });
    }
  }

  /** What {@link fillFrom} takes: the rows, segment by segment. Not a copy. */
  *rowBytes(): Generator<Buffer> {
    for (const [at, segment] of this.#parts.segments.entries()) {
      const rows = Math.min(SEGMENT_ROWS, this.#rows - at * SEGMENT_ROWS);
      if (rows > 0) yield Buffer.from(segment, 0, rows * ROW_WORDS * 4);
    }
  }

  /**
   * Makes an empty index what another was that had these packs and so many rows: asks for its bytes, segment by segment.
   * None of its rows is looked for, since it had none twice. What it came to distrust is trusted again.
   */
  *fillFrom(packs: readonly PackId[], rows: number): Generator<{ bytes: number; fill: (bytes: Uint8Array) => void }> {
    this.reserve(rows);
    for (const id of packs) this.#numberOf(id);
    while (this.#rows < rows) {
      const count = Math.min(SEGMENT_ROWS, rows - this.#rows);
      const bytes = count * ROW_WORDS * 4;
      const fill = (from: Uint8Array) => {
        this.#addSegment();
        const segment = this.segments.at(-1) as Uint32Array;
        new Uint8Array(segment.buffer).set(from.subarray(0, bytes));
        this.#placeRows(segment, count);
      };
      yield { bytes, fill };
    }
  }

  #placeRows(segment: Uint32Array, count: number): void {
    const { slots } = this;
    const mask = slots.length - 1;
    for (let at = 0; at < count * ROW_WORDS; at += ROW_WORDS) {
      segment[at + PACK] = (segment[at + PACK] as number) % DISTRUSTED;
      let slot = (segment[at] as number) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#rows += 1;
      slots[slot] = this.#rows | ((segment[at + 1] as number) & ~mask);
    }
  }

  #addSegment(): void {
    const segment = new SharedArrayBuffer(ChunkIndex.segmentBytes);
    this.#parts.segments.push(segment);
    this.segments.push(new Uint32Array(segment));
  }

  #numberOf(id: PackId): number {
    const known = this.#packNumbers.get(id);
    if (known !== undefined) return known;
    const pack = this.#packs.push(id) - 1;
    this.#packNumbers.set(id, pack);
    return pack;
  }

  /** Adds a copy of the chunk whose id is in the scratch. */
  #addScratch(pack: number, entry: Omit<PackEntry, "id">): void {
    if ((this.#rows + 1) * 4 > this.slots.length * 3) this.#growSlots();
    let next = this.nextRow(entry.type, this.firstSlot());
    while (next.row >= 0) {
      if (this.#isAt(next.row, pack, entry.offset)) return;
      next = this.nextRow(entry.type, next.slot);
    }
    const row = this.#rows;
    if (row >>> SEGMENT_BITS === this.segments.length) this.#addSegment();
    this.writeRow(row, { pack, entry });
    this.#rows += 1;
    Atomics.store(this.slots, next.slot, this.slotOf(row + 1));
  }

  /**
   * Copies of a chunk that cannot be read: from now on, and for every thread, it is as if they were not there, so that
   * it is stored anew. The packs keep their rows.
   */
  distrust(type: ChunkType, id: ChunkId): void {
    this.setScratch(id);
    for (let next = this.nextRow(type, this.firstSlot()); next.row >= 0; next = this.nextRow(type, next.slot)) {
      const segment = this.segments[next.row >>> SEGMENT_BITS];
      const at = (next.row & (SEGMENT_ROWS - 1)) * ROW_WORDS + PACK;
      if (segment !== undefined) segment[at] = (segment[at] ?? 0) + DISTRUSTED;
    }
  }

  /** Into a new table: workers keep looking into the old one, which stays true as far as it goes. */
  #growSlots(): void {
    const shared = new SharedArrayBuffer(this.slots.byteLength * 2);
    const slots = new Int32Array(shared);
    const mask = slots.length - 1;
    for (let row = 0; row < this.#rows; row += 1) {
      let slot = this.#word(row, 0) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = (row + 1) | (this.#word(row, 1) & ~mask);
    }
    this.#useSlots(shared);
  }

  /** What the copy of that row takes: sealed in its pack, and before compression. */
  sizesOf(row: number): { storedBytes: number; unpackedBytes: number } {
    const storedBytes = this.#word(row, LENGTH);
    return { storedBytes, unpackedBytes: this.#word(row, UNPACKED) || storedBytes - SEAL_OVERHEAD };
  }

  #word(row: number, word: number): number {
    return this.segments[row >>> SEGMENT_BITS]?.[(row & (SEGMENT_ROWS - 1)) * ROW_WORDS + word] ?? 0;
  }

  #isAt(row: number, pack: number, offset: number): boolean {
    return this.packOf(row) === pack && this.#word(row, OFFSET) === offset;
  }

  #locationOf(row: number): ChunkLocation {
    const pack = this.#packs[this.packOf(row)];
    assert(pack !== undefined, "a row of no pack");
    return {
      pack,
      offset: this.#word(row, OFFSET),
      length: this.#word(row, LENGTH),
      uncompressedLength: this.#word(row, UNPACKED),
    };
  }

  /** What a row says. */
  entryOf(row: number): PackEntry {
    const id = Buffer.alloc(ID_WORDS * 4);
    const words = new Uint32Array(id.buffer, id.byteOffset, ID_WORDS);
    for (let word = 0; word < ID_WORDS; word += 1) words[word] = this.#word(row, word);
    const type = this.isTree(row) ? "tree" : "data";
    return {
      id: parseChunkId(id.toString("hex")),
      type,
      offset: this.#word(row, OFFSET),
      length: this.#word(row, LENGTH),
      uncompressedLength: this.#word(row, UNPACKED),
    };
  }

  /** The number of the pack that a row lies in, below `packCount`. */
  packOf(row: number): number {
    return (this.#word(row, PACK) % DISTRUSTED) >>> 1;
  }

  packName(pack: number): PackId {
    const id = this.#packs[pack];
    assert(id !== undefined, "a pack beyond the index");
    return id;
  }

  isTree(row: number): boolean {
    return (this.#word(row, PACK) & 1) === 1;
  }

  /** What a row's chunk takes of its pack, its line in the header included. */
  costOf(row: number): number {
    const listed = this.#word(row, UNPACKED) === 0 ? RAW_IN_HEADER : COMPRESSED_IN_HEADER;
    return this.#word(row, LENGTH) + listed;
  }

  /** The row that {@link rowOf} gives for this row's chunk: the same for all of its copies. */
  firstCopy(row: number): number {
    for (let word = 0; word < ID_WORDS; word += 1) this.scratch[word] = this.#word(row, word);
    return this.nextRow(this.isTree(row) ? "tree" : "data", this.firstSlot()).row;
  }

  /** Every pack, and how large its entries say that it must be. */
  *packSizes(): Generator<{ id: PackId; sizeBytes: number }> {
    const sizes = new Float64Array(this.#packs.length).fill(packHeaderBytes([]));
    for (let row = 0; row < this.#rows; row += 1) {
      const pack = this.packOf(row);
      sizes[pack] = (sizes[pack] ?? 0) + this.costOf(row);
    }
    for (const [pack, id] of this.#packs.entries()) yield { id, sizeBytes: sizes[pack] ?? 0 };
  }

  /** Every pack, or those that are wanted by number, with its rows in no order. */
  *packRows(isWanted: (pack: number) => boolean = () => true): Generator<{ id: PackId; rows: Uint32Array }> {
    const ends = new Uint32Array(this.#packs.length + 1);
    for (let row = 0; row < this.#rows; row += 1) {
      const pack = this.packOf(row) + 1;
      ends[pack] = (ends[pack] ?? 0) + 1;
    }
    for (let pack = 1; pack < ends.length; pack += 1) ends[pack] = (ends[pack] ?? 0) + (ends[pack - 1] ?? 0);
    const starts = ends.slice();
    const rows = new Uint32Array(this.#rows);
    for (let row = 0; row < this.#rows; row += 1) {
      const pack = this.packOf(row);
      const at = starts[pack] ?? 0;
      rows[at] = row;
      starts[pack] = at + 1;
    }
    for (const [pack, id] of this.#packs.entries()) {
      if (isWanted(pack)) yield { id, rows: rows.subarray(ends[pack], ends[pack + 1]) };
    }
  }

  /** The same with the entries in the order of their offsets; `sizeBytes` is what the entries say it must be. */
  *packs(isWanted?: (pack: number) => boolean): Generator<PackRecord> {
    for (const { id, rows } of this.packRows(isWanted)) {
      const entries = Array.from(rows, (row) => this.entryOf(row)).sort((a, b) => a.offset - b.offset);
      yield { id, entries, sizeBytes: packSizeBytes(entries) };
    }
  }
}

function inHeaderBytes(uncompressedLength: number): number {
  const entry: PackEntry = { id: NO_CHUNK, type: "data", offset: 0, length: 0, uncompressedLength };
  return packHeaderBytes([entry]) - packHeaderBytes([]);
}
