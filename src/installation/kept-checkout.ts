/**
 * A checkout as it is, kept so that it can be put back to the byte: what is checked out, the branches, the index, what was
 * edited, and what lies in the way of other code. Nothing is stashed and nothing committed.
 */
import {
  chmod,
  chown,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  symlink,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { copyIndex, readRefs, zeroes } from "./checkout-state.ts";
import { clearCutOff } from "./cut-off-git.ts";
import { type Git, openGit } from "./git.ts";
import { codeOf, lookAt } from "./places.ts";

export interface KeptPath {
  /** Below the checkout. */
  readonly path: string;
  /** `none`: there was nothing. */
  readonly kind: "file" | "link" | "none";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A folder without git, as far as it is changed. */
export interface KeptFolder {
  readonly root: string;
  readonly paths: readonly KeptPath[];
}

export interface KeptCheckout extends KeptFolder {
  readonly head: string;
  /** Absent where no branch was checked out. */
  readonly branch?: string;
  readonly branches: readonly { readonly name: string; readonly commit: string }[];
  /** References that an earlier restore left. */
  readonly refs: readonly string[];
  readonly hasRemote: boolean;
  readonly hasIndex: boolean;
}

export interface CheckoutOptions {
  signal: AbortSignal;
}

const REFS = "refs/chatkeep";
const BEFORE = `${REFS}/before`;
/** Of what somebody has made in between: an undo leaves these. */
const SINCE = `${REFS}/since`;
/** In the folder of what is kept. */
const INDEX = "index";
const FILES = "files";

async function factsOf(place: string): Promise<Omit<KeptPath, "path">> {
  try {
    const facts = await lstat(place);
    const kind = facts.isSymbolicLink() ? "link" : facts.isFile() ? "file" : "none";
    return { kind, mode: facts.mode & 0o7777, uid: facts.uid, gid: facts.gid };
  } catch (error) {
    if (codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR") throw error;
    return { kind: "none", mode: 0, uid: 0, gid: 0 };
  }
}

async function copyTo(from: string, to: string, { kind, mode, uid, gid }: Omit<KeptPath, "path">): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await rm(to, { recursive: true, force: true });
  if (kind === "link") return await symlink(await readlink(from), to);
  await copyFile(from, to);
  if (process.getuid?.() === 0) await chown(to, uid, gid);
  await chmod(to, mode);
}

/** False where a link on the way leads somewhere else: what lies there is none of the checkout. */
async function isWithin(root: string, path: string): Promise<boolean> {
  for (let folder = dirname(path); folder !== "."; folder = dirname(folder)) {
    const facts = await lstat(join(root, folder)).catch(() => undefined);
    if (facts !== undefined && !facts.isDirectory()) return false;
  }
  return true;
}

/** A folder that stands in a file's place is left: git says that it is in the way. */
async function removeFile(root: string, path: string): Promise<void> {
  if (!(await isWithin(root, path)) || (await factsOf(join(root, path))).kind === "none") return;
  await rm(join(root, path), { force: true });
}

/** Copies files of a folder into another, and says of each what it was; those that are not there are noted as such. */
export async function keepPaths(root: string, into: string, paths: readonly string[]): Promise<KeptPath[]> {
  const kept: KeptPath[] = [];
  for (const path of new Set(paths)) {
    if (!(await isWithin(root, path))) continue;
    const facts = await factsOf(join(root, path));
    if (facts.kind !== "none") await copyTo(join(root, path), join(into, FILES, path), facts);
    kept.push({ path, ...facts });
  }
  return kept;
}

/** Tracked files that are not as they are committed, hidden ones, too. */
export async function editedPaths(git: Git): Promise<string[]> {
  const { indexFile } = await copyIndex(git);
  const index = indexFile === undefined ? {} : { indexFile };
  const how = ["--name-only", "-z", "--no-renames", "--ignore-submodules=all"];
  const lists = [
    await git.run(["diff", ...how, "HEAD"], index),
    await git.run(["diff", ...how, "--cached", "HEAD"], index),
  ];
  return lists.flatMap(({ stdout }) => zeroes(stdout));
}

async function refsBelow(git: Git, prefix: string): Promise<string[]> {
  const listed = await git.text(["for-each-ref", "--format=%(refname)", prefix]);
  return listed.split("\n").filter((line) => line !== "");
}

function inRef(label: string): string {
  return label.replaceAll(/[^\w-]/g, "-");
}

/**
 * Lets go of the commits that {@link keepCheckout} has held: those of before of that label, and those of since whose label begins with
 * it. The work tree, index and branches are left. Of a checkout that is gone there is nothing to let go of.
 * @throws Failure as {@link openGit} does.
 */
export async function letGoOfCommits(root: string, label: string, options: CheckoutOptions): Promise<void> {
  if ((await lookAt(root)) === undefined) return;
  await using git = await openGit(root, options);
  for (const ref of [...(await refsBelow(git, BEFORE)), ...(await refsBelow(git, SINCE))]) {
    const isOf = ref.startsWith(`${BEFORE}/${inRef(label)}/`) || ref.startsWith(`${SINCE}/${inRef(label)}-`);
    if (isOf) await git.run(["update-ref", "-d", ref]);
  }
}

/**
 * Keeps a checkout in a folder; commits that only its branches have are held by references of ours. Its work tree, index and
 * branches are only read.
 * @param options `label`: tells these references from those of other restores. `since`: what is kept was made after a restore, and of
 * its commits those are held that this says yes to.
 * @returns Undefined for a checkout without a commit.
 */
export async function keepCheckout(
  root: string,
  into: string,
  options: CheckoutOptions & { label: string; since?: (commit: string) => boolean },
): Promise<KeptCheckout | undefined> {
  await using git = await openGit(root, options);
  const { head, indexPath } = git.opened;
  if (head === undefined) return undefined;
  await rm(into, { recursive: true, force: true });
  await mkdir(into, { recursive: true, mode: 0o700 });
  const { branch, branches } = await readRefs(git);
  const own = `${options.since === undefined ? BEFORE : SINCE}/${inRef(options.label)}`;
  // What a run that was killed just now left of this very restore is no earlier one's.
  const earlier = (await refsBelow(git, REFS)).filter((ref) => !ref.startsWith(`${own}/`));
  const hasIndex = (await lookAt(indexPath)) !== undefined;
  if (hasIndex) await copyFile(indexPath, join(into, INDEX));
  const paths = await keepPaths(root, into, await editedPaths(git));
  const { since: isHeld = () => true } = options;
  for (const { name, commit } of [
    { name: "HEAD", commit: head },
    ...branches.map((one) => ({ ...one, name: `heads/${one.name}` })),
  ]) {
    if (isHeld(commit)) await git.run(["update-ref", `${own}/${name}`, commit]);
  }
  const hasRemote = (await git.text(["remote"])) !== "";
  const named = branch === undefined ? {} : { branch };
  return { root, head, ...named, branches, refs: earlier, hasRemote, hasIndex, paths };
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = [await factsOf(one), await factsOf(other)];
  if (a.kind !== b.kind || a.kind === "none") return false;
  if (a.kind === "link") return (await readlink(one)) === (await readlink(other));
  return (await readFile(one)).equals(await readFile(other));
}

/** Paths that are to come from `saved`, and are not there already just like that. */
export async function differingPaths(root: string, saved: string, paths: readonly string[]): Promise<string[]> {
  const differing: string[] = [];
  for (const path of paths) if (!(await isSameFile(join(root, path), join(saved, path)))) differing.push(path);
  return differing;
}

/**
 * Keeps what lies where other code will put its own, ignored files, too; then {@link clearWay} may take it away.
 * @param commit What will be checked out; its objects are there.
 * @param untracked Paths below `saved` that will be put back.
 */
export async function keepInTheWay(
  kept: KeptCheckout,
  into: string,
  {
    commit,
    saved,
    untracked,
    signal,
  }: { commit: string; saved: string; untracked: readonly string[] } & CheckoutOptions,
): Promise<KeptCheckout> {
  await using git = await openGit(kept.root, { signal });
  const { stdout } = await git.run(["diff", "--name-only", "-z", "--no-renames", "--diff-filter=A", kept.head, commit]);
  const known = new Set(kept.paths.map(({ path }) => path));
  const wanted = [...zeroes(stdout), ...(await differingPaths(kept.root, saved, untracked))];
  const more = await keepPaths(
    kept.root,
    into,
    wanted.filter((path) => !known.has(path)),
  );
  return { ...kept, paths: [...kept.paths, ...more] };
}

/** Brings the work tree to what is committed, and takes away what was kept. */
export async function clearWay(kept: KeptCheckout, options: CheckoutOptions): Promise<void> {
  await using git = await openGit(kept.root, options);
  await removePaths(kept);
  await git.run(["reset", "--quiet", "--hard", kept.head]);
}

/** Folders that became empty go, up to the checkout itself. */
async function removeEmpty(root: string, path: string): Promise<void> {
  for (let folder = dirname(path); folder !== "."; folder = dirname(folder)) {
    const place = join(root, folder);
    if ((await readdir(place).catch(() => ["there"])).length > 0) return;
    await rmdir(place);
  }
}

async function putRefsBack(git: Git, kept: KeptCheckout): Promise<void> {
  const { branches } = await readRefs(git);
  for (const { name, commit } of kept.branches) await git.run(["update-ref", `refs/heads/${name}`, commit]);
  const before = new Set(kept.branches.map(({ name }) => name));
  for (const { name } of branches) if (!before.has(name)) await git.run(["update-ref", "-d", `refs/heads/${name}`]);
  if (kept.branch !== undefined) await git.run(["symbolic-ref", "HEAD", `refs/heads/${kept.branch}`]);
  if (!kept.hasRemote)
    for (const name of (await git.text(["remote"])).split("\n")) {
      if (name !== "") await git.run(["remote", "remove", name]);
    }
  for (const ref of await refsBelow(git, REFS)) {
    if (!kept.refs.includes(ref) && !ref.startsWith(`${SINCE}/`)) await git.run(["update-ref", "-d", ref]);
  }
}

/** Those of the kept files whose copies are gone. Changes nothing. */
export async function goneFrom(kept: KeptFolder & Partial<KeptCheckout>, from: string): Promise<string[]> {
  const copies = kept.paths.flatMap(({ path, kind }) => (kind === "none" ? [] : [join(FILES, path)]));
  if (kept.hasIndex === true) copies.push(INDEX);
  const gone: string[] = [];
  for (const copy of copies) if ((await factsOf(join(from, copy))).kind === "none") gone.push(copy);
  return gone;
}

/** Puts files back as they were kept; where nothing was, nothing is then. */
export async function putPathsBack({ root, paths }: KeptFolder, from: string): Promise<void> {
  for (const one of paths) {
    if (one.kind === "none") {
      await removeFile(root, one.path);
      await removeEmpty(root, one.path);
    } else await copyTo(join(from, FILES, one.path), join(root, one.path), one);
  }
}

/** Takes away files that were kept. */
export async function removePaths({ root, paths }: KeptFolder): Promise<void> {
  for (const { path } of paths) await removeFile(root, path);
}

/**
 * Puts a checkout back as it was kept: commit, branches, index, edits, and every file that was taken out of the way. Called
 * again after a kill it ends what it began.
 */
export async function putCheckoutBack(kept: KeptCheckout, from: string, options: CheckoutOptions): Promise<void> {
  const { root } = kept;
  await using git = await openGit(root, options);
  await clearCutOff(git, options);
  await removePaths(kept);
  await git.run(["reset", "--quiet", "--hard"]);
  await git.run(["checkout", "--quiet", "--force", "--detach", kept.head]);
  await putPathsBack(kept, from);
  await putRefsBack(git, kept);
  const { indexPath } = git.opened;
  if (!kept.hasIndex) await rm(indexPath, { force: true });
  else {
    // Half an index is of no use to git: the next call would not come as far as here.
    const beside = `${indexPath}.chatkeep-new`;
    await copyFile(join(from, INDEX), beside);
    await git.handOver(beside);
    await rename(beside, indexPath);
  }
}
