/**
 * A remote store whose index and snapshot files are kept on this machine too, as they are: encrypted.
 *
 * A file's name is its SHA-256, so each is checked when it is used; a damaged copy is dropped and fetched again, and
 * never taken for damage of the repository. Nothing that happens to the cache makes a call fail. Any number of
 * processes may share one: files appear whole, and one that another process removes is fetched again.
 */
import { hash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { isId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { isLeftoverName, leftoverName, mayRemoveLeftover } from "./leftovers.ts";
import type { CallOptions, FileKind, FileRef, ListedFile, Store, StoreSpec, StoreWriter } from "./store.ts";

export interface CacheOptions {
  /** This repository's own folder; made when it is needed. */
  readonly folder: string;
  readonly clock: Clock;
}

export function caching(store: Store, options: CacheOptions): Store {
  return new CachingStore(store, options);
}

const KINDS: readonly FileKind[] = ["index", "snapshots"];

class CachingStore implements Store {
  readonly location: string;
  readonly spec: StoreSpec | undefined;
  readonly probe: Store["probe"];
  readonly retention: Store["retention"];
  readonly #inner: Store;
  readonly #folder: string;
  readonly #clock: Clock;

  constructor(inner: Store, { folder, clock }: CacheOptions) {
    this.location = inner.location;
    this.spec = inner.spec;
    this.probe = inner.probe?.bind(inner);
    this.retention = inner.retention;
    this.#inner = inner;
    this.#folder = folder;
    this.#clock = clock;
  }

  #pathOf({ kind, name }: FileRef): string | undefined {
    return KINDS.includes(kind) && isId(name) ? join(this.#folder, kind, name) : undefined;
  }

  async #read(path: string, name: string): Promise<Buffer | undefined> {
    const bytes = await orNothing(readFile(path));
    if (bytes === undefined) return undefined;
    if (hash("sha256", bytes) !== name) {
      await orNothing(rm(path, { force: true }));
      return undefined;
    }
    // Those used last are kept longest.
    const now = this.#clock.now() / 1000;
    await orNothing(utimes(path, now, now));
    return bytes;
  }

  async #keep(path: string, kind: FileKind, bytes: Uint8Array): Promise<void> {
    const temporary = join(this.#folder, kind, leftoverName());
    try {
      await mkdir(join(this.#folder, kind), { recursive: true, mode: 0o700 });
      await writeFile(temporary, bytes, { flag: "wx", mode: 0o600 });
      await rename(temporary, path);
    } catch {
      // No room or no right: then there is no copy.
      await orNothing(rm(temporary, { force: true }));
    }
  }

  async get(ref: FileRef, options: CallOptions & { offset?: number; length?: number }): Promise<Buffer> {
    options.signal.throwIfAborted();
    const path = this.#pathOf(ref);
    if (path === undefined || (options.offset ?? 0) > 0 || options.length !== undefined) {
      return await this.#inner.get(ref, options);
    }
    const kept = await this.#read(path, ref.name);
    if (kept !== undefined) return kept;
    const bytes = await this.#inner.get(ref, options);
    if (hash("sha256", bytes) === ref.name) await this.#keep(path, ref.kind, bytes);
    return bytes;
  }

  async put(ref: FileRef, bytes: Uint8Array, options: CallOptions): Promise<void> {
    await this.#inner.put(ref, bytes, options);
    const path = this.#pathOf(ref);
    if (path !== undefined && hash("sha256", bytes) === ref.name) await this.#keep(path, ref.kind, bytes);
  }

  async remove(ref: FileRef, options: CallOptions): Promise<void> {
    const path = this.#pathOf(ref);
    if (path !== undefined) await orNothing(rm(path, { force: true }));
    await this.#inner.remove(ref, options);
  }

  /** A list that came to its end says which copies are of no use any more. */
  async *list(kind: FileKind, options: CallOptions): AsyncGenerator<ListedFile> {
    if (!KINDS.includes(kind)) {
      yield* this.#inner.list(kind, options);
      return;
    }
    const listed = new Set<string>();
    for await (const file of this.#inner.list(kind, options)) {
      listed.add(file.name);
      yield file;
    }
    await this.#tidy(kind, listed);
  }

  async #tidy(kind: FileKind, listed: ReadonlySet<string>): Promise<void> {
    const folder = join(this.#folder, kind);
    const kept: { path: string; usedAt: number; sizeBytes: number }[] = [];
    for (const name of (await orNothing(readdir(folder))) ?? []) {
      const path = join(folder, name);
      const isOver = isLeftoverName(name) ? await orNothing(mayRemoveLeftover(folder, name)) : !listed.has(name);
      if (isOver === true) await orNothing(rm(path, { force: true }));
      else {
        const found = await orNothing(stat(path));
        if (found !== undefined) kept.push({ path, usedAt: found.mtimeMs, sizeBytes: found.size });
      }
    }
    let left = kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    for (const { path, sizeBytes } of kept.toSorted((a, b) => a.usedAt - b.usedAt)) {
      if (left <= LIMITS.cacheMaxBytes) return;
      await orNothing(rm(path, { force: true }));
      left -= sizeBytes;
    }
  }

  async create(options: CallOptions): Promise<void> {
    await this.#inner.create(options);
  }

  async begin(kind: FileKind, options: CallOptions): Promise<StoreWriter> {
    return await this.#inner.begin(kind, options);
  }

  async stat(ref: FileRef, options: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    return await this.#inner.stat(ref, options);
  }

  async removeLeftovers(options: CallOptions): Promise<number> {
    return await this.#inner.removeLeftovers(options);
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}

async function orNothing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch {
    return undefined;
  }
}
