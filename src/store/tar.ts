/**
 * A repository in a tar file: its members, found by one pass over the headers.
 *
 * Members that are no ordinary files are passed over. Nothing is ever unpacked, so no path leads anywhere.
 */
import type { FileHandle } from "node:fs/promises";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import {
  ANNOUNCING,
  BETWEEN,
  decodePaxRecords,
  decodeTarHeader,
  ORDINARY,
  TAR_BLOCK,
  type TarHeader,
  tarPadding,
  textAt,
} from "../base/tar.ts";

export interface TarMember {
  /** As it stands in the file, without a leading `/` or `./`. */
  readonly path: string;
  /** Of its bytes in the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Every ordinary file in a tar file, by one pass over its headers; no content is read.
 * @throws Failure `repo/missing` when it is no tar file, `repo/damaged` when it is cut off or damaged.
 */
export async function* readTar(
  handle: FileHandle,
  { path, signal }: { path: string; signal: AbortSignal },
): AsyncGenerator<TarMember> {
  const { size: fileBytes } = await handle.stat();
  let announced: { path?: string; sizeBytes?: number } = {};
  let members = 0;
  for (let at = 0; ;) {
    signal.throwIfAborted();
    const block = await readAt(handle, at, TAR_BLOCK);
    if (block === undefined && at === 0) throw noTar(path, Buffer.alloc(0));
    if (block === undefined) throw cutOff(path, `it has no end after ${at} bytes`);
    if (block.every((byte) => byte === 0)) {
      if (at === 0) throw noTar(path, block);
      return;
    }
    const header = decodeTarHeader(block);
    if (header === undefined) throw at === 0 ? noTar(path, block) : damaged(path, `no header at byte ${at}`);
    const isAnnouncing = ANNOUNCING.has(header.type);
    const sizeBytes = isAnnouncing ? header.sizeBytes : (announced.sizeBytes ?? header.sizeBytes);
    const offset = at + TAR_BLOCK;
    const member = (announced.path ?? header.path).replace(/^(\.?\/)+/, "");
    if (offset + sizeBytes > fileBytes) throw cutOff(path, `'${member}' is not whole`);
    members += 1;
    if (members > LIMITS.tarMembers) throw damaged(path, `more than ${LIMITS.tarMembers} files`);
    if (isAnnouncing) announced = { ...announced, ...(await readAnnounced(handle, { ...header, offset }, path)) };
    else if (!BETWEEN.has(header.type)) {
      if (ORDINARY.has(header.type) && !member.endsWith("/")) yield { path: member, offset, sizeBytes };
      announced = {};
    }
    at = offset + sizeBytes + tarPadding(sizeBytes);
  }
}

async function readAnnounced(
  handle: FileHandle,
  { type, offset, sizeBytes }: TarHeader & { offset: number },
  path: string,
): Promise<{ path?: string; sizeBytes?: number }> {
  const bytes = sizeBytes > LIMITS.tarRecordMaxBytes ? undefined : await readAt(handle, offset, sizeBytes);
  const found =
    bytes === undefined ? undefined : type === "L" ? { path: textAt(bytes, 0, sizeBytes) } : decodePaxRecords(bytes);
  if (found === undefined) throw damaged(path, `a record at byte ${offset} that means nothing`);
  return found;
}

/** Undefined when the file ends before. */
async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer | undefined> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) return undefined;
    filled += bytesRead;
  }
  return bytes;
}

const PACKED: readonly (readonly [beginning: string, program: string])[] = [
  ["1f8b", "gunzip"],
  ["28b52ffd", "zstd -d"],
  ["fd377a58", "unxz"],
  ["425a68", "bunzip2"],
];

function noTar(path: string, block: Buffer): Failure {
  const program = PACKED.find(([beginning]) => block.toString("hex", 0, 4).startsWith(beginning))?.[1];
  return new Failure("repo/missing", `there is no repository in '${path}': it is no tar file`, {
    hint:
      program === undefined
        ? "Is it the file that 'chatkeep export' made?"
        : `It is packed: unpack it with '${program}'.`,
  });
}

function cutOff(path: string, why: string): Failure {
  return new Failure("repo/damaged", `'${path}' is cut off: ${why}`, {
    hint: "Bring the file over once more, and compare its size with that of the original.",
  });
}

function damaged(path: string, why: string): Failure {
  return new Failure("repo/damaged", `'${path}' is damaged: ${why}`, {
    hint: "Bring the file over once more, and compare its SHA-256 with that of the original.",
  });
}
