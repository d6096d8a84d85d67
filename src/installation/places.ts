/** Reading files of a machine that may, in tests, be a folder. */
import { constants } from "node:fs";
import { access, lstat, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

export interface FoundPlace {
  path: string;
  isFolder: boolean;
  sizeBytes: number;
  mode: number;
  uid: number;
  gid: number;
  changedAtMs: number;
}

export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

const ABSENT = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

/** What is at a path, following links; undefined when nothing is there, or when we may not know. */
export async function lookAt(path: string): Promise<FoundPlace | undefined> {
  try {
    const facts = await stat(path);
    return {
      path,
      isFolder: facts.isDirectory(),
      sizeBytes: facts.size,
      mode: facts.mode & 0o7777,
      uid: facts.uid,
      gid: facts.gid,
      changedAtMs: facts.mtimeMs,
    };
  } catch (error) {
    if (ABSENT.has(codeOf(error)) || codeOf(error) === "EACCES") return undefined;
    throw error;
  }
}

/** True unless it is certain that nothing is there: a folder that we may not enter may hold it. */
export async function mayExist(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    return !ABSENT.has(codeOf(error));
  }
}

export async function isReadable(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK);
    return true;
  } catch {
    return false; // Whatever the reason, the caller says that it could not be read.
  }
}

/** The names in a folder, in order; none when there is no such folder or it may not be listed. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (ABSENT.has(codeOf(error)) || codeOf(error) === "EACCES") return [];
    throw error;
  }
}

/**
 * A text file's content, or undefined when it is not there.
 * @throws Failure `source/unreadable` when it is there and may not be read, or is far too long.
 */
export async function readText(path: string, what: string): Promise<string | undefined> {
  try {
    const facts = await stat(path);
    if (!facts.isFile()) throw new Failure("source/unreadable", `${what} ${path} is not a file`);
    if (facts.size > LIMITS.configFileMaxBytes)
      throw new Failure("source/unreadable", `${what} ${path} is far too long`);
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (ABSENT.has(codeOf(error))) return undefined;
    throw new Failure("source/unreadable", `cannot read ${what} ${path}: ${messageOf(error)}`, {
      hint: "Run Chatkeep as root, or as a user that may read it.",
      cause: error,
    });
  }
}

/** As {@link readText}, for what is welcome but not needed: undefined also when it may not be read. */
export async function readTextIfAllowed(path: string): Promise<string | undefined> {
  try {
    return await readText(path, "the file");
  } catch {
    return undefined; // Only looked at; what must be saved is checked when it is saved.
  }
}

/** Whether users other than its owner and group can read a file: it, and every folder above it, must let them. */
export async function isExposed(path: string): Promise<boolean> {
  const facts = await lookAt(path);
  if (facts === undefined || (facts.mode & 0o004) === 0) return false;
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    const above = await lookAt(folder);
    if (above === undefined || (above.mode & 0o001) === 0) return false;
  }
  return true;
}

/** The machine's file system, or a folder that stands for it. */
export interface Machine {
  readonly root: string;
  /** Where a path of the machine really is. */
  at(path: string): string;
  /** What the machine calls a place. */
  nameOf(place: string): string;
}

export function machineAt(root = "/"): Machine {
  if (root === "/") return { root, at: (path) => path, nameOf: (place) => place };
  return {
    root,
    at: (path) => join(root, path),
    nameOf: (place) => (relative(root, place).startsWith("..") ? place : `/${relative(root, place)}`),
  };
}
