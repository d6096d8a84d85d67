/**
 * A remote place that may fall silent: a call that takes longer than the slowest useful line would need is ended as
 * `store/unreachable`. The bound grows with the bytes that the call moves.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import type { PublicAccess } from "./public-access.ts";
import { type Retention, retentionThrough } from "./retention.ts";
import type { CallOptions } from "./store.ts";

export function noticingStalls(backend: Backend, { clock }: { clock: Clock }): Backend {
  return new WatchedBackend(backend, clock);
}

/** A call to a place, as it is watched. */
export interface Watched {
  readonly doing: string;
  /** That the call moves at most. */
  readonly bytes: number;
  readonly signal: AbortSignal;
}

const UNKNOWN = LIMITS.storeUnknownReadBytes;

/** Ends the work as `store/unreachable` when it takes longer than a slow line would. */
export async function watch<T>(
  clock: Clock,
  { doing, bytes, signal }: Watched,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // A length may come from a damaged file.
  const moved = Math.min(bytes, LIMITS.unpackedMaxBytes);
  const limitMs = LIMITS.storeStallMs + (moved / LIMITS.storeSlowestRate) * 1000;
  const late = new AbortController();
  const done = new AbortController();
  const alarm = clock.sleep(limitMs, done.signal).then((): never => {
    const failure = new Failure("store/unreachable", `no end after ${Math.round(limitMs / 1000)} s: ${doing}`, {
      hint: "Is the place up, and the line to it not too slow?",
    });
    late.abort(failure);
    throw failure;
  });
  alarm.catch(() => {
    // Told by the race; and an alarm that was turned off tells nothing.
  });
  try {
    return await Promise.race([work(AbortSignal.any([signal, late.signal])), alarm]);
  } finally {
    done.abort();
  }
}

class WatchedBackend implements Backend {
  readonly location: string;
  readonly isNarrow: boolean;
  readonly retention: Retention<string> | undefined;
  readonly #backend: Backend;
  readonly #clock: Clock;

  constructor(backend: Backend, clock: Clock) {
    this.location = backend.location;
    this.isNarrow = backend.isNarrow ?? false;
    this.#backend = backend;
    this.#clock = clock;
    this.retention = retentionThrough(backend.retention, async (doing, signal, work) =>
      this.#watch({ doing, bytes: 0, signal }, work),
    );
  }

  async #watch<T>(watched: Watched, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await watch(this.#clock, watched, work);
  }

  async create({ signal }: CallOptions): Promise<void> {
    const watched = { doing: `making '${this.location}'`, bytes: UNKNOWN, signal };
    await this.#watch(watched, (limited) => this.#backend.create({ signal: limited }));
  }

  async put(key: string, bytes: Buffer, options: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const watched = { doing: `writing '${key}'`, bytes: bytes.length, signal: options.signal };
    await this.#watch(watched, (signal) => this.#backend.put(key, bytes, { ...options, signal }));
  }

  async get(key: string, options: CallOptions & { offset: number; length: number | undefined }): Promise<Buffer> {
    const watched = { doing: `reading '${key}'`, bytes: options.length ?? UNKNOWN, signal: options.signal };
    return await this.#watch(watched, (signal) => this.#backend.get(key, { ...options, signal }));
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const watched = { doing: `looking at '${key}'`, bytes: 0, signal };
    return await this.#watch(watched, (limited) => this.#backend.stat(key, { signal: limited }));
  }

  /** Each next key has its own time; what the caller does meanwhile does not count. */
  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const late = new AbortController();
    const list = this.#backend.list(folder, { signal: AbortSignal.any([signal, late.signal]) });
    const files = list[Symbol.asyncIterator]();
    const watched = { doing: `listing '${folder}'`, bytes: UNKNOWN, signal };
    let isEnded = false;
    try {
      for (;;) {
        const next = await this.#watch(watched, () => files.next());
        if (next.done === true) break;
        yield next.value;
      }
      isEnded = true;
    } finally {
      if (!isEnded) {
        // Not awaited: a list that hangs does not come to its end either.
        late.abort();
        void Promise.resolve(files.return?.()).catch(() => {});
      }
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const watched = { doing: `removing '${key}'`, bytes: 0, signal };
    await this.#watch(watched, (limited) => this.#backend.remove(key, { signal: limited }));
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    const watched = { doing: `removing what is left in '${this.location}'`, bytes: UNKNOWN, signal };
    return await this.#watch(watched, (limited) => this.#backend.removeLeftovers({ signal: limited }));
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const watched = { doing: `asking '${this.location}' for the time`, bytes: 0, signal };
    return await this.#watch(watched, async (limited) => await this.#backend.time?.({ signal: limited }));
  }

  async publicAccess({ signal }: CallOptions): Promise<PublicAccess | undefined> {
    const watched = { doing: `asking '${this.location}' without credentials`, bytes: UNKNOWN, signal };
    return await this.#watch(watched, async (limited) => await this.#backend.publicAccess?.({ signal: limited }));
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }
}
