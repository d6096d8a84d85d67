/** The command line as a user meets it, `bin/chatkeep.js` in a process of its own; and the same without the process. */
import { type ChildProcess, spawn } from "node:child_process";
import { resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { Run } from "../../src/cli/run.ts";
import { type RunOptions, type RunResult, run } from "./run.ts";

export const CHATKEEP = resolve(import.meta.dirname, "../../bin/chatkeep.js");

/** Colours, a terminal's width and a configuration of the person who runs the tests must not show. */
const CLEAN = { CHATKEEP_CONFIG: undefined, NO_COLOR: "1", FORCE_COLOR: undefined, NODE_TEST_CONTEXT: undefined };

/** Runs `chatkeep` to its end. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return await run(process.execPath, [CHATKEEP, ...args], { ...options, env: { ...CLEAN, ...options.env } });
}

/** Keeps what is written to it. */
class Kept extends Writable {
  readonly #parts: Buffer[] = [];

  override _write(part: Buffer, _encoding: string, done: () => void): void {
    this.#parts.push(Buffer.from(part));
    done();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** What a run asks for in the environment that it is handed: Chatkeep's own, and where and how places are reached. */
const HANDED = /^(?:CHATKEEP_|AWS_|AZURE_|GOOGLE_|RESTIC_|STORAGE_EMULATOR_HOST$|SSH_AUTH_SOCK$|HOME$|XDG_CACHE_HOME$)/;

/**
 * As {@link runCli}, but in this process where nothing is asked for that only a process of its own has: all that the command
 * line does but to start and to end, for a fraction of the work. Whoever asks about signals, memory, temporary files, what
 * stands in an environment or what is left of a run that died, takes {@link runCli} or {@link startCli}.
 */
export async function callCli(argv: readonly string[], options: RunOptions & { cwd: string }): Promise<RunResult> {
  const { cwd, env = {}, ...others } = options;
  // All others, and those of its programs, are asked of its process.
  const isHanded = Object.keys(env).every((name) => HANDED.test(name));
  if (!isHanded || Object.keys(others).length > 0) return await runCli(argv, options);
  const [stdin, stdout, stderr] = [Readable.from([]), new Kept(), new Kept()];
  const all = { ...process.env, ...CLEAN, ...env };
  const run = new Run({ argv, cwd, env: all, stdin, stdout, stderr, isJournal: false });
  const status = await run.toItsEnd();
  const [out, err] = [stdout.bytes, stderr.bytes];
  return { status, stdout: out.toString("utf8"), stderr: err.toString("utf8"), stdoutBytes: out };
}

/** Starts `chatkeep` and does not wait: for signals and kills. @param options `within`: a program that becomes it, as `nsenter` does. */
export function startCli(
  args: readonly string[],
  { within = [], ...options }: Omit<RunOptions, "input"> & { within?: readonly string[] } = {},
): ChildProcess {
  const [program = "", ...rest] = [...within, process.execPath, CHATKEEP, ...args];
  return spawn(program, rest, {
    ...options,
    env: { ...process.env, ...CLEAN, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** The objects that `--json` printed, one a line. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The last object of a `--json` output: the summary. */
export function summaryOf(text: string): Record<string, unknown> {
  const last = jsonLines(text).at(-1);
  if (last?.["type"] !== "summary") throw new Error(`no summary at the end of:\n${text}`);
  return last;
}
