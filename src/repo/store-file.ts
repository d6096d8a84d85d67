/** Stores one file of the disk: read once, hashed as it passes, cut into chunks. */
import { createHash, hash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { assert, messageOf } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Sealer } from "./sealer.ts";

export type StoredFile =
  | {
      kind: "stored";
      /** What was really read. */
      size: number;
      /** base64, as Active Storage writes it. */
      md5: string;
      content: ChunkId[];
    }
  | { kind: "missing" }
  /** It is there and cannot be read; `reason` is for people. */
  | { kind: "unreadable"; reason: string }
  /** Nothing of its service can be read; `reason` and `hint` are for people. */
  | { kind: "unavailable"; reason: string; hint: string };

/** A buffer for {@link storeFile}, to be used for many files. */
export function makeFileBuffer(): Buffer {
  return Buffer.allocUnsafeSlow(LIMITS.chunkMaxBytes);
}

const REASONS: Record<string, string> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  ELOOP: "it is a symbolic link",
  EIO: "the disk reports an error",
  EISDIR: "it is a folder",
};

/**
 * Reads the file once and gives its chunks to the sealer. Symbolic links are not followed; anything but a plain
 * file is `unreadable`. Blocking reads into one reused buffer: meant for a worker thread.
 * @param buffer As {@link makeFileBuffer} makes it.
 * @param isNew The repository most likely has nothing of it.
 * @throws Failure of the sealer's store only.
 */
export async function storeFile(
  sealer: Sealer,
  path: string | Buffer,
  buffer: Buffer,
  { isNew = false }: { isNew?: boolean } = {},
): Promise<StoredFile> {
  assert(buffer.length === LIMITS.chunkMaxBytes, "the buffer of a file is as long as a chunk may be");
  let descriptor: number;
  try {
    // NONBLOCK: a pipe that lies where a file should must not stop us.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return readFailure(error);
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) return { kind: "unreadable", reason: "it is not a plain file" };
    return await storeDescriptor(sealer, descriptor, buffer, { isNew, sizeBytes: found.size });
  } finally {
    closeSync(descriptor);
  }
}

interface Found {
  isNew: boolean;
  /** As the file system had it when the file was opened. */
  sizeBytes: number;
}

async function storeDescriptor(
  sealer: Sealer,
  descriptor: number,
  buffer: Buffer,
  { isNew, sizeBytes }: Found,
): Promise<StoredFile> {
  let read = 0;
  const next = (): Piece => {
    try {
      const filled = fill(descriptor, buffer, sizeBytes - read);
      read += filled;
      return { bytes: buffer.subarray(0, filled), isLast: filled < buffer.length };
    } catch (error) {
      return readFailure(error);
    }
  };
  return await storePieces(sealer, next, { isNew });
}

/** A stretch of a file, or why there is none. */
export type Piece = { bytes: Buffer; isLast: boolean } | Exclude<StoredFile, { kind: "stored" }>;

/**
 * Gives a file's pieces to the sealer, each as a chunk: all but the last are as long as a chunk may be.
 * @param next A piece; its bytes are not needed any more when the next is asked for.
 * @throws Failure of the sealer's store, and what `next` throws.
 */
export async function storePieces(
  sealer: Sealer,
  next: () => Piece | Promise<Piece>,
  { isNew = false }: { isNew?: boolean } = {},
): Promise<StoredFile> {
  let md5: Hash | undefined;
  const content: ChunkId[] = [];
  for (let size = 0; ;) {
    const piece = await next();
    if ("kind" in piece) return piece;
    const { bytes, isLast } = piece;
    size += bytes.length;
    if (isLast && content.length === 0) {
      // Most files are one chunk, and a hash in one call costs half of one that is kept.
      let whole = "";
      const id = await store(sealer, bytes, { isNew, digest: (part) => (whole = hash("md5", part, "base64")) });
      return { kind: "stored", size, md5: whole, content: id === undefined ? [] : [id] };
    }
    const running = (md5 ??= createHash("md5"));
    const id = await store(sealer, bytes, { isNew, digest: (part) => void running.update(part) });
    if (id !== undefined) content.push(id);
    if (isLast) return { kind: "stored", size, md5: running.digest("base64"), content };
  }
}

/**
 * What is new is hashed as it can be read back, so that its MD5 vouches for what was sealed, not for what was read.
 * Nothing is stored of no bytes.
 */
async function store(
  sealer: Sealer,
  bytes: Buffer,
  { isNew, digest }: { isNew: boolean; digest: (part: Uint8Array) => void },
): Promise<ChunkId | undefined> {
  if (isNew && bytes.length > 0) return (await sealer.addNew("data", bytes, digest)).id;
  digest(bytes);
  return bytes.length === 0 ? undefined : (await sealer.add("data", bytes)).id;
}

/** Reads until the buffer is full or the file ends: where it has as many bytes as were expected, that is not asked. */
function fill(descriptor: number, buffer: Buffer, expected: number): number {
  let filled = 0;
  while (filled < buffer.length && (filled === 0 || filled !== expected)) {
    const read = readSync(descriptor, buffer, filled, buffer.length - filled, null);
    if (read === 0) break;
    filled += read;
  }
  return filled;
}

function readFailure(error: unknown): Exclude<StoredFile, { kind: "stored" }> {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "ENOENT" || code === "ENOTDIR") return { kind: "missing" };
  return { kind: "unreadable", reason: REASONS[code] ?? messageOf(error) };
}
