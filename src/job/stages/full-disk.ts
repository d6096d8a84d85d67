/** A disk that is full, or refuses, in the middle of a stage: which stage, which path, and how much is lacking there. */
import { formatBytes } from "../../base/bytes.ts";
import { type ErrorCode, Failure, isFailure } from "../../base/errors.ts";
import { freeBytesOf, nearestFolder } from "../../system/folders.ts";
import { lackingOf, lookForRoom, recordsNeed, type RoomNeed } from "../room.ts";
import type { StageName } from "./stage.ts";

/** What the filesystem says when a disk is full, broken or somebody else's, by its codes. */
const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "Make room on that disk.",
  EDQUOT: "Make room there, or have the quota raised.",
  EACCES: "Give this user the right to, or run Chatkeep as root.",
  EPERM: "Give this user the right to, or run Chatkeep as root. Is the file immutable (lsattr)?",
  EROFS: "It is mounted read-only: mount it to be written, and see in the kernel's log why it was not.",
  EIO: "The disk reports an error: see the kernel's log.",
};

/** In the words of the C library, as programs print them, and in git's own. */
const FULL = /No space left on device|Disk quota exceeded|Out of diskspace/;

/** A disk that has no more is full for whatever a program writes, though it need not say why it failed. */
const FULL_BELOW_BYTES = 64 * 1024;

/** What has the code whatever was written. */
const KEPT: readonly ErrorCode[] = ["restore/record", "database/no-space", "database/failed"];

export interface Writing {
  readonly name: StageName;
  /** Of the restore. */
  readonly folder: string;
  /** Where programs write for it; undefined where there is no such folder. */
  readonly root?: string | undefined;
  /** What the stage has still to write. */
  readonly room?: () => Promise<readonly RoomNeed[] | undefined>;
}

/** Does something of a stage. @throws what it throws; of a disk, a Failure that names the stage, the path and what is lacking. */
export async function withDiskNamed<T>(writing: Writing, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await nameDisk(error, writing);
  }
}

/** What was thrown; of a disk, with all that can be told of it. */
export async function nameDisk(error: unknown, writing: Writing): Promise<unknown> {
  return (await explain(error, writing)) ?? error;
}

async function explain(error: unknown, writing: Writing): Promise<Failure | undefined> {
  const full = findFull(error) ?? (isFailure(error, "program/failed") ? await findTight(writing) : undefined);
  if (full === undefined) return isFailure(error) ? undefined : refusedFailure(writing, error);
  const lacking = await whatIsLacking(full, writing);
  const plain = isFailure(error) ? undefined : refusedFailure(writing, error);
  const { message, hint = "" } = plain ?? (error as Failure);
  const code = isFailure(error) && KEPT.includes(error.code) ? error.code : "restore/disk";
  const said = plain === undefined ? `'${writing.name}' could not be done: ${message}` : message;
  return new Failure(code, said, { hint: `${lacking}${hint}`, cause: error });
}

interface Full {
  /** Undefined where nobody says it. */
  readonly path: string | undefined;
}

/** Undefined where no disk was full. */
function findFull(error: unknown): Full | undefined {
  let isFull = false;
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT") return { path: pathOf(at) };
    if (!isFailure(at)) continue;
    isFull ||=
      at.code === "store/full" || at.code === "database/no-space" || FULL.test(`${at.message} ${at.hint ?? ""}`);
  }
  return isFull ? { path: undefined } : undefined;
}

async function findTight({ root, folder }: Writing): Promise<Full | undefined> {
  for (const path of root === undefined ? [folder] : [root, folder]) {
    const free = await freeBytesOf(await nearestFolder(path));
    if (free !== undefined && free < FULL_BELOW_BYTES) return { path };
  }
  return undefined;
}

/** Of a copy, where it was to go. */
function pathOf(error: Error): string | undefined {
  const { path, dest } = error as NodeJS.ErrnoException & { dest?: string };
  return dest ?? path;
}

/** As sentences, each with a blank at its end; empty where nobody can tell. */
async function whatIsLacking({ path }: Full, { folder, root, room }: Writing): Promise<string> {
  // The disk is full: whatever else does not answer now is of no interest.
  const needs = (await room?.().catch(() => undefined)) ?? [];
  const disks = await lookForRoom([recordsNeed(folder), ...needs]).catch(() => []);
  const lacking = disks.flatMap((disk) => lackingOf(disk) ?? []);
  if (lacking.length > 0) return lacking.map((one) => `${one[0]?.toUpperCase() ?? ""}${one.slice(1)}. `).join("");
  const place = path ?? root;
  const free = place === undefined ? undefined : await freeBytesOf(await nearestFolder(place));
  return free === undefined ? "" : `The disk of '${place ?? ""}' has ${formatBytes(free)} free. `;
}

/** Undefined for what says itself what it is about. */
function refusedFailure({ name }: Pick<Writing, "name">, error: unknown): Failure | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall } = error as NodeJS.ErrnoException;
  const hint = code === undefined ? undefined : HINTS[code];
  if (hint === undefined) return undefined;
  const path = pathOf(error);
  const where = path === undefined ? "" : ` of '${path}'`;
  const message = `'${name}' could not be done: ${syscall ?? "a call"}${where} failed (${code ?? ""})`;
  return new Failure("restore/disk", message, { hint, cause: error });
}
