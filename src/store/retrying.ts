/**
 * A remote place whose line may break: what can pass is tried again.
 *
 * Only `store/unreachable` can pass. Between two tries it waits a random part of a span that doubles (full jitter), or
 * as long as the other side asks for. A place that never answered gets less patience. Every call may be repeated: keys
 * are written once, so a `put` that succeeded and was said to have failed is found by its size.
 */
import type { Clock } from "../base/clock.ts";
import { ERRORS, Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import type { PublicAccess } from "./public-access.ts";
import { type Retention, retentionThrough } from "./retention.ts";
import type { CallOptions } from "./store.ts";

/** A wait before the next try. */
export interface Retry {
  /** What failed, and why. */
  readonly message: string;
  readonly waitMs: number;
  /** The try that failed, counted from 1. */
  readonly tries: number;
}

export interface RetryOptions {
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** True where the place answered already, in another thread. */
  readonly wasReached?: boolean;
  /** How long a call to a place that has answered is tried again. Default: {@link LIMITS.retryPatienceMs}. */
  readonly patienceMs?: number | undefined;
  /** Told of each wait; of calls that wait at the same time, of one. */
  readonly onRetry?: ((retry: Retry) => void) | undefined;
}

export function retrying(backend: Backend, options: RetryOptions): Backend {
  return new RetryingBackend(backend, new Retries(options));
}

/** How calls to one place are tried again. */
export class Retries {
  readonly #options: RetryOptions;
  #wasReached: boolean;

  constructor(options: RetryOptions) {
    const { clock, onRetry } = options;
    let toldUntil = Number.NEGATIVE_INFINITY;
    const tellOnce = (retry: Retry) => {
      const now = clock.monotonic();
      if (now < toldUntil) return;
      toldUntil = now + retry.waitMs;
      onRetry?.(retry);
    };
    this.#options = { ...options, onRetry: tellOnce };
    this.#wasReached = options.wasReached ?? false;
  }

  /** The place answered. */
  reached(): void {
    this.#wasReached = true;
  }

  begin(signal: AbortSignal): Tries {
    return new Tries(this.#options, signal, () => this.#wasReached);
  }

  /** @param work Is told how often it has failed. @throws Failure what cannot pass, and what did not in time. */
  async do<T>(signal: AbortSignal, work: (failed: number) => Promise<T>): Promise<T> {
    const tries = this.begin(signal);
    for (;;) {
      try {
        const result = await work(tries.failed);
        this.reached();
        return result;
      } catch (error) {
        if (isFailure(error, "store/not-found")) this.reached();
        await tries.waitAfter(error);
      }
    }
  }
}

class RetryingBackend implements Backend {
  readonly location: string;
  readonly isNarrow: boolean;
  readonly retention: Retention<string> | undefined;
  readonly #backend: Backend;
  readonly #retries: Retries;

  constructor(backend: Backend, retries: Retries) {
    this.location = backend.location;
    this.isNarrow = backend.isNarrow ?? false;
    this.#backend = backend;
    this.#retries = retries;
    this.retention = retentionThrough(backend.retention, async (_doing, signal, work) =>
      retries.do(signal, async () => await work(signal)),
    );
  }

  async create(options: CallOptions): Promise<void> {
    await this.#retries.do(options.signal, () => this.#backend.create(options));
  }

  async put(key: string, bytes: Buffer, options: CallOptions & { mustBeNew: boolean }): Promise<void> {
    await this.#retries.do(options.signal, async (failed) => {
      if (failed > 0) {
        // It may have arrived although it was said to have failed.
        const found = await this.#backend.stat(key, options);
        if (found !== undefined && (options.mustBeNew || found.sizeBytes === bytes.length)) return;
      }
      await this.#backend.put(key, bytes, options);
    });
  }

  async get(key: string, options: CallOptions & { offset: number; length: number | undefined }): Promise<Buffer> {
    const { offset, length } = options;
    return await this.#retries.do(options.signal, async () => {
      const bytes = await this.#backend.get(key, options);
      if (length === undefined || bytes.length >= length) return bytes;
      const found = await this.#backend.stat(key, options);
      if (found === undefined || found.sizeBytes < offset + length) {
        throw new Failure("store/not-found", `'${key}' is shorter than it should be`);
      }
      throw new Failure("store/unreachable", `of '${key}' only ${bytes.length} of ${length} bytes came`, {
        hint: "The line to the place is unreliable, or something between changes what is sent.",
      });
    });
  }

  async stat(key: string, options: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#retries.do(options.signal, () => this.#backend.stat(key, options));
  }

  /** Begins again where it breaks, and tells each key once; patience begins anew with each new key. */
  async *list(folder: string, options: CallOptions): AsyncGenerator<ListedKey> {
    const told = new Set<string>();
    let tries = this.#retries.begin(options.signal);
    for (;;) {
      try {
        for await (const file of this.#backend.list(folder, options)) {
          this.#retries.reached();
          if (told.has(file.key)) continue;
          told.add(file.key);
          if (tries.failed > 0) tries = this.#retries.begin(options.signal);
          yield file;
        }
        this.#retries.reached();
        return;
      } catch (error) {
        await tries.waitAfter(error);
      }
    }
  }

  async remove(key: string, options: CallOptions): Promise<void> {
    await this.#retries.do(options.signal, () => this.#backend.remove(key, options));
  }

  async removeLeftovers(options: CallOptions): Promise<number> {
    return await this.#retries.do(options.signal, () => this.#backend.removeLeftovers(options));
  }

  async time(options: CallOptions): Promise<number | undefined> {
    return await this.#retries.do(options.signal, async () => await this.#backend.time?.(options));
  }

  /** What it could not find out is no access, so nothing is tried again. */
  async publicAccess(options: CallOptions): Promise<PublicAccess | undefined> {
    return await this.#backend.publicAccess?.(options);
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }
}

/** The tries of one call. */
class Tries {
  failed = 0;
  readonly #options: RetryOptions;
  readonly #signal: AbortSignal;
  readonly #wasReached: () => boolean;
  #firstFailedAt: number | undefined;

  constructor(options: RetryOptions, signal: AbortSignal, wasReached: () => boolean) {
    this.#options = options;
    this.#signal = signal;
    this.#wasReached = wasReached;
  }

  /** Resolves when it is time to try again; throws what cannot pass, and what did not in time. */
  async waitAfter(error: unknown): Promise<void> {
    const { clock, random, onRetry, patienceMs: most = LIMITS.retryPatienceMs } = this.#options;
    this.#signal.throwIfAborted();
    if (!isFailure(error) || !ERRORS[error.code].retry) throw error;
    const now = clock.monotonic();
    this.#firstFailedAt ??= now;
    this.failed += 1;
    const spanMs = Math.min(LIMITS.retryLongestWaitMs, LIMITS.retryFirstWaitMs * 2 ** (this.failed - 1));
    const waitMs = Math.max(random() * spanMs, error.retryAfterMs ?? 0);
    const patienceMs = this.#wasReached() ? most : Math.min(most, LIMITS.retryFirstContactMs);
    if (now + waitMs - this.#firstFailedAt > patienceMs) throw givenUp(error, this.failed);
    onRetry?.({ message: error.message, waitMs, tries: this.failed });
    await clock.sleep(waitMs, this.#signal);
  }
}

function givenUp(error: Failure, tries: number): Failure {
  if (tries === 1) return error;
  return new Failure(error.code, `${error.message} (tried ${tries} times)`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}
