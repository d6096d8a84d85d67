/** Files in a folder, in Active Storage's own layout. */
import { constants } from "node:fs";
import { lstat, open, stat } from "node:fs/promises";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { blobPath } from "../chatwoot/blobs.ts";
import type { BlobSource, LocalSpec, ReadOptions } from "./source.ts";

export function openLocalSource({ service, roots }: LocalSpec): BlobSource {
  return new LocalSource(service, roots);
}

class LocalSource implements BlobSource {
  readonly service: string;
  readonly outage = undefined;
  readonly #roots: LocalSpec["roots"];

  constructor(service: string, roots: LocalSpec["roots"]) {
    this.service = service;
    this.#roots = roots;
  }

  async *read(
    key: string,
    { expectedBytes, signal }: ReadOptions & { expectedBytes: number },
  ): AsyncGenerator<Buffer, void, void> {
    const found = await this.#find(key, expectedBytes);
    if (found === undefined) throw new Failure("store/not-found", `'${key}' is not there`);
    try {
      await using file = await open(found.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const { size } = await file.stat();
      for (let offset = 0; offset === 0 || offset < size;) {
        signal.throwIfAborted();
        const bytes = Buffer.allocUnsafe(Math.min(LIMITS.chunkMaxBytes, Math.max(0, size - offset)));
        const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
        yield bytes.subarray(0, bytesRead);
        if (bytesRead === 0) return;
        offset += bytesRead;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw asFailure(error);
    }
  }

  async size(key: string, { expectedBytes }: { expectedBytes: number }): Promise<number | undefined> {
    return (await this.#find(key, expectedBytes))?.bytes;
  }

  /** The file of the expected length, or else the first there is. */
  async #find(key: string, expectedBytes: number): Promise<{ path: string; bytes: number } | undefined> {
    let first: { path: string; bytes: number } | undefined;
    let failure: Failure | undefined;
    for (const root of this.#roots) {
      const path = blobPath(root, key);
      try {
        const facts = await lstat(path);
        if (!facts.isFile()) throw new Failure("source/unreadable", "it is not a plain file");
        if (facts.size === expectedBytes) return { path, bytes: facts.size };
        first ??= { path, bytes: facts.size };
      } catch (error) {
        if (!isAbsent(error)) failure ??= asFailure(error);
      }
    }
    if (first === undefined && failure !== undefined) throw failure;
    return first;
  }

  async probe(): Promise<void> {
    for (const root of this.#roots) {
      const facts = await stat(root).catch((error: unknown) => {
        throw new Failure("source/unreadable", `the folder ${root} cannot be entered: ${messageOf(error)}`, {
          hint: "Is its disk mounted, and may this user read it?",
        });
      });
      if (!facts.isDirectory()) throw new Failure("source/unreadable", `${root} is no folder`);
    }
  }

  async facts(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    // Nothing is kept open.
  }
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

function asFailure(error: unknown): Failure {
  return error instanceof Failure ? error : new Failure("source/unreadable", messageOf(error), { cause: error });
}
