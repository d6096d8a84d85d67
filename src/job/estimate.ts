/** How much room and time a restore of a database takes: from what the point says of itself, and from earlier drills. */
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { formatBytes } from "../base/bytes.ts";
import type { Manifest } from "../point/manifest.ts";
import { parseProof, type Proof } from "../point/proof.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { freeBytesOf } from "../system/folders.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point } from "./points.ts";
import { readRecord } from "./records.ts";
import type { ChosenRows } from "./row-choice.ts";
import type { RestorePlan } from "./summaries.ts";

export type DatabaseEstimate = NonNullable<RestorePlan["estimate"]>;

/**
 * Tables with their indexes, against rows as text: at most, where the database's own size is not known or swollen. Measured
 * with 300,000 of Chatwoot's messages, of whose disk space most is the index of trigrams: 3.95.
 */
const DISK_PER_TEXT_BYTE = 4;
/** A database without any table of people's own. */
const EMPTY_DATABASE_BYTES = 8 * 1024 * 1024;

/**
 * Bytes that the restored database will have on disk, about. The database's size when it was saved is the better guess, but
 * counts what was dead in it. @param rows without it all of them.
 */
export function estimateDisk(manifest: Manifest, rows?: ChosenRows): number {
  const all = textBytes(manifest);
  const chosen = rows === undefined || rows.isWhole ? all : rows.tables.reduce((sum, { bytes }) => sum + bytes, 0);
  const byText = chosen * DISK_PER_TEXT_BYTE;
  const { databaseBytes } = manifest.server;
  const byDatabase = databaseBytes === undefined || all === 0 ? Infinity : (databaseBytes * chosen) / all;
  return Math.round(EMPTY_DATABASE_BYTES + Math.min(byText, byDatabase));
}

function textBytes({ tables, largeObjects }: Manifest): number {
  return tables.reduce((sum, { bytes }) => sum + bytes, largeObjects?.bytes ?? 0);
}

export interface EstimateOptions {
  address: ServerAddress;
  isLive: boolean;
  /** Where the server keeps it, on this machine; undefined where that is not known. */
  folder: string | undefined;
  signal: AbortSignal;
}

/** What the plan shows. */
export async function estimate(
  reader: PointReader,
  rows: ChosenRows,
  options: EstimateOptions,
): Promise<DatabaseEstimate> {
  const manifest = await reader.manifest();
  return {
    diskBytes: estimateDisk(manifest, rows),
    freeBytes: options.folder === undefined ? null : ((await freeBytesOf(options.folder)) ?? null),
    seconds: await estimateSeconds(reader, rows, options),
  };
}

/** By the drill of this point, or else of the newest one of the installation; null where there was none. */
async function estimateSeconds(
  reader: PointReader,
  rows: ChosenRows,
  { isLive, signal }: EstimateOptions,
): Promise<number | null> {
  const drilled = await newestProven(reader, { signal });
  if (drilled === undefined) return null;
  const { proof, bytes } = drilled;
  const { load = 0, rows: comparing = 0 } = proof.stages;
  if (load === 0 || bytes === 0) return null;
  const chosen = rows.isWhole
    ? textBytes(await reader.manifest())
    : rows.tables.reduce((sum, table) => sum + table.bytes, 0);
  return Math.ceil(((load + (isLive ? comparing : 0)) * chosen) / bytes);
}

async function newestProven(
  reader: PointReader,
  { signal }: { signal: AbortSignal },
): Promise<{ proof: Proof; bytes: number } | undefined> {
  const { repository, point } = reader;
  const isDrilled = ({ proof, installationId }: Point) =>
    proof?.proven === true && installationId === point.installationId;
  try {
    const found = isDrilled(point) ? point : (await listPoints(repository, { signal })).points.find(isDrilled);
    if (found?.proof === undefined) return undefined;
    const text = await readRecord(repository, { kind: "proof", point: found.id, ...found.proof }, { signal });
    return {
      proof: parseProof(text),
      bytes: textBytes(await new PointReader(repository, found, { signal }).manifest()),
    };
  } catch (error) {
    // A drill that cannot be read tells nothing, and stands in nobody's way.
    if (signal.aborted || !isFailure(error)) throw error;
    return undefined;
  }
}

/**
 * Where the disk has less free than the database takes by the estimate, a warning; it stands in the way only where the rows alone,
 * as text, have no room, since an estimate may be four times too high.
 */
export function spaceFinding(
  { diskBytes, freeBytes }: DatabaseEstimate,
  { rowBytes, isLive }: { rowBytes: number; isLive: boolean },
): Finding | undefined {
  if (freeBytes === null || freeBytes >= diskBytes) return undefined;
  return {
    kind: "server-disk-too-small",
    level: freeBytes < rowBytes ? "alarm" : "warning",
    message: `the server's disk has ${formatBytes(freeBytes)} free, the database needs about ${formatBytes(diskBytes)}`,
    hint: isLive
      ? "It is made beside the live one, so there must be room for both. 'chatkeep restore --discard-previous' drops what earlier restores put aside; or restore into another server with --database-url."
      : "Free some space there, or name a database on another server.",
  };
}
