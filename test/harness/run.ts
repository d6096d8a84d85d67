/** Runs one program to its end and keeps what it printed. Never through a shell. */
import { spawn } from "node:child_process";

export interface RunOptions {
  /** Added to this process's environment; `undefined` takes a variable away. */
  env?: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  input?: string | Uint8Array;
  uid?: number;
  gid?: number;
  signal?: AbortSignal;
}

export interface RunResult {
  /** The exit status; 128 + the signal's number where a signal ended it, as shells have it. */
  status: number;
  stdout: string;
  stderr: string;
  stdoutBytes: Buffer;
}

const SIGNALS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 };

export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { promise, resolve, reject } = Promise.withResolvers<RunResult>();
  const { input, env, ...rest } = options;
  const child = spawn(program, args, { ...rest, env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (data: Buffer) => stdout.push(data));
  child.stderr.on("data", (data: Buffer) => stderr.push(data));
  // A program may end without reading its input; its exit status says whether that was right.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  child.on("error", reject);
  child.on("close", (code, signal) => {
    const stdoutBytes = Buffer.concat(stdout);
    resolve({
      status: code ?? 128 + (SIGNALS[signal ?? ""] ?? 0),
      stdout: stdoutBytes.toString("utf8"),
      stderr: Buffer.concat(stderr).toString("utf8"),
      stdoutBytes,
    });
  });
  return promise;
}

/** As {@link run}, but a status other than 0 is an error that holds what the program printed. */
export async function mustRun(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await run(program, args, options);
  if (result.status !== 0) {
    throw new Error(`${program} ${args.join(" ")}: status ${result.status}\n${result.stdout}\n${result.stderr}`);
  }
  return result;
}
