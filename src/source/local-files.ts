/** Files and folders of a storage on the disk, one at a time: whose they are, and how they get their names. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import type { open } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

/** Whose files and folders are, and with what rights. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly fileMode: number;
  readonly folderMode: number;
}

export type Handle = Awaited<ReturnType<typeof open>>;

export async function writeWhole(file: Handle, bytes: Uint8Array, at: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await file.write(bytes, written, bytes.length - written, at + written)).bytesWritten;
  }
}

export function makeFolder(path: string, { uid, gid, folderMode }: Ownership): void {
  mkdirSync(path, { mode: 0o700 });
  const folder = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    giveAtOnce(folder, path, { uid, gid, mode: folderMode });
  } finally {
    closeSync(folder);
  }
}

/** The same as {@link giveTo}, at once. */
export function giveFileTo(path: string, given: Given): void {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    giveAtOnce(file, path, given);
  } finally {
    closeSync(file);
  }
}

function giveAtOnce(descriptor: number, path: string, { uid, gid, mode }: Given): void {
  const before = fstatSync(descriptor);
  if (before.uid !== uid || before.gid !== gid) {
    try {
      fchownSync(descriptor, uid, gid);
    } catch (error) {
      throw notGiven(path, { uid, gid }, error);
    }
  }
  fchmodSync(descriptor, mode);
}

/** Never takes the place of a file that is there. @throws Failure `store/exists`. */
export function nameFile(part: string, path: string): void {
  try {
    linkSync(part, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new Failure("store/exists", `${path} is there already`, { cause: error });
    // Some network filesystems have no links: the name was looked at just before.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS" && code !== "EMLINK") throw error;
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
      throw new Failure("store/exists", `${path} is there already`, { cause: error });
    }
    renameSync(part, path);
    return;
  }
  unlinkSync(part);
}

/** All of them, and now and then others get their turn. */
export async function* inTurns<T>(
  items: readonly T[],
  { signal }: { signal: AbortSignal },
): AsyncGenerator<T, void, void> {
  for (const [at, item] of items.entries()) {
    if (at % LIMITS.filesPerTurn === LIMITS.filesPerTurn - 1) await nextTurn();
    signal.throwIfAborted();
    yield item;
  }
}

interface Given {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** @throws Failure `target/unsuitable` where this user may not give it away: Chatwoot could not read or change it then. */
export async function giveTo(file: Handle, path: string, { uid, gid, mode }: Given): Promise<void> {
  const before: Stats = await file.stat();
  if (before.uid !== uid || before.gid !== gid) {
    try {
      await file.chown(uid, gid);
    } catch (error) {
      throw notGiven(path, { uid, gid }, error);
    }
  }
  await file.chmod(mode);
}

function notGiven(path: string, { uid, gid }: { uid: number; gid: number }, cause: unknown): Failure {
  return new Failure(
    "target/unsuitable",
    `${path} cannot be given to user ${uid} and group ${gid}: ${messageOf(cause)}`,
    {
      hint: "Run Chatkeep as root, or as the user that the folder belongs to; on a network disk root may not be root there.",
      cause,
    },
  );
}
