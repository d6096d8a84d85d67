/** What a git that was cut off leaves in a checkout: one that still works is waited for, its lock and a half-written index go. */
import { readdir, readFile, readlink, rm } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type Git, openGit } from "./git.ts";
import { lookAt } from "./places.ts";

/** Processes of git that work in a folder; undefined where the system does not tell. */
async function gitsIn(root: string): Promise<number[] | undefined> {
  const names = await readdir("/proc").catch(() => undefined);
  const numbers = names?.map(Number).filter((number) => Number.isSafeInteger(number));
  if (numbers === undefined || numbers.length === 0) return undefined;
  const found: number[] = [];
  for (const number of numbers) {
    const where = await readlink(`/proc/${number}/cwd`).catch(() => "");
    if (where !== root && !where.startsWith(`${root}/`)) continue;
    const program = await readFile(`/proc/${number}/comm`, "utf8").catch(() => "");
    if (basename(program.trim()).startsWith("git")) found.push(number);
  }
  return found;
}

/**
 * Makes git able to work where it, or who called it, was killed. Only for a checkout whose index is kept elsewhere.
 * @throws Failure `program/failed` where another git works there and does not end.
 */
export async function clearCutOff(git: Git, { signal }: { signal: AbortSignal }): Promise<void> {
  const { indexPath } = git.opened;
  const lock = `${indexPath}.lock`;
  const top = await git.text(["rev-parse", "--show-toplevel"]);
  for (let waited = 0; (await lookAt(lock)) !== undefined; waited += LIMITS.lookAgainMs) {
    const others = await gitsIn(top);
    // Where nobody can tell, git itself says what to do.
    if (others === undefined) return;
    if (others.length === 0) {
      await rm(lock, { force: true });
      break;
    }
    if (waited >= LIMITS.gitEndsMs)
      throw new Failure("program/failed", `another git works in ${git.root}: process ${others.join(", ")}`, {
        hint: "Wait until it is through, or end it; then call this again.",
      });
    await sleep(LIMITS.lookAgainMs, undefined, { signal });
  }
  const { status } = await git.run(["ls-files", "--cached"], { allowStatus: [128] });
  if (status !== 0) await rm(indexPath, { force: true });
}

/** {@link clearCutOff} for whoever has no git opened yet. */
export async function settleCheckout(root: string, options: { signal: AbortSignal }): Promise<void> {
  await using git = await openGit(root, options);
  await clearCutOff(git, options);
}
