/** Stock restic, the judge of the repository format: every version that can be found here. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { type RunOptions, type RunResult, run } from "./run.ts";
import { isWhole } from "./whole.ts";

export interface Restic {
  path: string;
  /** As it calls itself: `0.14.0`. */
  version: string;
}

const CACHE = resolve(import.meta.dirname, "../../.cache");
let found: readonly Restic[] | undefined;

function versionOf(path: string): string {
  const text = execFileSync(path, ["version"], { encoding: "utf8" });
  return /^restic (\S+)/.exec(text)?.[1] ?? "unknown";
}

/** All versions: the one in PATH first, then those that set-up keeps in `.cache`. Set-up says which are missing. */
export function resticPaths(): readonly Restic[] {
  if (found !== undefined) return found;
  const inPath = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "restic"))
    .find((path) => existsSync(path));
  const cached = globSync("*/usr/bin/restic", { cwd: CACHE }).map((path) => join(CACHE, path));
  const all = [...(inPath === undefined ? [] : [inPath]), ...cached].map((path) => ({
    path,
    version: versionOf(path),
  }));
  found = all.filter((restic, at) => all.findIndex((other) => other.version === restic.version) === at);
  return found;
}

/** Who judges what a scenario leaves: the restic in PATH, and in the long run every version. */
export function judges(): readonly Restic[] {
  return isWhole ? resticPaths() : resticPaths().slice(0, 1);
}

/** The restic in PATH (0.14 on Debian 12). */
export function resticPath(): string {
  const [first] = resticPaths();
  if (first === undefined) throw new Error("restic is not installed: run 'npm test', which installs it");
  return first.path;
}

export interface ResticOptions extends RunOptions {
  repo: string;
  password: string;
  /** Which restic; by default {@link resticPath}. */
  restic?: string;
  /** `any`: a status other than 0 is returned instead of thrown. */
  status?: "any";
}

/** Runs restic on a repository, without its cache, so that every byte comes from the repository. */
export async function runRestic(args: readonly string[], options: ResticOptions): Promise<RunResult> {
  const { repo, password, restic = resticPath(), status, ...rest } = options;
  const result = await run(restic, ["--no-cache", ...args], {
    ...rest,
    env: { ...rest.env, RESTIC_REPOSITORY: repo, RESTIC_PASSWORD: password, RESTIC_PROGRESS_FPS: "0.1" },
  });
  if (result.status !== 0 && status !== "any") {
    throw new Error(`restic ${args.join(" ")}: status ${result.status}\n${result.stdout}\n${result.stderr}`);
  }
  return result;
}
