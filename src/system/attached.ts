/** A person's own program, run with our terminal: what it reads and prints, and how it takes signals, is its own affair. */
import { spawn } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { constants as os } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";

export interface AttachedOptions {
  cwd: string;
  env: Readonly<Record<string, string | undefined>>;
  /** Our standard output is a program's to read: what is printed there goes to standard error. */
  isOutputTaken: boolean;
  /** Lets us have the signals of this process for a while; absent where it is not ours alone. */
  takeSignals: ((taker: (signal: NodeJS.Signals) => void) => () => void) | undefined;
}

/** How it ended. */
export interface AttachedResult {
  /** As a shell tells it: 128 and the signal's number, where one ended it. */
  status: number;
  signal: string | null;
}

/**
 * Runs it to its end, however long that takes.
 * @throws Failure `program/missing` or `program/failed` when it cannot be started.
 */
export async function runAttached(
  [program, ...args]: readonly [string, ...string[]],
  { cwd, env, isOutputTaken, takeSignals }: AttachedOptions,
): Promise<AttachedResult> {
  const child = spawn(program, args, { cwd, env: { ...env }, stdio: ["inherit", isOutputTaken ? 2 : "inherit", 2] });
  const giveBack = takeSignals?.((signal) => {
    // A terminal's Ctrl-C goes to all of its foreground's programs: passed on, it would come twice, which many take for "at once".
    if (signal === "SIGINT" && hasTerminal()) return;
    child.kill(signal);
  });
  try {
    return await new Promise<AttachedResult>((onEnd, onFailure) => {
      child.on("error", (cause) => onFailure(startFailure(program, cause)));
      child.on("exit", (code, signal) => {
        onEnd({ status: code ?? 128 + (signal === null ? 0 : os.signals[signal]), signal });
      });
    });
  } finally {
    giveBack?.();
  }
}

function hasTerminal(): boolean {
  return process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
}

function startFailure(program: string, cause: Error): Failure {
  const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  return new Failure(
    isMissing ? "program/missing" : "program/failed",
    isMissing ? `there is no program '${program}'` : `cannot start '${program}': ${messageOf(cause)}`,
    { hint: "Give the command as you would type it after '--'.", cause },
  );
}

/** Whether a word is a program: one that `PATH` has, or a path of one. */
export async function isProgram(word: string, { cwd, env }: Pick<AttachedOptions, "cwd" | "env">): Promise<boolean> {
  const folders = word.includes("/") ? [cwd] : (env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const folder of folders) {
    const path = word.includes("/") ? resolve(folder, word) : join(folder, word);
    const isThere = await stat(path).then(
      (found) => found.isFile(),
      () => false,
    );
    const mayRun = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere && mayRun) return true;
  }
  return false;
}
