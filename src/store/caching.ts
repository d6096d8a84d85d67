/**
 * A remote store whose index and snapshot files, and packs of trees, are kept on this machine too, as they are: encrypted.
 *
 * A file's name is its SHA-256, so each is checked when it is used; a damaged copy is dropped and fetched again, and
 * never taken for damage of the repository. A pack is fetched and checked whole, then read in parts: each tree proves
 * itself where it is opened, and who finds one damaged asks for it anew. Nothing that happens to the cache makes a call fail. Any number of
 * processes may share one: files appear whole, and one that another process removes is fetched again.
 */
import { createHash, hash } from "node:crypto";
import { type FileHandle, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { makeFolders } from "../system/folders.ts";
import { isLeftoverName, leftoverName, mayRemoveLeftover } from "../system/leftovers.ts";
import type {
  BeginOptions,
  CallOptions,
  FileKind,
  FileRef,
  GetOptions,
  ListedFile,
  Note,
  PutOptions,
  Store,
  StoreSpec,
  StoreWriter,
} from "./store.ts";

export interface CacheOptions {
  /** This repository's own folder; made when it is needed. */
  readonly folder: string;
  readonly clock: Clock;
}

export function caching(store: Store, options: CacheOptions): Store {
  return new CachingStore(store, options);
}

/** Kept whole whenever one is read or written. */
const KINDS: readonly FileKind[] = ["index", "snapshots"];

class CachingStore implements Store {
  readonly location: string;
  readonly spec: StoreSpec | undefined;
  readonly probe: Store["probe"];
  readonly retention: Store["retention"];
  readonly beside: Store["beside"];
  readonly note: Note;
  readonly #inner: Store;
  readonly #folder: string;
  readonly #clock: Clock;
  readonly keepsTrees = true;
  /** Packs that are being fetched. */
  readonly #fetching = new Map<string, Promise<Buffer>>();
  /** Packs that cannot be kept: damaged in the repository, or there is no room. Their trees are read one by one. */
  readonly #unkept = new Set<string>();
  readonly #usedPacks = new Set<string>();
  /** What was kept since it was last looked whether it is too much: the first pack makes it look. */
  #keptBytes = Number.POSITIVE_INFINITY;

  constructor(inner: Store, { folder, clock }: CacheOptions) {
    this.location = inner.location;
    this.spec = inner.spec?.kind === "remote" ? { ...inner.spec, cache: folder } : inner.spec;
    this.probe = inner.probe?.bind(inner);
    this.retention = inner.retention;
    this.beside = inner.beside;
    this.note = {
      read: async () => await orNothing(readFile(join(folder, "notes", "retention"))),
      write: async (bytes) => void (await this.#write(join(folder, "notes", "retention"), "notes", bytes)),
    };
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
    await this.#markUsed(path);
    return bytes;
  }

  /** Those used last are kept longest. */
  async #markUsed(path: string): Promise<void> {
    const now = this.#clock.now() / 1000;
    await orNothing(utimes(path, now, now));
  }

  /** False for no room or no right: then there is no copy. */
  async #write(path: string, kind: FileKind | "notes", bytes: Uint8Array): Promise<boolean> {
    const temporary = join(this.#folder, kind, leftoverName());
    try {
      await makeFolders(join(this.#folder, kind), 0o700);
      await writeFile(temporary, bytes, { flag: "wx", mode: 0o600 });
      await rename(temporary, path);
      return true;
    } catch {
      await orNothing(rm(temporary, { force: true }));
      return false;
    }
  }

  async get(ref: FileRef, options: GetOptions): Promise<Buffer> {
    options.signal.throwIfAborted();
    if (options.tree !== undefined && ref.kind === "data" && isId(ref.name)) return await this.#getTree(ref, options);
    const path = this.#pathOf(ref);
    if (path === undefined || (options.offset ?? 0) > 0 || options.length !== undefined) {
      return await this.#inner.get(ref, options);
    }
    const kept = await this.#read(path, ref.name);
    if (kept !== undefined) return kept;
    const bytes = await this.#inner.get(ref, options);
    if (hash("sha256", bytes) === ref.name) await this.#write(path, ref.kind, bytes);
    return bytes;
  }

  async #getTree(ref: FileRef, options: GetOptions): Promise<Buffer> {
    const { offset = 0, length } = options;
    const path = join(this.#folder, "data", ref.name);
    if (options.tree === "anew") await orNothing(rm(path, { force: true }));
    if (options.tree === "anew" || length === undefined || this.#unkept.has(ref.name)) {
      return await this.#inner.get(ref, options);
    }
    const kept = await orNothing(readPart(path, offset, length));
    if (kept !== undefined) {
      if (!this.#usedPacks.has(ref.name)) await this.#markUsed(path);
      this.#usedPacks.add(ref.name);
      return kept;
    }
    const pack = await this.#fetchPack(path, ref, options.signal).catch((error: unknown) => {
      if (isFailure(error, "store/unreachable")) throw error;
      // It may be another's signal that ended it; what else is wrong the place tells once more.
      return undefined;
    });
    if (pack === undefined || offset + length > pack.length) return await this.#inner.get(ref, options);
    return Buffer.from(pack.subarray(offset, offset + length));
  }

  /** One request for all who want trees of one pack. */
  async #fetchPack(path: string, ref: FileRef, signal: AbortSignal): Promise<Buffer> {
    const fetching =
      this.#fetching.get(ref.name) ??
      this.#fetchAndKeep(path, ref, signal).finally(() => this.#fetching.delete(ref.name));
    this.#fetching.set(ref.name, fetching);
    return await fetching;
  }

  async #fetchAndKeep(path: string, ref: FileRef, signal: AbortSignal): Promise<Buffer> {
    const pack = await this.#inner.get(ref, { signal });
    const isKept = hash("sha256", pack) === ref.name && (await this.#write(path, "data", pack));
    if (!isKept) this.#unkept.add(ref.name);
    else await this.#countKept(pack.length);
    return pack;
  }

  async #countKept(packBytes: number): Promise<void> {
    this.#keptBytes += packBytes;
    if (this.#keptBytes <= LIMITS.cacheLookBytes) return;
    this.#keptBytes = 0;
    await this.#removeOldest("data");
  }

  async put(ref: FileRef, bytes: Uint8Array, options: PutOptions): Promise<void> {
    await this.#inner.put(ref, bytes, options);
    const path = this.#pathOf(ref);
    if (path !== undefined && hash("sha256", bytes) === ref.name) await this.#write(path, ref.kind, bytes);
  }

  async remove(ref: FileRef, options: CallOptions): Promise<void> {
    const path = ref.kind === "data" && isId(ref.name) ? join(this.#folder, "data", ref.name) : this.#pathOf(ref);
    if (path !== undefined) await orNothing(rm(path, { force: true }));
    await this.#inner.remove(ref, options);
  }

  /** A list that came to its end says which copies are of no use any more. */
  async *list(kind: FileKind, options: CallOptions): AsyncGenerator<ListedFile> {
    if (!KINDS.includes(kind) && kind !== "data") {
      yield* this.#inner.list(kind, options);
      return;
    }
    const folder = join(this.#folder, kind);
    const unlisted = new Set(await orNothing(readdir(folder)));
    for await (const file of this.#inner.list(kind, options)) {
      unlisted.delete(file.name);
      yield file;
    }
    for (const name of unlisted) {
      const isOver = isLeftoverName(name) ? await orNothing(mayRemoveLeftover(folder, name)) : true;
      if (isOver === true) await orNothing(rm(join(folder, name), { force: true }));
    }
    await this.#removeOldest(kind);
  }

  async #removeOldest(kind: FileKind): Promise<void> {
    const folder = join(this.#folder, kind);
    const kept: { path: string; usedAt: number; sizeBytes: number }[] = [];
    for (const name of (await orNothing(readdir(folder))) ?? []) {
      const path = join(folder, name);
      const found = await orNothing(stat(path));
      if (found !== undefined) kept.push({ path, usedAt: found.mtimeMs, sizeBytes: found.size });
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

  /** What a pack of trees holds is wanted again by the next backup. */
  async begin(kind: FileKind, options: BeginOptions): Promise<StoreWriter> {
    const writer = await this.#inner.begin(kind, options);
    if (kind !== "data" || options.tree !== true) return writer;
    const copy = await PackCopy.begin(join(this.#folder, kind));
    return {
      write: async (bytes) => {
        await copy?.write(bytes);
        await writer.write(bytes);
      },
      commit: async (name) => {
        await writer.commit(name);
        if ((await copy?.keep(name)) === true) await this.#countKept(copy?.sizeBytes ?? 0);
      },
      abort: async () => {
        await writer.abort();
        await copy?.drop();
      },
    };
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

/** The copy of a pack that is being written: under a name of its own until the pack has its own. Nothing here fails. */
class PackCopy {
  sizeBytes = 0;
  readonly #folder: string;
  readonly #path: string;
  readonly #hash = createHash("sha256");
  #file: FileHandle | undefined;

  private constructor(folder: string, path: string, file: FileHandle) {
    this.#folder = folder;
    this.#path = path;
    this.#file = file;
  }

  /** Undefined where there is no room or no right. */
  static async begin(folder: string): Promise<PackCopy | undefined> {
    const path = join(folder, leftoverName());
    const file = await orNothing(makeFolders(folder, 0o700).then(() => open(path, "wx", 0o600)));
    return file === undefined ? undefined : new PackCopy(folder, path, file);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#hash.update(bytes);
    this.sizeBytes += bytes.length;
    if (!(await succeeds(file.appendFile(bytes)))) await this.drop();
  }

  async keep(name: string): Promise<boolean> {
    const file = this.#file;
    const isWhole = file !== undefined && (await succeeds(file.close())) && this.#hash.digest("hex") === name;
    this.#file = undefined;
    if (isWhole && (await succeeds(rename(this.#path, join(this.#folder, name))))) return true;
    await orNothing(rm(this.#path, { force: true }));
    return false;
  }

  async drop(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    await orNothing(file.close());
    await orNothing(rm(this.#path, { force: true }));
  }
}

async function succeeds(work: Promise<unknown>): Promise<boolean> {
  return await work.then(
    () => true,
    () => false,
  );
}

/** Undefined for a file that ends before. */
async function readPart(path: string, offset: number, length: number): Promise<Buffer | undefined> {
  await using file = await open(path);
  // A length may come from a damaged index.
  if (offset + length > (await file.stat()).size) return undefined;
  const bytes = Buffer.allocUnsafe(length);
  const { bytesRead } = await file.read(bytes, 0, length, offset);
  return bytesRead === length ? bytes : undefined;
}

async function orNothing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch {
    return undefined;
  }
}
