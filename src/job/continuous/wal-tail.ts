/**
 * The end of the write-ahead log that was received and is not in a span of every repository yet: bytes in order and without a
 * gap, in memory, and what was committed in them. Several repositories read from it, each at its own pace. What none of them needs
 * any more is let go of, and whoever adds waits while too much lies here, so that the server keeps the rest.
 *
 * The bytes lie in blocks that threads share, so that nothing is copied on its way to one: {@link LIMITS.walChunkBytes} each, of
 * which the first begins where the tail does, so that a block is a chunk of a span. Blocks that were let go of are used again.
 */
import { assert, Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { SharedBlocks } from "./shared-blocks.ts";
import type { Commit, MinimalRecord } from "../../point/wal-facts.ts";
import { formatLsn, type Lsn, segmentStart } from "../../wal/lsn.ts";

/** What came at once. */
interface Arrival {
  readonly start: Lsn;
  /** Milliseconds on the monotonic clock. */
  readonly cameMs: number;
}

/** The bytes from `start` on; of the last block some are not there yet. */
interface Block {
  readonly start: Lsn;
  readonly bytes: Buffer;
}

export interface WalTailOptions {
  /** Where it begins: the beginning of a segment. */
  readonly start: Lsn;
  readonly segmentBytes: number;
  /** Bytes from which on {@link WalTail.add} waits. */
  readonly maxBytes: number;
}

export class WalTail {
  readonly segmentBytes: number;
  readonly #maxBytes: number;
  readonly #blockBytes: number;
  #blocks: Block[] = [];
  readonly #memory: SharedBlocks;
  #arrivals: Arrival[] = [];
  #commits: Commit[] = [];
  #minimal: MinimalRecord[] = [];
  #start: Lsn;
  #end: Lsn;
  #serverEnd: Lsn;
  #failed: { error: unknown } | undefined;
  #isFinished = false;
  #changed = Promise.withResolvers<void>();

  constructor({ start, segmentBytes, maxBytes }: WalTailOptions) {
    assert(start === segmentStart(start, segmentBytes), "a tail of the log begins inside a segment");
    this.segmentBytes = segmentBytes;
    this.#maxBytes = maxBytes;
    this.#blockBytes = Math.min(LIMITS.walChunkBytes, segmentBytes);
    this.#memory = new SharedBlocks(this.#blockBytes);
    this.#start = start;
    this.#end = start;
    this.#serverEnd = start;
  }

  /** The first byte that is still here. */
  get start(): Lsn {
    return this.#start;
  }

  /** The byte after the last one. */
  get end(): Lsn {
    return this.#end;
  }

  /** How far the server's own log is, as far as it is known: not before {@link end}. */
  get serverEnd(): Lsn {
    return this.#serverEnd > this.#end ? this.#serverEnd : this.#end;
  }

  /** The server said how far its log is. */
  heard(serverEnd: Lsn): void {
    if (serverEnd > this.#serverEnd) this.#serverEnd = serverEnd;
  }

  /** The end of the last segment that is here whole; not before {@link start}. */
  get closed(): Lsn {
    const at = segmentStart(this.#end, this.segmentBytes);
    return at < this.#start ? this.#start : at;
  }

  get bytes(): number {
    return Number(this.#end - this.#start);
  }

  /** True while whoever adds has to wait. */
  get isFull(): boolean {
    return this.bytes > this.#maxBytes;
  }

  /**
   * Takes a copy of the next bytes, and waits while more than `maxBytes` lie here.
   * @param commits those whose records end in these bytes. @param minimal Those that say so.
   * @throws Failure `internal/bug` where they do not follow; the signal's reason.
   */
  async add(
    {
      start,
      bytes,
      commits,
      minimal = [],
      cameMs,
    }: Arrival & { bytes: Uint8Array; commits: readonly Commit[]; minimal?: readonly MinimalRecord[] },
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    assert(start === this.#end, `bytes of the log at ${formatLsn(start)} do not follow ${formatLsn(this.#end)}`);
    if (bytes.length > 0) this.#arrivals.push({ start, cameMs });
    this.#commits.push(...commits);
    this.#minimal.push(...minimal);
    this.#fill(bytes);
    this.#notify();
    while (this.isFull) await this.changed({ signal });
  }

  #fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const last = this.#blocks.at(-1);
      const filled = last === undefined ? this.#blockBytes : Number(this.#end - last.start);
      const isFull = filled === this.#blockBytes;
      const block = isFull || last === undefined ? this.#begin() : last;
      const inBlock = isFull ? 0 : filled;
      const count = Math.min(bytes.length - at, this.#blockBytes - inBlock);
      block.bytes.set(bytes.subarray(at, at + count), inBlock);
      at += count;
      this.#end += BigInt(count);
    }
  }

  #begin(): Block {
    const block = { start: this.#end, bytes: this.#memory.take() };
    this.#blocks.push(block);
    return block;
  }

  /** Resolves when something was added or let go of since it was called. @throws what {@link fail} was told. */
  async changed({ signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (this.#failed !== undefined) throw this.#failed.error;
    const { promise, reject } = Promise.withResolvers<never>();
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      await Promise.race([this.#changed.promise, promise]);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  /**
   * Copies of nothing: pieces of what is here from `from` on, up to and without `to`. They are what they are until whoever reads lets
   * go of them.
   */
  read(from: Lsn, to: Lsn): Buffer[] {
    assert(
      from >= this.#start && to <= this.#end && from <= to,
      "bytes of the log that are not in memory were asked for",
    );
    const found: Buffer[] = [];
    for (let at = lastBefore(this.#blocks, from); at < this.#blocks.length; at += 1) {
      const block = this.#blocks[at];
      if (block === undefined || block.start >= to) break;
      const begin = from > block.start ? Number(from - block.start) : 0;
      const end = Math.min(this.#blockBytes, Number(to - block.start));
      if (end > begin) found.push(block.bytes.subarray(begin, end));
    }
    return found;
  }

  /** When the byte at a position came, milliseconds on the monotonic clock; undefined where nothing is there. */
  cameAt(lsn: Lsn): number | undefined {
    if (lsn < this.#start || lsn >= this.#end) return undefined;
    return this.#arrivals[lastBefore(this.#arrivals, lsn)]?.cameMs;
  }

  /** Those whose records end after `from`, and not after `to`. */
  commits(from: Lsn, to: Lsn): Commit[] {
    return this.#commits.filter(({ lsn }) => lsn > from && lsn <= to);
  }

  /** Of records that say that the server writes too little to be replayed, those that end there. */
  minimal(from: Lsn, to: Lsn): MinimalRecord[] {
    return this.#minimal.filter((record) => record.to > from && record.to <= to);
  }

  /** Nobody needs what lies before a position any more. Does nothing where that is gone already. */
  letGo(before: Lsn): void {
    if (before <= this.#start) return;
    assert(before <= this.#end, "bytes of the log that never came were let go of");
    this.#arrivals.splice(0, lastBefore(this.#arrivals, before));
    const gone = this.#blocks.findIndex(({ start }) => start + BigInt(this.#blockBytes) > before);
    for (const { bytes } of this.#blocks.splice(0, gone < 0 ? this.#blocks.length : gone)) this.#memory.giveBack(bytes);
    // What comes at once needs it again.
    if (Number(this.serverEnd - this.#end) < LIMITS.spanBytes) this.#memory.trim();
    this.#commits = this.#commits.filter(({ lsn }) => lsn > before);
    this.#minimal = this.#minimal.filter(({ to }) => to > before);
    this.#start = before;
    this.#notify();
  }

  /** Somebody who reads no more may still look at what is here: none of these blocks is used again. */
  leaveBlocks(): void {
    this.#memory.leaveAll();
  }

  /** True when no more comes: what is here is stored without waiting. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Says that no more comes. */
  finish(): void {
    this.#isFinished = true;
    this.#notify();
  }

  /** Whoever waits, or comes to wait, gets this error. */
  fail(error: unknown): void {
    this.#failed ??= { error };
    this.#changed.reject(error);
    this.#changed.promise.catch(() => {});
  }
}

/** The last one that begins at or before a position; the first where none does. */
function lastBefore(sorted: readonly { readonly start: Lsn }[], lsn: Lsn): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle]?.start ?? lsn) <= lsn) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** Why keepers stop that were told to. */
export const TAIL_ENDED = new Failure("run/cancelled", "the log is no longer received");
