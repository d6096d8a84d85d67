/** What set-up has in common: where the project is, how it speaks, how it runs a program. */
import { spawn } from "node:child_process";
import { resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../..");
/** What tests need beside the packages: kept here, never installed into the system. */
export const CACHE = resolve(ROOT, ".cache");

/** Something is missing that set-up cannot mend; the message tells a person what to do. */
export class SetupError extends Error {}

/** One line on standard error, so that standard output belongs to what was asked for. */
export function say(line) {
  process.stderr.write(`set-up: ${line}\n`);
}

/**
 * Runs a program quietly and returns its status and what it printed.
 * @param {{env?: Record<string, string | undefined>, cwd?: string, isShown?: boolean}} options
 *   `isShown` gives it our terminal (sudo may have to ask).
 */
export function runQuietly(program, args, { env = {}, cwd = ROOT, isShown = false } = {}) {
  return new Promise((done) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: isShown ? "inherit" : ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let stdout = "";
    child.stdout?.on("data", (data) => {
      output += data;
      stdout += data;
    });
    child.stderr?.on("data", (data) => (output += data));
    child.on("error", (error) => done({ status: 127, output: error.message, stdout: "" }));
    child.on("close", (status) => done({ status: status ?? 1, output, stdout }));
  });
}

/** The last lines of what a program printed, to explain its failure. */
export function lastLines(output, count = 8) {
  return output.trim().split("\n").slice(-count).join("\n");
}
