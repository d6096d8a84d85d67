/**
 * A repository in a tar file, as `export` writes it or `tar c` makes it of a repository's folder. It is only read: one
 * pass over the headers finds the files, then parts of them are read where they lie. Whatever would change it is
 * `store/denied`; nobody else changes it either, so it needs no lock.
 */
import { open, type FileHandle } from "node:fs/promises";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import type { CallOptions, FileKind, FileRef, ListedFile, Store, StoreWriter } from "./store.ts";
import { readTar } from "./tar.ts";

/** A repository's files by their paths, below whatever folder they lie in. */
const FILE =
  /^(?<folder>(?:[^]*\/)?)(?:(?<config>config)|(?<kind>keys|locks|snapshots|index|data)\/(?:[0-9a-f]{2}\/)?(?<name>[0-9a-f]{64}))$/;

interface Span {
  readonly offset: number;
  readonly sizeBytes: number;
}

type Files = Map<FileKind, Map<string, Span>>;

/** Opens the repository in a tar file; nothing is read yet. */
export function openTarStore(path: string): Store {
  return new TarStore(path);
}

class TarStore implements Store {
  readonly location: string;
  readonly spec: { kind: "tar"; path: string };
  #files: Promise<Files> | undefined;

  constructor(path: string) {
    this.location = `export:${path}`;
    this.spec = { kind: "tar", path };
  }

  async #find(signal: AbortSignal): Promise<Files> {
    signal.throwIfAborted();
    const finding = (this.#files ??= onFile(this.spec.path, async (handle) => {
      if (!(await handle.stat()).isFile()) throw notAFile(this.spec.path);
      return await findRepository(handle, { path: this.spec.path, signal });
    }));
    try {
      return await finding;
    } catch (error) {
      // A call that was stopped must not stop the next one.
      if (this.#files === finding) this.#files = undefined;
      throw error;
    }
  }

  async get(
    { kind, name }: FileRef,
    { signal, offset = 0, length }: CallOptions & { offset?: number; length?: number },
  ): Promise<Buffer> {
    const span = (await this.#find(signal)).get(kind)?.get(name);
    const what = `'${kind === "config" ? kind : `${kind}/${name}`}' in '${this.spec.path}'`;
    if (span === undefined) throw new Failure("store/not-found", `not there: ${what}`);
    const wanted = length ?? span.sizeBytes - offset;
    const tooShort = () => new Failure("store/not-found", `${what} is shorter than it should be`);
    if (wanted < 0 || offset + wanted > span.sizeBytes) throw tooShort();
    return await onFile(this.spec.path, async (handle) => {
      const bytes = Buffer.allocUnsafeSlow(wanted);
      for (let filled = 0; filled < wanted;) {
        signal.throwIfAborted();
        const { bytesRead } = await handle.read(bytes, filled, wanted - filled, span.offset + offset + filled);
        if (bytesRead === 0) throw tooShort();
        filled += bytesRead;
      }
      return bytes;
    });
  }

  async stat({ kind, name }: FileRef, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const span = (await this.#find(signal)).get(kind)?.get(name);
    return span === undefined ? undefined : { sizeBytes: span.sizeBytes };
  }

  async *list(kind: FileKind, { signal }: CallOptions): AsyncGenerator<ListedFile> {
    const files = await this.#find(signal);
    for (const [name, { sizeBytes }] of files.get(kind) ?? []) yield { name, sizeBytes };
  }

  #refuse({ signal }: CallOptions): never {
    signal.throwIfAborted();
    throw new Failure("store/denied", `'${this.spec.path}' is only read: an exported file is never changed`, {
      hint: "Take its restore points into a repository with 'chatkeep import FILE', and work there.",
    });
  }

  async create(options: CallOptions): Promise<void> {
    this.#refuse(options);
  }

  async begin(_kind: FileKind, options: CallOptions): Promise<StoreWriter> {
    this.#refuse(options);
  }

  async put(_ref: FileRef, _bytes: Uint8Array, options: CallOptions): Promise<void> {
    this.#refuse(options);
  }

  async remove(_ref: FileRef, options: CallOptions): Promise<void> {
    this.#refuse(options);
  }

  async removeLeftovers({ signal }: CallOptions): Promise<number> {
    signal.throwIfAborted();
    return 0;
  }

  async close(): Promise<void> {}
}

/** Opened for each call, so that nothing stays open where nobody closes the store. */
async function onFile<T>(path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    return await work(handle);
  } catch (error) {
    throw tarFailure(error, path);
  } finally {
    await handle?.close();
  }
}

/**
 * The files of the one repository in a tar file; none when there is none. A path that comes twice counts as `tar x` has
 * it: the last one stays.
 * @throws Failure `usage/invalid` when there are several.
 */
async function findRepository(handle: FileHandle, options: { path: string; signal: AbortSignal }): Promise<Files> {
  const found = new Map<string, Files>();
  for await (const { path, offset, sizeBytes } of readTar(handle, options)) {
    const { folder, config, kind, name = "" } = FILE.exec(path)?.groups ?? {};
    if (folder === undefined) continue;
    const files = found.get(folder) ?? new Map<FileKind, Map<string, Span>>();
    found.set(folder, files);
    const of = config === undefined ? (kind as FileKind) : "config";
    files.set(of, (files.get(of) ?? new Map<string, Span>()).set(name, { offset, sizeBytes }));
  }
  const all = [...found.values()];
  const whole = all.filter((files) => files.has("config") && files.has("keys"));
  if (whole.length > 1) {
    throw new Failure("usage/invalid", `'${options.path}' holds ${whole.length} repositories`, {
      hint: "Unpack it with 'tar x', and name the folder of one of them.",
    });
  }
  const partly = all.length > 1 ? all.filter((files) => files.has("keys")) : all;
  return whole[0] ?? partly[0] ?? new Map<FileKind, Map<string, Span>>();
}

function notAFile(path: string): Failure {
  return new Failure("repo/missing", `there is no repository in '${path}': it is no file`, {
    hint: "Name the file that 'chatkeep export' made.",
  });
}

function tarFailure(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (isFailure(error) || code === undefined) return error;
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return new Failure("repo/missing", `there is no file '${path}'`, {
        hint: "Name the file that 'chatkeep export' made.",
        cause: error,
      });
    case "EISDIR":
      return notAFile(path);
    case "EACCES":
    case "EPERM":
      return new Failure("store/denied", `not allowed: reading '${path}'`, {
        hint: "Run as a user that may read the file.",
        cause: error,
      });
    default:
      return new Failure("store/unreachable", `reading '${path}': ${messageOf(error)}`, {
        hint: "Look at the disk that the file lies on.",
        cause: error,
      });
  }
}
