/** A clock that a test moves. Nothing that is asleep wakes before `advance` comes to its time. */
import type { Clock } from "../../src/base/clock.ts";

interface Sleeper {
  at: number;
  wake: () => void;
}

export class HandClock implements Clock {
  /** Every wait that was asked for, in milliseconds. */
  readonly waits: number[] = [];
  #now = 0;
  readonly #wakesAtOnce: boolean;
  readonly #sleepers = new Set<Sleeper>();

  /** @param wakesAtOnce A wait moves the clock by itself and is over. */
  constructor({ wakesAtOnce = false }: { wakesAtOnce?: boolean } = {}) {
    this.#wakesAtOnce = wakesAtOnce;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  /** How many are asleep. */
  get asleep(): number {
    return this.#sleepers.size;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.waits.push(ms);
    if (this.#wakesAtOnce) {
      this.#now += ms;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { at: this.#now + ms, wake: resolve };
    const stop = () => reject(signal?.reason);
    this.#sleepers.add(sleeper);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await promise;
    } finally {
      this.#sleepers.delete(sleeper);
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Moves on, and lets everything run that was waiting for it. */
  async advance(ms: number): Promise<void> {
    this.#now += ms;
    for (const { at, wake } of this.#sleepers) if (at <= this.#now) wake();
    await settle();
  }
}

/** Lets every promise that can go on go on. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
