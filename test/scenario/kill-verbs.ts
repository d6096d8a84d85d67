/** `kill -9` of verbs that change a repository, at moments chosen by chance, and what must hold afterwards. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "../../src/demo/random.ts";
import { runCli, startCli } from "../harness/cli.ts";
import { resticPath, resticPaths, runRestic } from "../harness/restic.ts";
import { PASSWORD } from "../repo/small-backup.ts";
import { ENVIRONMENT, type SmallRepositories } from "./small-repository.ts";

/** The newest restic that there is. */
export const NEWEST_RESTIC = resticPaths().at(-1)?.path ?? resticPath();

interface Killing {
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string;
  /** True once the run has begun to work on the repository. */
  hasBegun: () => boolean;
}

/** How long a run works from its lock on; `killAfterMs` ends it before that. */
export async function workOrKill(
  { args, env, cwd, hasBegun }: Killing,
  killAfterMs?: number,
): Promise<{ lastedMs: number; wasKilled: boolean }> {
  // What a killed run leaves of temporary files goes with the test's folder.
  const child = startCli(args, { cwd, env: { TMPDIR: cwd, ...env } });
  let said = "";
  child.stderr?.on("data", (data: Buffer) => (said += data.toString()));
  child.stdout?.resume();
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  while (!hasBegun() && !hasEnded()) await Promise.race([sleep(2), closed]);
  const began = performance.now();
  if (killAfterMs !== undefined) {
    await Promise.race([sleep(killAfterMs), closed]);
    child.kill("SIGKILL");
  }
  const [status, killedBy] = await closed;
  if (killedBy === null) assert.equal(status, 0, said);
  return { lastedMs: performance.now() - began, wasKilled: killedBy === "SIGKILL" };
}

/** Kills a run at a moment of its work; earlier and earlier, should it have ended first. */
export async function killSomewhere<T extends Killing>(
  begin: () => T | Promise<T>,
  random: SeededRandom,
  lastsMs: number,
): Promise<T> {
  let delayMs = (lastsMs * random.below(1000)) / 1000;
  for (let tries = 0; tries < 8; tries += 1, delayMs /= 2) {
    const killing = await begin();
    if ((await workOrKill(killing, delayMs)).wasKilled) return killing;
  }
  throw new Error("it ended before it could be killed, eight times");
}

export function hasLock(folder: string): () => boolean {
  return () => readdirSync(join(folder, "locks")).length > 0;
}

interface Verb {
  args: (folder: string, other: string) => string[];
  /** Which of the two repositories it changes. */
  changes: "full" | "empty";
  /** How many points there are at the end. */
  left: number;
}

const KEPT = 3;

export function verbsToKill({ points }: SmallRepositories): Record<string, Verb> {
  return {
    prune: { args: () => ["prune", "--max-unused", "0"], changes: "full", left: points.size },
    forget: { args: () => ["forget", "--all", "--keep-last", String(KEPT)], changes: "full", left: KEPT },
    copy: { args: (_, other) => ["copy", "--all", "--to", other], changes: "empty", left: points.size },
  };
}

/**
 * Kills the verb so many times, each time on repositories as they were: restic finds nothing wrong, every point is there
 * to the byte, and the next run ends it.
 */
export async function killVerb(
  { args, changes, left }: Verb,
  { made, random, kills, name }: { made: SmallRepositories; random: SeededRandom; kills: number; name: string },
): Promise<void> {
  let round = 0;
  const begin = () => {
    round += 1;
    // What is only read is shared by all.
    const folder = changes === "full" ? made.copyOf(made.full, `${name}-${round}`) : made.full;
    const other = changes === "empty" ? made.copyOf(made.empty, `${name}-${round}`) : made.empty;
    const changed = changes === "full" ? folder : other;
    const run = { args: ["--repository", folder, ...args(folder, other)], env: ENVIRONMENT, cwd: dirname(made.full) };
    return { ...run, changed, hasBegun: hasLock(changed) };
  };
  const { lastedMs } = await workOrKill(begin());
  for (let kill = 0; kill < kills; kill += 1) {
    const { changed, args: again } = await killSomewhere(begin, random, lastedMs);
    const template = made[changes];
    await runRestic(["check", "--no-lock"], { repo: changed, password: PASSWORD, restic: NEWEST_RESTIC });
    const seen = await made.readAll(changed, template);
    if (changes === "full") assert.ok(seen.length >= left, `${seen.length} points are left`);
    const { status, stderr } = await runCli(again, { env: ENVIRONMENT, cwd: dirname(made.full) });
    assert.equal(status, 0, stderr);
    assert.equal(new Set(await made.readAll(changed, template)).size, left);
    assert.deepEqual(readdirSync(join(changed, "locks")), []);
  }
}
