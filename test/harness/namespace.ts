/** Runs a program as somebody whose world is smaller: without root's right to read everything, or with mounts of its own. */
import { type RunOptions, type RunResult, run } from "./run.ts";

/** True when the tests run as root, who may read what modes forbid. */
export const IS_ROOT = process.getuid?.() === 0;

/** Runs a program that is bound by the modes of files: root keeps its name and loses its right to read past them. */
export async function runBoundByModes(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  if (!IS_ROOT) return await run(program, args, options);
  return await run("setpriv", ["--bounding-set=-dac_override,-dac_read_search", "--", program, ...args], options);
}

const UNSHARE = IS_ROOT ? ["--mount"] : ["--user", "--map-root-user", "--mount"];

/** Why nothing can be mounted here that others do not see, or undefined where it can. */
export async function cannotMount(): Promise<string | undefined> {
  const { status, stderr } = await run("unshare", [...UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  return status === 0 ? undefined : `a private mount is not allowed here: ${stderr.trim()}`;
}

/** Runs a shell script whose mounts only it and its children see; they are gone when it ends. */
export async function runWithMounts(
  script: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return await run("unshare", [...UNSHARE, "sh", "-eu", "-c", script, "sh", ...args], options);
}
