/**
 * A repository in a folder.
 *
 * A file is written under another name in `chatkeep/tmp` of the same folder (restic looks into its own folders
 * only), synced, renamed, and its directory synced: so it is there whole or not at all, and stays there when the
 * power fails. Directory syncs are gathered: while one round is under way the next one collects.
 */
import { constants, writeSync } from "node:fs";
import { link, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { assert, Failure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { BESIDE, besideKey } from "./beside.ts";
import { DirectorySync } from "./directory-sync.ts";
import { makeFolders } from "../system/folders.ts";
import { leftoverName, mayRemoveLeftover } from "../system/leftovers.ts";
import { codeOf, storeFailure } from "./local-errors.ts";
import { localPlace } from "./local-place.ts";
import { requireRoom } from "./local-room.ts";
import { probePlace, type ProbeOptions, type StoreProbe } from "./probe.ts";
import type { Beside, CallOptions, FileKind, FileRef, GetOptions, ListedFile, Store, StoreWriter } from "./store.ts";

const FOLDER_MODE = 0o700;
/** Files are never written again, so nobody needs to be able to; restic does the same. */
const FILE_MODE = 0o400;
const FOLDERS = ["keys", "locks", "snapshots", "index", "data"] as const;
/** Packs spread over 256 folders, so of a usual repository each folder is one round. */
const LOOKED_AT_ONCE = 4096;
/** Each has few packs: by themselves they would have one wait for the other. */
const FOLDERS_AT_ONCE = 16;
const TEMPORARY = join(BESIDE, "tmp");

export interface LocalSettings {
  /** Packs are refused before the disk is full. */
  leavesRoom?: boolean | undefined;
}

/** Opens the store in a folder; nothing is read or made yet. */
export function openLocalStore(path: string, { leavesRoom = false }: LocalSettings = {}): Store {
  return new LocalStore(path, leavesRoom);
}

class LocalStore implements Store {
  readonly location: string;
  readonly spec: { kind: "local"; path: string; leavesRoom?: true };
  readonly beside: Beside = {
    put: async (path, bytes, { signal }) => {
      signal.throwIfAborted();
      const to = join(this.location, besideKey(path));
      await writeWhole(bytes, async () => await this.#open({ publish: async (from) => await this.#give(from, to) }));
    },
    get: async (path, { signal }) => {
      signal.throwIfAborted();
      return await this.#read(join(this.location, besideKey(path)), { signal });
    },
    list: (folder, options) => filesIn(join(this.location, besideKey(folder)), options),
    remove: async (path, options) => await this.#remove(join(this.location, besideKey(path)), options),
  };
  readonly #directories = new DirectorySync();

  constructor(path: string, leavesRoom: boolean) {
    this.location = path;
    this.spec = { kind: "local", path, ...(leavesRoom ? { leavesRoom } : {}) };
  }

  #pathOf({ kind, name }: FileRef): string {
    if (kind === "config") return join(this.location, "config");
    assert(isId(name), `'${name}' is no name for a file of a repository`);
    return kind === "data" ? join(this.location, "data", name.slice(0, 2), name) : join(this.location, kind, name);
  }

  async create({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted();
    try {
      await makeFolders(this.location, FOLDER_MODE);
      for (const folder of FOLDERS) await makeFolders(join(this.location, folder), FOLDER_MODE);
      for (let byte = 0; byte < 256; byte += 1) {
        await makeFolders(join(this.location, "data", byte.toString(16).padStart(2, "0")), FOLDER_MODE);
      }
      for (const folder of [join(this.location, "data"), this.location, dirname(this.location)]) {
        await this.#directories.sync(folder);
      }
    } catch (error) {
      if (codeOf(error) === "ENOENT") {
        throw new Failure("store/unreachable", `'${this.location}' cannot be made: what is above it takes no folder`, {
          hint: "Is it below an automounter, and the disk or server not there?",
          cause: error,
        });
      }
      throw storeFailure(error, `making the folders of the repository in '${this.location}'`);
    }
  }

  async begin(kind: FileKind, { signal }: CallOptions): Promise<StoreWriter> {
    signal.throwIfAborted();
    return await this.#open({
      publish: async (temporary, name) => {
        const path = this.#pathOf({ kind, name });
        await this.#giveName(path, async () => await this.#place(temporary, path, kind));
      },
      requireRoom:
        kind === "data" && this.spec.leavesRoom === true ? (bytes) => requireRoom(this.location, bytes) : undefined,
    });
  }

  async #open({ publish, requireRoom: room }: Opening): Promise<StoreWriter> {
    const path = join(this.location, TEMPORARY, leftoverName());
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    try {
      const handle = await open(path, flags, FILE_MODE).catch(async (error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
        await this.#refuseGone();
        await makeFolders(dirname(path), FOLDER_MODE);
        return await open(path, flags, FILE_MODE);
      });
      return new LocalWriter(handle, path, {
        publish: async (name) => await publish(path, name),
        doing: `writing to '${this.location}'`,
        requireRoom: room,
      });
    } catch (error) {
      throw storeFailure(error, `writing to '${this.location}'`);
    }
  }

  /** An unmounted disk leaves an empty folder behind, or none: what is written there is on another disk, and hidden later. */
  async #refuseGone(): Promise<void> {
    if (await exists(join(this.location, "data"))) return;
    throw new Failure("store/unreachable", `the repository in '${this.location}' is not there any more`, {
      hint: "Was its disk unmounted, or its folder moved?",
    });
  }

  /** Gives a synced file its name, durably; what has it already is replaced. */
  async #give(temporary: string, path: string): Promise<void> {
    await this.#giveName(path, async () => await rename(temporary, path));
  }

  async #giveName(path: string, place: () => Promise<void>): Promise<void> {
    const folder = dirname(path);
    try {
      await place();
    } catch (error) {
      // Only a folder below a repository that is there is made anew.
      if (codeOf(error) !== "ENOENT") throw error;
      await this.#refuseGone();
      await makeFolders(folder, FOLDER_MODE);
      for (let above = dirname(folder); above.startsWith(this.location); above = dirname(above)) {
        await this.#directories.sync(above);
      }
      await place();
    }
    await this.#directories.sync(folder);
  }

  async #place(temporary: string, path: string, kind: FileKind): Promise<void> {
    if (kind === "config") {
      // The one name that is not a hash: two writers may bring different bytes, and the first must win.
      try {
        await link(temporary, path);
        await rm(temporary, { force: true });
        return;
      } catch (error) {
        if (codeOf(error) === "EEXIST") return await rm(temporary, { force: true });
        if (codeOf(error) === "ENOENT") throw error;
        // A filesystem without hard links.
      }
    }
    if (await exists(path)) await rm(temporary, { force: true });
    else await rename(temporary, path);
  }

  async put(ref: FileRef, bytes: Uint8Array, options: CallOptions): Promise<void> {
    await writeWhole(bytes, async () => await this.begin(ref.kind, options), ref.name);
  }

  async get(ref: FileRef, options: GetOptions): Promise<Buffer> {
    options.signal.throwIfAborted();
    return await this.#read(this.#pathOf(ref), options);
  }

  async #read(path: string, options: GetOptions): Promise<Buffer> {
    try {
      const handle = await open(path, "r");
      try {
        const offset = options.offset ?? 0;
        const length = options.length ?? (await handle.stat()).size - offset;
        return await readExactly(handle, { offset, length, path }, options.into);
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw storeFailure(error, `reading '${path}'`);
    }
  }

  async stat(ref: FileRef, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    signal.throwIfAborted();
    const path = this.#pathOf(ref);
    try {
      return { sizeBytes: (await stat(path)).size };
    } catch (error) {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
      throw storeFailure(error, `looking at '${path}'`);
    }
  }

  async *list(kind: FileKind, { signal }: CallOptions): AsyncGenerator<ListedFile> {
    if (kind === "config") {
      const found = await this.stat({ kind, name: "" }, { signal });
      if (found !== undefined) yield { name: "", sizeBytes: found.sizeBytes };
      return;
    }
    const folder = join(this.location, kind);
    const folders = kind === "data" ? (await namesIn(folder)).map((name) => join(folder, name)) : [folder];
    for (let at = 0; at < folders.length; at += FOLDERS_AT_ONCE) {
      const some = folders.slice(at, at + FOLDERS_AT_ONCE);
      const read = await Promise.all(some.map(async (one) => await Array.fromAsync(filesIn(one, { signal }))));
      for (const file of read.flat()) if (isId(file.name)) yield file;
    }
  }

  async remove(ref: FileRef, options: CallOptions): Promise<void> {
    await this.#remove(this.#pathOf(ref), options);
  }

  async #remove(path: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted();
    try {
      await rm(path, { force: true });
      await this.#directories.sync(dirname(path));
    } catch (error) {
      if (codeOf(error) === "ENOENT") return;
      throw storeFailure(error, `removing '${path}'`);
    }
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    const folder = join(this.location, TEMPORARY);
    const names = await namesIn(folder);
    let removed = 0;
    for (const name of names) {
      signal.throwIfAborted();
      try {
        if (!(await mayRemoveLeftover(folder, name))) continue;
        await rm(join(folder, name), { force: true });
        removed += 1;
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw storeFailure(error, `removing '${join(folder, name)}'`);
      }
    }
    return removed;
  }

  async probe(options: ProbeOptions): Promise<StoreProbe> {
    return await probePlace(localPlace(this.location), options);
  }

  async close(): Promise<void> {}
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** The names in a folder; none when it is not there. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return [];
    throw storeFailure(error, `listing '${folder}'`);
  }
}

/** The files in a folder; none when it is not there. */
async function* filesIn(folder: string, { signal }: CallOptions): AsyncGenerator<ListedFile> {
  const names = await namesIn(folder);
  for (let at = 0; at < names.length; at += LOOKED_AT_ONCE) {
    const some = names.slice(at, at + LOOKED_AT_ONCE);
    const files = await Promise.all(some.map(async (name) => await sizeOf(folder, name)));
    signal.throwIfAborted();
    for (const file of files) if (file !== undefined) yield file;
  }
}

/** Undefined for what is no file, or was removed since it was listed. */
async function sizeOf(folder: string, name: string): Promise<ListedFile | undefined> {
  try {
    const found = await stat(join(folder, name));
    return found.isFile() ? { name, sizeBytes: found.size } : undefined;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw storeFailure(error, `looking at '${join(folder, name)}'`);
  }
}

interface Span {
  offset: number;
  length: number;
  path: string;
}

async function readExactly(handle: FileHandle, { offset, length, path }: Span, into?: Buffer): Promise<Buffer> {
  const tooShort = () => new Failure("store/not-found", `'${path}' is shorter than it should be`);
  if (length < 0) throw tooShort();
  // A length that comes from a damaged file must not make us ask for memory that the file could never fill.
  if (offset + length > (await handle.stat()).size) throw tooShort();
  const isEnough = into !== undefined && into.length >= length;
  const bytes = isEnough ? into.subarray(0, length) : Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) throw tooShort();
    filled += bytesRead;
  }
  return bytes;
}

async function writeWhole(bytes: Uint8Array, begin: () => Promise<StoreWriter>, name = ""): Promise<void> {
  const writer = await begin();
  try {
    await writer.write(bytes);
    await writer.commit(name);
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

interface Opening {
  /** Gives what was written its name. */
  publish: (temporary: string, name: string) => Promise<void>;
  requireRoom?: ((bytes: number) => void) | undefined;
}

interface Publication {
  publish: (name: string) => Promise<void>;
  doing: string;
  /** Throws where so little is free that it is left to others. */
  requireRoom: ((bytes: number) => void) | undefined;
}

class LocalWriter implements StoreWriter {
  readonly #path: string;
  readonly #publication: Publication;
  #handle: FileHandle | undefined;
  #unlookedBytes = 0;

  constructor(handle: FileHandle, path: string, publication: Publication) {
    this.#handle = handle;
    this.#path = path;
    this.#publication = publication;
  }

  // Into the page cache, so at memory's speed: handing it to another thread costs more than it takes.
  // oxlint-disable-next-line typescript/require-await
  async write(bytes: Uint8Array): Promise<void> {
    assert(this.#handle !== undefined, "written to a file that is closed");
    try {
      this.#unlookedBytes += bytes.length;
      if (this.#unlookedBytes >= LIMITS.diskLookBytes) {
        this.#publication.requireRoom?.(bytes.length);
        this.#unlookedBytes = 0;
      }
      let written = 0;
      while (written < bytes.length) {
        written += writeSync(this.#handle.fd, bytes, written, bytes.length - written);
      }
    } catch (error) {
      throw storeFailure(error, this.#publication.doing);
    }
  }

  async commit(name: string): Promise<void> {
    const handle = this.#handle;
    assert(handle !== undefined, "committed a file that is closed");
    try {
      await handle.sync();
      await this.#close();
      await this.#publication.publish(name);
    } catch (error) {
      throw storeFailure(error, this.#publication.doing);
    }
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async abort(): Promise<void> {
    await this.#close().catch(() => {});
    await rm(this.#path, { force: true }).catch(() => {});
  }
}
