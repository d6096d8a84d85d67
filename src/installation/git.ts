/**
 * Git, run so that a checkout which belongs to somebody else can do no harm: as its owner where we may, with no
 * configuration but its own, and without hooks, filters, external programs, network or writes to its index.
 */
import { chown, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { realpath } from "node:fs/promises";
import { Failure, isFailure } from "../base/errors.ts";
import { type ProgramOptions, readProgram, runProgram } from "../system/process.ts";
import { openTemporaryFolder } from "../system/temporary.ts";

export interface GitOptions {
  signal: AbortSignal;
  /** Protocols that git may fetch by; none by default. */
  protocols?: readonly string[];
}

export interface GitRun {
  allowStatus?: readonly number[];
  input?: string | Uint8Array;
  /** Another index than the checkout's. */
  indexFile?: string;
}

/** What git said of the checkout when it was opened. */
export interface OpenedCheckout {
  /** The commit that is checked out; undefined before the first. */
  readonly head: string | undefined;
  readonly isShallow: boolean;
  /** Where its index is, or would be. */
  readonly indexPath: string;
  /** All that git is configured with here, as git names it (`remote.origin.url`); of several values the last. */
  readonly settings: ReadonlyMap<string, string>;
}

export interface Git extends AsyncDisposable {
  readonly root: string;
  readonly opened: OpenedCheckout;
  /** A temporary folder that git's user may read and write. */
  readonly scratch: string;
  run(args: readonly string[], run?: GitRun): Promise<{ status: number; stdout: Buffer; stderr: string }>;
  /** Standard output without the last line's end. */
  text(args: readonly string[], run?: GitRun): Promise<string>;
  /** Standard output as it comes; fails after the last chunk when git did. */
  stream(args: readonly string[], run?: GitRun): AsyncIterable<Buffer>;
  /** Gives a file that we made to the user that git runs as. */
  handOver(path: string): Promise<void>;
}

interface Owner {
  uid: number;
  gid: number;
}

const SAFE_SETTINGS = [
  "core.fsmonitor=false",
  "core.hooksPath=/dev/null",
  "core.quotePath=false",
  "core.untrackedCache=false",
  "diff.autoRefreshIndex=true",
  "gc.auto=0",
  "maintenance.auto=false",
  "submodule.recurse=false",
  "fetch.recurseSubmodules=false",
  "diff.noprefix=false",
  "diff.mnemonicPrefix=false",
  "diff.relative=false",
  "diff.renames=false",
];

/** Nothing of our own environment goes to git but the search path: it may hold secrets, and git obeys many variables. */
function environment(home: string, protocols: readonly string[]): Record<string, string | undefined> {
  const cleared = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
  return {
    ...cleared,
    PATH: process.env["PATH"],
    HOME: home,
    XDG_CONFIG_HOME: home,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: join(home, ".gitconfig"),
    GIT_OPTIONAL_LOCKS: "0",
    GIT_TERMINAL_PROMPT: "0",
    GIT_NO_LAZY_FETCH: "1",
    GIT_ALLOW_PROTOCOL: protocols.length === 0 ? "none" : protocols.join(":"),
    LC_ALL: "C",
  };
}

/** The user that owns the checkout, where we are root and it is not: his rights are enough, and his programs stay his. */
async function ownerOf(root: string): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const facts = await stat(root);
  return facts.uid === 0 ? undefined : { uid: facts.uid, gid: facts.gid };
}

function quoteSetting(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** One question for all that must be known at once: each start of git costs as much as what it answers. */
async function lookAtCheckout(
  root: string,
  base: readonly string[],
  options: ProgramOptions,
): Promise<Omit<OpenedCheckout, "settings">> {
  // The commit is asked for last: git ends at what is not there, in silence.
  const asked = ["--is-shallow-repository", "--git-path", "index", "--revs-only", "HEAD^{commit}"];
  const { stdout } = await runProgram("git", [...base, "rev-parse", ...asked], options);
  const [, shallow, path, head] = /^(.*?)\n(.*index)\n(?:([0-9a-f]{40,64})\n)?$/s.exec(stdout.toString("utf8")) ?? [];
  if (path === undefined) {
    throw new Failure("program/failed", `'git' does not say where the index of ${root} is`, {
      hint: "Check the checkout with 'git status'.",
    });
  }
  return { head, isShallow: shallow === "true", indexPath: path.startsWith("/") ? path : join(root, path) };
}

async function readSettings(base: readonly string[], options: ProgramOptions): Promise<Map<string, string>> {
  const { stdout } = await runProgram("git", [...base, "config", "--null", "--list"], options);
  const entries = stdout
    .toString("utf8")
    .split("\0")
    .filter((entry) => entry !== "");
  return new Map(
    entries.map((entry) => {
      const [name = "", ...value] = entry.split("\n");
      return [name, value.join("\n")];
    }),
  );
}

/** Switches off the programs that a checkout's filters would run. */
function withoutFilters(settings: ReadonlyMap<string, string>): string[] {
  const names = [...settings.keys()].filter((name) => name.startsWith("filter."));
  const drivers = new Set(names.map((name) => name.slice(0, name.lastIndexOf("."))));
  return [...drivers].flatMap((driver) =>
    ["clean=", "smudge=", "process=", "required=false"].flatMap((setting) => ["-c", `${driver}.${setting}`]),
  );
}

/**
 * Opens git on the checkout at `root`; use it with `await using`.
 * @throws Failure `program/missing` without git, `program/failed` when `root` is no checkout that git understands.
 */
export async function openGit(root: string, options: GitOptions): Promise<Git> {
  const owner = await ownerOf(root);
  if (owner !== undefined) {
    try {
      return await open(root, owner, options);
    } catch (error) {
      // Its owner may lack the way to it: a folder above that only root may pass.
      if (!isFailure(error, "program/failed")) throw error;
    }
  }
  return await open(root, undefined, options);
}

async function open(root: string, owner: Owner | undefined, options: GitOptions): Promise<Git> {
  const folder = await openTemporaryFolder("chatkeep-git");
  try {
    const handOver = async (path: string) => {
      if (owner !== undefined) await chown(path, owner.uid, owner.gid);
    };
    const config = join(folder.path, ".gitconfig");
    const safe = new Set([resolve(root), await realpath(root)]);
    await writeFile(config, `[safe]\n${[...safe].map((path) => `\tdirectory = ${quoteSetting(path)}\n`).join("")}`);
    await handOver(folder.path);
    await handOver(config);
    const program: ProgramOptions = {
      signal: options.signal,
      cwd: root,
      env: environment(folder.path, options.protocols ?? []),
      ...owner,
    };
    const base = ["--no-pager", ...SAFE_SETTINGS.flatMap((setting) => ["-c", setting])];
    const looked = await lookAtCheckout(root, base, program);
    const settings = await readSettings(base, program);
    base.push(...withoutFilters(settings));
    const optionsOf = (run: GitRun = {}): ProgramOptions => ({
      ...program,
      ...(run.allowStatus === undefined ? {} : { allowStatus: run.allowStatus }),
      ...(run.input === undefined ? {} : { input: run.input }),
      ...(run.indexFile === undefined ? {} : { env: { ...program.env, GIT_INDEX_FILE: run.indexFile } }),
    });
    const run: Git["run"] = async (args, how) => await runProgram("git", [...base, ...args], optionsOf(how));
    return {
      root,
      opened: { ...looked, settings },
      scratch: folder.path,
      run,
      text: async (args, how) => (await run(args, how)).stdout.toString("utf8").replace(/\n$/, ""),
      stream: (args, how) => readProgram("git", [...base, ...args], optionsOf(how)),
      handOver,
      [Symbol.asyncDispose]: async () => await folder[Symbol.asyncDispose](),
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}
