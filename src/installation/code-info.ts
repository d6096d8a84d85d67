/** What lies below `code/` in a restore point, and its description. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";

export const CODE_INFO = "info.json";
export const CODE_BUNDLE = "commits.bundle";
export const CODE_STAGED = "staged.diff";
export const CODE_UNSTAGED = "unstaged.diff";
/** The folder of untracked files, below `code/`. */
export const CODE_UNTRACKED = "untracked";
/** The folder of all files, where there is no git or its history cannot be bundled. */
export const CODE_FILES = "files";

export interface CodeFile {
  /** Below `code/`. */
  path: string;
  absolute: string;
}

/** `code/info.json`. */
export interface CodeInfo {
  schema: 1;
  kind: "git" | "files";
  root: string;
  /** Without credentials. */
  origin?: string;
  head?: string;
  /** Absent when no branch is checked out. */
  branch?: string;
  branches: { name: string; commit: string }[];
  /** Commits that whoever applies the bundle must have. */
  prerequisites: string[];
  hasBundle: boolean;
  hasStaged: boolean;
  hasUnstaged: boolean;
  untracked: string[];
  isShallow: boolean;
  submodules: { path: string; commit: string }[];
}

/**
 * Reads the description among saved pieces of code.
 * @throws Failure `point/invalid` when it is missing or is none.
 */
export async function readCodeInfo(folder: string): Promise<CodeInfo> {
  const text = await readFile(join(folder, CODE_INFO), "utf8").catch(() => "");
  return parseCodeInfo(text, folder);
}

/**
 * @param where What the description lies in, for people.
 * @throws Failure `point/invalid` when it is none.
 */
export function parseCodeInfo(text: string, where: string): CodeInfo {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Failure("point/invalid", `the saved code in ${where} has no readable ${CODE_INFO}`, { cause });
  }
  if (typeof value !== "object" || value === null || !("schema" in value) || value.schema !== 1) {
    throw new Failure(
      "point/invalid",
      `the saved code in ${where} is described in a way that this Chatkeep does not know`,
    );
  }
  return value as CodeInfo;
}
