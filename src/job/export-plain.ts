/**
 * A restore point as plain files, which need nothing of ours: what Chatwoot's own page about backups describes. They are
 * written beside the folder that was asked for, which gets its name when they are whole.
 */
import { lstat, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import type { Manifest } from "../point/manifest.ts";
import { formatPlainReadme } from "../point/plain-readme.ts";
import { makeFolders } from "../system/folders.ts";
import { isMarkOver, ownMark } from "../system/leftovers.ts";
import { exportDatabase } from "./export-database.ts";
import { lockToRead } from "./lock.ts";
import type { PlainExportSummary } from "./plain-summaries.ts";
import type { PointReader } from "./point-reader.ts";
import { restoreFolder, restoreStorage } from "./restore-files.ts";

export interface PlainExportOptions {
  /** Of the repository, to be shown. */
  repositoryName: string;
  /** Absolute; is not there, or empty. */
  folder: string;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** Whose the unfinished folder is; in it for as long as it has another name. */
const MARK = ".unfinished-export";

/**
 * @throws Failure `target/not-empty`, `target/unsuitable` or `store/full` when it cannot be written, `point/invalid`,
 * `repo/damaged`. What was begun is removed; what a killed run began, the next one removes.
 */
export async function exportPlain(reader: PointReader, options: PlainExportOptions): Promise<PlainExportSummary> {
  const { folder, clock } = options;
  const startedMs = clock.monotonic();
  await refuseFilled(folder);
  const manifest = await reader.manifest();
  const part = `${folder}.part`;
  await using lock = await lockToRead(reader.repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  await beginFolder(part, manifest);
  try {
    const written = await writeAll(reader, part, { ...options, signal });
    await publish(part, folder);
    return {
      type: "summary",
      verb: "export",
      point: reader.point.id,
      takenAt: reader.point.snapshot.time,
      installation: manifest.installation.name,
      repository: options.repositoryName,
      folder,
      major: manifest.server.clientMajor,
      ...written,
      seconds: (clock.monotonic() - startedMs) / 1000,
    };
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw explained(error, folder);
  }
}

type Written = Pick<PlainExportSummary, "database" | "storage" | "hasEnvironment" | "hasCode" | "findings">;

async function writeAll(reader: PointReader, part: string, options: PlainExportOptions): Promise<Written> {
  const manifest = await reader.manifest();
  const dump = join(part, "chatwoot.dump");
  const database = await exportDatabase(reader, { ...options, file: dump, format: "custom" });
  const storage = await restoreStorage(reader, join(part, "storage"), options);
  const config = await restoreFolder(reader, "config", join(part, "config"), options);
  const code = await restoreFolder(reader, "code", join(part, "code"), options);
  const environment = await environmentOf(reader);
  if (environment !== undefined) await writeFile(join(part, ".env"), environment, { mode: 0o600 });
  const parts = { hasEnvironment: environment !== undefined, hasConfig: config.files > 0, hasCode: code.files > 0 };
  await writeFile(join(part, "README.txt"), formatPlainReadme(manifest, parts), { mode: 0o600 });
  const findings: Finding[] = [...database.findings, ...storage.findings, ...config.findings, ...code.findings];
  return {
    database: { tables: database.tables, rows: database.rows, bytes: database.bytes },
    storage: { files: storage.files, bytes: storage.bytes },
    hasEnvironment: parts.hasEnvironment,
    hasCode: parts.hasCode,
    findings,
  };
}

/** The file as it was; or, where there was none, what the processes had. */
async function environmentOf(reader: PointReader): Promise<Buffer | undefined> {
  if ((await reader.find("config/env")) !== undefined) return await reader.readBytes("config/env");
  if ((await reader.find(`config/${SAVED_ENVIRONMENT}`)) === undefined) return undefined;
  const environment = parseEnvironment(await reader.readText(`config/${SAVED_ENVIRONMENT}`));
  if (environment.size === 0) return undefined;
  return Buffer.from([...environment].map(([name, value]) => `${name}=${quoted(value)}\n`).join(""));
}

/** As Chatwoot's dotenv reads it: nothing within single quotes means anything. */
function quoted(value: string): string {
  if (/^[\w@%+=:,./-]*$/.test(value)) return value;
  if (!value.includes("'")) return `'${value}'`;
  return `"${value.replaceAll(/["\\$]/g, String.raw`\$&`).replaceAll("\n", String.raw`\n`)}"`;
}

async function refuseFilled(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw explained(error, folder);
  });
  if (names.length === 0) return;
  throw new Failure("target/not-empty", `the folder '${folder}' is not empty`, {
    hint: "Name a new or empty folder: nothing that exists is ever written over.",
  });
}

/** Makes the folder that is written into, in place of what a killed run left of it. */
async function beginFolder(part: string, manifest: Manifest): Promise<void> {
  if ((await lstat(part).catch(() => undefined)) !== undefined) {
    const mark = await readFile(join(part, MARK), "utf8").catch(() => undefined);
    if (mark === undefined || !isMarkOver(mark.trim())) {
      throw new Failure("target/not-empty", `'${part}' exists already`, {
        hint:
          mark === undefined
            ? "No export made it: move it away, or name another folder."
            : "Another export is writing it: wait for its end, or name another folder.",
      });
    }
    await rm(part, { recursive: true, force: true });
  }
  try {
    await makeFolders(part, 0o700);
    await writeFile(join(part, MARK), ownMark(), { mode: 0o600 });
    const needed = manifest.storage.reduce((sum, { bytes }) => sum + bytes, 0);
    const { bavail, bsize } = await statfs(part);
    if (bavail * bsize >= needed) return;
    throw new Failure(
      "target/unsuitable",
      `'${dirname(part)}' has ${formatBytes(bavail * bsize)} free, the files need ${formatBytes(needed)}`,
      { hint: "Free some space, or name a folder on a larger disk." },
    );
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw explained(error, part);
  }
}

async function publish(part: string, folder: string): Promise<void> {
  await rename(part, folder).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "ENOTEMPTY" || error.code === "EEXIST") await refuseFilled(folder);
    throw error;
  });
  await rm(join(folder, MARK), { force: true });
}

function explained(error: unknown, folder: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (error instanceof Failure || typeof code !== "string") return error;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  return new Failure(
    isFull ? "store/full" : "target/unsuitable",
    `'${folder}' cannot be written: ${messageOf(error)}`,
    {
      hint: isFull
        ? "What was begun is removed. Name a folder on a larger disk."
        : "Name a folder that you may write to.",
      cause: error,
    },
  );
}
