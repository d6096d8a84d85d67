/**
 * Blocks of memory that threads share, of one length, to be used again and again. They are parts of areas so large that each has a
 * mapping of its own: what is allocated one by one lies between what the allocator keeps, and the process would never get smaller.
 */
import { LIMITS } from "../../base/limits.ts";

interface Area {
  readonly memory: SharedArrayBuffer;
  /** How many blocks of it were ever taken: what lies behind them takes no memory. */
  begun: number;
  readonly free: Buffer[];
}

export class SharedBlocks {
  readonly #blockBytes: number;
  /** Those of which something is in use, or may be again. */
  #areas: Area[] = [];

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes;
  }

  /** How many areas stay in memory although nobody looks at a block of them. */
  get heldAreas(): number {
    return this.#areas.length;
  }

  /** A block, with whatever it held last. */
  take(): Buffer {
    const most = Math.max(1, Math.floor(LIMITS.sharedAreaBytes / this.#blockBytes));
    const free = this.#areas.find((area) => area.free.length > 0)?.free.pop();
    if (free !== undefined) return free;
    let area = this.#areas.find(({ begun }) => begun < most);
    if (area === undefined) {
      const bytes = Math.max(LIMITS.sharedAreaBytes, this.#blockBytes);
      area = { memory: new SharedArrayBuffer(bytes), begun: 0, free: [] };
      this.#areas.push(area);
    }
    area.begun += 1;
    return Buffer.from(area.memory, (area.begun - 1) * this.#blockBytes, this.#blockBytes);
  }

  /** Nobody looks at it any more. */
  giveBack(block: Buffer): void {
    this.#areas.find(({ memory }) => memory === block.buffer)?.free.push(block);
  }

  /** Gives up areas of which nothing is in use. */
  trim(): void {
    this.#areas = this.#areas.filter(({ begun, free }) => free.length < begun);
  }

  /** Somebody may look at blocks that were taken so far for longer than it is known: they go when nobody does. */
  leaveAll(): void {
    this.#areas = [];
  }
}
