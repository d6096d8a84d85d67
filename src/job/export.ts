/**
 * One restore point as one encrypted file: a tar of a small repository with keys and a password of its own.
 *
 * The small repository is made in a folder beside the file, `FILE.part`, by the same copying as between any two
 * repositories; so an export that was stopped goes on where it was. Then it is written into a tar file, read back from
 * there to the last chunk, and only then given its name. Proofs and holds stay behind: they are about a repository.
 */
import { link, lstat, mkdir, readdir, readFile, rename, rm, rmdir, statfs, writeFile } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { createRepository, openRepository, type Repository } from "../repo/repository.ts";
import { measureUsage } from "../repo/usage.ts";
import { verifyRepository } from "../repo/verify.ts";
import { DirectorySync } from "../store/directory-sync.ts";
import { openLocalStore } from "../store/local-store.ts";
import type { FileKind, FileRef, Store } from "../store/store.ts";
import { openTarStore } from "../store/tar-store.ts";
import { fileFailure, type NewTarMember, writeTar, type WrittenTar } from "../store/tar-writer.ts";
import { copy, type NamedRepository, snapshotsOf } from "./copy.ts";
import { lockAlone } from "./lock.ts";
import type { Point } from "./points.ts";
import type { ExportSummary } from "./summaries.ts";

export interface ExportOptions {
  from: NamedRepository;
  point: Point;
  /** Absolute; must not be there. */
  file: string;
  /** Opens the file, and nothing else. */
  password: string;
  /** Called once nothing stands in the way, before anything is written: keeps a password that was made. */
  beforeWriting: () => Promise<void>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** What lies in the folder beside the file while it is made. */
const PARTS = { point: "point", repository: "repository", tar: "export.tar" } as const;
/** As they follow one another in the file: what is needed first comes first. */
const KINDS = ["config", "keys", "index", "snapshots", "data"] as const satisfies readonly FileKind[];

/**
 * @throws Failure `target/not-empty` when the file exists, `target/unsuitable` when there is no room for it,
 * `repo/wrong-password` when an export of that point was begun with another password, `repo/damaged` when the point
 * cannot be read whole. What was done so far is used by the next run.
 */
export async function exportPoint(options: ExportOptions): Promise<ExportSummary> {
  const { from, point, file, clock } = options;
  const startedMs = clock.monotonic();
  const part = `${file}.part`;
  await refuseExisting(file);
  await refuseForeign(part);
  await refuseSmallDisk(options, part);
  await options.beforeWriting();
  const { small, wasBegun } = await openSmall(options, part);
  const folder = `chatkeep-${shortId(point.id)}`;
  const { packs } = await copyInto(small, options);
  const written = await pack(small, { ...options, folder, tar: join(part, PARTS.tar) });
  await publish(join(part, PARTS.tar), file);
  await removePart(part);
  return {
    type: "summary",
    verb: "export",
    point: point.id,
    takenAt: point.snapshot.time,
    installation: point.snapshot.hostname ?? "",
    repository: from.name,
    file,
    bytes: written.sizeBytes,
    sha256: written.sha256,
    folder,
    packs,
    wasBegun,
    passwordFile: null,
    seconds: (clock.monotonic() - startedMs) / 1000,
  };
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw fileFailure(error, path);
  }
}

async function refuseExisting(file: string): Promise<void> {
  if (await exists(file)) throw existing(file);
}

function existing(file: string, cause?: unknown): Failure {
  return new Failure("target/not-empty", `'${file}' exists already`, {
    hint: "Move it away or name another file: nothing that exists is ever written over. A folder of that name with '.part' at its end is what an export leaves that was stopped.",
    cause,
  });
}

/** The folder beside the file is removed in the end, so it must be ours. */
async function refuseForeign(part: string): Promise<void> {
  if (!(await exists(part))) return;
  const isFolder = (await lstat(part)).isDirectory();
  const known: readonly string[] = Object.values(PARTS);
  const others = isFolder ? (await readdir(part)).filter((name) => !known.includes(name)) : [];
  if (isFolder && others.length === 0) return;
  throw new Failure("target/not-empty", `'${part}' is there, and no export made it`, {
    hint: "Move it away, or name another file: an export needs that name while it works.",
  });
}

/** The small repository and the file of it are both there at the end. */
async function refuseSmallDisk({ from, point, file, progress, signal }: ExportOptions, part: string): Promise<void> {
  progress.stage("measuring the restore point");
  const [snapshot] = snapshotsOf((await from.repository.listSnapshots({ signal })).snapshots, [point]);
  if (snapshot === undefined) return;
  const { used } = await measureUsage(from.repository, [snapshot], { signal });
  const { bavail, bsize } = await statfs(dirname(file)).catch((error: unknown) => {
    throw fileFailure(error, file);
  });
  const free = bavail * bsize + (await sizeOf(openLocalStore(join(part, PARTS.repository)), signal));
  const needed = 2 * used.bytes;
  if (free >= needed) return;
  throw new Failure(
    "target/unsuitable",
    `'${dirname(file)}' has ${formatBytes(free)} free, the export needs ${formatBytes(needed)}`,
    {
      hint: `The file will have ${formatBytes(used.bytes)}; while it is made twice that is needed. Name a file on a larger disk.`,
    },
  );
}

async function sizeOf(store: Store, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  for await (const { sizeBytes } of store.list("data", { signal })) bytes += sizeBytes;
  return bytes;
}

/** The repository in the folder beside the file: that of a run which was stopped, if it was for this point. */
async function openSmall(options: ExportOptions, part: string): Promise<{ small: Repository; wasBegun: boolean }> {
  const { point, password, clock, signal } = options;
  const store = openLocalStore(join(part, PARTS.repository));
  const mark = join(part, PARTS.point);
  try {
    await mkdir(part, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    const isSame = (await readFile(mark, "utf8").catch(() => "")) === point.id;
    const isMade = (await store.stat({ kind: "config", name: "" }, { signal })) !== undefined;
    if (!isSame || !isMade) {
      await rm(store.location, { recursive: true, force: true });
      await writeFile(mark, point.id, { mode: 0o600 });
    }
    await rm(join(part, PARTS.tar), { force: true });
  } catch (error) {
    throw fileFailure(error, part);
  }
  if ((await store.stat({ kind: "config", name: "" }, { signal })) !== undefined) {
    return { small: await reopen(store, options), wasBegun: true };
  }
  const small = await createRepository(store, {
    password,
    clock,
    hostname: hostname(),
    username: userInfo().username,
    // Taken back into the repository that it is of, or into a copy, new files still meet their like.
    chunkerPolynomial: options.from.repository.config.chunker_polynomial,
    signal,
  });
  return { small, wasBegun: false };
}

async function reopen(store: Store, { password, file, signal }: ExportOptions): Promise<Repository> {
  try {
    return await openRepository(store, { password, signal });
  } catch (error) {
    if (!isFailure(error, "repo/wrong-password")) throw error;
    throw new Failure("repo/wrong-password", `the export to '${file}' was begun with another password`, {
      hint: `Give that one and it goes on, or remove '${file}.part' and it begins anew.`,
      cause: error,
    });
  }
}

async function copyInto(small: Repository, options: ExportOptions): Promise<{ packs: number }> {
  const { from, point, file } = options;
  const { copied, skipped, failed } = await copy({
    ...options,
    from,
    to: { repository: small, name: basename(file) },
    choose: (snapshots) => snapshotsOf(snapshots, [point]),
  });
  if (copied.length + skipped !== 1) {
    const why = failed.find(({ point: name }) => name === point.id)?.message;
    throw new Failure("repo/damaged", why ?? `restore point ${shortId(point.id)} is no longer there`, {
      hint: "Export another point, or this one from another repository; 'chatkeep verify --read-data' shows all that is damaged.",
    });
  }
  let packs = 0;
  for await (const _ of small.store.list("data", options)) packs += 1;
  return { packs };
}

interface Packing extends ExportOptions {
  /** The one that `tar x` makes. */
  folder: string;
  tar: string;
}

/** Writes the tar file and reads it back, to the last chunk, with the password that it will be opened with. */
async function pack(small: Repository, options: Packing): Promise<WrittenTar> {
  const { tar, file, password, progress } = options;
  await using lock = await lockAlone(small, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  progress.stage(`writing ${basename(file)}`, { unit: "bytes", total: await sizeOf(small.store, signal) });
  const written = await writeTar(tar, membersOf(small.store, { ...options, signal }), {
    signal,
    onBytes: (bytes) => progress.advance(bytes),
  });
  const store = openTarStore(tar);
  try {
    const repository = await openRepository(store, { password, signal });
    const { problems, snapshots } = await verifyRepository(repository, { readData: "all", progress, signal });
    const [first] = problems;
    if (first === undefined && snapshots === 1) return written;
    throw new Failure(
      "repo/damaged",
      `what was written to '${tar}' is not what was read: ${first?.message ?? "no point"}`,
      {
        hint: "Look at the disk. Remove the folder with '.part' at its end, and export to another one.",
      },
    );
  } finally {
    await store.close();
  }
}

async function* membersOf(store: Store, { folder, file, signal }: Packing): AsyncGenerator<NewTarMember> {
  const nothing = new Uint8Array();
  yield { path: `${folder}/`, bytes: nothing };
  yield { path: `${folder}/README.txt`, bytes: Buffer.from(readme(folder, basename(file))) };
  // restic wants to find this one: it locks what it reads.
  yield { path: `${folder}/locks/`, bytes: nothing };
  for (const kind of KINDS) {
    const names: string[] = [];
    for await (const { name } of store.list(kind, { signal })) names.push(name);
    if (kind !== "config") yield { path: `${folder}/${kind}/`, bytes: nothing };
    for (const name of names.toSorted()) {
      const ref: FileRef = { kind, name };
      yield { path: `${folder}/${pathOf(ref)}`, bytes: await store.get(ref, { signal }) };
    }
  }
}

function pathOf({ kind, name }: FileRef): string {
  if (kind === "config") return "config";
  return kind === "data" ? `data/${name.slice(0, 2)}/${name}` : `${kind}/${name}`;
}

/** The one thing in the file that is not encrypted, so it says nothing about whose it is. */
function readme(folder: string, name: string): string {
  return `This is an encrypted restic repository that holds one restore point of a Chatwoot,
made by Chatkeep. You need its password, which was not sent with it.

With Chatkeep:
  chatkeep import ${name} --password-file FILE
or, without a repository of your own:
  CHATKEEP_PASSWORD_FILE=FILE chatkeep list --repository export:${name}

Without it, with restic 0.14 or newer:
  tar xf ${name}
  restic -r ${folder} check --read-data
  restic -r ${folder} restore latest --target restored
and then read restored/chatkeep/RESTORE.md.
`;
}

/** Gives the file its name, and never takes it from another. */
async function publish(tar: string, file: string): Promise<void> {
  try {
    await link(tar, file).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") throw existing(file, error);
      // A filesystem without hard links.
      await refuseExisting(file);
      await rename(tar, file);
    });
    await new DirectorySync().sync(dirname(file));
  } catch (error) {
    throw fileFailure(error, file);
  }
}

/** Only what we made: the folder goes when nothing else is in it. */
async function removePart(part: string): Promise<void> {
  for (const name of Object.values(PARTS)) await rm(join(part, name), { recursive: true, force: true });
  await rmdir(part);
}
