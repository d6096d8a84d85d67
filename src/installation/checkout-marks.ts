/** By what it is seen that somebody worked in a checkout since it was left: commits, what is staged, and every edited file. */
import { createHash } from "node:crypto";
import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { copyIndex, readRefs, zeroes } from "./checkout-state.ts";
import { openGit } from "./git.ts";
import { type CheckoutOptions, editedPaths, type KeptCheckout } from "./kept-checkout.ts";
import { codeOf } from "./places.ts";

/** Plain JSON. */
export interface CheckoutMarks {
  readonly head: string;
  /** Absent where no branch is checked out. */
  readonly branch?: string;
  /** The commit of each branch. */
  readonly branches: Readonly<Record<string, string>>;
  /** Of what is staged. */
  readonly staged: string;
  /** Of each file that is not as it is committed, or lies where another commit has one. */
  readonly files: Readonly<Record<string, string>>;
}

/** @throws Failure of git's; nothing is changed. @returns undefined where there is no commit any more. */
export async function markCheckout(
  kept: KeptCheckout,
  { signal }: CheckoutOptions,
): Promise<CheckoutMarks | undefined> {
  await using git = await openGit(kept.root, { signal });
  const { head } = git.opened;
  if (head === undefined) return undefined;
  const { branch, branches } = await readRefs(git);
  const { indexFile } = await copyIndex(git);
  const index = indexFile === undefined ? {} : { indexFile };
  const how = ["diff", "--no-renames", "--ignore-submodules=all"];
  const staged = await git.run([...how, "--cached", "--raw", "--no-abbrev", "-z", "HEAD"], index);
  // What is made where the commit of before has a file is written over by it.
  const between = await git.run([...how, "--name-only", "-z", "--diff-filter=A", head, kept.head]);
  const paths = new Set([
    ...(await editedPaths(git)),
    ...kept.paths.map(({ path }) => path),
    ...zeroes(between.stdout),
  ]);
  const files: Record<string, string> = {};
  for (const path of paths) {
    const mark = await markOf(join(kept.root, path));
    if (mark !== undefined) files[path] = mark;
  }
  return {
    head,
    ...(branch === undefined ? {} : { branch }),
    branches: Object.fromEntries(branches.map(({ name, commit }) => [name, commit])),
    staged: hashOf(staged.stdout),
    files,
  };
}

/** Names that have another value in one of the two, or none. */
function differing(one: Readonly<Record<string, string>>, other: Readonly<Record<string, string>>): string[] {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].filter((name) => one[name] !== other[name]).toSorted();
}

/** What is other now, for people; none where nobody has worked in it. Pure. */
export function changesSince(then: CheckoutMarks, now: CheckoutMarks): string[] {
  const files = differing(then.files, now.files);
  const branches = differing(then.branches, now.branches).map((name) => {
    const commit = now.branches[name];
    return commit === undefined ? `branch ${name} is gone` : `branch ${name} at ${commit.slice(0, 10)}`;
  });
  const isElsewhere = then.branch !== now.branch || (then.head !== now.head && branches.length === 0);
  return [
    ...files,
    ...branches,
    ...(isElsewhere ? [`checked out: ${now.branch ?? now.head.slice(0, 10)}`] : []),
    ...(files.length === 0 && then.staged !== now.staged ? ["what is staged"] : []),
  ];
}

function hashOf(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Undefined where there is no file and no link. */
async function markOf(path: string): Promise<string | undefined> {
  try {
    const facts = await lstat(path);
    if (facts.isSymbolicLink()) return `link ${hashOf(await readlink(path))}`;
    return facts.isFile()
      ? `${(facts.mode & 0o111) === 0 ? "file" : "program"} ${hashOf(await readFile(path))}`
      : undefined;
  } catch (error) {
    if (codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR") throw error;
    return undefined;
  }
}
