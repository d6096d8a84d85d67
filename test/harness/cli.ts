/** The command line as a user meets it: `bin/chatkeep.js` in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { resolve } from "node:path";
import { type RunOptions, type RunResult, run } from "./run.ts";

export const CHATKEEP = resolve(import.meta.dirname, "../../bin/chatkeep.js");

/** Colours, a terminal's width and a configuration of the person who runs the tests must not show. */
const CLEAN = { CHATKEEP_CONFIG: undefined, NO_COLOR: "1", FORCE_COLOR: undefined, NODE_TEST_CONTEXT: undefined };

/** Runs `chatkeep` to its end. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return await run(process.execPath, [CHATKEEP, ...args], { ...options, env: { ...CLEAN, ...options.env } });
}

/** Starts `chatkeep` and does not wait: for signals and kills. */
export function startCli(args: readonly string[], options: Omit<RunOptions, "input"> = {}): ChildProcess {
  return spawn(process.execPath, [CHATKEEP, ...args], {
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
