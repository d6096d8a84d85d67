/** A repository in memory: for tests of everything above, and for what is thrown away. */
import { assert, Failure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import { besideKey } from "./beside.ts";
import type { Beside, CallOptions, FileKind, FileRef, ListedFile, Store, StoreWriter } from "./store.ts";

/** One change of the store, told before it happens. */
export interface MemoryWrite {
  readonly action: "create" | "put" | "remove";
  /** Undefined for `create`, and for files beside the repository. */
  readonly ref: FileRef | undefined;
  /** The key of a file beside the repository. */
  readonly beside?: string | undefined;
  /** Which change this is, counted from 1. */
  readonly count: number;
}

export interface MemoryStore extends Store {
  /** `kind/name` (`config` for the config) → bytes. May be changed from outside, as a damaged disk would. */
  readonly files: Map<string, Buffer>;
  /** Called before each change; what it throws stops that change, as a crash or a full disk would. */
  beforeWrite: ((write: MemoryWrite) => void) | undefined;
}

function keyOf({ kind, name }: FileRef): string {
  if (kind === "config") return "config";
  assert(isId(name), `'${name}' is no name for a file of a repository`);
  return `${kind}/${name}`;
}

/** Makes an empty store that holds everything in this thread's memory. */
export function createMemoryStore(): MemoryStore {
  return new StoreInMemory();
}

class StoreInMemory implements MemoryStore {
  readonly location = "memory:";
  readonly spec = undefined;
  readonly files = new Map<string, Buffer>();
  beforeWrite: ((write: MemoryWrite) => void) | undefined;
  readonly beside: Beside = {
    put: async (path, bytes, { signal }) => {
      signal.throwIfAborted();
      const key = besideKey(path);
      this.#announce("put", undefined, key);
      this.files.set(key, Buffer.from(bytes));
    },
    get: async (path, { signal }) => {
      signal.throwIfAborted();
      const key = besideKey(path);
      const bytes = this.files.get(key);
      if (bytes === undefined) throw new Failure("store/not-found", `not there: reading '${key}'`);
      return Buffer.from(bytes);
    },
    list: (folder, options) => this.#listBeside(`${besideKey(folder)}/`, options),
    remove: async (path, { signal }) => {
      signal.throwIfAborted();
      const key = besideKey(path);
      this.#announce("remove", undefined, key);
      this.files.delete(key);
    },
  };
  #count = 0;

  async *#listBeside(folder: string, { signal }: CallOptions): AsyncGenerator<{ name: string; sizeBytes: number }> {
    for (const [key, bytes] of this.files) {
      signal.throwIfAborted();
      const name = key.slice(folder.length);
      if (key.startsWith(folder) && !name.includes("/")) yield { name, sizeBytes: bytes.length };
    }
  }

  #announce(action: MemoryWrite["action"], ref?: FileRef, beside?: string): void {
    this.#count += 1;
    this.beforeWrite?.({ action, ref, beside, count: this.#count });
  }

  async create({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted();
    this.#announce("create");
  }

  async begin(kind: FileKind, { signal }: CallOptions): Promise<StoreWriter> {
    signal.throwIfAborted();
    let parts: Buffer[] | undefined = [];
    return {
      write: async (bytes) => {
        assert(parts !== undefined, "written to a file that is closed");
        parts.push(Buffer.from(bytes));
      },
      commit: async (name) => {
        assert(parts !== undefined, "committed a file that is closed");
        const bytes = Buffer.concat(parts);
        parts = undefined;
        const ref = { kind, name };
        this.#announce("put", ref);
        const key = keyOf(ref);
        if (!this.files.has(key)) this.files.set(key, bytes);
      },
      abort: async () => {
        parts = undefined;
      },
    };
  }

  async put(ref: FileRef, bytes: Uint8Array, options: CallOptions): Promise<void> {
    const writer = await this.begin(ref.kind, options);
    await writer.write(bytes);
    await writer.commit(ref.name);
  }

  async get(ref: FileRef, options: CallOptions & { offset?: number; length?: number }): Promise<Buffer> {
    options.signal.throwIfAborted();
    const key = keyOf(ref);
    const bytes = this.files.get(key);
    if (bytes === undefined) throw new Failure("store/not-found", `not there: reading '${key}'`);
    const offset = options.offset ?? 0;
    const length = options.length ?? bytes.length - offset;
    if (length < 0 || offset + length > bytes.length) {
      throw new Failure("store/not-found", `'${key}' is shorter than it should be`);
    }
    return Buffer.from(bytes.subarray(offset, offset + length));
  }

  async stat(ref: FileRef, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    signal.throwIfAborted();
    const bytes = this.files.get(keyOf(ref));
    return bytes === undefined ? undefined : { sizeBytes: bytes.length };
  }

  async *list(kind: FileKind, { signal }: CallOptions): AsyncGenerator<ListedFile> {
    for (const [key, bytes] of this.files) {
      signal.throwIfAborted();
      const name = key.slice(kind.length + 1);
      if (key === kind || (key.startsWith(`${kind}/`) && isId(name))) yield { name, sizeBytes: bytes.length };
    }
  }

  async remove(ref: FileRef, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted();
    this.#announce("remove", ref);
    this.files.delete(keyOf(ref));
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    signal.throwIfAborted();
    return 0;
  }

  async close(): Promise<void> {}
}
