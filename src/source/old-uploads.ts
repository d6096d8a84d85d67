/**
 * Uploaded files as people keep them beside a dump: a folder, or a tar of one, with any folders above. What counts is
 * Active Storage's own layout: `ab/cd/abcd…`.
 */
import { createWriteStream } from "node:fs";
import { mkdir, readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { formatBytes } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { readTarStream } from "../store/tar-stream.ts";

/** How far below the named folder the layout may begin: `backup/app/storage`. */
const DEPTH = 3;
const PART = /^[A-Za-z0-9_-]{2}$/;
const IN_TAR = /(?:^|\/)([A-Za-z0-9_-]{2})\/([A-Za-z0-9_-]{2})\/(\1\2[A-Za-z0-9_-]+)$/;

/**
 * The folder below which files lie in that layout: the named one, or one in it.
 * @throws Failure `source/unreadable` where there is none.
 */
export async function findUploads(folder: string, { signal }: { signal: AbortSignal }): Promise<string> {
  let level = [folder];
  for (let depth = 0; depth <= DEPTH; depth += 1) {
    const below: string[] = [];
    for (const path of level) {
      signal.throwIfAborted();
      const names = await foldersIn(path, path === folder);
      if (await hasLayout(path, names)) return path;
      below.push(...names.map((name) => join(path, name)));
    }
    level = below.slice(0, 1_000);
  }
  throw new Failure("source/unreadable", `there are no uploaded files in '${folder}'`, {
    hint: "They lie as ab/cd/abcd… below a folder that is usually called 'storage': name that one, or one above it.",
  });
}

async function foldersIn(path: string, mustExist: boolean): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .toSorted();
  } catch (error) {
    if (!mustExist) return [];
    throw new Failure("source/unreadable", `'${path}' cannot be listed: ${messageOf(error)}`, {
      hint: "Is the path right, and may this user read it?",
      cause: error,
    });
  }
}

async function hasLayout(path: string, names: readonly string[]): Promise<boolean> {
  for (const first of names.filter((name) => PART.test(name))) {
    for (const second of (await foldersIn(join(path, first), false)).filter((name) => PART.test(name))) {
      const files = await readdir(join(path, first, second)).catch(() => []);
      if (files.some((name) => name.startsWith(`${first}${second}`))) return true;
    }
  }
  return false;
}

export interface UnpackOptions {
  /** The tar's bytes, unpacked. */
  chunks: AsyncIterable<Buffer>;
  /** For messages. */
  path: string;
  /** Of the file as it lies there: so much is needed at least. */
  fileBytes: number;
  /** An empty folder of our own. */
  into: string;
  onFile: () => void;
  signal: AbortSignal;
}

/**
 * Writes the uploaded files of a tar into a folder, in their layout; where its names lead does not matter, and nothing else
 * of it is written.
 * @returns how many there were.
 * @throws Failure `dump/damaged`, `dump/unsuitable`, `store/full`.
 */
export async function unpackUploads({ chunks, path, fileBytes, into, onFile, signal }: UnpackOptions): Promise<number> {
  const { bavail, bsize } = await statfs(into);
  if (bavail * bsize < fileBytes) throw full(into, path, `${formatBytes(fileBytes)} at least`);
  let files = 0;
  for await (const member of readTarStream(chunks, { path })) {
    signal.throwIfAborted();
    const [, first = "", second = "", key] = IN_TAR.exec(member.path) ?? [];
    if (key === undefined) continue;
    const folder = join(into, first, second);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      const file = createWriteStream(join(folder, key), { mode: 0o600 });
      await pipeline(Readable.from(member.read(), { objectMode: false }), file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw code === "ENOSPC" || code === "EDQUOT" ? full(into, path, "more", error) : error;
    }
    files += 1;
    onFile();
  }
  if (files > 0) return files;
  throw new Failure("dump/unsuitable", `there are no uploaded files in '${path}'`, {
    hint: "They lie as ab/cd/abcd… below a folder that is usually called 'storage': a tar of that one is meant.",
  });
}

function full(into: string, path: string, needed: string, cause?: unknown): Failure {
  return new Failure("store/full", `there is no room to unpack '${path}' below ${into}: it takes ${needed}`, {
    hint: "Free some space there, or set TMPDIR to a folder on a larger disk; or unpack it yourself, and name the folder.",
    cause,
  });
}
