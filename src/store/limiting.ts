/**
 * A remote place whose line is shared with others: so many calls at once, so many bytes a second.
 *
 * A file is sent and read whole, so a rate holds between calls: each begins when the bytes of those before it are paid
 * for. The account lies in shared memory, so that all threads of a run keep one rate together.
 */
import { Budget } from "../base/budget.ts";
import type { Clock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { Line } from "../base/line.ts";
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

/** At most so many at once, in the order in which they came. */
export class Slots {
  readonly #places: Budget;

  constructor(count: number) {
    this.#places = new Budget(count);
  }

  async use<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return await this.#places.use(1, signal, work);
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
