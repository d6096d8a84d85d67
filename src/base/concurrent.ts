/** The only ways to do several things at once: bounded, cancelled together, failing on the first failure. */
import { Failure } from "./errors.ts";

/**
 * Calls `fn` for every item, at most `limit` at a time, and returns the results in the items' order.
 * After the first rejection no further item is started; it rejects once those under way have ended.
 */
export async function mapConcurrent<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  fn: (item: T, index: number) => Promise<R>,
  { signal }: { signal: AbortSignal },
): Promise<R[]> {
  const results: R[] = [];
  const running = new Set<Promise<void>>();
  let failed: { error: unknown } | undefined;
  let index = 0;
  for await (const item of items) {
    if (failed !== undefined || signal.aborted) break;
    const at = index++;
    const job = fn(item, at).then(
      (value) => {
        results[at] = value;
      },
      (error: unknown) => {
        failed ??= { error };
      },
    );
    const tracked = job.finally(() => running.delete(tracked));
    running.add(tracked);
    if (running.size >= limit) await Promise.race(running);
  }
  await Promise.all(running);
  if (failed !== undefined) throw failed.error;
  signal.throwIfAborted();
  return results;
}

/**
 * Does all of it at once. After the first failure the others' signal is aborted, and it rejects once they have ended: nothing
 * of a run that failed goes on beside the next.
 */
export async function together(
  works: readonly ((signal: AbortSignal) => Promise<void>)[],
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const stop = new AbortController();
  const inner = AbortSignal.any([signal, stop.signal]);
  let failed: { error: unknown } | undefined;
  await Promise.all(
    works.map(async (work) => {
      try {
        await work(inner);
      } catch (error) {
        failed ??= { error };
        stop.abort(new Failure("run/cancelled", "what it belonged to has failed"));
      }
    }),
  );
  if (failed !== undefined) throw failed.error;
}

/**
 * Work that begins now, and whose result is asked for later, or never. Disposing of it aborts what still runs and
 * waits until it has ended.
 */
export class EarlyWork<T> implements AsyncDisposable {
  readonly result: Promise<T>;
  readonly #stop = new AbortController();

  constructor(begin: (signal: AbortSignal) => Promise<T>, { signal }: { signal: AbortSignal }) {
    this.result = begin(AbortSignal.any([signal, this.#stop.signal]));
    this.result.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Failure("run/cancelled", "nobody waits for it any more"));
    await this.result.catch(() => {});
  }
}
