/** Snapshot files: one for each thing that was saved, naming its root tree. */
import { type ChunkId, isId, type SnapshotId } from "../base/ids.ts";
import {
  asRecord,
  badField,
  type JsonRecord,
  optionalInteger,
  optionalString,
  optionalStrings,
  parseRecord,
  requiredTime,
} from "./fields.ts";
import { encodeGoString } from "./go-json.ts";
import { isGoTime } from "./go-time.ts";
import { bug } from "../base/errors.ts";

/** What stock restic shows of how a snapshot was made. Instants as Go writes them. */
export interface SnapshotSummary {
  readonly backupStart: string;
  readonly backupEnd: string;
  readonly filesNew: number;
  readonly filesChanged: number;
  readonly filesUnmodified: number;
  readonly dirsNew: number;
  readonly dirsChanged: number;
  readonly dirsUnmodified: number;
  /** Chunks that were new, by type. */
  readonly dataBlobs: number;
  readonly treeBlobs: number;
  /** Bytes that were new, before compression and as stored. */
  readonly dataAdded: number;
  readonly dataAddedPacked: number;
  readonly totalFilesProcessed: number;
  readonly totalBytesProcessed: number;
}

export interface Snapshot {
  /** An instant as Go writes it, in whichever zone it was written. */
  readonly time: string;
  readonly parent?: SnapshotId;
  readonly tree: ChunkId;
  readonly paths: readonly string[];
  readonly hostname?: string;
  readonly username?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly excludes?: readonly string[];
  readonly tags?: readonly string[];
  /** The first snapshot that this one is a copy or a change of. */
  readonly original?: SnapshotId;
  readonly programVersion?: string;
  readonly summary?: SnapshotSummary;
}

const WHAT = "a snapshot file";
const MAX_UINT32 = 0xffff_ffff;

/** The JSON names of a summary's counts, in the order in which restic writes them. */
const COUNTS = [
  ["files_new", "filesNew"],
  ["files_changed", "filesChanged"],
  ["files_unmodified", "filesUnmodified"],
  ["dirs_new", "dirsNew"],
  ["dirs_changed", "dirsChanged"],
  ["dirs_unmodified", "dirsUnmodified"],
  ["data_blobs", "dataBlobs"],
  ["tree_blobs", "treeBlobs"],
  ["data_added", "dataAdded"],
  ["data_added_packed", "dataAddedPacked"],
  ["total_files_processed", "totalFilesProcessed"],
  ["total_bytes_processed", "totalBytesProcessed"],
] as const satisfies readonly (readonly [string, keyof SnapshotSummary])[];

function encodeStrings(list: readonly string[]): string {
  return `[${list.map(encodeGoString).join(",")}]`;
}

function encodeTime(text: string): string {
  if (!isGoTime(text)) throw bug(`'${text}' is not an instant`);
  return `"${text}"`;
}

function encodeSummary(summary: SnapshotSummary): string {
  const counts = COUNTS.map(([name, key]) => `,"${name}":${summary[key]}`);
  const { backupStart, backupEnd } = summary;
  return `{"backup_start":${encodeTime(backupStart)},"backup_end":${encodeTime(backupEnd)}${counts.join("")}}`;
}

/** The JSON of a snapshot file, as Go would write it. */
export function encodeSnapshot(snapshot: Snapshot): string {
  const { parent, hostname, username, uid, gid, excludes, tags, original, programVersion, summary } = snapshot;
  const fields = [
    `"time":${encodeTime(snapshot.time)}`,
    parent && `"parent":"${parent}"`,
    `"tree":"${snapshot.tree}"`,
    `"paths":${encodeStrings(snapshot.paths)}`,
    hostname && `"hostname":${encodeGoString(hostname)}`,
    username && `"username":${encodeGoString(username)}`,
    uid && `"uid":${uid}`,
    gid && `"gid":${gid}`,
    excludes && excludes.length > 0 && `"excludes":${encodeStrings(excludes)}`,
    tags && tags.length > 0 && `"tags":${encodeStrings(tags)}`,
    original && `"original":"${original}"`,
    programVersion && `"program_version":${encodeGoString(programVersion)}`,
    summary && `"summary":${encodeSummary(summary)}`,
  ];
  return `{${fields.filter(Boolean).join(",")}}`;
}

function optionalId(record: JsonRecord, name: string): string | undefined {
  const value = optionalString(record, name, WHAT);
  if (value !== undefined && !isId(value)) throw badField(WHAT, name, "an id");
  return value;
}

/** Leaves out what is undefined, as `exactOptionalPropertyTypes` wants. */
function defined<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

function decodeSummary(value: unknown): SnapshotSummary | undefined {
  if (value === undefined || value === null) return undefined;
  const what = "a snapshot's summary";
  const record = asRecord(value, what);
  const counts = COUNTS.map(([name, key]) => [key, optionalInteger(record, name, what) ?? 0] as const);
  return {
    backupStart: requiredTime(record, "backup_start", what),
    backupEnd: requiredTime(record, "backup_end", what),
    ...(Object.fromEntries(counts) as Record<(typeof COUNTS)[number][1], number>),
  };
}

/**
 * Reads the JSON of a snapshot file; fields that we do not know are passed over.
 * @throws {Failure} `repo/damaged` when one that we need is missing or is of another type.
 */
export function decodeSnapshot(json: string): Snapshot {
  const record = parseRecord(json, WHAT);
  const tree = optionalId(record, "tree") as ChunkId | undefined;
  if (tree === undefined) throw badField(WHAT, "tree", "an id");
  return defined<Snapshot>({
    time: requiredTime(record, "time", WHAT),
    parent: optionalId(record, "parent") as SnapshotId | undefined,
    tree,
    paths: optionalStrings(record, "paths", WHAT) ?? [],
    hostname: optionalString(record, "hostname", WHAT),
    username: optionalString(record, "username", WHAT),
    uid: optionalInteger(record, "uid", WHAT, MAX_UINT32),
    gid: optionalInteger(record, "gid", WHAT, MAX_UINT32),
    excludes: optionalStrings(record, "excludes", WHAT),
    tags: optionalStrings(record, "tags", WHAT),
    original: optionalId(record, "original") as SnapshotId | undefined,
    programVersion: optionalString(record, "program_version", WHAT),
    summary: decodeSummary(record["summary"]),
  });
}
