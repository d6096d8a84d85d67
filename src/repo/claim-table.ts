/**
 * Which chunks of this run somebody has already taken on: over all threads, each new chunk is written by one.
 *
 * Lock-free, in two shared arrays. A claimer first writes the id into a row of its own, then publishes the row's
 * number in a hash slot with one compare-and-swap; whoever loses reads the winner's row. Rows fill in order, so
 * memory that was never claimed is never touched. A thread that dies at any moment leaves the table usable.
 */
import { assert } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

const ID_BYTES = 32;
const ID_WORDS = ID_BYTES / 4;

/** What another thread needs to see the same table. */
export interface ClaimTableParts {
  readonly slots: SharedArrayBuffer;
  readonly rows: SharedArrayBuffer;
  readonly used: SharedArrayBuffer;
}

export class ClaimTable {
  /** To be sent to a worker, which makes its own `new ClaimTable(parts)` of it. */
  readonly parts: ClaimTableParts;
  readonly #slots: Int32Array;
  readonly #rows: Int32Array;
  readonly #used: Int32Array;
  readonly #capacity: number;
  readonly #mask: number;
  readonly #scratch = new Int32Array(ID_WORDS);
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);

  /** @param from How many chunks it can hold, or the parts of a table of another thread. */
  constructor(from: number | ClaimTableParts = LIMITS.claimedChunks) {
    this.parts = typeof from === "number" ? allocate(from) : from;
    this.#slots = new Int32Array(this.parts.slots);
    this.#rows = new Int32Array(this.parts.rows);
    this.#used = new Int32Array(this.parts.used);
    this.#capacity = this.#rows.length / ID_WORDS;
    this.#mask = this.#slots.length - 1;
  }

  /**
   * True for exactly one caller per id over all threads. A table that is full says true to everybody: a chunk
   * written twice costs space, one written by nobody would be lost.
   */
  claim(id: Uint8Array): boolean {
    assert(id.length === ID_BYTES, "a chunk id has 32 bytes");
    this.#scratchBytes.set(id);
    let row = -1;
    for (let slot = (this.#scratch[0] ?? 0) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      let taken = Atomics.load(this.#slots, slot);
      if (taken === 0) {
        if (row < 0) row = this.#writeRow();
        if (row < 0) return true;
        taken = Atomics.compareExchange(this.#slots, slot, 0, row + 1);
        if (taken === 0) return true;
      }
      if (this.#rowIsScratch(taken - 1)) return false;
    }
  }

  /** The number of a row that holds the id, or -1 when none is left. */
  #writeRow(): number {
    const row = Atomics.load(this.#used, 0) < this.#capacity ? Atomics.add(this.#used, 0, 1) : this.#capacity;
    if (row >= this.#capacity) return -1;
    this.#rows.set(this.#scratch, row * ID_WORDS);
    return row;
  }

  #rowIsScratch(row: number): boolean {
    const at = row * ID_WORDS;
    for (let word = 0; word < ID_WORDS; word += 1) {
      if (this.#rows[at + word] !== this.#scratch[word]) return false;
    }
    return true;
  }
}

function allocate(chunks: number): ClaimTableParts {
  assert(Number.isSafeInteger(chunks) && chunks > 0, "a claim table holds at least one chunk");
  // Never more than half full, so that a probe is short and always meets an empty slot.
  let slots = 64;
  while (slots < chunks * 2) slots *= 2;
  return {
    slots: new SharedArrayBuffer(slots * 4),
    rows: new SharedArrayBuffer(chunks * ID_BYTES),
    used: new SharedArrayBuffer(4),
  };
}
