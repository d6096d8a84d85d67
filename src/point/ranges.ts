/** The lists of what a point's tables and storage folders consist of: small files beside the data. */
import { Failure } from "../base/errors.ts";
import type { MissingBlob } from "./manifest.ts";

export interface RangeEntry {
  bucket: string;
  rows: number;
  bytes: number;
  /** Hex SHA-256 of the range's COPY text. */
  sha256: string;
  /** What tells whether the server's rows are still these: see `src/postgres/stamps.ts`. Only in tables that are worth it. */
  stamp?: string;
}

export interface FolderEntry {
  /** Number of the folder: blob id >> 10, decimal. */
  folder: string;
  count: number;
  /** Sum of the sizes that the database lists. */
  bytes: number;
  withoutChecksum: number;
  /** Over (id, key, checksum, byte_size, service_name) of its blobs, as the database computed it. */
  hash: string;
  /**
   * The beginning of its tree's id, when every file of it was in the repository before the backup that lists it here.
   * Of the tree, because `restic rewrite` may leave another one in its place.
   */
  settled?: string;
}

/** Enough of an id to know it again, where a list of whole ones would be too long. */
export function beginningOf(id: string): string {
  return id.slice(0, 16);
}

export function formatRanges(ranges: readonly RangeEntry[]): string {
  return formatLines("ranges", ranges);
}
export function parseRanges(text: string): RangeEntry[] {
  return parseList(text, "ranges") as RangeEntry[];
}
export function formatFolders(folders: readonly FolderEntry[]): string {
  return formatLines("folders", folders);
}
export function parseFolders(text: string): FolderEntry[] {
  return parseList(text, "folders") as FolderEntry[];
}

/** A line for each. */
export function formatMissing(blobs: readonly MissingBlob[]): string {
  return blobs.map((blob) => `${JSON.stringify(blob)}\n`).join("");
}

/** @param line without its end. @throws Failure `point/invalid`. */
export function parseMissing(line: string): MissingBlob {
  try {
    const blob = JSON.parse(line) as MissingBlob;
    if (typeof blob.id === "string" && typeof blob.key === "string" && typeof blob.reason === "string") return blob;
  } catch (cause) {
    throw new Failure("point/invalid", "the list of missing files in the restore point is damaged", { cause });
  }
  throw new Failure("point/invalid", "the list of missing files in the restore point is damaged");
}

/** One entry a line: equal lists are equal bytes, and a changed entry changes one line. */
function formatLines(name: string, entries: readonly object[]): string {
  return `{"${name}":[\n${entries.map((entry) => JSON.stringify(entry)).join(",\n")}\n]}\n`;
}

function parseList(text: string, name: string): unknown[] {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const list = value[name];
    if (Array.isArray(list)) return list;
  } catch (cause) {
    throw new Failure("point/invalid", `a list of ${name} in the restore point is not JSON`, { cause });
  }
  throw new Failure("point/invalid", `a list in the restore point has no '${name}'`);
}
