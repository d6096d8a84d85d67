/** Writes a tar file of files that are in memory one at a time, durable when it is done. */
import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import { Failure, messageOf } from "../base/errors.ts";
import { encodeTarHeader, TAR_BLOCK, tarPadding } from "../base/tar.ts";

export interface NewTarMember {
  /** At most 100 ASCII characters; a folder's ends with `/`. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface WrittenTar {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/**
 * Writes a file that is not there yet, readable by its owner only.
 * @throws Failure `store/full`, `store/denied`, `target/unsuitable`; what was written stays where it is.
 */
export async function writeTar(
  path: string,
  members: AsyncIterable<NewTarMember>,
  { signal, onBytes }: { signal: AbortSignal; onBytes?: (bytes: number) => void },
): Promise<WrittenTar> {
  const digest = createHash("sha256");
  let sizeBytes = 0;
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "wx", 0o600);
    const file = handle;
    const write = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
      digest.update(bytes);
      sizeBytes += bytes.length;
    };
    for await (const { path: name, bytes } of members) {
      signal.throwIfAborted();
      await write(encodeTarHeader(name, bytes.length));
      await write(bytes);
      await write(Buffer.alloc(tarPadding(bytes.length)));
      onBytes?.(bytes.length);
    }
    await write(Buffer.alloc(2 * TAR_BLOCK));
    await file.sync();
  } catch (error) {
    throw fileFailure(error, path);
  } finally {
    await handle?.close();
  }
  return { sizeBytes, sha256: digest.digest("hex") };
}

/** Turns a system's error about a file that is being made into a failure that says what to do. */
export function fileFailure(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (error instanceof Failure || code === undefined) return error;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new Failure("store/full", `no space left while writing '${path}'`, {
        hint: "Free space there and run the same command again: it goes on with what is written.",
        cause: error,
      });
    case "EFBIG":
      return new Failure("target/unsuitable", `the filesystem of '${path}' takes no file as large as this`, {
        hint: "Name a place on another filesystem; FAT takes no file above 4 GiB.",
        cause: error,
      });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new Failure("store/denied", `not allowed: writing '${path}'`, {
        hint: "Name a place that this user may write to.",
        cause: error,
      });
    default:
      return new Failure("target/unsuitable", `cannot write '${path}': ${messageOf(error)}`, {
        hint: "Name a file in a folder that exists and may be written.",
        cause: error,
      });
  }
}
