/** What `scrub` tells. */
import type { Finding } from "../base/findings.ts";

/** One storage service, as `scrub` read it. */
export interface ScrubbedService {
  name: string;
  /** That the database lists. */
  files: number;
  bytes: number;
  filesRead: number;
  bytesRead: number;
  problems: number;
}

export interface ScrubbedProblem {
  service: string;
  /** Of the row in `active_storage_blobs`. */
  id: string;
  key: string;
  filename: string;
  /** That the database says. */
  bytes: number;
  reason: "missing" | "unreadable" | "short" | "long" | "altered";
  /** For people, where something could not be read. */
  why: string | null;
  /** RFC 3339: when a restore point first told of it; null where none has. */
  since: string | null;
  /** The newest restore point does not know of it. */
  isNew: boolean;
  /** Where the newest restore point has the right copy, as `dump` takes it; null where it has none. */
  saved: string | null;
}

export interface ScrubSummary {
  type: "summary";
  verb: "scrub";
  all: boolean;
  seconds: number;
  services: ScrubbedService[];
  /** The restore point that was compared with; null for none. */
  point: string | null;
  problems: ScrubbedProblem[];
  findings: Finding[];
}
