/** The files that say what a Compose project's containers are made of: put back as a point has them, and as they were before that. */
import { createHash } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { type ComposeProject, projectFiles } from "../../installation/images.ts";
import type { Installation } from "../../installation/installation.ts";
import { type FileFacts, keepCopy, lookAtFile, writeFileAs } from "../../system/keep-file.ts";
import type { PointReader } from "../point-reader.ts";

export interface ChangedFile {
  readonly path: string;
  /** What the point has. */
  readonly saved: string;
}

export interface KeptProjectFile extends FileFacts {
  /** As the project names it. */
  readonly name: string;
  /** Where links lead. */
  readonly path: string;
  /** What it was; null where there was no such file. */
  readonly copy: string | null;
  readonly inPlace: boolean;
  /** Of what it becomes. */
  readonly after: string;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function textOf(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

/** Those that the point has, and has otherwise. A file that is gone is other, too. */
export async function changedFiles(
  reader: Pick<PointReader, "find" | "readText">,
  { envFile, nameOf }: Pick<Installation, "envFile" | "nameOf">,
  project: ComposeProject,
): Promise<ChangedFile[]> {
  const changed: ChangedFile[] = [];
  for (const path of projectFiles(project)) {
    const below = `config/${path === envFile ? "env" : `files/${(nameOf?.(path) ?? path).replace(/^\/+/, "")}`}`;
    if ((await reader.find(below)) === undefined) continue;
    const saved = await reader.readText(below);
    if ((await textOf(path)) !== saved) changed.push({ path, saved });
  }
  return changed;
}

/** Copies what is there into a folder, before anything is changed. */
export async function keepProjectFiles(folder: string, files: readonly ChangedFile[]): Promise<KeptProjectFile[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const kept: KeptProjectFile[] = [];
  for (const [at, { path: name, saved }] of files.entries()) {
    const facts = await lookAtFile(name);
    const copy = facts === undefined ? null : join(folder, String(at));
    if (facts !== undefined && copy !== null) await keepCopy(facts.path, copy);
    // A new one may hold passwords: it is for whoever has the folder.
    const { mode, uid, gid, path, links } = facts ?? { ...(await ownerOf(name)), mode: 0o600, path: name, links: 1 };
    kept.push({ name, path, copy, mode, uid, gid, inPlace: links > 1, after: hashOf(saved) });
  }
  return kept;
}

async function ownerOf(path: string): Promise<Pick<FileFacts, "uid" | "gid">> {
  const folder = await lookAtFile(dirname(path));
  return { uid: folder?.uid ?? process.getuid?.() ?? 0, gid: folder?.gid ?? process.getgid?.() ?? 0 };
}

async function put({ path, mode, uid, gid, inPlace }: KeptProjectFile, bytes: Uint8Array): Promise<void> {
  const isThere = (await lookAtFile(path)) !== undefined;
  await writeFileAs(path, bytes, { mode, uid, gid, inPlace: inPlace && isThere });
}

/** Writes what is not written yet. */
export async function writeProjectFiles(
  files: readonly ChangedFile[],
  kept: readonly KeptProjectFile[],
): Promise<void> {
  for (const { path, saved } of files) {
    const own = kept.find(({ name }) => name === path);
    if (own !== undefined) await put(own, Buffer.from(saved, "utf8"));
  }
}

/** Copies that are no longer there, without which a file cannot be what it was. Changes nothing. */
export async function goneCopies(kept: readonly KeptProjectFile[]): Promise<Finding[]> {
  const gone: Finding[] = [];
  for (const { name, copy } of kept) {
    if (copy === null || (await lookAtFile(copy)) !== undefined) continue;
    gone.push({
      kind: "put-aside-gone",
      level: "alarm",
      message: `${name} cannot be put back: what it was is no longer in ${copy}`,
      hint: "Put that file back from a copy of that disk. Then call 'chatkeep rollback' again.",
    });
  }
  return gone;
}

/** What somebody wrote into them since is kept beside. @param folder As {@link keepProjectFiles} had it. @returns for people, a line each. */
export async function undoProjectFiles(folder: string, kept: readonly KeptProjectFile[]): Promise<string[]> {
  const lines: string[] = [];
  for (const [at, file] of kept.entries()) {
    const before = file.copy === null ? undefined : await readFile(file.copy, "utf8");
    const now = await textOf(file.path);
    let aside = "";
    if (now !== undefined && now !== before && hashOf(now) !== file.after) {
      const changed = join(folder, `${at}.changed`);
      await keepCopy(file.path, changed);
      aside = `; what was written into it since is kept as ${changed}`;
    }
    if (before === undefined) await rm(file.path, { force: true });
    else await put(file, Buffer.from(before, "utf8"));
    lines.push(`${file.name} is what it was before the restore${aside}`);
  }
  return lines;
}
