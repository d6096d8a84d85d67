/** A remote place in memory that goes wrong when a test says so. */
import { Failure } from "../../src/base/errors.ts";
import type { Backend, ListedKey } from "../../src/store/backend.ts";
import type { CallOptions } from "../../src/store/store.ts";

type GetOptions = CallOptions & { offset: number; length: number | undefined };

export class MemoryBackend implements Backend {
  readonly location = "memory:";
  readonly files = new Map<string, Buffer>();
  readonly calls: string[] = [];
  /** Called before each call ("get data/…"), with how many there were; what it throws or waits for happens to the call. */
  before: (call: string, count: number, signal: AbortSignal) => void | Promise<void> = () => {};
  /** Called after each call that succeeded. */
  after: (call: string, count: number) => void = () => {};
  /** Called before each listed key. */
  beforeKey: (key: string) => void = () => {};
  /** What comes instead of the bytes that were read. */
  change: (bytes: Buffer, count: number) => Buffer = (bytes) => bytes;

  async #call<T>(call: string, signal: AbortSignal, work: () => T): Promise<T> {
    signal.throwIfAborted();
    this.calls.push(call);
    const count = this.calls.length;
    await this.before(call, count, signal);
    const result = work();
    this.after(call, count);
    return result;
  }

  async create({ signal }: CallOptions): Promise<void> {
    await this.#call("create", signal, () => undefined);
  }

  async put(key: string, bytes: Buffer, { signal, mustBeNew }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    await this.#call(`put ${key}`, signal, () => {
      if (!mustBeNew || !this.files.has(key)) this.files.set(key, Buffer.from(bytes));
    });
  }

  async get(key: string, { offset, length, signal }: GetOptions): Promise<Buffer> {
    return await this.#call(`get ${key}`, signal, () => {
      const bytes = this.files.get(key);
      if (bytes === undefined || offset + (length ?? 0) > bytes.length)
        throw new Failure("store/not-found", `not there, or too short: '${key}'`);
      return this.change(bytes.subarray(offset, length === undefined ? undefined : offset + length), this.calls.length);
    });
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#call(`stat ${key}`, signal, () => {
      const bytes = this.files.get(key);
      return bytes && { sizeBytes: bytes.length };
    });
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const files = await this.#call(`list ${folder}`, signal, () => [...this.files]);
    for (const [key, bytes] of files) {
      if (!key.startsWith(`${folder}/`)) continue;
      this.beforeKey(key);
      yield { key, sizeBytes: bytes.length };
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    await this.#call(`remove ${key}`, signal, () => this.files.delete(key));
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    return await this.#call("removeLeftovers", signal, () => 0);
  }

  async close(): Promise<void> {}
}

export function lineBroke(retryAfterMs?: number): Failure {
  return new Failure("store/unreachable", "the line broke", { retryAfterMs });
}
