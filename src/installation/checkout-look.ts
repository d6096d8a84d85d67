/** What a checkout has, before anything is done with it. */
import { copyIndex, zeroes } from "./checkout-state.ts";
import { openGit } from "./git.ts";

export interface CheckoutLook {
  /** Undefined before the first commit. */
  readonly head: string | undefined;
  /** It is in the middle of a merge. */
  readonly isMerging: boolean;
  /** Those of the commits that were asked for that it does not have. */
  readonly lacking: readonly string[];
}

/** @throws Failure `program/missing` without git, `program/failed` when it is no checkout that git understands. */
export async function lookAtCheckout(
  root: string,
  { commits, signal }: { commits: readonly string[]; signal: AbortSignal },
): Promise<CheckoutLook> {
  await using git = await openGit(root, { signal });
  const lacking: string[] = [];
  for (const commit of commits) {
    const { status } = await git.run(["cat-file", "-e", `${commit}^{commit}`], { allowStatus: [1, 128] });
    if (status !== 0) lacking.push(commit);
  }
  const { entries } = await copyIndex(git);
  return { head: git.opened.head, isMerging: entries.some(({ stage }) => stage !== "0"), lacking };
}

/** Files that differ between two commits. */
export async function changedBetween(
  root: string,
  [one, other]: readonly [string, string],
  { signal }: { signal: AbortSignal },
): Promise<string[]> {
  await using git = await openGit(root, { signal });
  return zeroes((await git.run(["diff", "--name-only", "-z", "--no-renames", one, other])).stdout);
}
