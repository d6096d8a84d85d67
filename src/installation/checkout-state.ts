/** What git says of a checkout that is only read: its upstream, its branches and what its index holds. */
import { copyFile, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { CodeInfo } from "./code-info.ts";
import type { Git } from "./git.ts";
import { lookAt } from "./places.ts";

/** The remote that has what is not our user's own. */
export interface Upstream {
  name: string;
  /** As it stands in the configuration: it may hold credentials. */
  url: string;
  /** On this machine: it is lost together with the checkout. */
  isLocal: boolean;
}

/** What is checked out and what else there is. */
export interface Refs {
  branches: CodeInfo["branches"];
  /** Undefined when no branch is checked out. */
  branch: string | undefined;
  hasStash: boolean;
}

/** One file of the index; one in the middle of a merge has several entries. */
export interface IndexEntry {
  path: string;
  /** `ls-files -v` has it: lower case for `assume-unchanged`, `S` for `skip-worktree`. */
  flag: string;
  mode: string;
  object: string;
  /** `0`, or which side of a merge it is. */
  stage: string;
}

/** Each of a list that git ended with NUL. */
export function zeroes(bytes: Buffer): string[] {
  return bytes
    .toString("utf8")
    .split("\0")
    .filter((text) => text !== "");
}

function isLocal(url: string): boolean {
  return (
    /^file:/i.test(url) ||
    url.startsWith("/") ||
    url.startsWith(".") ||
    !/^(?:[a-z][a-z0-9+.-]*:\/\/|[^/]+:)/i.test(url)
  );
}

/** `origin`, or else the first remote that the checkout is configured with; undefined without one, or without its address. */
export function upstreamOf({ opened: { settings } }: Pick<Git, "opened">): Upstream | undefined {
  const remotes = [...settings.keys()].flatMap((setting) => /^remote\.(.+)\.[^.]+$/s.exec(setting)?.[1] ?? []);
  const name = remotes.includes("origin") ? "origin" : remotes.toSorted()[0];
  const url = settings.get(`remote.${name}.url`)?.trim() ?? "";
  return name === undefined || url === "" ? undefined : { name, url, isLocal: isLocal(url) };
}

/** The checked-out branch where it has no commit yet, which is no reference then. */
async function readUnborn(git: Git): Promise<string | undefined> {
  const { stdout } = await git.run(["symbolic-ref", "--quiet", "HEAD"], { allowStatus: [1, 128] });
  return /^refs\/heads\/(.+)\n$/.exec(stdout.toString("utf8"))?.[1];
}

/** Reads the local branches, which of them is checked out, and whether something is stashed. */
export async function readRefs(git: Git): Promise<Refs> {
  const listed = await git.text([
    "for-each-ref",
    "--format=%(HEAD)%(objectname) %(refname)",
    "refs/heads",
    "refs/stash",
  ]);
  const refs = listed.split("\n").flatMap((line) => {
    const [, mark, commit = "", ref = ""] = /^([* ])([0-9a-f]+) (refs\/.+)$/.exec(line) ?? [];
    return mark === undefined ? [] : [{ isCheckedOut: mark === "*", commit, ref }];
  });
  const branches = refs
    .filter(({ ref }) => ref.startsWith("refs/heads/"))
    .map(({ isCheckedOut, commit, ref }) => ({ isCheckedOut, commit, name: ref.slice("refs/heads/".length) }));
  return {
    branches: branches.map(({ name, commit }) => ({ name, commit })),
    branch: branches.find(({ isCheckedOut }) => isCheckedOut)?.name ?? (await readUnborn(git)),
    hasStash: refs.some(({ ref }) => ref === "refs/stash"),
  };
}

async function readEntries(git: Git, indexFile: string): Promise<IndexEntry[]> {
  const { stdout } = await git.run(["ls-files", "--stage", "-v", "-z"], { indexFile });
  return zeroes(stdout).flatMap((line) => {
    const [, flag, mode, object, stage, path] = /^(.) (\d+) ([0-9a-f]+) (\d)\t(.*)$/s.exec(line) ?? [];
    if (flag === undefined || mode === undefined || object === undefined) return [];
    return stage === undefined || path === undefined ? [] : [{ flag, mode, object, stage, path }];
  });
}

/** Takes away from the copied index what hides edits from a diff. */
async function showHidden(git: Git, indexFile: string, entries: readonly IndexEntry[]): Promise<void> {
  const assumed = entries.filter(({ flag }) => /[a-z]/.test(flag)).map(({ path }) => path);
  const skipped: string[] = [];
  for (const { path } of entries.filter(({ flag }) => /[Ss]/.test(flag))) {
    // A sparse checkout leaves files out on purpose; only one that is there can have been edited.
    if ((await lookAt(join(git.root, path))) !== undefined) skipped.push(path);
  }
  for (const [flag, paths] of [
    ["--no-assume-unchanged", assumed],
    ["--no-skip-worktree", skipped],
  ] as const) {
    if (paths.length > 0)
      await git.run(["update-index", flag, "-z", "--stdin"], { indexFile, input: `${paths.join("\0")}\0` });
  }
}

/**
 * A copy of the index that git may write to, in which no file is hidden from a diff: an edit under `assume-unchanged` or
 * `skip-worktree` is an edit that an upgrade would lose. Without an index there is no copy, and no entry.
 */
export async function copyIndex(git: Git): Promise<{ indexFile: string | undefined; entries: IndexEntry[] }> {
  const { indexPath } = git.opened;
  const indexFile = join(git.scratch, "index");
  if ((await lookAt(indexPath)) === undefined) return { indexFile: undefined, entries: [] };
  const { atime, mtime } = await stat(indexPath);
  await copyFile(indexPath, indexFile);
  // Git trusts no file that is as young as its index; by the copy's own time it would trust all of them.
  await utimes(indexFile, atime, mtime);
  await git.handOver(indexFile);
  const entries = await readEntries(git, indexFile);
  await showHidden(git, indexFile, entries);
  return { indexFile, entries };
}

/** Each path once. */
export function pathsOf(entries: readonly IndexEntry[]): string[] {
  return [...new Set(entries.map(({ path }) => path))];
}

/** The checkouts of their own that the index names, with the commit that each should be at. */
export function submodulesOf(entries: readonly IndexEntry[]): CodeInfo["submodules"] {
  return entries.flatMap(({ mode, object, path }) => (mode === "160000" ? [{ path, commit: object }] : []));
}
