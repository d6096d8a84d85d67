/**
 * Where everything lies inside a restore point. Paths are relative to the point's one root folder, `chatkeep`.
 * Names from the database are percent-encoded, so that any schema, table or storage service makes a safe name.
 */

export const ROOT = "chatkeep";
/** The `paths` of every restore point's snapshot. */
export const SNAPSHOT_PATH = `/${ROOT}`;
export const POINT_TAG = "chatkeep";

/** Where a record about a point lies: a snapshot of its own, with one folder and one file. */
export interface RecordPlace {
  readonly tag: string;
  /** The `paths` of its snapshot. */
  readonly path: string;
  readonly folder: string;
  readonly file: string;
}

export const PROOF: RecordPlace = {
  tag: "chatkeep-proof",
  path: "/chatkeep-proof",
  folder: "chatkeep-proof",
  file: "proof.json",
};
export const HOLD: RecordPlace = {
  tag: "chatkeep-hold",
  path: "/chatkeep-hold",
  folder: "chatkeep-hold",
  file: "hold.json",
};

/** That a hold was released, kept for as long as a repository may still have it. */
export const RELEASE: RecordPlace = {
  tag: "chatkeep-hold-released",
  path: "/chatkeep-hold-released",
  folder: "chatkeep-hold-released",
  file: "released.json",
};

/** What a point lacks that nothing has. */
export const NOT_WHOLE: RecordPlace = {
  tag: "chatkeep-not-whole",
  path: "/chatkeep-not-whole",
  folder: "chatkeep-not-whole",
  file: "lacks.json",
};

/** That a point was forgotten by its name, for as long as nothing else says so. */
export const FORGOTTEN: RecordPlace = {
  tag: "chatkeep-forgotten",
  path: "/chatkeep-forgotten",
  folder: "chatkeep-forgotten",
  file: "forgotten.json",
};

/** That a point could not be read whole when it was to be copied here: so it is tried again, though newer ones came. */
export const NOT_COPIED: RecordPlace = {
  tag: "chatkeep-not-copied",
  path: "/chatkeep-not-copied",
  folder: "chatkeep-not-copied",
  file: "not-copied.json",
};

/** That somebody said that a finding is known and meant. */
export const ACK: RecordPlace = {
  tag: "chatkeep-ack",
  path: "/chatkeep-ack",
  folder: "chatkeep-ack",
  file: "ack.json",
};

export const MANIFEST = "manifest.json";
/** Chatkeep's own configuration, below `config/`. */
export const OWN_CONFIG = "chatkeep/chatkeep.yaml";
export const SCHEMA_DUMP = "schema.dump";
export const SCHEMA_SQL = "schema.sql";
export const SEQUENCES_SQL = "sequences.sql";

/** Folder of the large objects' ranges, below `database/`, and the list of them, below `ranges/`. */
export const LARGE_OBJECTS = "large-objects";
export const LARGE_OBJECTS_LIST = "large-objects.json";
/** What was said of them. */
export const LARGE_OBJECTS_SQL = "large-objects.sql";

/** Roles that the database needs, and who owns and may do what in it: SQL that is carried out only when asked for. */
export const ROLES_SQL = "roles.sql";
export const GRANTS_SQL = "grants.sql";

/** The value of a `name=value` tag. */
export function tagText(tags: readonly string[] | undefined, name: string): string | undefined {
  return tags?.find((tag) => tag.startsWith(`${name}=`))?.slice(name.length + 1);
}

export function installationTag(id: string): string {
  return `installation=${id}`;
}
export function versionTag(version: string): string {
  return `chatwoot=${version}`;
}
/** Names one point exactly, so that its own `restore.sh` can name it to stock restic. */
export function instantTag(startedAt: string): string {
  return `at=${startedAt}`;
}

/** On a point in which that many accounts have lost more than they may: nothing is forgotten until it is acknowledged. */
export function shrunkTag(accounts: number): string {
  return `shrunk=${accounts}`;
}

/** On a point that a watch made, one every few minutes: these are thinned out. */
export const INTERVAL_TAG = "interval";

/** On a point that was made of a dump, with the version of the pg_dump that wrote it. */
export function importedTag(clientVersion: string | null): string {
  return `imported=${/^[\w.]+/.exec(clientVersion ?? "")?.[0] ?? "unknown"}`;
}

/** On a point that lacks rows of so many tables, because the server could not read them. */
export function tornTag(tables: number): string {
  return `torn=${tables}`;
}

/** On a point that was made in the next repository because this one did not answer: it is brought there later. */
export function withoutTag(repositoryName: string): string {
  return `without=${repositoryName}`;
}

/** Everything but letters, digits, `_` and `-` becomes `%XX` of its UTF-8 bytes; dots too, as they part schema and table. */
export function encodeName(name: string): string {
  let out = "";
  for (const byte of new TextEncoder().encode(name)) {
    const char = String.fromCharCode(byte);
    out += /[A-Za-z0-9_-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

export function decodeName(name: string): string {
  return decodeURIComponent(name);
}

/** `public.messages`: the folder of a table's rows, and the stem of its list of ranges. */
export function tableFolder(schema: string, table: string): string {
  return `${encodeName(schema)}.${encodeName(table)}`;
}

/** Names each file of a service that is not as the database describes it, where the manifest does not. */
export function missingList(service: string): string {
  return `ranges/storage/${encodeName(service)}.missing.jsonl`;
}

export function rangeFile(bucket: string): string {
  return `${bucket}.copy`;
}

/** The two folders that a blob lies in, by its id: groups of 2^20, folders of 2^10. */
export function blobFolder(id: bigint): { group: string; folder: string } {
  return { group: (id >> 20n).toString(), folder: (id >> 10n).toString() };
}
