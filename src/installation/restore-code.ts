/**
 * Puts saved code back into a checkout or an empty folder. Nothing that is there is ever overwritten: what does not
 * fit is told as a conflict, and the saved pieces stay where they are.
 */
import { chown, copyFile, lstat, mkdir, readdir, readFile, readlink, realpath, stat, symlink } from "node:fs/promises";
import { constants } from "node:fs";
import { dirname, join } from "node:path";
import { plural } from "../base/bytes.ts";
import { isFailure } from "../base/errors.ts";
import { runProgram } from "../system/process.ts";
import { readBundleHeader } from "./bundle.ts";
import {
  CODE_BUNDLE,
  CODE_FILES,
  CODE_STAGED,
  CODE_UNSTAGED,
  CODE_UNTRACKED,
  type CodeInfo,
  readCodeInfo,
} from "./code-info.ts";
import { type Git, openGit } from "./git.ts";
import { codeOf, lookAt } from "./places.ts";

export interface RestoreCodeOptions {
  signal: AbortSignal;
  /** Fetch what is missing from the saved origin, over the network. */
  fetch?: boolean;
  /** A branch that has gone on since is set back to the saved commit: whoever asks for it keeps where it was. */
  setsBack?: boolean;
}

export interface RestoredCode {
  /** True when the code is as it was saved, with nothing left to do. */
  complete: boolean;
  /** What was done, one line each, in order. */
  steps: string[];
  /** What did not fit, and was left as it was. */
  conflicts: string[];
}

interface Restoring {
  from: string;
  target: string;
  info: CodeInfo;
  options: RestoreCodeOptions;
  steps: string[];
  conflicts: string[];
}

/** Where fetched refs go: no branch of the target's own is moved. */
const REFS = "refs/chatkeep";

async function isEmptyOrMissing(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).length === 0;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return true;
    throw error;
  }
}

async function hasCommit(git: Git, commit: string): Promise<boolean> {
  return (await git.run(["cat-file", "-e", `${commit}^{commit}`], { allowStatus: [1, 128] })).status === 0;
}

/** A copy of a saved piece that git's user may read. */
async function lend(git: Git, state: Restoring, name: string): Promise<string> {
  const copy = join(git.scratch, name);
  await copyFile(join(state.from, name), copy);
  await git.handOver(copy);
  return copy;
}

async function fetchOrigin(git: Git, state: Restoring): Promise<boolean> {
  const { origin } = state.info;
  if (state.options.fetch !== true || origin === undefined) return false;
  try {
    await git.run(["fetch", "--quiet", "--no-tags", origin, `+refs/heads/*:${REFS}/origin/*`]);
    state.steps.push(`fetched ${origin}`);
    return true;
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    state.conflicts.push(`${origin} could not be fetched: ${error.hint ?? error.message}`);
    return false;
  }
}

/** Brings the saved commits into the target; false when commits are lacking that only the origin has. */
async function bringCommits(git: Git, state: Restoring): Promise<boolean> {
  const { info } = state;
  const header = info.hasBundle ? await readBundleHeader(join(state.from, CODE_BUNDLE)) : undefined;
  const needed = [
    ...(header?.prerequisites ?? []),
    ...(header === undefined && info.head !== undefined ? [info.head] : []),
  ];
  const lacking = async () => {
    const there = await Promise.all(needed.map(async (commit) => await hasCommit(git, commit)));
    return needed.filter((_, at) => there[at] !== true);
  };
  if ((await lacking()).length > 0) await fetchOrigin(git, state);
  const missing = await lacking();
  if (missing.length > 0) {
    const from = info.origin === undefined ? "the repository it came from" : info.origin;
    state.conflicts.push(
      `${state.target} lacks commit ${missing[0]?.slice(0, 10) ?? ""} of ${from}: clone or fetch that first`,
    );
    return false;
  }
  if (header !== undefined) {
    const bundle = await lend(git, state, CODE_BUNDLE);
    const refs = header.refs
      .filter((ref) => ref.name === "HEAD" || ref.name.startsWith("refs/"))
      .map((ref) => `+${ref.name}:${REFS}/${ref.name === "HEAD" ? "HEAD" : ref.name.slice("refs/".length)}`);
    await git.run(["fetch", "--quiet", "--no-tags", bundle, ...refs]);
    state.steps.push(`unpacked the commits of ${CODE_BUNDLE}`);
  }
  return info.head === undefined || (await hasCommit(git, info.head));
}

/** Makes or moves forward the local branches as they were; one that went another way is left, and told. */
async function setBranches(git: Git, state: Restoring): Promise<void> {
  for (const { name, commit } of state.info.branches) {
    if (name === state.info.branch || !(await hasCommit(git, commit))) continue;
    await setBranch(git, state, name, commit);
  }
}

async function setBranch(git: Git, state: Restoring, name: string, commit: string): Promise<boolean> {
  const ref = `refs/heads/${name}`;
  const { status, stdout } = await git.run(["rev-parse", "--verify", "--quiet", ref], { allowStatus: [1] });
  const present = stdout.toString("utf8").trim();
  if (status === 0 && present === commit) return true;
  const isAncestor = async (one: string, other: string) =>
    (await git.run(["merge-base", "--is-ancestor", one, other], { allowStatus: [1] })).status === 0;
  const mayMove =
    status !== 0 ||
    (await isAncestor(present, commit)) ||
    (state.options.setsBack === true && (await isAncestor(commit, present)));
  if (!mayMove) {
    state.conflicts.push(
      `the branch ${name} of ${state.target} has other commits: it was left; the saved one is ${commit.slice(0, 10)}`,
    );
    return false;
  }
  await git.run(["update-ref", ref, commit]);
  state.steps.push(`set the branch ${name} to ${commit.slice(0, 10)}`);
  return true;
}

/** Checks the saved commit out, on its branch where that can be. */
async function checkOut(git: Git, state: Restoring): Promise<boolean> {
  const { head, branch } = state.info;
  if (head === undefined) return true;
  try {
    // Detached first: a branch that is checked out cannot be moved under its own files.
    await git.run(["checkout", "--quiet", "--detach", head]);
    if (branch !== undefined && (await setBranch(git, state, branch, head))) {
      await git.run(["symbolic-ref", "HEAD", `refs/heads/${branch}`]);
    }
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    state.conflicts.push(
      `${head.slice(0, 10)} could not be checked out in ${state.target}: ${error.hint ?? error.message}`,
    );
    return false;
  }
  state.steps.push(`checked out ${head.slice(0, 10)}${branch === undefined ? "" : ` (${branch})`}`);
  return true;
}

async function applyDiff(
  git: Git,
  state: Restoring,
  name: string,
  how: readonly string[],
  what: string,
): Promise<void> {
  const diff = await lend(git, state, name);
  const args = ["apply", "--binary", "--whitespace=nowarn", ...how];
  const check = await git.run([...args, "--check", diff], { allowStatus: [1, 128] });
  if (check.status !== 0) {
    state.conflicts.push(`the ${what} (${name}) do not apply: ${check.stderr.trim().split("\n")[0] ?? ""}`);
    return;
  }
  await git.run([...args, diff]);
  state.steps.push(`applied the ${what}`);
}

/** Puts one file or link where nothing is; false when something else is there. */
async function place(source: string, target: string, owner: { uid: number; gid: number }): Promise<boolean> {
  const facts = await lstat(source);
  try {
    if (facts.isSymbolicLink()) await symlink(await readlink(source), target);
    else await copyFile(source, target, constants.COPYFILE_EXCL);
  } catch (error) {
    if (codeOf(error) === "EEXIST") return await isSame(source, target);
    throw error;
  }
  if (process.getuid?.() === 0 && !facts.isSymbolicLink()) await chown(target, owner.uid, owner.gid);
  return true;
}

async function isSame(source: string, target: string): Promise<boolean> {
  const [a, b] = [await lstat(source), await lstat(target)];
  if (a.isSymbolicLink() && b.isSymbolicLink()) return (await readlink(source)) === (await readlink(target));
  if (!a.isFile() || !b.isFile() || a.size !== b.size) return false;
  return (await readFile(source)).equals(await readFile(target));
}

/** Makes the folders to a path below `target`, and refuses when a link leads out of it. */
async function folderFor(
  target: string,
  path: string,
  owner: { uid: number; gid: number },
): Promise<string | undefined> {
  const root = await realpath(target);
  let folder = root;
  for (const part of dirname(path)
    .split("/")
    .filter((name) => name !== "." && name !== "")) {
    folder = join(folder, part);
    const facts = await lstat(folder).catch(() => undefined);
    if (facts === undefined) {
      await mkdir(folder);
      if (process.getuid?.() === 0) await chown(folder, owner.uid, owner.gid);
    } else if (!facts.isDirectory()) return undefined;
  }
  return folder;
}

async function copyTree(state: Restoring, below: string): Promise<void> {
  const source = join(state.from, below);
  if ((await lookAt(source)) === undefined) return;
  const { uid, gid } = await stat(state.target);
  let count = 0;
  const visit = async (path: string): Promise<void> => {
    state.options.signal.throwIfAborted();
    for (const name of (await readdir(join(source, path))).toSorted()) {
      const inner = path === "" ? name : `${path}/${name}`;
      if ((await lstat(join(source, inner))).isDirectory()) {
        await visit(inner);
        continue;
      }
      const folder = await folderFor(state.target, inner, { uid, gid });
      if (folder !== undefined && (await place(join(source, inner), join(folder, name), { uid, gid }))) count += 1;
      else state.conflicts.push(`${join(state.target, inner)} is there already and differs: it was left`);
    }
  };
  await visit("");
  if (count > 0) state.steps.push(`put back ${plural(count, below === CODE_FILES ? "file" : "untracked file")}`);
}

async function isClean(git: Git): Promise<boolean> {
  const { stdout } = await git.run(["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"]);
  return stdout.length === 0;
}

async function restoreGit(state: Restoring): Promise<void> {
  const { info, target } = state;
  if (await isEmptyOrMissing(target)) {
    await mkdir(target, { recursive: true });
    await runProgram("git", ["init", "--quiet", target], {
      signal: state.options.signal,
      env: { GIT_CONFIG_NOSYSTEM: "1", GIT_CONFIG_GLOBAL: "/dev/null", GIT_DIR: undefined, GIT_TEMPLATE_DIR: "" },
    });
  }
  if ((await lookAt(join(target, ".git"))) === undefined) {
    state.conflicts.push(`${target} is not empty and no git checkout: nothing was changed in it`);
    return;
  }
  const protocols = state.options.fetch === true ? ["file", "https", "http", "ssh", "git"] : ["file"];
  await using git = await openGit(target, { signal: state.options.signal, protocols });
  if (!(await isClean(git))) {
    state.conflicts.push(`${target} has changes of its own: commit or stash them first`);
    return;
  }
  if (!(await bringCommits(git, state))) return;
  if (!(await checkOut(git, state))) return;
  await setBranches(git, state);
  if (info.origin !== undefined && (await git.text(["remote"])) === "")
    await git.run(["remote", "add", "origin", info.origin]);
  if (info.hasStaged) await applyDiff(git, state, CODE_STAGED, ["--index"], "staged changes");
  if (info.hasUnstaged) await applyDiff(git, state, CODE_UNSTAGED, [], "unstaged changes");
  await copyTree(state, CODE_UNTRACKED);
}

/**
 * Brings the saved commits into the checkout at `target`, as references of ours: nothing that is checked out changes.
 * @returns What is lacking, one line each.
 */
export async function bringSavedCommits(from: string, target: string, options: RestoreCodeOptions): Promise<string[]> {
  const state: Restoring = { from, target, info: await readCodeInfo(from), options, steps: [], conflicts: [] };
  await using git = await openGit(target, { signal: options.signal, protocols: ["file"] });
  await bringCommits(git, state);
  return state.conflicts;
}

/**
 * Puts the saved pieces in `from` (what lies below `code/` in a restore point) back into `target`: an empty folder,
 * one that is not there yet, or a git checkout without changes.
 *
 * @throws Failure `point/invalid` when the pieces have no description, `program/missing` without git.
 */
export async function restoreCode(from: string, target: string, options: RestoreCodeOptions): Promise<RestoredCode> {
  const info = await readCodeInfo(from);
  const state: Restoring = { from, target, info, options, steps: [], conflicts: [] };
  if ((await lookAt(join(from, CODE_FILES))) !== undefined || info.kind === "files") {
    await mkdir(target, { recursive: true });
    await copyTree(state, CODE_FILES);
    await copyTree(state, CODE_UNTRACKED);
  } else await restoreGit(state);
  return { complete: state.conflicts.length === 0, steps: state.steps, conflicts: state.conflicts };
}
