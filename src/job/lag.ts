/**
 * For how long a server has had what is not in a repository. A server that writes without a pause is never caught up with to
 * the last byte, so it is noted how far it was at which time, and asked until when everything of that is stored.
 */
import type { Lsn } from "../wal/lsn.ts";

interface Mark {
  readonly lsn: Lsn;
  readonly atMs: number;
}

/** Between two marks passes so long at least … */
const APART_MS = 1000;
/**
 * … and twice as long whenever so many are there, of which every second one goes: the lag is then told as longer by a hundredth,
 * never as shorter.
 */
const MARKS = 256;

export class Lag {
  #evenMs: number;
  #safeMs: number | undefined;
  /** In order; none is reached. */
  #marks: Mark[] = [];
  #apartMs = APART_MS;

  /** @param nowMs from then on a lag counts, as nothing is known of before. */
  constructor(nowMs: number) {
    this.#evenMs = nowMs;
  }

  /** @param server how far the server is. @param durable up to where the repository has everything. @param heardMs when the server said that. */
  look(server: Lsn, durable: Lsn, heardMs: number): void {
    if (durable >= server) {
      this.#even(heardMs);
      this.#marks = [];
      this.#apartMs = APART_MS;
      return;
    }
    const reached = this.#marks.findLast(({ lsn }) => lsn <= durable);
    if (reached !== undefined) {
      this.#even(reached.atMs);
      this.#marks = this.#marks.filter(({ lsn }) => lsn > durable);
    }
    const last = this.#marks.at(-1);
    if (last !== undefined && (server <= last.lsn || heardMs - last.atMs < this.#apartMs)) return;
    this.#marks.push({ lsn: server, atMs: heardMs });
    if (this.#marks.length < MARKS) return;
    this.#marks = this.#marks.filter((_, at) => at % 2 === 0);
    this.#apartMs *= 2;
  }

  /** The clock was set: what it said before counts from then. */
  shift(byMs: number): void {
    this.#evenMs += byMs;
    if (this.#safeMs !== undefined) this.#safeMs += byMs;
    this.#marks = this.#marks.map(({ lsn, atMs }) => ({ lsn, atMs: atMs + byMs }));
  }

  #even(atMs: number): void {
    this.#evenMs = atMs;
    this.#safeMs = atMs;
  }

  /** When the server had nothing, for the last time that is known, that is not in the repository now: milliseconds since 1970. */
  get safeMs(): number | undefined {
    return this.#safeMs;
  }

  /** Milliseconds. */
  of(nowMs: number): number {
    return Math.max(0, nowMs - this.#evenMs);
  }

  /** What has to be stored before the lag becomes less; undefined where everything is. */
  get next(): Lsn | undefined {
    return this.#marks[0]?.lsn;
  }
}
