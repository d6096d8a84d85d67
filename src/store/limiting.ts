/**
 * A remote place whose line is shared with others: so many calls at once, so many bytes a second.
 *
 * A file is sent and read whole, so a rate holds between calls: each begins when the bytes of those before it are paid
 * for. The account lies in shared memory, so that all threads of a run keep one rate together.
 */
import type { Clock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import type { PublicAccess } from "./public-access.ts";
import { type Retention, retentionThrough } from "./retention.ts";
import type { CallOptions, StoreSettings } from "./store.ts";

/** For {@link StoreSettings.account}; one for all that use the same line. */
export function newAccount(): SharedArrayBuffer {
  return new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT);
}

export function limiting(backend: Backend, settings: StoreSettings, { clock }: { clock: Clock }): Backend {
  return new LimitedBackend(backend, settings, clock);
}

const UPLOAD = 0;
const DOWNLOAD = 1;

/** A timer cannot be set for more than 24 days. */
const LONGEST_SLEEP_MS = 24 * 3_600_000;

/** One direction of the line. What is shared is the moment, in microseconds, from which it is free again. */
class Line {
  readonly #freeAt: BigInt64Array;
  readonly #which: number;
  readonly #rate: number | undefined;
  readonly #clock: Clock;

  constructor(account: SharedArrayBuffer, which: number, rate: number | undefined, clock: Clock) {
    this.#freeAt = new BigInt64Array(account);
    this.#which = which;
    this.#rate = rate;
    this.#clock = clock;
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

  /** For bytes that were moved already: whoever comes next waits. */
  pay(bytes: number): void {
    if (this.#rate !== undefined) this.#take(bytes, this.#rate);
  }
}

/** At most so many at once, in the order in which they came. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async use<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = () => {
      const at = this.#waiting.indexOf(resolve);
      // One that was let in already goes on, and notices the abort by itself.
      if (at === -1) return;
      this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    this.#waiting.push(resolve);
    signal.addEventListener("abort", stop, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}

class LimitedBackend implements Backend {
  readonly location: string;
  readonly isNarrow: boolean;
  readonly retention: Retention<string> | undefined;
  readonly #backend: Backend;
  readonly #upload: Line;
  readonly #download: Line;
  readonly #slots: Slots;

  constructor(backend: Backend, settings: StoreSettings, clock: Clock) {
    const account = settings.account ?? newAccount();
    this.location = backend.location;
    this.isNarrow = backend.isNarrow ?? false;
    this.#backend = backend;
    this.#upload = new Line(account, UPLOAD, settings.uploadRate, clock);
    this.#download = new Line(account, DOWNLOAD, settings.downloadRate, clock);
    this.#slots = new Slots(settings.connections ?? LIMITS.storeConnections);
    this.retention = retentionThrough(backend.retention, async (_doing, signal, work) =>
      this.#slots.use(signal, async () => await work(signal)),
    );
  }

  async create(options: CallOptions): Promise<void> {
    await this.#slots.use(options.signal, () => this.#backend.create(options));
  }

  async put(key: string, bytes: Buffer, options: CallOptions & { mustBeNew: boolean }): Promise<void> {
    await this.#upload.wait(bytes.length, options.signal);
    await this.#slots.use(options.signal, () => this.#backend.put(key, bytes, options));
  }

  async get(key: string, options: CallOptions & { offset: number; length: number | undefined }): Promise<Buffer> {
    // A length may come from a damaged file, so what is beyond the longest usual read is paid for when it has come.
    const foreseen = Math.min(options.length ?? 0, LIMITS.readMaxBytes);
    await this.#download.wait(foreseen, options.signal);
    const bytes = await this.#slots.use(options.signal, () => this.#backend.get(key, options));
    if (bytes.length > foreseen) this.#download.pay(bytes.length - foreseen);
    return bytes;
  }

  async stat(key: string, options: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#slots.use(options.signal, () => this.#backend.stat(key, options));
  }

  /** Counts only while the next key is waited for: whoever is told of one may call the place meanwhile. */
  async *list(folder: string, options: CallOptions): AsyncGenerator<ListedKey> {
    const files = this.#backend.list(folder, options)[Symbol.asyncIterator]();
    let isEnded = false;
    try {
      for (;;) {
        const next = await this.#slots.use(options.signal, () => files.next());
        if (next.done === true) break;
        yield next.value;
      }
      isEnded = true;
    } finally {
      if (!isEnded) await files.return?.();
    }
  }

  async remove(key: string, options: CallOptions): Promise<void> {
    await this.#slots.use(options.signal, () => this.#backend.remove(key, options));
  }

  async removeLeftovers(options: CallOptions): Promise<number> {
    return await this.#slots.use(options.signal, () => this.#backend.removeLeftovers(options));
  }

  async time(options: CallOptions): Promise<number | undefined> {
    return await this.#slots.use(options.signal, async () => await this.#backend.time?.(options));
  }

  async publicAccess(options: CallOptions): Promise<PublicAccess | undefined> {
    return await this.#slots.use(options.signal, async () => await this.#backend.publicAccess?.(options));
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }
}
