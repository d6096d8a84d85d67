/** Files that `init` writes: only their owner reads them, and nothing that exists is ever written over. */
import { constants } from "node:fs";
import { access, chown, link, lstat, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";
import { isMarkOver, ownMark } from "../system/leftovers.ts";
import { makeFolders, syncFolder } from "../system/folders.ts";

const ELSEWHERE = "Run as a user that may write there, or name another place.";

/**
 * Makes sure, as far as can be told without writing, that a file could be made: before anything else is done.
 * @throws Failure `config/invalid` when the file exists, or its folder can neither be written to nor be made.
 */
export async function requireNew(path: string): Promise<void> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const facts = await stat(at);
      if (at === path) throw existsAlready(path);
      if (!facts.isDirectory()) throw new Error(`'${at}' is not a folder`);
      await access(at, constants.W_OK | constants.X_OK);
      return;
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      if ((cause as NodeJS.ErrnoException).code === "ENOENT" && at !== dirname(at)) continue;
      throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, { hint: ELSEWHERE, cause });
    }
  }
}

function existsAlready(path: string, cause?: unknown): Failure {
  return new Failure("config/invalid", `'${path}' exists already`, {
    hint: "Move it away, or name another place.",
    cause,
  });
}

/** Between a file's name and whose half of it this is. */
const PART = ".part-";

/**
 * Writes a file that only its owner reads, and never over one that exists. It has its name when it is whole and on the disk:
 * a repository that outlives a power cut is worth nothing when its password does not.
 */
export async function writeNew(path: string, text: string | undefined): Promise<void> {
  if (text === undefined) return;
  const part = `${path}${PART}${ownMark()}`;
  try {
    await makeFolders(dirname(path), 0o700);
    await removeDeadParts(path);
    try {
      await writeWhole(part, text);
      await giveName(part, path);
    } finally {
      await rm(part, { force: true });
    }
    await syncFolder(dirname(path));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw existsAlready(path, cause);
    throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, { hint: ELSEWHERE, cause });
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Never takes the name from another file. */
async function giveName(part: string, path: string): Promise<void> {
  try {
    await link(part, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" || code === "ENOENT") throw error;
    // A filesystem without hard links.
    const isThere = await lstat(path).then(
      () => true,
      () => false,
    );
    if (isThere) throw Object.assign(new Error("it is there already", { cause: error }), { code: "EEXIST" });
    await rename(part, path);
  }
}

/** What runs that were killed left of this file: it may hold a password. What cannot be removed is in nobody's way. */
async function removeDeadParts(path: string): Promise<void> {
  const begin = `${basename(path)}${PART}`;
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    if (!name.startsWith(begin) || !isMarkOver(name.slice(begin.length))) continue;
    await rm(join(dirname(path), name), { force: true }).catch(() => {});
  }
}

/** A file's new content, lying beside it until it takes its place. */
export interface Replacement {
  /** Puts the new content in the old one's place, whole and durable. */
  commit(): Promise<void>;
  /** Takes the new content away; after `commit` it changes nothing. Never rejects. */
  abandon(): Promise<void>;
}

/**
 * Writes what is to stand in a file that exists, and has its owner and mode, beside it.
 * @throws Failure `config/invalid` when the file is no ordinary file or its folder may not be written to.
 */
export async function prepareReplacement(path: string, text: string): Promise<Replacement> {
  try {
    const real = await realpath(path);
    const facts = await stat(real);
    if (!facts.isFile()) throw new Error("it is no ordinary file");
    const beside = `${real}.new`;
    await rm(beside, { force: true });
    const file = await open(beside, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.chmod(facts.mode & 0o777);
      const own = await file.stat();
      if (own.uid !== facts.uid || own.gid !== facts.gid) await chown(beside, facts.uid, facts.gid);
      await file.sync();
    } finally {
      await file.close();
    }
    return {
      commit: async () => {
        await rename(beside, real);
        await syncFolder(dirname(real));
      },
      abandon: async () => await rm(beside, { force: true }).catch(() => {}),
    };
  } catch (cause) {
    throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, {
      hint: "The new password must be kept there. Run as the user that owns it; no key was changed.",
      cause,
    });
  }
}
