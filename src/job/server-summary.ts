/** Of servers that stand as a database was at a moment: what is said of each, and what the verb answers. */
import type { Finding } from "../base/findings.ts";

/** A server that was left running to be looked at. Nobody can write into it. */
export interface RecoveredServer {
  /** By which it is stopped: six hexadecimal digits. */
  id: string;
  /** `recovering`: another command is at it still. `unseen`: of another machine or container, and so nothing is known of it. */
  state: "recovering" | "running" | "unseen";
  /** RFC 3339: when it was begun. */
  since: string;
  /** POINT by which files of the same moment are read. */
  point: string;
  /** RFC 3339, to the microsecond, by the old server's clock; null where nothing was replayed, and for a restore point. */
  lastCommitAt: string | null;
  /** The end of the last record that was replayed, as POINT takes it behind `lsn:`; null for a restore point. */
  replayedTo: string | null;
  /** From what it was made, for people. */
  server: string;
  /** The private folder that it lies in. */
  folder: string;
  /** While it runs. */
  access: ServerAccess | null;
}

export interface ServerAccess {
  /** 127.0.0.1, or the folder of its socket. */
  host: string;
  port: number;
  user: string;
  database: string;
  /** A file that libpq reads the password from. */
  passwordFile: string;
  /** For psql; without the password. */
  url: string;
}

export interface StartedServerSummary {
  type: "summary";
  verb: "restore";
  started: RecoveredServer;
  /** As `--repository` takes it, without a password. */
  repository: string;
  seconds: number;
  findings: Finding[];
}

export interface ServersSummary {
  type: "summary";
  verb: "restore";
  /** The oldest first. */
  servers: RecoveredServer[];
}

export interface StoppedServersSummary {
  type: "summary";
  verb: "restore";
  /** Their ids. */
  stopped: string[];
  /** The ids of those that are there still. */
  others: string[];
}
