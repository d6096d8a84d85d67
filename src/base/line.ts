/** A rate that is kept by waiting before bytes are moved. */
import type { Clock } from "./clock.ts";

/** A timer cannot be set for more than 24 days. */
const LONGEST_SLEEP_MS = 24 * 3_600_000;

/**
 * Something that moves so many bytes a second and no more. What is shared is the moment, in microseconds, from which it is
 * free again: whoever comes occupies it from then on.
 */
export class Line {
  readonly #freeAt: BigInt64Array;
  readonly #which: number;
  readonly #rate: number | undefined;
  readonly #clock: Clock;

  /**
   * @param account Of all that share it: at `which` times 8 bytes.
   * @param rate Bytes a second; undefined for no limit.
   */
  constructor(account: SharedArrayBuffer, which: number, rate: number | undefined, clock: Clock) {
    this.#freeAt = new BigInt64Array(account);
    this.#which = which;
    this.#rate = rate;
    this.#clock = clock;
  }

  /** Bytes a second; undefined for no limit. */
  get rate(): number | undefined {
    return this.#rate;
  }

  /** Occupies the line for these bytes from when it is free. Returns that moment. */
  #take(bytes: number, rate: number): bigint {
    const cost = BigInt(Math.ceil((bytes / rate) * 1e6));
    for (;;) {
      const seen = Atomics.load(this.#freeAt, this.#which);
      const now = BigInt(Math.round(this.#clock.monotonic() * 1000));
      const from = seen > now ? seen : now;
      if (Atomics.compareExchange(this.#freeAt, this.#which, seen, from + cost) === seen) return from;
    }
  }

  /** Resolves when these bytes may be moved. */
  async wait(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#rate === undefined) return;
    const from = Number(this.#take(bytes, this.#rate)) / 1000;
    for (;;) {
      const waitMs = from - this.#clock.monotonic();
      if (waitMs <= 0) return;
      await this.#clock.sleep(Math.min(waitMs, LONGEST_SLEEP_MS), signal);
    }
  }

  /** Does what moves about so many bytes, when they may be moved. Those that were more or fewer count for whoever comes next. */
  async move<T extends { bytes: number }>(foreseen: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const about = Math.round(foreseen);
    await this.wait(about, signal);
    const done = await work();
    this.pay(done.bytes - about);
    return done;
  }

  /** For bytes that were moved already: whoever comes next waits. Below 0 for those that were waited for and did not come. */
  pay(bytes: number): void {
    if (this.#rate !== undefined && bytes !== 0) this.#take(bytes, this.#rate);
  }
}
