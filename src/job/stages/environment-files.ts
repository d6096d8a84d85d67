/** The environment files of a place: read, kept, written and put back. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Finding } from "../../base/findings.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import { writeEnvFile } from "../../chatwoot/environment-writer.ts";
import type { Installation } from "../../installation/installation.ts";
import { nearestFolder } from "../../system/folders.ts";
import { type FileFacts, keepCopy, lookAtFile, writeFileAs } from "../../system/keep-file.ts";
import { replaceFile } from "../../system/replace-file.ts";
import { type FileEdit, filesOf, type Unsettable } from "./environment-plan.ts";

export interface Restoring {
  /** Of this restore alone. */
  folder: string;
  installation: Installation;
}

export interface KeptFile extends FileFacts {
  /** As the installation names it. */
  readonly name: string;
  /** Where links lead. */
  readonly path: string;
  /** Below the restore's folder; null where there was no such file. */
  readonly copy: string | null;
  readonly inPlace: boolean;
  /** Of what it becomes. */
  readonly after: string;
}

/** Below the restore's folder. */
const OWN = "environment";
const TO_SET = "to-set.env";

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  return await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

/** By path, of those that are there. */
export async function textsOf(installation: Installation): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const { path } of filesOf(installation)) {
    const bytes = await readIfThere(path);
    if (bytes !== undefined) texts.set(path, bytes.toString("utf8"));
  }
  return texts;
}

/** What the files were before this stage, where it has changed some of them already. */
export async function textsBefore(
  { installation, folder }: Restoring,
  files: readonly KeptFile[],
): Promise<Map<string, string>> {
  const texts = await textsOf(installation);
  for (const { path } of filesOf(installation)) {
    const kept = files.find(({ name }) => name === path);
    if (kept === undefined) continue;
    if (kept.copy === null) texts.delete(path);
    else texts.set(path, await readFile(join(folder, kept.copy), "utf8"));
  }
  return texts;
}

/** Those that this user may not write. */
export async function deniedFiles(edits: readonly FileEdit[]): Promise<string[]> {
  const denied: string[] = [];
  for (const { file, before } of edits) {
    const real = (await lookAtFile(file.path))?.path ?? file.path;
    const isOver = before !== undefined && file.isMounted;
    const isDenied = await mayNotWrite(real, { isThere: before !== undefined, isOver });
    if (isDenied && !denied.includes(file.path)) denied.push(file.path);
  }
  return denied;
}

/** @param how.isOver The file itself is written over; else another one takes its place. */
async function mayNotWrite(path: string, { isThere, isOver }: { isThere: boolean; isOver: boolean }): Promise<boolean> {
  const places = [...(isOver ? [] : [await nearestFolder(dirname(path))]), ...(isThere ? [path] : [])];
  for (const one of places) {
    const isDenied = await access(one, constants.W_OK).then(
      () => false,
      () => true,
    );
    if (isDenied) return true;
  }
  return false;
}

/** What would keep these files from being put back. Changes nothing. */
export async function backBlockers(
  { folder }: Pick<Restoring, "folder">,
  files: readonly KeptFile[],
): Promise<Finding[]> {
  const blockers: Finding[] = [];
  for (const { path, copy, inPlace } of files) {
    if (copy !== null && (await lookAtFile(join(folder, copy))) === undefined) {
      blockers.push({
        kind: "put-aside-gone",
        level: "alarm",
        message: `${path} cannot be put back: what it was is no longer in ${join(folder, copy)}`,
        hint: "Put that file back from a copy of that disk, or put there what the environment was before the restore. Then call 'chatkeep rollback' again.",
      });
    }
    const isThere = (await lookAtFile(path)) !== undefined;
    if (await mayNotWrite(path, { isThere, isOver: inPlace && isThere })) {
      blockers.push({
        kind: "environment-not-writable",
        level: "alarm",
        message: `${path} cannot be written, so it cannot be what it was`,
        hint: "Run Chatkeep as root, or as a user that may write the file and its folder. Is it mounted read-only?",
      });
    }
  }
  return blockers;
}

/** Copies what is there, before anything is changed. */
export async function keepFiles({ folder, installation }: Restoring, edits: readonly FileEdit[]): Promise<KeptFile[]> {
  await mkdir(join(folder, OWN), { recursive: true, mode: 0o700 });
  const kept: KeptFile[] = [];
  for (const [at, { file, after }] of edits.entries()) {
    const facts = await lookAtFile(file.path);
    const copy = facts === undefined ? null : join(OWN, `${at}.before`);
    if (facts !== undefined && copy !== null) await keepCopy(facts.path, join(folder, copy));
    kept.push({
      name: file.path,
      path: facts?.path ?? file.path,
      copy,
      inPlace: facts !== undefined && (file.isMounted || facts.links > 1),
      ...(facts === undefined ? await factsOfNew(installation, file.path) : pick(facts)),
      after: hashOf(Buffer.from(after, "utf8")),
    });
  }
  return kept;
}

function pick({ mode, uid, gid }: FileFacts): FileFacts {
  return { mode, uid, gid };
}

/** A new environment file is for whoever runs Chatwoot, and for nobody else. */
async function factsOfNew(installation: Installation, path: string): Promise<FileFacts> {
  const folder = await lookAtFile(installation.root ?? dirname(path));
  return { mode: 0o600, uid: folder?.uid ?? process.getuid?.() ?? 0, gid: folder?.gid ?? process.getgid?.() ?? 0 };
}

/** Writes what is not written yet. */
export async function writeEdits(edits: readonly FileEdit[], kept: readonly KeptFile[]): Promise<void> {
  for (const { file, after } of edits) {
    const own = kept.find(({ name }) => name === file.path);
    const bytes = Buffer.from(after, "utf8");
    if (own === undefined || (await readIfThere(own.path))?.equals(bytes) === true) continue;
    await writeFileAs(own.path, bytes, own);
  }
}

/** What somebody else has to set, as lines that an environment file takes. */
export async function writeToSet(
  folder: string,
  unsettable: readonly Unsettable[],
  values: Environment,
): Promise<string> {
  const path = join(folder, OWN, TO_SET);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const wanted = new Map(unsettable.map(({ name }) => [name, values.get(name) ?? ""]));
  await replaceFile(path, writeEnvFile("", wanted).text, 0o600);
  return path;
}

/** Puts one file back; what somebody wrote into it since is kept beside. */
export async function putBack({ folder }: Pick<Restoring, "folder">, file: KeptFile, at: number): Promise<string> {
  const now = await readIfThere(file.path);
  const before = file.copy === null ? undefined : await readFile(join(folder, file.copy));
  const isAsBefore = before === undefined ? now === undefined : now?.equals(before) === true;
  let aside = "";
  if (!isAsBefore && now !== undefined && hashOf(now) !== file.after) {
    const changed = join(folder, OWN, `${at}.changed`);
    await keepCopy(file.path, changed);
    aside = `; what was written into it since is kept as ${changed}`;
  }
  if (before === undefined) await rm(file.path, { force: true });
  else if (!isAsBefore) await writeFileAs(file.path, before, { ...file, inPlace: file.inPlace && now !== undefined });
  return `${file.path} is as it was${aside}`;
}
