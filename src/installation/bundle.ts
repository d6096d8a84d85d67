/** Git bundles: what one holds, and whether it is whole. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { isFailure } from "../base/errors.ts";
import { runProgram } from "../system/process.ts";
import { openTemporaryFolder } from "../system/temporary.ts";

export interface BundleHeader {
  /** Commits that whoever unpacks it must have already. */
  prerequisites: string[];
  refs: { name: string; commit: string }[];
  objectFormat: "sha1" | "sha256";
  /** Where the pack begins. */
  packAt: number;
}

export interface BundleVerdict {
  ok: boolean;
  /** Why not. */
  problem?: string;
  header?: BundleHeader;
  /** True when git itself unpacked every object; a bundle with prerequisites can only be checked by its checksum. */
  unpacked: boolean;
}

const HEADER_MAX_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** Reads a bundle's header; undefined when it is none. Format: git's `gitformat-bundle`, versions 2 and 3. */
export function parseBundleHeader(bytes: Buffer): BundleHeader | undefined {
  const end = bytes.indexOf("\n\n");
  if (end < 0) return undefined;
  const [signature, ...lines] = bytes.subarray(0, end).toString("utf8").split("\n");
  if (signature !== "# v2 git bundle" && signature !== "# v3 git bundle") return undefined;
  const header: BundleHeader = { prerequisites: [], refs: [], objectFormat: "sha1", packAt: end + 2 };
  for (const line of lines) {
    if (line === "@object-format=sha256") header.objectFormat = "sha256";
    const prerequisite = /^-([0-9a-f]{40,64})(?: |$)/.exec(line)?.[1];
    if (prerequisite !== undefined) header.prerequisites.push(prerequisite);
    const [, commit, name] = /^([0-9a-f]{40,64}) (\S.*)$/.exec(line) ?? [];
    if (commit !== undefined && name !== undefined) header.refs.push({ name, commit });
  }
  return header;
}

/** The header of the bundle at `path`, or undefined when it is none. */
export async function readBundleHeader(path: string): Promise<BundleHeader | undefined> {
  await using file = await open(path, "r");
  const buffer = Buffer.alloc(HEADER_MAX_BYTES);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return parseBundleHeader(buffer.subarray(0, bytesRead));
}

/** Whether the pack ends in the hash of all that is before it, as git writes it. */
async function checksumProblem(path: string, header: BundleHeader, signal: AbortSignal): Promise<string | undefined> {
  await using file = await open(path, "r");
  const hashBytes = header.objectFormat === "sha256" ? 32 : 20;
  const end = (await file.stat()).size - hashBytes;
  const hash = createHash(header.objectFormat);
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (let at = header.packAt; at < end;) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - at), at);
    if (bytesRead === 0) return "it is cut off";
    const bytes = buffer.subarray(0, bytesRead);
    if (at === header.packAt && bytes.subarray(0, 4).toString("latin1") !== "PACK") return "it holds no pack";
    hash.update(bytes);
    at += bytesRead;
  }
  if (end <= header.packAt) return "it is cut off";
  const { bytesRead } = await file.read(buffer, 0, hashBytes, end);
  return hash.digest().equals(buffer.subarray(0, bytesRead)) ? undefined : "it does not match its own checksum";
}

/** Lets git unpack and check every object in an empty repository. */
async function unpackProblem(path: string, header: BundleHeader, signal: AbortSignal): Promise<string | undefined> {
  await using folder = await openTemporaryFolder("chatkeep-bundle");
  const repository = join(folder.path, "repository");
  const env = {
    HOME: folder.path,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_DIR: undefined,
    GIT_TERMINAL_PROMPT: "0",
    LC_ALL: "C",
  };
  const options = { signal, env };
  try {
    await runProgram(
      "git",
      ["init", "--quiet", "--bare", "--template=", `--object-format=${header.objectFormat}`, repository],
      options,
    );
    await runProgram(
      "git",
      [
        "-C",
        repository,
        "-c",
        "transfer.fsckObjects=false",
        "-c",
        "maintenance.auto=false",
        "fetch",
        "--quiet",
        "--no-tags",
        path,
        "+refs/*:refs/bundle/*",
      ],
      options,
    );
    return undefined;
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    return `git does not unpack it: ${error.hint ?? error.message}`;
  }
}

/**
 * Checks a bundle: its header, its checksum, and, when it needs no other commits, that git unpacks it.
 * @throws Failure `program/missing` without git.
 */
export async function verifyBundle(path: string, options: { signal: AbortSignal }): Promise<BundleVerdict> {
  const header = await readBundleHeader(path);
  if (header === undefined) return { ok: false, problem: "it is no git bundle", unpacked: false };
  const problem = await checksumProblem(path, header, options.signal);
  if (problem !== undefined) return { ok: false, problem, header, unpacked: false };
  if (header.prerequisites.length > 0) return { ok: true, header, unpacked: false };
  const refused = await unpackProblem(path, header, options.signal);
  return refused === undefined
    ? { ok: true, header, unpacked: true }
    : { ok: false, problem: refused, header, unpacked: false };
}
