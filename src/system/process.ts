/**
 * Child processes: one way to run a program. Arguments never go through a shell; secrets travel in the child's
 * environment, never in its arguments.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

export interface ProgramOptions {
  signal: AbortSignal;
  /** Added to this process's own environment; `undefined` removes a variable. */
  env?: Readonly<Record<string, string | undefined>>;
  /** `env` is all that it is given: it runs as somebody else, who may read nothing of ours. */
  hasOwnEnvironment?: boolean;
  cwd?: string;
  /** Written to its standard input, which is otherwise empty. A stream that fails ends the program, and its error is thrown. */
  input?: string | Uint8Array | AsyncIterable<Uint8Array>;
  uid?: number;
  gid?: number;
  /** When it is stopped, all that it started is ended with it. */
  hasOwnGroup?: boolean;
  /** Exit statuses that are not failures (0 always is). */
  allowStatus?: readonly number[];
}

export interface ProgramResult {
  status: number;
  stdout: Buffer;
  stderr: string;
}

interface Started {
  stdout: Readable;
  ended: Promise<{ status: number; stderr: string }>;
}

/** A name or a path; or one that is started by another program, whose command line begins the own one. */
export type Program = string | { shown: string; command: readonly [string, ...string[]] };

/** For people. */
export function shownProgram(program: Program): string {
  return typeof program === "string" ? program : program.shown;
}

function start(what: Program, rest: readonly string[], options: ProgramOptions): Started {
  const [program, ...args] = typeof what === "string" ? [what, ...rest] : [...what.command, ...rest];
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...(options.hasOwnEnvironment === true ? {} : process.env), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
    detached: options.hasOwnGroup === true,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  });
  // Whoever reads it is told all the same.
  child.stdout.on("error", () => {});
  const kept: Buffer[] = [];
  let keptBytes = 0;
  child.stderr.on("data", (data: Buffer) => {
    if (keptBytes < LIMITS.stderrKeptBytes) kept.push(data);
    keptBytes += data.length;
  });
  const send = (signal: "SIGTERM" | "SIGKILL") => {
    if (options.hasOwnGroup === true && child.pid !== undefined) killGroup(child.pid, signal);
    else child.kill(signal);
  };
  const kill = () => {
    send("SIGTERM");
    setTimeout(() => send("SIGKILL"), 5_000).unref(); // oxlint-disable-line no-restricted-globals -- a grace period for another process, not logic
  };
  if (options.signal.aborted) kill();
  options.signal.addEventListener("abort", kill, { once: true });
  let inputFailed: { error: unknown } | undefined;
  feed(child.stdin, options.input, (error) => {
    inputFailed = { error };
    kill();
  });
  const ended = new Promise<{ status: number; stderr: string }>((resolve, reject) => {
    child.on("error", (error) => reject(startFailure(program, error)));
    // What it started and left may hold its output for as long as it likes.
    child.on("exit", () => {
      if (!options.signal.aborted && inputFailed === undefined) return;
      const reason: unknown = inputFailed === undefined ? options.signal.reason : inputFailed.error;
      child.stdout.destroy(reason instanceof Error ? reason : undefined);
      child.stderr.destroy();
    });
    child.on("close", (code, killedBy) => {
      const stderr = Buffer.concat(kept).toString("utf8");
      if (options.signal.aborted) reject(options.signal.reason);
      else if (inputFailed !== undefined) reject(inputFailed.error);
      else if (killedBy !== null) {
        reject(new Failure("program/failed", `'${program}' was ended by ${killedBy}`, { hint: tail(stderr) }));
      } else resolve({ status: code ?? 1, stderr });
    });
  }).finally(() => options.signal.removeEventListener("abort", kill));
  ended.catch(() => {});
  return { stdout: child.stdout, ended };
}

/**
 * Whether a program could ask somebody at the terminal. One with a group of its own could not: so it gets one only where there is none,
 * and is ended as a whole there, also with what it started.
 */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r+"));
    return true;
  } catch {
    return false;
  }
}

/** What of it is left; the group may be gone. */
function killGroup(leader: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(-leader, signal);
  } catch {
    // Nobody of it is there any more.
  }
}

/** A program that ends without reading its input is judged by its exit status, not by our broken pipe. */
function feed(stdin: Writable, input: ProgramOptions["input"], fail: (error: unknown) => void): void {
  stdin.on("error", () => {});
  if (input === undefined || typeof input === "string" || input instanceof Uint8Array) {
    stdin.end(input);
    return;
  }
  pipeline(Readable.from(input, { objectMode: false }), stdin).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    if (code !== "EPIPE" && code !== "ERR_STREAM_PREMATURE_CLOSE" && code !== "ECONNRESET") fail(error);
  });
}

function startFailure(program: string, error: Error): Failure {
  const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
  return new Failure(
    missing ? "program/missing" : "program/failed",
    missing ? `the program '${program}' is not installed` : `cannot start '${program}': ${messageOf(error)}`,
    { hint: `Install '${program}', or make sure that it can be found in PATH and be executed.`, cause: error },
  );
}

function tail(stderr: string): string {
  const lines = stderr.trim().split("\n").slice(-5).join("\n");
  return lines === "" ? "It printed nothing that explains it." : `It said: ${lines}`;
}

function check(program: string, result: { status: number; stderr: string }, options: ProgramOptions): void {
  if (result.status === 0 || options.allowStatus?.includes(result.status)) return;
  throw new Failure("program/failed", `'${program}' ended with status ${result.status}`, { hint: tail(result.stderr) });
}

/**
 * Runs a program to its end and returns what it printed.
 * @throws Failure `program/missing`, `program/failed`, or the signal's reason.
 */
export async function runProgram(
  program: Program,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  const { stdout, ended } = start(program, args, options);
  const chunks: Buffer[] = [];
  stdout.on("data", (data: Buffer) => chunks.push(data));
  const result = await ended;
  check(shownProgram(program), result, options);
  return { ...result, stdout: Buffer.concat(chunks) };
}

/**
 * Runs a program and yields its standard output as it comes. Throws *after the last chunk* when the program
 * failed, so that a consumer cannot take a cut output for a whole one.
 */
export async function* readProgram(
  program: Program,
  args: readonly string[],
  options: ProgramOptions,
): AsyncGenerator<Buffer, void, void> {
  const controller = new AbortController();
  const signal = AbortSignal.any([options.signal, controller.signal]);
  const { stdout, ended } = start(program, args, { ...options, signal });
  let finished = false;
  try {
    for await (const chunk of stdout) yield chunk as Buffer;
    const result = await ended;
    finished = true;
    check(shownProgram(program), result, options);
  } finally {
    // The consumer stopped early, or we are failing: do not leave the program behind.
    if (!finished) {
      controller.abort(new Failure("run/cancelled", `'${shownProgram(program)}' is no longer needed`));
      await ended.catch(() => {});
    }
  }
}
