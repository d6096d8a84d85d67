/**
 * A repository in a place that takes whole files under keys: a bucket, a file server.
 *
 * Keys are restic's default layout. A file is gathered in memory (a pack has at most 64 MiB) and sent at `commit`, so
 * nothing half-written is ever visible.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { assert, Failure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend } from "./backend.ts";
import { besideOf } from "./beside.ts";
import { probePlace, type ProbeOptions, type StoreProbe } from "./probe.ts";
import type { Retention } from "./retention.ts";
import type {
  BeginOptions,
  Beside,
  CallOptions,
  FileKind,
  FileRef,
  ListedFile,
  PutOptions,
  Store,
  StoreSpec,
  StoreWriter,
} from "./store.ts";

/** A pack of the usual size, its longest last chunk, and its header; what is not used of it takes no memory. */
const GATHERED_BYTES = LIMITS.packTargetBytes + LIMITS.chunkMaxBytes + LIMITS.packWriteBytes;

export class RemoteStore implements Store {
  readonly location: string;
  readonly spec: StoreSpec | undefined;
  readonly retention: Retention<FileRef> | undefined;
  readonly beside: Beside | undefined;
  readonly #backend: Backend;
  /** What files were gathered in, to be used again: the collector would let hundreds of MiB of them pile up. */
  readonly #spare: Buffer[] = [];

  /** @param spec Enough to open the same place in another thread. */
  constructor(backend: Backend, spec: StoreSpec | undefined) {
    this.location = backend.location;
    this.spec = spec;
    this.#backend = backend;
    this.retention = retentionOf(backend);
    this.beside = besideOf(backend);
  }

  async create(options: CallOptions): Promise<void> {
    options.signal.throwIfAborted();
    await this.#backend.create(options);
  }

  async begin(kind: FileKind, options: BeginOptions): Promise<StoreWriter> {
    options.signal.throwIfAborted();
    // Few trees make a pack.
    const isLarge = options.tree !== true;
    let gathered: Buffer | undefined =
      (isLarge ? this.#spare.pop() : undefined) ??
      Buffer.allocUnsafeSlow(isLarge ? GATHERED_BYTES : LIMITS.packWriteBytes);
    let filled = 0;
    return {
      write: async (bytes) => {
        assert(gathered !== undefined, "written to a file that is closed");
        if (filled + bytes.length > gathered.length) gathered = grow(gathered, filled, filled + bytes.length);
        gathered.set(bytes, filled);
        filled += bytes.length;
        // Whoever fills packs without a pause would keep those under way from being sent.
        await nextTurn();
      },
      commit: async (name) => {
        assert(gathered !== undefined, "committed a file that is closed");
        const used = gathered;
        gathered = undefined;
        await this.#send({ kind, name }, used.subarray(0, filled), options);
        // Not after a failure: a connection that is being given up may still hold it.
        this.#keepSpare(used);
      },
      abort: async () => {
        if (gathered !== undefined) this.#keepSpare(gathered);
        gathered = undefined;
      },
    };
  }

  #keepSpare(buffer: Buffer): void {
    if (this.#spare.length < LIMITS.packUploads && buffer.length === GATHERED_BYTES) this.#spare.push(buffer);
  }

  async put(ref: FileRef, bytes: Uint8Array, options: PutOptions): Promise<void> {
    options.signal.throwIfAborted();
    await this.#send(ref, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), options);
  }

  /** What is there stays: a name that is a hash is asked for first, so nothing durable is ever written over. */
  async #send(ref: FileRef, bytes: Buffer, { signal, isNew }: PutOptions): Promise<void> {
    const options = { signal };
    const key = keyOf(ref);
    const mustBeNew = ref.kind === "config";
    const found = isNew === true && !mustBeNew ? undefined : await this.#backend.stat(key, options);
    if (found !== undefined && (mustBeNew || found.sizeBytes === bytes.length)) return;
    await this.#backend.put(key, bytes, { ...options, mustBeNew });
  }

  async get(ref: FileRef, options: CallOptions & { offset?: number; length?: number }): Promise<Buffer> {
    options.signal.throwIfAborted();
    const { offset = 0, length, signal } = options;
    const key = keyOf(ref);
    if (offset < 0 || (length !== undefined && length < 0)) throw tooShort(key);
    const bytes = await this.#backend.get(key, { offset, length, signal });
    if (length !== undefined && bytes.length !== length) throw tooShort(key);
    return bytes;
  }

  async stat(ref: FileRef, options: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    options.signal.throwIfAborted();
    return await this.#backend.stat(keyOf(ref), options);
  }

  async *list(kind: FileKind, options: CallOptions): AsyncGenerator<ListedFile> {
    options.signal.throwIfAborted();
    if (kind === "config") {
      const found = await this.stat({ kind, name: "" }, options);
      if (found !== undefined) yield { name: "", sizeBytes: found.sizeBytes };
      return;
    }
    for await (const { key, ...told } of this.#backend.list(kind, options)) {
      const name = key.slice(key.lastIndexOf("/") + 1);
      if (isId(name) && key === keyOf({ kind, name })) yield { name, ...told };
    }
  }

  async remove(ref: FileRef, options: CallOptions): Promise<void> {
    options.signal.throwIfAborted();
    await this.#backend.remove(keyOf(ref), options);
  }

  async removeLeftovers(options: CallOptions): Promise<number> {
    options.signal.throwIfAborted();
    return await this.#backend.removeLeftovers(options);
  }

  async probe(options: ProbeOptions): Promise<StoreProbe> {
    return await probePlace(this.#backend, options);
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }
}

function grow(buffer: Buffer, filled: number, needed: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * buffer.length));
  buffer.copy(larger, 0, 0, filled);
  return larger;
}

function retentionOf({ retention }: Backend): Retention<FileRef> | undefined {
  if (retention === undefined) return undefined;
  return {
    policy: retention.policy,
    isListed: retention.isListed,
    check: async (options) => await retention.check(options),
    until: async (ref, options) => await retention.until(keyOf(ref), options),
    keep: async (ref, options) => await retention.keep(keyOf(ref), options),
  };
}

/** The key of a file in restic's default layout. */
function keyOf({ kind, name }: FileRef): string {
  if (kind === "config") return "config";
  assert(isId(name), `'${name}' is no name for a file of a repository`);
  return kind === "data" ? `data/${name.slice(0, 2)}/${name}` : `${kind}/${name}`;
}

function tooShort(key: string): Failure {
  return new Failure("store/not-found", `'${key}' is shorter than it should be`);
}
