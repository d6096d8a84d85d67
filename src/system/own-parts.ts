/**
 * Chatkeep's own parts that are not code of this thread: facts, and the files of other threads. They lie beside the code, or
 * inside the program where it is a single executable: nothing is unpacked then, so nothing is left behind.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { getAsset, isSea } from "node:sea";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";

/** The text of a part, named as it lies in the project: `package.json`, `assets/…`. */
export function readPart(path: string): string {
  return isSea() ? getAsset(path, "utf8") : readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
}

/** True where Node, Chatkeep and its libraries are one file. */
export function isOneFile(): boolean {
  return isSea();
}

/** Starts a thread of ours. `file` is where its code lies, or would lie, beside the code that asks. */
export function startThread(file: URL, options: WorkerOptions): Worker {
  if (!isSea()) return new Worker(file, options);
  // The program itself does not heed NODE_OPTIONS, and a thread with an environment of its own would.
  const { NODE_OPTIONS: _, ...env } = options.env === undefined ? process.env : (options.env as NodeJS.ProcessEnv);
  const workerData = { thread: basename(file.pathname, ".js") };
  return new Worker(getAsset("loader.cjs", "utf8"), { ...options, env, eval: true, workerData });
}

/** Before the name of the part that a single executable is to be, where it was started by itself. */
const PART = "part:";

/**
 * The command line of a program of ours that a process of its own runs, with a channel to its parent: its arguments come behind.
 * `file` is where its code lies, or would lie.
 */
export function ownPartCommand(file: URL): [string, ...string[]] {
  return isSea()
    ? [process.execPath, `${PART}${basename(file.pathname, ".js")}`]
    : [process.execPath, fileURLToPath(file)];
}
