/** `kill -9` of a run of the command line at a moment of its work that chance chooses. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "../../src/demo/random.ts";
import { startCli } from "../harness/cli.ts";

export interface Killing {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** True once the run has begun to work on the repository. */
  readonly hasBegun: () => boolean | Promise<boolean>;
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
  while (!hasEnded() && !(await hasBegun())) await Promise.race([sleep(2), closed]);
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
