/** What the reports say of continuous protection. */
import type { GapReason } from "../policy/window.ts";
import type { Rate } from "./recovery-pace.ts";
import type { WatchStatus } from "./watch-book.ts";

/** What continuous protection keeps of an installation, and what went. */
export interface WindowLine {
  /** Its id. */
  installation: string;
  /** From here on nothing was taken away: ISO 8601 in UTC. */
  from: string;
  kept: { bases: number; spans: number };
  /** `follows`: snapshots of files; `journal`: objects. */
  forgotten: { bases: number; spans: number; follows: number; journal: number };
}

/** From when to when any moment can be brought back. Times are ISO 8601 in UTC, by the clock of the database's server. */
export interface RangeLine {
  from: string;
  /** Of the last commit that is there; null where nothing was committed since `from`, as far as is known. */
  to: string | null;
  /** The one that its end lies on, and those that it goes through before. */
  timeline: number;
  timelines: number[];
  systemId: string;
  /** How many recovery can begin from. */
  bases: number;
  /** Of what a server wrote that another one took over from, and that one does not have: between which words of POINT; else null. */
  left: { from: string; to: string } | null;
}

/** Between these no moment can be had. */
export interface GapLine {
  reason: GapReason;
  /** Null where nothing is known of the commits on that side. */
  from: string | null;
  to: string | null;
  timeline: number;
  systemId: string;
}

/** A restore point that was made of a moment. */
export interface MomentLine {
  point: string;
  moment: string;
  timeline: number;
  madeAt: string;
  /** When a drill last proved it. */
  provenAt: string | null;
}

/** How long it takes until the newest moment is back, about. */
export interface RecoveryEstimate {
  seconds: number;
  /** What is read of the newest base, and replayed of the log after it. */
  bytes: { base: number; log: number };
  /** How fast that went in recoveries on this machine, or is assumed to go. */
  rates: { base: Rate; log: Rate };
  /** Saving what came back as a restore point, in the newest recovery; null where none was made here, and it comes on top. */
  saveSeconds: number | null;
  /** Loading what comes of it, as the newest drill of a point measured; null where none did, and it comes on top. */
  loadSeconds: number | null;
}

/** What a repository has of the continuous protection of an installation. */
export interface WindowReport {
  /** Its id. */
  installation: string;
  /** In the order of their ends; the last is the one that goes on. */
  ranges: RangeLine[];
  gaps: GapLine[];
  lastBase: { at: string; bytes: number } | null;
  /** Newest first. */
  moments: MomentLine[];
  recovery: RecoveryEstimate | null;
  /** Objects of the journal, and snapshots, that are there and cannot be used. */
  unusable: number;
}

/** What is known of `watch` on this machine. */
export interface WatchState {
  isRunning: boolean;
  /** Of its report; null where there is none. */
  ageSeconds: number | null;
  /** What it wrote down last. */
  report: WatchStatus | null;
}
