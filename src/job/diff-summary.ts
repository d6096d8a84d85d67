/** What `diff` answers. Names and counts, and what tells one conversation from another: never a value of a setting. */

export type ChangeKind = "added" | "changed" | "removed";
export type Counts = Record<ChangeKind, number>;

export interface DiffTable {
  schema: string;
  name: string;
  /** Rows in each point; null where there is no such table. */
  rowsBefore: number | null;
  rowsAfter: number | null;
  added: number;
  changed: number;
  removed: number;
  /** Columns that only one of the points has; rows are compared by the others. */
  columnsAdded: string[];
  columnsRemoved: string[];
  /** Something of it could not be read: the counts are of the rest. */
  isPartial: boolean;
}

export const OBJECT_KINDS = ["conversations", "messages", "contacts", "inboxes", "agents"] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

export interface DiffExample {
  id: string;
  /** `#42`, `Ana Souza <ana@example.org>`, `Website`: what a person knows it by. */
  what: string;
  /** RFC 3339: a conversation's last activity, when a message was sent; null where there is none. */
  at: string | null;
}

export interface DiffObjects {
  count: number;
  /** The first few by id. */
  examples: DiffExample[];
}

export interface DiffAccount {
  /** `-` for what belongs to no account. */
  account: string;
  name: string | null;
  objects: Record<ObjectKind, Record<ChangeKind, DiffObjects>>;
}

/** Names of files or variables, the first ones of many. */
export interface DiffNames {
  added: string[];
  changed: string[];
  removed: string[];
  counts: Counts;
}

export interface DiffFiles {
  files: number;
  bytes: number;
}

export interface DiffRowIds {
  table: string;
  /** False where the table has no key: its rows have no ids. */
  hasIds: boolean;
  added: string[];
  changed: { id: string; columns: string[] }[];
  removed: string[];
}

export interface Versions {
  before: string | null;
  after: string | null;
}

export interface DiffSummary {
  type: "summary";
  verb: "diff";
  repository: string;
  installation: { id: string; name: string };
  /** The older point. */
  before: { point: string; takenAt: string };
  after: { point: string; takenAt: string };
  /** True when they were given the other way round. */
  swapped: boolean;
  /** Those in which something differs. */
  tables: DiffTable[];
  /** How many were compared. */
  tablesCompared: number;
  /** Null when one table was asked for alone, as are the next ones. */
  accounts: DiffAccount[] | null;
  /** How many each has, where they differ. */
  largeObjects: { before: number; after: number } | null;
  storage: ({ service: string } & Record<ChangeKind, DiffFiles>)[] | null;
  config: DiffNames | null;
  code: (DiffNames & { head: Versions }) | null;
  /** Names of secrets, and whether they can be compared: repositories with other keys keep other fingerprints. */
  secrets: (DiffNames & { isKnown: boolean }) | null;
  chatwoot: Versions;
  postgresql: Versions;
  migrations: { added: number; removed: number };
  /** For `--table`. */
  rows: DiffRowIds | null;
  read: { ranges: number; bytes: number };
  /** What could not be compared, and why. */
  damaged: { what: string; message: string }[];
  seconds: number;
}
