/**
 * The data of new PostgreSQL servers. `initdb` takes a second of a processor, so it runs once for each of the programs and
 * what it makes is copied. Each copy is a cluster of its own, with a system identifier of its own.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  chownSync,
  closeSync,
  existsSync,
  globSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { mustRun } from "./run.ts";

const TEMPLATES = resolve(import.meta.dirname, "../../.cache/clusters");

/** Of the superuser `postgres` in every cluster. */
export const SUPERUSER_PASSWORD = "test-superuser";

export interface ClusterOptions {
  /** The folder with `initdb`. */
  programs: string;
  /** How everybody is let in. */
  auth: "trust" | "scram-sha-256";
  /** Whose the data is; undefined where that is whoever runs the tests. */
  user: { uid: number; gid: number } | undefined;
  /** The size of the log's files; PostgreSQL's own choice (16) where nothing is said. */
  segmentMib?: number;
  /** True: pages carry checksums, whatever the major does by itself. */
  hasChecksums?: boolean;
}

/** Makes the data of a new server: `data`, in a folder that belongs to its user. */
export async function createCluster(folder: string, options: ClusterOptions): Promise<string> {
  const { auth } = options;
  const data = join(folder, "data");
  const template = await templateOf(options);
  if (template === undefined) await initialise(folder, options);
  else await copyData(template, data);
  const who = ["local all", "host all", "local replication", "host replication"];
  const lines = who.map((kind) => `${kind} all ${kind.startsWith("host") ? "all " : ""}${auth}\n`);
  await writeFile(join(data, "pg_hba.conf"), lines.join(""));
  takeOwnIdentity(data);
  return data;
}

/** With owners and modes, because a server refuses data of others; and with holes, as most of the log is zeros. */
export async function copyData(from: string, to: string): Promise<void> {
  await mustRun("cp", ["-a", "--sparse=always", from, to]);
}

/** What `initdb` makes, made by the first that asks and kept in `.cache`; undefined where nothing can be kept. */
async function templateOf(options: ClusterOptions): Promise<string | undefined> {
  const { programs, user, segmentMib, hasChecksums } = options;
  const initdb = join(programs, "initdb");
  const { mtimeMs, size } = statSync(initdb);
  const owner = user?.uid ?? process.getuid?.() ?? 0;
  const name = createHash("sha256").update(
    JSON.stringify([
      initdb,
      mtimeMs,
      size,
      owner,
      SUPERUSER_PASSWORD,
      ...(segmentMib === undefined ? [] : [segmentMib]),
      ...(hasChecksums === true ? ["checksums"] : []),
    ]),
  );
  const template = join(TEMPLATES, name.digest("hex").slice(0, 16));
  if (existsSync(template)) return template;
  const beside = await makeBeside(template);
  if (beside === undefined) return undefined;
  // The server's user may not be let into the project's folder.
  const folder = await mkdtemp(join(tmpdir(), "chatkeep-initdb-"));
  try {
    await initialise(folder, options);
    await copyData(join(folder, "data"), join(beside, "data"));
    await rename(join(beside, "data"), template);
  } catch (error) {
    // Another process may have been quicker.
    if (!existsSync(template)) throw error;
  } finally {
    for (const path of [folder, beside]) await rm(path, { recursive: true, force: true });
  }
  return template;
}

/** A folder to make it in; undefined where the project belongs to somebody else. */
async function makeBeside(template: string): Promise<string | undefined> {
  try {
    await mkdir(TEMPLATES, { recursive: true });
    return await mkdtemp(`${template}-`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EROFS") return undefined;
    throw error;
  }
}

async function initialise(folder: string, { programs, user, segmentMib, hasChecksums }: ClusterOptions): Promise<void> {
  const pwfile = join(folder, "password");
  writeFileSync(pwfile, `${SUPERUSER_PASSWORD}\n`, { mode: 0o600 });
  if (user !== undefined) for (const path of [folder, pwfile]) chownSync(path, user.uid, user.gid);
  const choices = {
    pgdata: join(folder, "data"),
    username: "postgres",
    pwfile,
    auth: "scram-sha-256",
    encoding: "UTF8",
    locale: "C.UTF-8",
    ...(segmentMib === undefined ? {} : { "wal-segsize": segmentMib }),
  };
  const args = Object.entries(choices).map(([option, value]) => `--${option}=${value}`);
  const sums = hasChecksums === true ? ["--data-checksums"] : [];
  await mustRun(join(programs, "initdb"), [...args, ...sums, "--no-sync"], { ...user, cwd: folder });
}

/** Where the first page of a file of the log names its cluster (`XLogLongPageHeaderData` in xlog_internal.h). */
const LOG_IDENTITY_AT = 24;

/**
 * Gives the data of a server that never ran a system identifier of its own: in `pg_control`, which begins with it and ends
 * with a CRC-32C (`ControlFileData` in pg_control.h), and in the one file of the log.
 */
function takeOwnIdentity(data: string): void {
  const controlFile = join(data, "global/pg_control");
  const control = readFileSync(controlFile);
  const [logFile = ""] = globSync(join(data, "pg_wal", "?".repeat(24)));
  const log = openSync(logFile, "r+");
  try {
    const named = Buffer.alloc(8);
    readSync(log, named, 0, 8, LOG_IDENTITY_AT);
    if (!named.equals(control.subarray(0, 8)))
      throw new Error(`${logFile} does not name the cluster of ${controlFile}`);
    const crcAt = endOfCrc32c(control);
    // The upper half is the time, the lower one chance: initdb takes microseconds and its own number.
    randomBytes(4).copy(control);
    control.writeUInt32LE(crc32c(control.subarray(0, crcAt)), crcAt);
    writeSync(log, control, 0, 8, LOG_IDENTITY_AT);
  } finally {
    closeSync(log);
  }
  writeFileSync(controlFile, control);
}

/** RFC 3720, B.4: reflected, polynomial 0x1edc6f41. */
function crc32cStep(crc: number, byte: number): number {
  let next = crc ^ byte;
  for (let bit = 0; bit < 8; bit += 1) next = (next >>> 1) ^ (next & 1 ? 0x82f63b78 : 0);
  return next;
}

function crc32c(bytes: Uint8Array): number {
  return ~bytes.reduce(crc32cStep, -1) >>> 0;
}

/** How many bytes come before their own CRC, which is where it is in no two majors. */
function endOfCrc32c(bytes: Buffer): number {
  let crc = -1;
  for (const [at, byte] of bytes.subarray(0, -4).entries()) {
    if (~crc >>> 0 === bytes.readUInt32LE(at)) return at;
    crc = crc32cStep(crc, byte);
  }
  throw new Error("pg_control has no CRC-32C of itself");
}
