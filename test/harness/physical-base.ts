/** A physical base in a folder, and whether it is what the server's own manifest says. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BaseBackup, BaseEnd } from "../../src/postgres/replication-base.ts";
import type { ReplicationSession } from "../../src/postgres/replication.ts";
import type { BaseBackupOptions } from "../../src/postgres/replication-base.ts";
import { historyName, type Lsn, segmentName, segmentStart } from "../../src/wal/lsn.ts";

export interface WrittenBase extends BaseEnd {
  readonly start: Lsn;
  readonly files: number;
  readonly bytes: number;
}

/** Takes a base and writes it into a folder that is not there yet, `backup_manifest` among its files. */
export async function takeBase(
  session: ReplicationSession,
  folder: string,
  options: BaseBackupOptions = { label: "a test's base", checkpoint: "fast" },
): Promise<WrittenBase> {
  await using backup = await session.baseBackup(options);
  const { files, bytes } = await writeFiles(backup, folder);
  const end = await backup.finish();
  await writeFile(join(folder, "backup_manifest"), end.manifest);
  return { ...end, start: backup.start, files, bytes };
}

async function writeFiles(backup: BaseBackup, folder: string): Promise<{ files: number; bytes: number }> {
  await mkdir(folder, { mode: 0o700 });
  let [files, bytes] = [0, 0];
  for await (const entry of backup.files()) {
    const path = join(folder, entry.path);
    await mkdir(entry.kind === "folder" ? path : dirname(path), { recursive: true, mode: 0o700 });
    if (entry.kind === "link") throw new Error(`a link came: ${entry.path}`);
    if (entry.kind === "folder") continue;
    const handle = await open(path, "wx", entry.mode);
    let size = 0;
    try {
      for await (const part of entry.bytes) {
        await handle.writeFile(part);
        size += part.length;
      }
    } finally {
      await handle.close();
    }
    if (size !== entry.size) throw new Error(`${entry.path} has ${size} bytes, and ${entry.size} were announced`);
    files += 1;
    bytes += size;
  }
  return { files, bytes };
}

interface Manifest {
  Files: { Path: string; Size: number; "Checksum-Algorithm": string; Checksum: string }[];
  "WAL-Ranges": { Timeline: number; "Start-LSN": string; "End-LSN": string }[];
  "Manifest-Checksum": string;
}

async function sha256Of(path: string): Promise<string> {
  const digest = createHash("sha256");
  for await (const part of createReadStream(path)) digest.update(part as Buffer);
  return digest.digest("hex");
}

export function parseManifest(bytes: Buffer): Manifest {
  const text = bytes.toString("utf8");
  const manifest = JSON.parse(text) as Manifest;
  // Its last line is of all that stands before it.
  const covered = text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1);
  const own = createHash("sha256").update(covered).digest("hex");
  if (own !== manifest["Manifest-Checksum"]) throw new Error("the manifest's own checksum is another one");
  return manifest;
}

/** What a folder has that its manifest does not, lacks, or has differently; empty when it is the same. */
export async function differencesFrom(bytes: Buffer, folder: string): Promise<string[]> {
  const manifest = parseManifest(bytes);
  const found: string[] = [];
  const due = new Set(["backup_manifest"]);
  for (const { Path: path, Checksum: checksum, "Checksum-Algorithm": algorithm } of manifest.Files) {
    due.add(path);
    const sum = await sha256Of(join(folder, path)).catch(() => "missing");
    if (algorithm !== "SHA256" || sum !== checksum) found.push(`${path}: ${sum}`);
  }
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(folder.length + 1);
    if (entry.isFile() && !due.has(path) && !path.startsWith("pg_wal/")) found.push(`${path}: not in the manifest`);
  }
  return found;
}

/**
 * Puts the log into a base's `pg_wal`, as whole segments, so that a server that starts on it becomes consistent.
 * `bytes` begin at a segment's beginning; what is lacking of the last one is filled up with zeros.
 */
export async function writeLog(
  folder: string,
  { from, bytes, timeline, segmentBytes }: { from: Lsn; bytes: Buffer; timeline: number; segmentBytes: number },
  histories: readonly { timeline: number; text: string }[] = [],
): Promise<void> {
  await mkdir(join(folder, "pg_wal"), { recursive: true, mode: 0o700 });
  for (let at = 0; at < bytes.length; at += segmentBytes) {
    const segment = Buffer.alloc(segmentBytes);
    bytes.copy(segment, 0, at, at + segmentBytes);
    const name = segmentName(timeline, segmentStart(from, segmentBytes) + BigInt(at), segmentBytes);
    await rm(join(folder, "pg_wal", name), { force: true });
    await writeFile(join(folder, "pg_wal", name), segment, { mode: 0o600 });
  }
  for (const { timeline: of, text } of histories) await writeFile(join(folder, "pg_wal", historyName(of)), text);
}
