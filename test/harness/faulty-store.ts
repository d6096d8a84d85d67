/**
 * A store that goes wrong by a script, around one that does not. It lives in one thread: its spec is undefined.
 *
 * The script is asked before each call and says what happens to it. `onCall` and `always` make the usual ones.
 */
import { Failure } from "../../src/base/errors.ts";
import type { Beside, CallOptions, FileKind, FileRef, ListedFile, Store, StoreWriter } from "../../src/store/store.ts";

/** `put` is also the commit of a file that was begun. */
export type StoreVerb = "create" | "put" | "get" | "stat" | "list" | "remove" | "removeLeftovers";

export interface StoreCall {
  readonly verb: StoreVerb;
  readonly kind: FileKind | undefined;
  readonly name: string | undefined;
  /** Which call of all this is, counted from 1 … */
  readonly count: number;
  /** … and which of this verb and kind. */
  readonly nth: number;
}

export type Fault =
  /** Nothing is done; `store/unreachable` unless an error is named. */
  | { readonly how: "fail"; readonly error?: unknown }
  /** It is done, and said to have failed. */
  | { readonly how: "fail-after"; readonly error?: unknown }
  /** It is done once the promise has resolved; an abort ends the waiting. */
  | { readonly how: "wait"; readonly until: Promise<unknown> }
  /** It is done at once, and said so when the promise has resolved; an abort ends the waiting. */
  | { readonly how: "wait-after"; readonly until: Promise<unknown> }
  /** `get` only: other bytes come than asked for. */
  | { readonly how: "change"; readonly bytes: (whole: Buffer) => Buffer }
  /** `list` only: what was written through this store is not listed yet. */
  | { readonly how: "late" };

export type FaultScript = (call: StoreCall) => Fault | undefined;

/** The fault for the nth call of a verb, of a kind when one is named. */
export function onCall(verb: StoreVerb, nth: number, fault: Fault, kind?: FileKind): FaultScript {
  let seen = 0;
  return (call) => {
    if (call.verb !== verb || (kind !== undefined && call.kind !== kind)) return undefined;
    seen += 1;
    return seen === nth ? fault : undefined;
  };
}

/** The fault for every call of a verb, of a kind when one is named. */
export function always(verb: StoreVerb, fault: Fault, kind?: FileKind): FaultScript {
  return (call) => (call.verb === verb && (kind === undefined || call.kind === kind) ? fault : undefined);
}

/** The file with one bit turned over. */
export const FLIPPED: Fault = {
  how: "change",
  bytes: (whole) => {
    const changed = Buffer.from(whole);
    const middle = changed.length >> 1;
    if (middle < changed.length) changed.writeUInt8(changed.readUInt8(middle) ^ 1, middle);
    return changed;
  },
};

/** Half of what was asked for. */
export const CUT: Fault = { how: "change", bytes: (whole) => whole.subarray(0, whole.length >> 1) };

export class FaultyStore implements Store {
  readonly location: string;
  readonly spec = undefined;
  /** Every call so far, in order. */
  readonly calls: StoreCall[] = [];
  /** May be set anew at any time; undefined lets everything pass. */
  script: FaultScript | undefined;
  /** Calls of files beside the repository have no kind, and their path for a name. */
  readonly beside: Beside | undefined;
  readonly #inner: Store;
  readonly #written = new Set<string>();

  /** @param options `isNarrow`: only restic's own names can be written. */
  constructor(inner: Store, script?: FaultScript, { isNarrow = false }: { isNarrow?: boolean } = {}) {
    this.location = inner.location;
    this.#inner = inner;
    this.script = script;
    this.beside = isNarrow ? undefined : this.#besideOf(inner.beside);
  }

  #besideOf(beside: Beside | undefined): Beside | undefined {
    if (beside === undefined) return undefined;
    const ask = (folder: string) => this.#ask("list", undefined, folder);
    return {
      put: (path, bytes, options) =>
        this.#do("put", { name: path }, options.signal, () => beside.put(path, bytes, options)),
      get: (path, options) => this.#do("get", { name: path }, options.signal, () => beside.get(path, options)),
      remove: (path, options) => this.#do("remove", { name: path }, options.signal, () => beside.remove(path, options)),
      async *list(folder, options) {
        await begin(ask(folder), "list", options.signal);
        yield* beside.list(folder, options);
      },
    };
  }

  /** How many calls of a verb there were, of a kind when one is named. */
  count(verb: StoreVerb, kind?: FileKind): number {
    return this.calls.filter((call) => call.verb === verb && (kind === undefined || call.kind === kind)).length;
  }

  #ask(verb: StoreVerb, kind?: FileKind, name?: string): Fault | undefined {
    const call = { verb, kind, name, count: this.calls.length + 1, nth: this.count(verb, kind) + 1 };
    this.calls.push(call);
    return this.script?.(call);
  }

  async #do<T>(verb: StoreVerb, ref: Partial<FileRef>, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const fault = this.#ask(verb, ref.kind, ref.name);
    await begin(fault, verb, signal);
    const result = await work();
    if (fault?.how === "fail-after") throw fault.error ?? unreachable(verb);
    if (fault?.how === "wait-after") await waitFor(fault.until, signal);
    return fault?.how === "change" && Buffer.isBuffer(result) ? (fault.bytes(result) as T) : result;
  }

  async create(options: CallOptions): Promise<void> {
    await this.#do("create", {}, options.signal, () => this.#inner.create(options));
  }

  async begin(kind: FileKind, options: CallOptions): Promise<StoreWriter> {
    const writer = await this.#inner.begin(kind, options);
    return {
      write: (bytes) => writer.write(bytes),
      abort: () => writer.abort(),
      commit: async (name) => {
        await this.#do("put", { kind, name }, options.signal, () => writer.commit(name));
        this.#written.add(`${kind}/${name}`);
      },
    };
  }

  async put(ref: FileRef, bytes: Uint8Array, options: CallOptions): Promise<void> {
    await this.#do("put", ref, options.signal, () => this.#inner.put(ref, bytes, options));
    this.#written.add(`${ref.kind}/${ref.name}`);
  }

  async get(ref: FileRef, options: CallOptions & { offset?: number; length?: number }): Promise<Buffer> {
    return await this.#do("get", ref, options.signal, () => this.#inner.get(ref, options));
  }

  async stat(ref: FileRef, options: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#do("stat", ref, options.signal, () => this.#inner.stat(ref, options));
  }

  /** `fail-after` fails when half of the files have been told. */
  async *list(kind: FileKind, options: CallOptions): AsyncGenerator<ListedFile> {
    const fault = this.#ask("list", kind);
    await begin(fault, "list", options.signal);
    const files = await Array.fromAsync(this.#inner.list(kind, options));
    if (fault?.how === "wait-after") await waitFor(fault.until, options.signal);
    for (const [index, file] of files.entries()) {
      if (fault?.how === "fail-after" && index >= files.length >> 1) break;
      if (fault?.how !== "late" || !this.#written.has(`${kind}/${file.name}`)) yield file;
    }
    if (fault?.how === "fail-after") throw fault.error ?? unreachable("list");
  }

  async remove(ref: FileRef, options: CallOptions): Promise<void> {
    await this.#do("remove", ref, options.signal, () => this.#inner.remove(ref, options));
  }

  async removeLeftovers(options: CallOptions): Promise<number> {
    return await this.#do("removeLeftovers", {}, options.signal, () => this.#inner.removeLeftovers(options));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}

function unreachable(verb: StoreVerb): Failure {
  return new Failure("store/unreachable", `the line broke: ${verb}`);
}

async function begin(fault: Fault | undefined, verb: StoreVerb, signal: AbortSignal): Promise<void> {
  if (fault?.how === "fail") throw fault.error ?? unreachable(verb);
  if (fault?.how === "wait") await waitFor(fault.until, signal);
}

async function waitFor(until: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([until, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
