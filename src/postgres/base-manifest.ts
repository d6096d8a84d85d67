/**
 * Whether the files of a base are those that the server sent: each is compared with `backup_manifest`, PostgreSQL's own list of
 * them, as pg_verifybackup does. (Format: PostgreSQL's documentation, "Backup Manifest Format".)
 */
import { createHash, hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure } from "../base/errors.ts";

export interface BaseProblem {
  /** Below the cluster's folder. */
  readonly path: string;
  readonly reason: "missing" | "other-size" | "other-bytes" | "not-listed";
}

export interface ManifestFile {
  readonly path: string;
  readonly size: number;
  /** Undefined where only its size is known. */
  readonly checksum: { readonly algorithm: string; readonly hex: string } | undefined;
}

/** What a server, or a recovery, adds or changes by itself. */
const NOT_COMPARED = /^(?:pg_wal(?:\/|$)|(?:backup_manifest|postgresql\.auto\.conf|recovery\.signal|standby\.signal)$)/;
const ALGORITHMS: Readonly<Record<string, string>> = {
  SHA224: "sha224",
  SHA256: "sha256",
  SHA384: "sha384",
  SHA512: "sha512",
};
const AT_ONCE = 4;

/**
 * @param data the cluster's folder, before anything was changed in it.
 * @returns what does not fit, in the order of paths; none where all of it does.
 * @throws Failure `recovery/damaged` for a manifest that is none, or was changed.
 */
export async function compareBase(
  data: string,
  manifest: Buffer,
  { signal }: { signal: AbortSignal },
): Promise<BaseProblem[]> {
  const files = parseManifest(manifest);
  const problems = await mapConcurrent(files, AT_ONCE, async (file) => await problemOf(join(data, file.path), file), {
    signal,
  });
  const listed = new Set(files.map(({ path }) => path));
  const there = await readdir(data, { recursive: true, withFileTypes: true });
  const extra = there
    .filter((entry) => !entry.isDirectory() && !entry.isSymbolicLink())
    .map((entry) => relative(data, join(entry.parentPath, entry.name)))
    .filter((path) => !listed.has(path) && !NOT_COMPARED.test(path))
    .map((path): BaseProblem => ({ path, reason: "not-listed" }));
  const found = [...problems.filter((problem) => problem !== undefined), ...extra];
  return found.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

async function problemOf(file: string, { path, size, checksum }: ManifestFile): Promise<BaseProblem | undefined> {
  if (NOT_COMPARED.test(path)) return undefined;
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return { path, reason: "missing" };
  if (found.size !== size) return { path, reason: "other-size" };
  const algorithm = checksum === undefined ? undefined : ALGORITHMS[checksum.algorithm];
  if (checksum === undefined || algorithm === undefined) return undefined;
  const sum = createHash(algorithm);
  for await (const bytes of createReadStream(file)) sum.update(bytes as Buffer);
  return sum.digest("hex") === checksum.hex ? undefined : { path, reason: "other-bytes" };
}

/**
 * What the manifest lists.
 * @throws Failure `recovery/damaged` for a manifest that is none, or was changed.
 */
export function parseManifest(manifest: Buffer): ManifestFile[] {
  intactUpTo(manifest);
  const { Files: files } = JSON.parse(manifest.toString("utf8")) as { Files?: unknown };
  if (!Array.isArray(files)) throw odd("it lists no files");
  return files.map(manifestFile);
}

/** Where its last line begins, which is the SHA-256 of all that comes before. */
function intactUpTo(manifest: Buffer): number {
  const at = manifest.lastIndexOf('"Manifest-Checksum"');
  const own = /^"Manifest-Checksum": "([0-9a-f]{64})"/.exec(manifest.toString("latin1", Math.max(at, 0)))?.[1];
  if (own === undefined || own !== hash("sha256", manifest.subarray(0, at)))
    throw odd("it was changed, or is not whole");
  return at;
}

function manifestFile(entry: unknown): ManifestFile {
  const file = entry as Readonly<Record<string, unknown>>;
  const encoded = file["Encoded-Path"];
  const path = typeof encoded === "string" ? Buffer.from(encoded, "hex").toString("utf8") : file["Path"];
  const { Size: size, Checksum: hex, "Checksum-Algorithm": algorithm } = file;
  if (typeof path !== "string" || typeof size !== "number" || path.split("/").includes(".."))
    throw odd("it names no file");
  const checksum =
    typeof hex === "string" && typeof algorithm === "string" ? { algorithm, hex: hex.toLowerCase() } : undefined;
  return { path, size, checksum };
}

/**
 * The manifest with other files in the place of some; everything else stands there as it did. The server writes each file into a
 * line of its own, and so does this.
 * @param others by the path that they have until now.
 * @throws Failure `recovery/damaged` for a manifest that is none, was changed, or does not list one of them.
 */
export function manifestWith(manifest: Buffer, others: ReadonlyMap<string, ManifestFile>): Buffer {
  const text = manifest.toString("utf8", 0, intactUpTo(manifest));
  let replaced = 0;
  const lines = text.split("\n").map((line) => {
    if (!FILE_LINE.test(line)) return line;
    const comma = line.endsWith(",") ? "," : "";
    const entry = JSON.parse(line.slice(0, line.length - comma.length)) as Readonly<Record<string, unknown>>;
    const other = others.get(manifestFile(entry).path);
    if (other === undefined) return line;
    replaced += 1;
    const { path, size, checksum } = other;
    const fields: [string, unknown][] = [
      ["Path", path],
      ["Size", size],
      ["Last-Modified", entry["Last-Modified"]],
    ];
    if (checksum !== undefined) fields.push(["Checksum-Algorithm", checksum.algorithm], ["Checksum", checksum.hex]);
    return `{ ${fields.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")} }${comma}`;
  });
  if (replaced !== others.size) throw odd("it does not list each file that came");
  const body = lines.join("\n");
  return Buffer.from(`${body}"Manifest-Checksum": "${hash("sha256", body)}"}\n`, "utf8");
}

const FILE_LINE = /^\{ "(?:Encoded-)?Path": /;

function odd(why: string): Failure {
  return new Failure("recovery/damaged", `the base's backup_manifest cannot be used: ${why}`, {
    hint: "Take a moment that another base serves.",
  });
}
