/**
 * The end of the write-ahead log that was received and is not in a span of every repository yet: bytes in order and without a
 * gap, in memory, and what was committed in them. Several repositories read from it, each at its own pace; the slowest
 * decides what may be let go of, and whoever adds waits while too much lies here, so that the server keeps the rest.
 */
import { assert, Failure } from "../../base/errors.ts";
import type { Commit } from "../../point/wal-facts.ts";
import { formatLsn, type Lsn, segmentStart } from "../../wal/lsn.ts";

interface Piece {
  readonly start: Lsn;
  readonly bytes: Buffer;
  /** Milliseconds on the monotonic clock. */
  readonly cameMs: number;
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
  #pieces: Piece[] = [];
  #commits: Commit[] = [];
  #start: Lsn;
  #end: Lsn;
  #failed: { error: unknown } | undefined;
  #isFinished = false;
  #changed = Promise.withResolvers<void>();

  constructor({ start, segmentBytes, maxBytes }: WalTailOptions) {
    assert(start === segmentStart(start, segmentBytes), "a tail of the log begins inside a segment");
    this.segmentBytes = segmentBytes;
    this.#maxBytes = maxBytes;
    this.#start = start;
    this.#end = start;
  }

  /** The first byte that is still here. */
  get start(): Lsn {
    return this.#start;
  }

  /** The byte after the last one. */
  get end(): Lsn {
    return this.#end;
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
   * Takes the next bytes, and waits while more than `maxBytes` lie here.
   * @param commits those whose records end in these bytes.
   * @throws Failure `internal/bug` where they do not follow; the signal's reason.
   */
  async add(
    { start, bytes, commits, cameMs }: Piece & { commits: readonly Commit[] },
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    assert(start === this.#end, `bytes of the log at ${formatLsn(start)} do not follow ${formatLsn(this.#end)}`);
    this.#pieces.push({ start, bytes, cameMs });
    this.#commits.push(...commits);
    this.#end = start + BigInt(bytes.length);
    this.#notify();
    while (this.isFull) await this.changed({ signal });
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

  /** Copies of nothing: pieces of what is here from `from` on, up to and without `to`. */
  read(from: Lsn, to: Lsn): Buffer[] {
    assert(
      from >= this.#start && to <= this.#end && from <= to,
      "bytes of the log that are not in memory were asked for",
    );
    const found: Buffer[] = [];
    for (let at = this.#find(from); at < this.#pieces.length; at += 1) {
      const piece = this.#pieces[at];
      if (piece === undefined || piece.start >= to) break;
      const begin = from > piece.start ? Number(from - piece.start) : 0;
      const end = Math.min(piece.bytes.length, Number(to - piece.start));
      if (end > begin) found.push(piece.bytes.subarray(begin, end));
    }
    return found;
  }

  /** The last piece that begins at or before a position. */
  #find(lsn: Lsn): number {
    let [low, high] = [0, this.#pieces.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#pieces[middle]?.start ?? lsn) <= lsn) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** When the byte at a position came, milliseconds on the monotonic clock; undefined where nothing is there. */
  cameAt(lsn: Lsn): number | undefined {
    return lsn >= this.#start && lsn < this.#end ? this.#pieces[this.#find(lsn)]?.cameMs : undefined;
  }

  /** Those whose records end after `from`, and not after `to`. */
  commits(from: Lsn, to: Lsn): Commit[] {
    return this.#commits.filter(({ lsn }) => lsn > from && lsn <= to);
  }

  /** Nobody needs what lies before a position any more. Does nothing where that is gone already. */
  letGo(before: Lsn): void {
    if (before <= this.#start) return;
    assert(before <= this.#end, "bytes of the log that never came were let go of");
    const at = this.#find(before);
    const kept = this.#pieces.slice(at);
    const [first] = kept;
    if (first !== undefined && first.start < before) {
      const bytes = first.bytes.subarray(Number(before - first.start));
      kept.splice(0, 1, ...(bytes.length === 0 ? [] : [{ ...first, start: before, bytes }]));
    }
    this.#pieces = kept;
    this.#commits = this.#commits.filter(({ lsn }) => lsn > before);
    this.#start = before;
    this.#notify();
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

/** Why keepers stop that were told to. */
export const TAIL_ENDED = new Failure("run/cancelled", "the log is no longer received");
