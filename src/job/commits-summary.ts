/** What `moments` answers: transactions of the log, and what each did to which table. */

/** The table whose rows are the server's databases: one that is deleted is a database that was dropped, of whatever name. */
export const DATABASES = "pg_database";

/** What a transaction did to one table. */
export interface TableChange {
  table: string;
  inserted: number;
  updated: number;
  deleted: number;
  /** All of it went at once: TRUNCATE or DROP TABLE, or it was rewritten, as VACUUM FULL and some of ALTER TABLE do. */
  replaced: boolean;
}

export interface FoundCommit {
  /** RFC 3339 with microseconds, by the database server's clock. */
  at: string;
  /** What restores everything that was committed before it, as POINT: `lsn:0/16B3748`. */
  before: string;
  /** What restores it too. */
  after: string;
  xid: number;
  timeline: number;
  /** The largest change first. */
  tables: TableChange[];
  /** False where it may have done more: it was under way already where reading began. */
  whole: boolean;
}

/** A stretch that was read; of no bytes where nothing was committed since the time that was asked for. */
export interface SearchedRange {
  /** The first and last position, as POINT takes them. */
  from: string;
  to: string;
  bytes: number;
}

/** Transactions of a database that no base knows, as after a restore in place: its tables are called by their files. */
export interface UnnamedCommits {
  commits: number;
  /** When the first and the last of them were committed: RFC 3339 with microseconds. */
  from: string;
  to: string;
  /** A base that says the names is still to come: their cluster is the one that is followed. */
  baseComes: boolean;
}

export interface MomentsSummary {
  type: "summary";
  verb: "moments";
  repository: string;
  searched: SearchedRange[];
  /** Transactions that were committed there, and of them those that were asked for. */
  commits: number;
  matching: number;
  /** Oldest first; of those that match the newest, as many as were asked for. */
  found: FoundCommit[];
  /** Null where every database is known. */
  unnamed: UnnamedCommits | null;
  /** What could not be read, as sentences. */
  unread: string[];
  seconds: number;
}
