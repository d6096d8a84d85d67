/**
 * Putting files into a folder, in Active Storage's own layout. A file is written beside, synced, read back, given the
 * owner and mode of the folder, and only then gets its name.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants, statSync } from "node:fs";
import { lstat, mkdir, open, readdir, rm, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { blobPath } from "../chatwoot/blobs.ts";
import { syncFiles, syncNames } from "../store/filesystem-sync.ts";
import { giveFileTo, giveTo, inTurns, makeFolder, nameFile, type Ownership, writeWhole } from "./local-files.ts";
import { openLocalSource } from "./local-source.ts";
import { assertAnnounced } from "./patient-target.ts";
import type { BlobSource, LocalSpec, ReadOptions } from "./source.ts";
import type { BlobFacts, BlobTarget, PutOptions, StagedFile, StoredBlob } from "./target.ts";

/** In the root, so that a file gets its name without being copied; no key begins with a dot. */
const STAGING = ".chatkeep-restore";

export function openLocalTarget(spec: LocalSpec, { like }: { like: readonly string[] }): BlobTarget {
  return new LocalTarget(spec, like);
}

/**
 * What the first of these folders that is there has. Files are no programs, whatever the folder's mode says.
 * @throws Failure `target/unsuitable` where none is there.
 */
export async function ownershipLike(folders: readonly string[]): Promise<Ownership> {
  for (const folder of folders) {
    const facts = await stat(folder).catch(() => undefined);
    if (facts?.isDirectory() !== true) continue;
    const mode = facts.mode & 0o7777;
    return { uid: facts.uid, gid: facts.gid, fileMode: mode & 0o666, folderMode: mode & 0o2777 };
  }
  throw new Failure("target/unsuitable", `there is no folder ${folders[0] ?? ""}, nor one to be made in`);
}

class LocalTarget implements BlobTarget {
  readonly service: string;
  readonly shown: string;
  readonly width = LIMITS.localFilesInFlight;
  readonly #root: string;
  readonly #like: readonly string[];
  readonly #source: BlobSource;
  readonly #spec: LocalSpec;
  /** Folders in which names were given or taken and are not durable yet. */
  readonly #touched = new Set<string>();
  /** Folders that are known to be there. */
  readonly #known = new Set<string>();
  #ownership: Promise<Ownership> | undefined;

  constructor(spec: LocalSpec, like: readonly string[]) {
    this.service = spec.service;
    this.#spec = spec;
    this.#root = spec.roots[0].replace(/(?<=.)\/+$/, "");
    this.shown = `folder ${this.#root}`;
    this.#like = [this.#root, ...like];
    this.#source = openLocalSource(spec);
  }

  async #own(): Promise<Ownership> {
    return await (this.#ownership ??= ownershipLike([...this.#like, ...above(this.#root)]));
  }

  /** In any of the folders: web and worker may have one each. */
  async stat(key: string): Promise<StoredBlob | undefined> {
    for (const root of this.#spec.roots) {
      const path = blobPath(root, key);
      const facts = await lstat(path).catch((error: unknown) => {
        if (isAbsent(error)) return undefined;
        throw explain(error, `looking for ${path}`);
      });
      if (facts === undefined) continue;
      if (!facts.isFile()) throw new Failure("source/unreadable", `${path} is not a plain file`);
      return { bytes: facts.size, md5: undefined };
    }
    return undefined;
  }

  async put(key: string, pieces: AsyncIterable<Uint8Array>, options: PutOptions): Promise<void> {
    const path = blobPath(this.#root, key);
    const part = join(await this.#staging(), randomBytes(8).toString("hex"));
    try {
      await this.#write(part, key, pieces, options);
      await this.#makeFolders(dirname(path));
      nameFile(part, path);
      this.#touched.add(dirname(path));
    } catch (error) {
      await rm(part, { force: true }).catch(() => {});
      throw explain(error, `writing ${path}`);
    }
  }

  async staging(): Promise<string> {
    return await this.#staging();
  }

  async adopt<T extends StagedFile>(
    files: readonly T[],
    { onNamed, signal }: ReadOptions & { onNamed: (file: T) => void },
  ): Promise<void> {
    const { uid, gid, fileMode: mode } = await this.#own();
    try {
      // At once, as folders are made: a thread for each small call takes longer.
      for await (const { path } of inTurns(files, { signal })) giveFileTo(path, { uid, gid, mode });
      await syncFiles(
        await this.#staging(),
        files.map(({ path }) => path),
        { signal },
      );
    } catch (error) {
      throw explain(error, `writing below ${this.#root}`);
    }
    for await (const file of inTurns(files, { signal })) {
      const path = blobPath(this.#root, file.key);
      try {
        await this.#makeFolders(dirname(path));
        nameFile(file.path, path);
      } catch (error) {
        throw explain(error, `writing ${path}`);
      }
      this.#touched.add(dirname(path));
      onNamed(file);
    }
  }

  async #write(
    part: string,
    key: string,
    pieces: AsyncIterable<Uint8Array>,
    { bytes, md5, signal }: PutOptions,
  ): Promise<void> {
    const { uid, gid, fileMode } = await this.#own();
    const sent = createHash("md5");
    let length = 0;
    await using file = await open(part, "wx+", 0o600);
    for await (const piece of pieces) {
      signal.throwIfAborted();
      await writeWhole(file, piece, length);
      sent.update(piece);
      length += piece.length;
    }
    const sum = sent.digest();
    assertAnnounced(key, { bytes: length, md5: sum }, { bytes, md5 });
    await giveTo(file, part, { uid, gid, mode: fileMode });
    await file.sync();
    const there = createHash("md5");
    for (let offset = 0; offset < length;) {
      const piece = Buffer.allocUnsafe(Math.min(LIMITS.localReadBackBytes, length - offset));
      const { bytesRead } = await file.read(piece, 0, piece.length, offset);
      if (bytesRead === 0) break;
      there.update(piece.subarray(0, bytesRead));
      offset += bytesRead;
    }
    if (!there.digest().equals(sum)) {
      throw new Failure("store/unreachable", `what was written to ${part} came back different`, {
        hint: "Look at the disk and its mount.",
      });
    }
  }

  async #staging(): Promise<string> {
    const staging = join(this.#root, STAGING);
    if (this.#known.has(staging)) return staging;
    try {
      await this.#makeFolders(this.#root);
      await mkdir(staging, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
    } catch (error) {
      throw explain(error, `making ${staging}`);
    }
    this.#known.add(staging);
    return staging;
  }

  /** At once: each of a million files may want folders of its own, and a thread for each small call takes longer. */
  async #makeFolders(path: string): Promise<void> {
    if (this.#known.has(path)) return;
    const own = await this.#own();
    const lacking: string[] = [];
    for (let at = path; ; at = dirname(at)) {
      const facts = statSync(at, { throwIfNoEntry: false });
      if (facts?.isDirectory() === true) break;
      if (facts !== undefined) throw new Failure("target/unsuitable", `${at} is there and is no folder`);
      lacking.unshift(at);
      if (at === dirname(at)) break;
    }
    for (const folder of lacking) {
      makeFolder(folder, own);
      this.#touched.add(dirname(folder));
    }
    if (this.#known.size > LIMITS.restoreFolders) this.#known.clear();
    this.#known.add(path);
  }

  async foldersFor(keys: readonly string[]): Promise<string[]> {
    const lacking = new Set<string>();
    const isThere = new Map<string, boolean>();
    for (const key of keys) {
      const parts = dirname(blobPath("", key).slice(1)).split("/");
      const own: string[] = [""];
      for (const part of parts) own.push(own.at(-1) === "" ? part : `${own.at(-1)}/${part}`);
      for (const folder of own) {
        let found = isThere.get(folder);
        if (found === undefined) {
          found = isSomething(join(this.#root, folder));
          isThere.set(folder, found);
        }
        if (!found) lacking.add(folder);
      }
    }
    return [...lacking].toSorted((a, b) => a.length - b.length);
  }

  async removeFolder(path: string): Promise<void> {
    await rmdir(join(this.#root, path)).catch((error: NodeJS.ErrnoException) => {
      if (!isAbsent(error) && error.code !== "ENOTEMPTY" && error.code !== "EEXIST")
        throw explain(error, `removing ${path}`);
    });
  }

  async remove(key: string): Promise<void> {
    const path = blobPath(this.#root, key);
    try {
      await unlink(path);
      this.#touched.add(dirname(path));
    } catch (error) {
      if (!isAbsent(error)) throw explain(error, `removing ${path}`);
    }
  }

  async flush({ signal }: ReadOptions): Promise<void> {
    if (this.#touched.size === 0) return;
    const folders = [...this.#touched];
    this.#touched.clear();
    try {
      await syncNames(await nearest(this.#root), folders, { signal });
    } catch (error) {
      throw explain(error, `syncing ${this.#root}`);
    }
  }

  read(key: string, options: ReadOptions & { expectedBytes: number }): AsyncIterable<Buffer> {
    return this.#source.read(key, options);
  }

  async facts(key: string): Promise<BlobFacts | undefined> {
    const path = blobPath(this.#root, key);
    const facts = await lstat(path).catch((error: unknown) => {
      if (isAbsent(error)) return undefined;
      throw explain(error, `looking for ${path}`);
    });
    if (facts === undefined) return undefined;
    const { uid, gid, mode, mtimeMs } = facts;
    return { uid, gid, mode: mode & 0o7777, mtimeMs };
  }

  async giveFacts(key: string, { mtimeMs, ...owner }: BlobFacts): Promise<void> {
    const path = blobPath(this.#root, key);
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    await giveTo(file, path, owner);
    await file.utimes(mtimeMs / 1000, mtimeMs / 1000);
    await file.sync();
  }

  async tidy(): Promise<void> {
    const staging = join(this.#root, STAGING);
    this.#known.delete(staging);
    await rm(staging, { recursive: true, force: true }).catch((error: unknown) => {
      throw explain(error, `removing ${staging}`);
    });
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    const folder = await nearest(this.#root);
    const path = join(folder, `.chatkeep-probe-${randomBytes(6).toString("hex")}`);
    const own = await this.#own();
    const body = randomBytes(24);
    try {
      await using file = await open(path, "wx+", 0o600);
      await writeWhole(file, body, 0);
      await giveTo(file, path, { uid: own.uid, gid: own.gid, mode: own.fileMode });
      await file.sync();
      const read = Buffer.alloc(body.length);
      await file.read(read, 0, read.length, 0);
      if (!read.equals(body))
        throw new Failure("store/unreachable", `what was written to ${folder} came back different`);
      signal.throwIfAborted();
    } catch (error) {
      throw explain(error, `writing to ${folder}`);
    } finally {
      await rm(path, { force: true }).catch(() => {});
    }
    // Who may not list may not tidy up either.
    await readdir(folder).catch((error: unknown) => {
      throw explain(error, `listing ${folder}`);
    });
  }

  async close(): Promise<void> {
    await this.#source.close();
  }
}

/** At once, as folders are made. */
function isSomething(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

function* above(path: string): Generator<string> {
  for (let at = path; at !== dirname(at);) {
    at = dirname(at);
    yield at;
  }
}

async function nearest(path: string): Promise<string> {
  for (const at of [path, ...above(path)])
    if ((await stat(at).catch(() => undefined))?.isDirectory() === true) return at;
  return "/";
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

function explain(error: unknown, doing: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (isFailure(error) || typeof code !== "string" || !/^E[A-Z]+$/.test(code)) return error;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new Failure("store/full", `no space left while ${doing}`, {
      hint: "Free some space on that disk. What was written so far stays, and is not written again.",
      cause: error,
    });
  }
  const isDenied = code === "EACCES" || code === "EPERM" || code === "EROFS";
  return new Failure(isDenied ? "store/denied" : "store/unreachable", `${doing}: ${messageOf(error)}`, {
    hint: isDenied
      ? "Run Chatkeep as root, or as the user that the folder belongs to; is its disk mounted read-only?"
      : "Look at the disk or the mount where the files lie.",
    cause: error,
  });
}
