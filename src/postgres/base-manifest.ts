/**
 * Whether the files of a base are those that the server sent: each is compared with `backup_manifest`, PostgreSQL's own list of
 * them, as pg_verifybackup does. (Format: PostgreSQL's documentation, "Backup Manifest Format".)
 */
import { createHash } from "node:crypto";
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

interface ManifestFile {
  path: string;
  size: number;
  /** Undefined where only its size is known. */
  checksum: { algorithm: string; hex: string } | undefined;
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
  const hash = createHash(algorithm);
  for await (const bytes of createReadStream(file)) hash.update(bytes as Buffer);
  return hash.digest("hex") === checksum.hex ? undefined : { path, reason: "other-bytes" };
}

/** The last line is the SHA-256 of all that comes before it. */
function parseManifest(manifest: Buffer): ManifestFile[] {
  const at = manifest.lastIndexOf('"Manifest-Checksum"');
  const own = /^"Manifest-Checksum": "([0-9a-f]{64})"/.exec(manifest.toString("latin1", Math.max(at, 0)))?.[1];
  const hash = createHash("sha256")
    .update(manifest.subarray(0, Math.max(at, 0)))
    .digest("hex");
  if (own === undefined || own !== hash) throw odd("it was changed, or is not whole");
  const { Files: files } = JSON.parse(manifest.toString("utf8")) as { Files?: unknown };
  if (!Array.isArray(files)) throw odd("it lists no files");
  return files.map((entry: unknown) => {
    const file = entry as Readonly<Record<string, unknown>>;
    const encoded = file["Encoded-Path"];
    const path = typeof encoded === "string" ? Buffer.from(encoded, "hex").toString("utf8") : file["Path"];
    const { Size: size, Checksum: hex, "Checksum-Algorithm": algorithm } = file;
    if (typeof path !== "string" || typeof size !== "number" || path.split("/").includes(".."))
      throw odd("it names no file");
    const checksum =
      typeof hex === "string" && typeof algorithm === "string" ? { algorithm, hex: hex.toLowerCase() } : undefined;
    return { path, size, checksum };
  });
}

function odd(why: string): Failure {
  return new Failure("recovery/damaged", `the base's backup_manifest cannot be used: ${why}`, {
    hint: "Take a moment that another base serves.",
  });
}
