/**
 * What upstream does not have of an installation's code: commits as a git bundle, staged and unstaged changes as
 * diffs, untracked files, and a description to put it all back by. Without git, all files of the folder.
 *
 * The checkout is only read: its index, its refs and its objects stay as they are.
 */
import { createWriteStream } from "node:fs";
import { lstat, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import { formatBytes, plural } from "../base/bytes.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { type BundleHeader, verifyBundle } from "./bundle.ts";
import {
  copyIndex,
  type IndexEntry,
  pathsOf,
  readRefs,
  submodulesOf,
  type Upstream,
  upstreamOf,
  zeroes,
} from "./checkout-state.ts";
import { walkFiles } from "./code-files.ts";
import {
  CODE_BUNDLE,
  CODE_FILES,
  CODE_INFO,
  CODE_STAGED,
  CODE_UNSTAGED,
  CODE_UNTRACKED,
  type CodeFile,
  type CodeInfo,
} from "./code-info.ts";
import { type Git, openGit } from "./git.ts";
import { codeOf, lookAt } from "./places.ts";

export interface CodeCapture {
  kind: "git" | "files";
  files: CodeFile[];
  origin?: string;
  head?: string;
  branch?: string;
  isDirty: boolean;
  hasBundle: boolean;
  findings: Finding[];
}

export interface CodeOptions {
  signal: AbortSignal;
  /** An empty folder of ours for what is made: bundle, diffs, description. Must live until the files were read. */
  into: string;
  /** Files and folders that are saved elsewhere: the storage, the environment file. */
  except?: readonly string[];
}

/** An origin's URL with everything that may be a credential taken out; `git@host:path` and paths stay. */
export function stripCredentials(url: string): string {
  const [, scheme = "", userInfo = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/\/)(?:([^/]*)@)?(.*)$/is.exec(url) ?? [];
  if (scheme === "") return url.replace(/^([^/:@]+):[^@/]*@/, "$1@");
  const user = /^ssh/i.test(scheme) && userInfo !== "" ? `${userInfo.split(":")[0] ?? ""}@` : "";
  return `${scheme}${user}${rest.replace(/[?#].*$/s, "")}`;
}

interface Capturing {
  git: Git;
  options: CodeOptions;
  files: CodeFile[];
  findings: Finding[];
}

async function saveOutput(
  state: Capturing,
  name: string,
  args: readonly string[],
  indexFile?: string,
): Promise<boolean> {
  const absolute = join(state.options.into, name);
  const output = state.git.stream(args, indexFile === undefined ? {} : { indexFile });
  await pipeline(output, createWriteStream(absolute, { mode: 0o600 }), { signal: state.options.signal });
  if ((await stat(absolute)).size === 0) {
    await rm(absolute);
    return false;
  }
  state.files.push({ path: name, absolute });
  return true;
}

/** Several threads find different deltas each time: the same commits would make another bundle, and cost space anew. */
const ONE_WAY = ["-c", "pack.threads=1"];

/** The commits of HEAD, of every local branch and of the newest stash that the upstream lacks; undefined when there are none. */
async function saveBundle(
  state: Capturing,
  upstream: Upstream | undefined,
  hasStash: boolean,
): Promise<Pick<BundleHeader, "prerequisites"> | undefined> {
  const { git } = state;
  const wanted = [
    ...(git.opened.head === undefined ? [] : ["HEAD"]),
    "--branches",
    ...(hasStash ? ["refs/stash"] : []),
  ];
  const known = upstream === undefined || upstream.isLocal ? [] : ["--not", `--remotes=${upstream.name}`];
  const count = Number(await git.text(["rev-list", "--count", ...wanted, ...known, "--"]));
  if (count === 0) return undefined;
  const make = [...ONE_WAY, "bundle", "create", "--quiet", "-", ...wanted, ...known];
  const isThere = await saveOutput(state, CODE_BUNDLE, make);
  if (!isThere) return undefined;
  const verdict = await verifyBundle(join(state.options.into, CODE_BUNDLE), { signal: state.options.signal });
  if (!verdict.ok) {
    state.findings.push({
      kind: "code-bundle-broken",
      level: "warning",
      message: `the git bundle of ${plural(count, "commit")} does not verify: ${verdict.problem ?? "no reason given"}`,
      hint: "Check the checkout with 'git fsck': its history may be damaged or incomplete.",
    });
  }
  return { prerequisites: verdict.header?.prerequisites ?? [] };
}

const DIFF = [
  "--binary",
  "--full-index",
  "--no-color",
  "--no-ext-diff",
  "--no-textconv",
  "--no-renames",
  "--ignore-submodules=dirty",
  "--diff-filter=u",
  "--src-prefix=a/",
  "--dst-prefix=b/",
];

async function saveConflicted(state: Capturing, entries: readonly IndexEntry[]): Promise<void> {
  const paths = pathsOf(entries.filter(({ stage }) => stage !== "0"));
  if (paths.length === 0) return;
  for (const path of paths) await addFile(state, path, "conflicted");
  state.findings.push({
    kind: "code-conflicts",
    level: "warning",
    message: `${plural(paths.length, "file")} of the code are in the middle of a merge; they are saved as they are on the disk`,
    hint: "Finish or abort the merge in Chatwoot's folder.",
  });
}

/** Adds a file of the checkout, unless it is too large or none that can be saved. */
async function addFile(state: Capturing, path: string, below: string): Promise<boolean> {
  const absolute = join(state.git.root, path);
  const unsaved = (why: string, hint: string) => {
    state.findings.push({
      kind: "code-file-not-saved",
      level: "warning",
      message: `${absolute} is not saved: ${why}`,
      hint,
    });
    return false;
  };
  if (path.endsWith("/")) {
    return unsaved(
      "it is a git checkout of its own",
      "Name it under 'config' in the configuration to have its files saved.",
    );
  }
  if (path.includes("\uFFFD")) return unsaved("its name is not UTF-8", "Rename it.");
  try {
    const facts = await lstat(absolute);
    if (!facts.isFile() && !facts.isSymbolicLink()) return false;
    if (facts.size > LIMITS.codeFileMaxBytes) {
      const large = `it is an untracked file of ${formatBytes(facts.size)}`;
      return unsaved(large, "Move it out of Chatwoot's folder, or name it under 'config' in the configuration.");
    }
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false; // It went while we looked: nothing to save.
    return unsaved(messageOf(error), UNREADABLE_HINT);
  }
  state.files.push({ path: `${below}/${path}`, absolute });
  return true;
}

function pathspecs(root: string, except: readonly string[]): string[] {
  const inside = except.map((place) => relative(root, place)).filter((path) => path !== "" && !path.startsWith(".."));
  return inside.length === 0 ? [] : ["--", ".", ...inside.map((path) => `:(exclude,top,literal)${path}`)];
}

const UNREADABLE_HINT =
  "Give the user that owns Chatwoot's folder the right to read it, or name it under 'config' in the configuration.";

/** Folders that git passed over with no more than a warning: what is in them is not listed. */
function passedOver(stderr: string): string[] {
  return [...stderr.matchAll(/^warning: could not open directory '(.*?)\/?': (.*)$/gm)].map(([, path = ""]) => path);
}

async function saveUntracked(state: Capturing): Promise<string[]> {
  const { git, options } = state;
  const except = options.except ?? [];
  const args = ["ls-files", "--others", "--exclude-standard", "-z", ...pathspecs(git.root, except)];
  const { stdout, stderr } = await git.run(args);
  const listed = zeroes(stdout);
  for (const folder of passedOver(stderr).map((path) => join(git.root, path))) {
    if (except.includes(folder)) continue;
    state.findings.push({
      kind: "code-file-not-saved",
      level: "warning",
      message: `${folder} is not saved: git may not look into it`,
      hint: UNREADABLE_HINT,
    });
  }
  const saved: string[] = [];
  for (const path of listed.slice(0, LIMITS.codeFiles))
    if (await addFile(state, path, CODE_UNTRACKED)) saved.push(path);
  if (listed.length > LIMITS.codeFiles) {
    state.findings.push({
      kind: "code-files-too-many",
      level: "warning",
      message: `there are ${plural(listed.length, "untracked file")} in ${git.root}; only ${LIMITS.codeFiles} are saved`,
      hint: "Move what is not code out of Chatwoot's folder, or have git ignore it.",
    });
  }
  return saved;
}

async function writeInfo(
  state: Capturing | { options: CodeOptions; files: CodeFile[] },
  info: CodeInfo,
): Promise<void> {
  const absolute = join(state.options.into, CODE_INFO);
  await writeFile(absolute, `${JSON.stringify(info, null, 1)}\n`, { mode: 0o600 });
  state.files.unshift({ path: CODE_INFO, absolute });
}

async function captureGit(git: Git, options: CodeOptions): Promise<CodeCapture> {
  const state: Capturing = { git, options, files: [], findings: [] };
  const { head, isShallow } = git.opened;
  const upstream = upstreamOf(git);
  const origin = upstream === undefined ? undefined : stripCredentials(upstream.url);
  const { branches, branch, hasStash } = await readRefs(git);
  const isAlone = upstream === undefined || upstream.isLocal;
  // The history of a shallow clone cannot be unpacked where the rest of it is not: then the files themselves.
  const mustCopy = isShallow && isAlone;
  const bundle = mustCopy ? undefined : await saveBundle(state, upstream, hasStash);
  const { indexFile, entries } = await copyIndex(git);
  const hasStaged = await saveOutput(state, CODE_STAGED, ["diff", "--cached", ...DIFF], indexFile);
  const hasUnstaged = await saveOutput(state, CODE_UNSTAGED, ["diff", "--ours", ...DIFF], indexFile);
  await saveConflicted(state, entries);
  if (mustCopy) for (const path of pathsOf(entries)) await addFile(state, path, CODE_FILES);
  const untracked = await saveUntracked(state);
  const submodules = submodulesOf(entries);
  const hasBundle = bundle !== undefined;
  const isDirty = hasStaged || hasUnstaged || untracked.length > 0;
  state.findings.push(
    ...codeNotes({ root: git.root, isDirty, hasStaged, hasUnstaged, untracked, submodules, mustCopy }),
  );
  const named = {
    ...(origin === undefined ? {} : { origin }),
    ...(head === undefined ? {} : { head }),
    ...(branch === undefined ? {} : { branch }),
  };
  await writeInfo(state, {
    schema: 1,
    kind: "git",
    root: git.root,
    ...named,
    branches,
    prerequisites: bundle?.prerequisites ?? [],
    hasBundle,
    hasStaged,
    hasUnstaged,
    untracked,
    isShallow,
    submodules,
  });
  return { kind: "git", files: state.files, ...named, isDirty, hasBundle, findings: state.findings };
}

interface Noted extends Pick<CodeInfo, "hasStaged" | "hasUnstaged" | "untracked" | "submodules" | "root"> {
  isDirty: boolean;
  mustCopy: boolean;
}

function codeNotes(facts: Noted): Finding[] {
  const findings: Finding[] = [];
  if (facts.isDirty) {
    const parts = [
      facts.hasStaged ? "staged changes" : "",
      facts.hasUnstaged ? "unstaged changes" : "",
      facts.untracked.length === 0 ? "" : plural(facts.untracked.length, "untracked file"),
    ];
    findings.push({
      kind: "code-dirty",
      level: "note",
      message: `the code in ${facts.root} has ${parts.filter((part) => part !== "").join(", ")}; they are saved`,
      hint: "Nothing to do for the backup; an upgrade by cwctl refuses such a checkout, so commit what shall stay.",
    });
  }
  if (facts.submodules.length > 0) {
    findings.push({
      kind: "code-submodules",
      level: "note",
      message: `the code has ${plural(facts.submodules.length, "submodule")}; which commit each is at is saved, its changes are not`,
      hint: "Name a submodule's folder under 'config' in the configuration to have its files saved.",
    });
  }
  if (facts.mustCopy) {
    findings.push({
      kind: "code-shallow",
      level: "note",
      message: "the code is a shallow clone without a remote, so its files are saved instead of its commits",
      hint: "Nothing to do.",
    });
  }
  return findings;
}

async function captureFiles(root: string, options: CodeOptions): Promise<CodeCapture> {
  const { paths, findings } = await walkFiles(root, options);
  const files = paths.map((path) => ({ path: `${CODE_FILES}/${path}`, absolute: join(root, path) }));
  const info: CodeInfo = {
    schema: 1,
    kind: "files",
    root,
    branches: [],
    prerequisites: [],
    hasBundle: false,
    hasStaged: false,
    hasUnstaged: false,
    untracked: [],
    isShallow: false,
    submodules: [],
  };
  await writeInfo({ options, files }, info);
  return { kind: "files", files, isDirty: false, hasBundle: false, findings };
}

/** Saves what is needed to have the code again; what cannot be saved is a finding. */
export async function captureCode(root: string, options: CodeOptions): Promise<CodeCapture> {
  await mkdir(options.into, { recursive: true });
  if ((await lookAt(join(root, ".git"))) === undefined) return await captureFiles(root, options);
  try {
    await using git = await openGit(root, options);
    return await captureGit(git, options);
  } catch (error) {
    if (!isFailure(error) || !error.code.startsWith("program/")) throw error;
    const finding: Finding = {
      kind: "code-not-saved",
      level: "warning",
      message: `the code in ${root} is not saved: ${error.message}`,
      hint: error.hint ?? "Install git, and check the checkout with 'git status'.",
    };
    return { kind: "git", files: [], isDirty: false, hasBundle: false, findings: [finding] };
  }
}
