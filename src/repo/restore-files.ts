/**
 * The part of a restore that touches bytes: reads a stretch of a pack, opens its chunks and writes them where they
 * belong. Runs in worker threads, or in this one. Blocking writes: it is all that such a thread does.
 *
 * Nothing is written through a symbolic link, and nothing that is there is overwritten.
 */
import { closeSync, constants, fchmodSync, fchownSync, futimesSync, openSync, writeSync } from "node:fs";
import { releaseBytes } from "../base/bytes.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import type { ChunkId, PackId } from "../base/ids.ts";
import type { Keys } from "../format/crypto.ts";
import type { Store } from "../store/store.ts";
import { ChunkOpener, isDamage } from "./chunk.ts";
import { checkFiles, type CheckTask } from "./restore-check.ts";
import { bytePath, type FileMeta, FolderMaker, folderOf } from "./restore-folders.ts";
import type { WorkHandler, WorkTools } from "./work.ts";

/** One place where a chunk's bytes belong. */
export interface Target {
  /** Relative to the restore's folder. */
  readonly path: string;
  readonly at: number;
  /** Given when the chunk is the whole file: then the file is made here, and made complete. */
  readonly whole?: FileMeta;
}

export interface RestorePart {
  readonly id: ChunkId;
  /** From the start of the stretch. */
  readonly offset: number;
  readonly length: number;
  readonly uncompressedLength: number;
  readonly targets: readonly Target[];
}

/** A stretch of a pack, read at once. */
export interface RestoreTask {
  readonly pack: PackId;
  readonly offset: number;
  readonly length: number;
  readonly parts: readonly RestorePart[];
}

export interface RestoreOutcome {
  /** Bytes written. */
  readonly bytes: number;
  /** Chunks that this pack does not give; another copy may. */
  readonly damaged: readonly { part: number; reason: string }[];
  /** Files that cannot be written, for a reason of their own. */
  readonly refused: readonly { path: string; reason: string }[];
}

export interface RestoreInit {
  readonly keys: Keys;
  readonly root: string;
}

/** What does {@link RestoreTask}s. */
export function makeRestorer(
  init: RestoreInit,
  store: Store,
  { signal }: Pick<WorkTools<never>, "signal">,
): WorkHandler<RestoreTask | CheckTask, RestoreOutcome> {
  const folders = new FolderMaker(init.root);
  const opener = new ChunkOpener(init.keys);
  /** Stretches that were asked for before it is their turn. */
  const foreseen = new Map<RestoreTask, Promise<Buffer>>();
  const read = async ({ pack, offset, length }: RestoreTask) =>
    await store.get({ kind: "data", name: pack }, { signal, offset, length });
  return {
    foresee(task) {
      if ("check" in task) return;
      const reading = read(task);
      // Told when its turn comes.
      reading.catch(() => {});
      foreseen.set(task, reading);
    },
    run: async (task) => {
      if ("check" in task) return checkFiles(init.root, task, { signal });
      const damaged: { part: number; reason: string }[] = [];
      const refused: { path: string; reason: string }[] = [];
      let bytes = 0;
      let stretch: Buffer;
      try {
        stretch = await (foreseen.get(task) ?? read(task));
      } catch (error) {
        if (!isDamage(error)) throw error;
        const reason = messageOf(error);
        return { bytes, damaged: task.parts.map((_, part) => ({ part, reason })), refused };
      } finally {
        foreseen.delete(task);
      }
      using last = new LastFile();
      const write = (chunk: Buffer, targets: RestorePart["targets"]) => {
        for (const target of targets) {
          const reason = writeTarget(folders, target, chunk, last);
          if (reason === undefined) bytes += chunk.length;
          else refused.push({ path: target.path, reason });
        }
      };
      for (const [part, { id, offset, length, uncompressedLength, targets }] of task.parts.entries()) {
        signal.throwIfAborted();
        try {
          const sealed = stretch.subarray(offset, offset + length);
          opener.open({ id, sealed, uncompressedLength }, (chunk) => write(chunk, targets));
        } catch (error) {
          if (!isDamage(error)) throw error;
          damaged.push({ part, reason: messageOf(error) });
        }
      }
      releaseBytes(stretch);
      return { bytes, damaged, refused };
    },
  };
}

/** The file that was written to last stays open: most of its chunks lie behind one another. */
class LastFile implements Disposable {
  #file: { path: string; descriptor: number } | undefined;

  open(path: Buffer, target: Target): number {
    if (this.#file?.path === target.path) return this.#file.descriptor;
    this[Symbol.dispose]();
    const descriptor = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    this.#file = { path: target.path, descriptor };
    return descriptor;
  }

  [Symbol.dispose](): void {
    const descriptor = this.#file?.descriptor;
    this.#file = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** {@link writeTarget} of a chunk alone. */
export function writeOne(folders: FolderMaker, target: Target, chunk: Uint8Array): string | undefined {
  using last = new LastFile();
  return writeTarget(folders, target, chunk, last);
}

/**
 * Writes a chunk to its place. @returns why this file cannot be written, for a reason that others do not share.
 * @throws Failure `store/full`, `target/unsuitable` for what stops everything.
 */
function writeTarget(folders: FolderMaker, target: Target, chunk: Uint8Array, last: LastFile): string | undefined {
  const path = bytePath(folders.root, target.path);
  try {
    if (target.whole === undefined) writeAll(last.open(path, target), chunk, target.at);
    else {
      folders.make(folderOf(target.path));
      makeFile(path, target.whole, (descriptor) => writeAll(descriptor, chunk, 0));
    }
    return undefined;
  } catch (error) {
    return isFailure(error, "target/not-empty") ? messageOf(error) : refusal(error, folders.root, target.path);
  }
}

/** Makes a file that must not be there, lets it be filled, and gives it what it has besides bytes. */
export function makeFile(path: Buffer, meta: FileMeta, fill: (descriptor: number) => void): void {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const descriptor = openSync(path, flags, 0o600);
  try {
    fill(descriptor);
    finishFile(descriptor, meta);
  } finally {
    closeSync(descriptor);
  }
}

export function finishFile(descriptor: number, { mode, mtime, owner }: FileMeta): void {
  if (owner !== undefined) fchownSync(descriptor, owner.uid, owner.gid);
  fchmodSync(descriptor, mode);
  futimesSync(descriptor, mtime, mtime);
}

function writeAll(descriptor: number, bytes: Uint8Array, at: number): void {
  let written = 0;
  while (written < bytes.length) {
    written += writeSync(descriptor, bytes, written, bytes.length - written, at + written);
  }
}

const REFUSALS: Record<string, string> = {
  EEXIST: "something of that name is already there",
  ENAMETOOLONG: "its name is too long for the target's filesystem",
  EINVAL: "the target's filesystem does not take its name",
  EILSEQ: "the target's filesystem does not take its name",
  ELOOP: "a symbolic link of that name is there",
  EISDIR: "a folder of that name is there",
};

/** The reason when an error is one file's own trouble. @throws Failure when it is everybody's. */
export function refusal(error: unknown, root: string, path: string): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reason = REFUSALS[code];
  if (reason !== undefined) return reason;
  if (error instanceof Failure || code === "") throw error;
  if (code === "ENOSPC" || code === "EDQUOT") {
    throw new Failure("store/full", `no space left while writing '${root}/${path}'`, {
      hint: "Free space where the files are restored to, or choose another folder.",
      cause: error,
    });
  }
  throw new Failure("target/unsuitable", `cannot write '${root}/${path}': ${messageOf(error)}`, {
    hint: "Choose a folder that this user may write to.",
    cause: error,
  });
}
