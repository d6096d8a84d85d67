/** Files that `init` writes: only their owner reads them, and nothing that exists is ever written over. */
import { constants } from "node:fs";
import { access, mkdir, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";

const ELSEWHERE = "Run as a user that may write there, or name another place with --config.";

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
    hint: "Move it away, or name another place with --config.",
    cause,
  });
}

/** Writes a file that only its owner reads, and never over one that exists. */
export async function writeNew(path: string, text: string | undefined): Promise<void> {
  if (text === undefined) return;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(path, text, { mode: 0o600, flag: "wx" });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw existsAlready(path, cause);
    throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, { hint: ELSEWHERE, cause });
  }
}
