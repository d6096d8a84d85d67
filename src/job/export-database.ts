/**
 * A point's database as pg_dump would have written it: for pg_restore (`custom`, `directory`) or psql (`plain`). It is made of
 * what the point holds, without a server. Unlike an export of the whole point it is not encrypted.
 */
import { link, lstat, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { SCHEMA_DUMP } from "../point/layout.ts";
import { decodeArchive } from "../postgres/archive.ts";
import type { ArchiveContent } from "../postgres/archive-data.ts";
import { archiveObjects } from "../postgres/archive-objects.ts";
import { type ArchiveOptions, streamArchive, writeArchiveFile, writeArchiveFolder } from "../postgres/archive-file.ts";
import { findPrograms } from "../postgres/programs.ts";
import { DirectorySync } from "../store/directory-sync.ts";
import { fileFailure } from "../store/tar-writer.ts";
import { readProgram } from "../system/process.ts";
import { largeObjectsSource } from "./large-objects.ts";
import { tableSources } from "./load-point.ts";
import { lockToRead } from "./lock.ts";
import type { PointReader } from "./point-reader.ts";
import type { DatabaseExportSummary, DumpFormat } from "./summaries.ts";
import { lackingFindings } from "./unreadable.ts";

export interface DatabaseExportOptions {
  /** Of the repository, to be shown. */
  repositoryName: string;
  /** Absolute; must not be there. */
  file: string;
  format: DumpFormat;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/**
 * Writes beside the name that was asked for, and gives it that name when it is whole and durable.
 * @throws Failure `target/not-empty` when something has the name, `target/unsuitable` or `store/full` when there is no room,
 * `program/missing` (plain only), `point/invalid`, `repo/damaged`. What was begun is removed.
 */
export async function exportDatabase(
  reader: PointReader,
  options: DatabaseExportOptions,
): Promise<DatabaseExportSummary> {
  const { file, format, clock, progress } = options;
  const startedMs = clock.monotonic();
  const part = `${file}.part`;
  await refuseExisting(file, "Move it away or name another file: nothing that exists is ever written over.");
  await refuseExisting(part, "An export that was stopped leaves it: remove it, or name another file.");
  await using lock = await lockToRead(reader.repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const manifest = await reader.manifest();
  const total = manifest.tables.reduce((sum, table) => sum + table.bytes, manifest.largeObjects?.bytes ?? 0);
  if (format === "plain") await refuseSmallDisk(file, total);
  const objects = await largeObjectsSource(reader, manifest);
  const content: ArchiveContent = {
    schema: decodeArchive(await reader.readBytes(`database/${SCHEMA_DUMP}`)),
    tables: await tableSources(reader, manifest.tables),
    sequences: manifest.sequences,
    filledViews: manifest.filledViews,
    largeObjects: objects && (await archiveObjects(objects, { signal })),
  };
  progress.stage("writing the database", { total, unit: "bytes" });
  try {
    const archive = { madeAt: manifest.startedAt, progress, signal };
    await write(part, content, { ...archive, format, major: manifest.server.clientMajor });
    await publish(part, file);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw diskFailure(error, file);
  }
  return {
    type: "summary",
    verb: "export",
    point: reader.point.id,
    takenAt: reader.point.snapshot.time,
    installation: reader.point.snapshot.hostname ?? "",
    repository: options.repositoryName,
    format,
    file,
    bytes: await sizeOf(file),
    tables: manifest.tables.length,
    rows: manifest.tables.reduce((sum, table) => sum + table.rows, 0),
    major: manifest.server.clientMajor,
    seconds: (clock.monotonic() - startedMs) / 1000,
    findings: lackingFindings(manifest),
  };
}

async function write(
  part: string,
  content: ArchiveContent,
  options: ArchiveOptions & { format: DumpFormat; major: number },
): Promise<void> {
  if (options.format === "custom") await writeArchiveFile(part, content, options);
  else if (options.format === "directory") await writeArchiveFolder(part, content, options);
  else await writeSql(part, content, options);
}

/** pg_restore itself turns the archive into SQL: what it writes is what psql of its version reads. */
async function writeSql(
  part: string,
  content: ArchiveContent,
  options: ArchiveOptions & { major: number },
): Promise<void> {
  const { pgRestore } = await findPrograms(options.major, options);
  const handle = await open(part, "wx", 0o600);
  try {
    const input = streamArchive(content, options);
    for await (const sql of readProgram(pgRestore, ["--no-owner", "--no-acl", "--file=-"], { ...options, input })) {
      for (let at = 0; at < sql.length;) at += (await handle.write(sql, at)).bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function refuseExisting(path: string, hint: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw fileFailure(error, path);
  }
  throw new Failure("target/not-empty", `'${path}' exists already`, { hint });
}

/** SQL is as large as the rows; of what is compressed nobody knows before. */
async function refuseSmallDisk(file: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(file)).catch((error: unknown) => {
    throw fileFailure(error, file);
  });
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  throw new Failure(
    "target/unsuitable",
    `'${dirname(file)}' has ${formatBytes(freeBytes)} free, the export needs ${formatBytes(neededBytes)}`,
    { hint: "Name a file on a larger disk, or another format: 'custom' and 'directory' are compressed." },
  );
}

/** Gives what was written its name, and never takes that from another. */
async function publish(part: string, file: string): Promise<void> {
  const folders = new DirectorySync();
  if ((await stat(part)).isDirectory()) {
    await folders.sync(part);
    await refuseExisting(file, "Something made it meanwhile. Name another folder.");
    await rename(part, file);
  } else {
    await link(part, file).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") {
        throw new Failure("target/not-empty", `'${file}' exists already`, {
          hint: "Something made it meanwhile. Name another file.",
          cause: error,
        });
      }
      // A filesystem without hard links.
      await refuseExisting(file, "Something made it meanwhile. Name another file.");
      await rename(part, file);
    });
    await rm(part, { force: true });
  }
  await folders.sync(dirname(file));
}

function diskFailure(error: unknown, file: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== "ENOSPC" && code !== "EDQUOT") return fileFailure(error, file);
  return new Failure("store/full", `no space left while writing '${file}'`, {
    hint: "What was begun is removed. Name a file on a larger disk.",
    cause: error,
  });
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  let bytes = 0;
  for (const name of await readdir(path)) bytes += (await stat(join(path, name))).size;
  return bytes;
}
