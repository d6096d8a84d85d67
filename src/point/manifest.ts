/**
 * The manifest says what a restore point holds, what it was read from and what is missing in it. It is the first
 * file anybody reads: Chatkeep to plan a restore or a drill, a person to see what they have.
 *
 * `schema` grows by one when a reader of the old form would be wrong; fields may be added without that.
 */
import type { AccountCounts, Peak } from "../base/account-counts.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";

/** The highest that is read. 2: a service has a list of what is missing beside the manifest. */
export const MANIFEST_SCHEMA = 2;
/** How table rows are cut into ranges and chunks; equal versions make equal trees of equal data. */
export const CUTTER_VERSION = 1;

export interface TableEntry {
  schema: string;
  name: string;
  /** What orders the rows. */
  key: { kind: "integer" | "columns" | "none"; columns: string[] };
  /** The columns in the order of the COPY text. */
  columns: string[];
  /** Rows of one range: 2^k consecutive ids; null where the table is one range. */
  k: number | null;
  /** Rows of one chunk: 2^j consecutive ids; null where the table is one range. */
  j: number | null;
  rows: number;
  bytes: number;
  ranges: number;
  /** Hex: what the table and its columns were on the server. Only beside ranges with stamps. */
  form?: string;
  /** Rows that the server could not give. */
  unreadable?: UnreadableEntry[];
}

/** Rows by their ids, the last one included; null where the table has no ids: then it is all of them. */
export interface UnreadableEntry {
  from: string | null;
  to: string | null;
  /** What the server said. */
  why: string;
  /** The rows are in the restore point as the one before had them: they have not changed since. */
  kept?: true;
}

/** Large objects, which lie in no table: read in parts, a line each. */
export interface LargeObjectsEntry {
  objects: number;
  /** 2^k numbers are a range. */
  k: number;
  ranges: number;
  /** Lines of text. */
  parts: number;
  /** Of that text. */
  bytes: number;
}

export interface RoleEntry {
  name: string;
  /** The schema itself names it (policies, user mappings): without it nothing can be restored. */
  isNamed: boolean;
}

export interface SequenceEntry {
  schema: string;
  name: string;
  /** Decimal: sequences reach 2^63 - 1. */
  lastValue: string;
  isCalled: boolean;
}

/** A blob that the database lists and whose file is not in the restore point as the database describes it. */
export interface MissingBlob {
  id: string;
  key: string;
  filename: string;
  bytes: number;
  /**
   * `missing`: no file. `purged`: deleted by Chatwoot while the backup ran. `unreadable`: the file could not be read.
   * `short`, `long`, `altered`: a file was there and is saved as it was, but it is not what was uploaded.
   */
  reason: "missing" | "purged" | "unreadable" | "short" | "long" | "altered";
  /** RFC 3339: the start of the first restore point that noticed. */
  since: string;
  /** An earlier copy, which was right, is in the restore point in its place. */
  kept?: true;
}

/** Tables of which the point has not all rows, because the server could not give them. */
export function tablesLackingRows({ tables }: Pick<Manifest, "tables">): TableEntry[] {
  return tables.filter(({ unreadable = [] }) => unreadable.some(({ kept }) => kept !== true));
}

/** Uploaded files that were lost before the point was taken: it has nothing of them. Purged ones are no loss. */
export function lostFiles(storage: readonly ServiceEntry[]): number {
  return storage.reduce((sum, service) => sum + countMissing(service).lost, 0);
}

function isLost({ reason, kept }: MissingBlob): boolean {
  return kept !== true && (reason === "missing" || reason === "unreadable");
}

/** True for a blob that the point has no file of. */
export function isAbsent({ reason, kept }: MissingBlob): boolean {
  return kept !== true && (reason === "missing" || reason === "purged" || reason === "unreadable");
}

/** Of a service's files that are not as the database describes them. */
export interface MissingCounts {
  blobs: number;
  /** Deleted by Chatwoot meanwhile: no loss. */
  purged: number;
  /** The point has nothing of them, and Chatwoot wants them. */
  lost: number;
  /** The point has no file of them. */
  absent: number;
}

export function countsOf(missing: readonly MissingBlob[]): MissingCounts {
  const count = (is: (blob: MissingBlob) => boolean) => missing.reduce((sum, blob) => sum + (is(blob) ? 1 : 0), 0);
  return {
    blobs: missing.length,
    purged: count(({ reason }) => reason === "purged"),
    lost: count(isLost),
    absent: count(isAbsent),
  };
}

export function countMissing({ missing, missingInAll }: ServiceEntry): MissingCounts {
  return missingInAll ?? countsOf(missing);
}

/** Files of all services that are missing or damaged, but for those that Chatwoot deleted. */
export function missingFiles(storage: readonly ServiceEntry[]): number {
  return storage.reduce((sum, service) => sum + countMissing(service).blobs - countMissing(service).purged, 0);
}

export interface ServiceEntry {
  name: string;
  kind: string;
  blobs: number;
  bytes: number;
  /** Blobs without an MD5 in the database: only their size could be checked. */
  withoutChecksum: number;
  /** Files that are not as the database describes them: all, or the first of many. */
  missing: MissingBlob[];
  /** Where these are not all: how many there are. `ranges/storage/<service>.missing.jsonl` names each. */
  missingInAll?: MissingCounts;
}

export interface KeyProofEntry {
  /** True when every saved secret that was tried opens with the saved keys; null when there is nothing to open. */
  encryption: boolean | null;
  /** True when a signed id found in the data verifies with SECRET_KEY_BASE; null when none was found. */
  secretKeyBase: boolean | null;
  checks: { table: string; column: string; keyId: string; count: number; status: string }[];
}

export interface CodeEntry {
  kind: "git" | "files" | "none";
  head?: string;
  branch?: string;
  origin?: string;
  isDirty?: boolean;
  bundle?: boolean;
  files: number;
}

/** What a point was made of that no backup made. */
export interface ImportedEntry {
  /** The dump's name, without its folder. */
  file: string;
  /** `custom`, `tar`, `directory` or `plain`, and what it was packed with. */
  format: string;
  packing: string | null;
  /** The database of the dump, where the dump says it. */
  database: string | null;
  /** Of the server that was dumped, and of pg_dump; null where the dump does not say it. */
  serverVersion: string | null;
  clientVersion: string | null;
  /** RFC 3339. */
  madeAt: string;
  /** Who says when it was made: the dump, its file's time, or whoever imported it. */
  madeAtFrom: "dump" | "file" | "option";
  /** How the database ordered text. */
  locale: {
    collate: string;
    ctype: string;
    provider?: { name: "icu" | "builtin"; locale: string; rules: string | null };
  };
  /** Whether uploaded files and an environment came with it. */
  hasStorage: boolean;
  hasEnvironment: boolean;
}

/** Which moment a point was made of that no backup made, and from what. */
export interface MomentEntry {
  /** RFC 3339 in UTC, microseconds. */
  at: string;
  systemIdentifier: string;
  /** Of the log that was replayed. */
  timeline: number;
  /** The end of the last record that was replayed, as PostgreSQL writes it. */
  replayedTo: string;
  /** RFC 3339: the last transaction in it; null where none was replayed. */
  lastCommitAt: string | null;
  /** The snapshot of the base that was recovered. */
  base: string;
  /** The restore point that configuration and code are of; null where they are of the installation as it was when this was made. */
  configurationOf: string | null;
}

export interface Manifest {
  schema: number;
  program: string;
  installation: { id: string; name: string; kind: string };
  startedAt: string;
  endedAt: string;
  /** The name of the restore point that this one was built upon. */
  parent: string | null;
  cutter: number;
  server: {
    version: string;
    major: number;
    systemIdentifier: string;
    timeline: number;
    postmasterStartedAt: string;
    database: string;
    databaseOid: string;
    encoding: string;
    collate: string;
    ctype: string;
    /** Who orders text; absent: the system's library. */
    localeProvider?: { name: "icu" | "builtin"; locale: string; rules: string | null };
    /** What the database took on the server's disk, dead rows and indexes too. Earlier points have none. */
    databaseBytes?: number;
    /** WAL insert position when the snapshot was taken. */
    lsn: string;
    /** It was a standby, so far behind its primary; null when it did not tell. */
    standby?: { lagSeconds: number | null };
    extensions: { name: string; version: string; schema: string }[];
    /** The client programs that dumped the schema. */
    clientMajor: number;
    clientIsNewer: boolean;
  };
  chatwoot: {
    version: string | null;
    edition: string | null;
    commit: string | null;
    /** What the web process ran, where it ran in a container: as it was named, its id, and as a registry knows it. */
    image?: { name: string; id: string; digest?: string };
    migrations: string[];
  };
  tables: TableEntry[];
  sequences: SequenceEntry[];
  /** What only a superuser may make, as `kind name`; absent: nobody looked. */
  forSuperusers?: string[];
  /** Those of `database/roles.sql`; absent: the point keeps none. */
  roles?: RoleEntry[];
  /** Absent: there are none that could be read. */
  largeObjects?: LargeObjectsEntry;
  /** Materialised views that held rows, in an order in which each finds those that it reads. */
  filledViews: { schema: string; name: string }[];
  storage: ServiceEntry[];
  /** HMAC-SHA-256 of each secret's value, to tell later whether it is the same; never the secret. */
  secrets: { name: string; hmac: string }[];
  keyProof: KeyProofEntry;
  config: { files: number };
  code: CodeEntry;
  read: {
    rangesRead: number;
    rangesReused: number;
    blobsCopied: number;
    blobsReused: number;
    foldersReused: number;
    purged: number;
  };
  /**
   * The beginnings of the names of the index files that the repository had when the point was begun; while all of them
   * are there, folders that are `settled` are whole. Empty or absent: nothing is known.
   */
  indexFiles?: string[];
  /** What a later point needs to know to take ranges over by their stamps. Absent: it reads all of them. */
  stamps?: {
    /** Of the way in which stamps are made. */
    version: number;
    /** Hex: what decided how values look as text. */
    text: string;
    /** RFC 3339: the start of the last point for which every row was read. */
    fullReadAt: string;
    /** One more in each point: says which ranges are read although their stamps are equal. */
    turn: number;
  };
  /** What each account has, first of all the whole. Absent in points of earlier versions. */
  accounts?: AccountCounts[];
  /** Where accounts had more, since somebody last said that they may have less. */
  peaks?: Peak[];
  /** It was made of a dump by 'chatkeep import'; `server` is then the one that the dump was loaded into. */
  imported?: ImportedEntry;
  /** It was made of a moment; `server` is then the one that was recovered for it. */
  moment?: MomentEntry;
  findings: Finding[];
}

/** JSON with one field a line, ending in a newline, so that a person can read it and two can be compared. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 1)}\n`;
}

/** @throws Failure `point/invalid` when the text is no manifest, or one that only a newer Chatkeep can read. */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Failure("point/invalid", "the restore point's manifest is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || !("schema" in value) || typeof value.schema !== "number") {
    throw new Failure("point/invalid", "the restore point's manifest has no schema version");
  }
  if (value.schema > MANIFEST_SCHEMA) {
    throw new Failure(
      "point/invalid",
      `the restore point's manifest has schema ${value.schema}, this Chatkeep reads ${MANIFEST_SCHEMA}`,
      {
        hint: "A newer Chatkeep made this point: update Chatkeep, or use the restore.sh inside the point.",
      },
    );
  }
  for (const field of ["installation", "server", "tables", "sequences", "filledViews", "storage", "read"] as const) {
    if (!(field in value)) throw new Failure("point/invalid", `the restore point's manifest lacks '${field}'`);
  }
  return value as Manifest;
}
