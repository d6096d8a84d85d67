/** Files that may be packed with gzip or zstd: known by their first bytes, whatever their names are, and read unpacked. */
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { Failure, isFailure, messageOf } from "../base/errors.ts";

export type Packing = "gzip" | "zstd";

const READ_BYTES = 256 * 1024;

const MAGIC: readonly (readonly [beginning: string, packing: Packing])[] = [
  ["1f8b", "gzip"],
  ["28b52ffd", "zstd"],
];

/** Of other packers, with the program that unpacks their files. */
const FOREIGN: readonly (readonly [beginning: string, program: string])[] = [
  ["fd377a58", "unxz"],
  ["425a68", "bunzip2"],
  ["504b0304", "unzip"],
  ["377abcaf", "7z x"],
  ["04224d18", "lz4 -d"],
];

/** @returns undefined for a file that is not packed, or not so. */
export function packingOf(beginning: Buffer): Packing | undefined {
  return MAGIC.find(([magic]) => beginning.toString("hex", 0, magic.length / 2) === magic)?.[1];
}

/** The program that unpacks what is packed in a way that is not read here. */
export function foreignUnpacker(beginning: Buffer): string | undefined {
  return FOREIGN.find(([magic]) => beginning.toString("hex", 0, magic.length / 2) === magic)?.[1];
}

/**
 * The file's bytes, unpacked.
 * @throws Failure `dump/damaged` when it is cut short or damaged, `source/unreadable`; the signal's reason.
 */
export async function* readUnpacked(
  path: string,
  packing: Packing | undefined,
  { signal, onRead }: { signal: AbortSignal; onRead?: (bytes: number) => void },
): AsyncGenerator<Buffer, void, void> {
  const file = createReadStream(path, { highWaterMark: READ_BYTES });
  if (onRead !== undefined) file.on("data", (chunk) => onRead(chunk.length));
  const unpacker = unpackerOf(packing);
  const stream = unpacker ?? file;
  if (unpacker !== undefined) pipeline(file, unpacker).catch(() => {});
  const stop = () => stream.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
    signal.throwIfAborted();
  } catch (error) {
    signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code?.startsWith("Z") === true) throw broken(path, error);
    if (code === undefined || !/^E[A-Z]+$/.test(code)) throw error;
    throw unreadable(path, error);
  } finally {
    signal.removeEventListener("abort", stop);
    stream.destroy();
    file.destroy();
  }
}

function unpackerOf(packing: Packing | undefined): Transform | undefined {
  if (packing === "gzip") return createGunzip({ chunkSize: READ_BYTES });
  return packing === "zstd" ? createZstdDecompress({ chunkSize: READ_BYTES }) : undefined;
}

/**
 * The first bytes of a file, unpacked, and how it is packed.
 * @throws as {@link readUnpacked}; a file that is cut off gives what it has.
 */
export async function readBeginning(
  path: string,
  count: number,
  { signal }: { signal: AbortSignal },
): Promise<{ packing: Packing | undefined; raw: Buffer; bytes: Buffer }> {
  const raw = await firstBytes(path, count);
  const packing = packingOf(raw);
  if (packing === undefined) return { packing, raw, bytes: raw };
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of readUnpacked(path, packing, { signal })) {
      parts.push(chunk);
      length += chunk.length;
      if (length >= count) break;
    }
  } catch (error) {
    if (!isFailure(error, "dump/damaged")) throw error;
  }
  return { packing, raw, bytes: Buffer.concat(parts).subarray(0, count) };
}

async function firstBytes(path: string, count: number): Promise<Buffer> {
  try {
    await using file = await open(path);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** What lies at a path: its size, and when it was written, in milliseconds since 1970. @throws Failure `source/unreadable`. */
export async function lookAtFile(path: string): Promise<{ isFolder: boolean; bytes: number; writtenMs: number }> {
  try {
    const facts = await stat(path);
    return { isFolder: facts.isDirectory(), bytes: facts.size, writtenMs: Math.floor(facts.mtimeMs) };
  } catch (error) {
    throw unreadable(path, error);
  }
}

function broken(path: string, error: unknown): Failure {
  return new Failure(
    "dump/damaged",
    `'${path}' is cut short or damaged: it cannot be unpacked to its end (${messageOf(error)})`,
    {
      hint: "Was the disk full, or the copying stopped? Compare its size with the original's; else use another one.",
      cause: error,
    },
  );
}

function unreadable(path: string, error: unknown): Failure {
  const isAbsent = (error as NodeJS.ErrnoException).code === "ENOENT";
  const what = isAbsent ? "is not there" : `cannot be read: ${messageOf(error)}`;
  return new Failure("source/unreadable", `'${path}' ${what}`, {
    hint: isAbsent ? "Is the path right, and its disk mounted?" : "Run Chatkeep as a user that may read it.",
    cause: error,
  });
}
