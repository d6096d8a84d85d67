/** A clock that tests set, and streams that keep what was printed. */
import type { Clock } from "../../src/base/clock.ts";
import { Printer, type Sink } from "../../src/cli/print.ts";
import { Redactor } from "../../src/cli/redact.ts";

export interface FakeClock extends Clock {
  pass(ms: number): void;
}

export function createFakeClock(startMs = Date.parse("2026-11-23T17:00:00Z")): FakeClock {
  let passedMs = 0;
  const waiting: { atMs: number; wake: () => void }[] = [];
  return {
    now: () => startMs + passedMs,
    monotonic: () => passedMs,
    pass(ms) {
      passedMs += ms;
      for (const sleeper of waiting.splice(0)) {
        if (sleeper.atMs <= passedMs) sleeper.wake();
        else waiting.push(sleeper);
      }
    },
    async sleep(ms, signal) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting.push({ atMs: passedMs + ms, wake: resolve });
      signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      await promise;
    },
  };
}

export class KeptSink implements Sink {
  readonly pieces: string[] = [];
  readonly #listeners: ((error: Error) => void)[] = [];
  /** Set to make every further write fail. */
  error: NodeJS.ErrnoException | undefined;

  get text(): string {
    return this.pieces.join("");
  }

  write(data: string | Uint8Array, done: (error?: Error | null) => void): void {
    if (this.error === undefined) this.pieces.push(Buffer.from(data).toString("utf8"));
    else for (const listener of this.#listeners) listener(this.error);
    done(this.error ?? null);
  }

  on(_event: "error", listener: (error: Error) => void): void {
    this.#listeners.push(listener);
  }
}

export function createKeptPrinter(secrets: readonly string[] = []) {
  const stdout = new KeptSink();
  const stderr = new KeptSink();
  const redactor = new Redactor();
  redactor.hide(secrets);
  return { stdout, stderr, redactor, printer: new Printer({ stdout, stderr, redactor }) };
}
