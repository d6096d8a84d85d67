/** Reading files of a restore back from the disk: what lies there is what was saved, and what was announced. */
import { createHash, hash } from "node:crypto";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import type { RestoreOutcome } from "./restore-files.ts";
import { bytePath } from "./restore-folders.ts";

export interface Announced {
  /** base64; undefined where nobody knows. */
  readonly md5: string | undefined;
}

export interface CheckedFile extends Announced {
  /** Relative to the restore's folder. */
  readonly path: string;
  readonly chunks: readonly { readonly id: ChunkId; readonly length: number }[];
}

/** Files that one worker reads back. */
export interface CheckTask {
  readonly check: readonly CheckedFile[];
}

/**
 * @returns the files that are not what was announced as refused.
 * @throws Failure `store/unreachable` where the disk gives other bytes than were written.
 */
export function checkFiles(root: string, { check }: CheckTask, { signal }: { signal: AbortSignal }): RestoreOutcome {
  const refused: { path: string; reason: string }[] = [];
  let bytes = 0;
  for (const file of check) {
    signal.throwIfAborted();
    const { isAnnounced, length } = checkFile(root, file);
    bytes += length;
    if (!isAnnounced) refused.push({ path: file.path, reason: "it has another MD5 than the database says" });
  }
  return { bytes, damaged: [], refused };
}

function checkFile(root: string, { path, md5, chunks }: CheckedFile): { isAnnounced: boolean; length: number } {
  const descriptor = openSync(bytePath(root, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (md5 !== undefined) {
      const sum = createHash("md5");
      let at = 0;
      for (const chunk of chunks) {
        sum.update(readAt(descriptor, at, chunk.length));
        at += chunk.length;
      }
      if (sum.digest("base64") === md5) return { isAnnounced: true, length };
    }
    let at = 0;
    for (const chunk of chunks) {
      if (hash("sha256", readAt(descriptor, at, chunk.length)) !== chunk.id) throw cameBackDifferent(path);
      at += chunk.length;
    }
    return { isAnnounced: md5 === undefined, length };
  } finally {
    closeSync(descriptor);
  }
}

/** One for all: a thread does one thing at a time. */
let held = Buffer.alloc(0);

function readAt(descriptor: number, at: number, length: number): Buffer {
  if (held.length < length) held = Buffer.allocUnsafeSlow(length);
  let read = 0;
  while (read < length) {
    const count = readSync(descriptor, held, read, length - read, at + read);
    if (count === 0) break;
    read += count;
  }
  return held.subarray(0, read);
}

function cameBackDifferent(path: string): Failure {
  return new Failure("store/unreachable", `what was written to '${path}' came back different`, {
    hint: "Look at the disk and its mount.",
  });
}
