/** What `schedule` and `notify` answer. */
import type { Finding } from "../base/findings.ts";
import type { RunOutcome } from "./run-summary.ts";

export interface ScheduleSummary {
  type: "summary";
  verb: "schedule";
  action: "show" | "install" | "remove" | "print";
  /** Where the daily run is written down; null where it is not. */
  by: "systemd" | "systemd user" | "crontab" | null;
  /** As `schedule.backup` has it. */
  times: string;
  timeZone: string;
  /** As systemd has them. */
  calendar: string[];
  /** Units, or the line of the crontab. */
  installed: string[];
  removed: string[];
  /** Of `--print`. */
  manifest: string | null;
  /** RFC 3339, without the delay by chance. */
  next: string | null;
  lastRun: { startedAt: string; endedAt: string; outcome: RunOutcome; exit: number } | null;
  lastSuccess: string | null;
  findings: Finding[];
}

export interface ChannelLine {
  name: string;
  kind: string;
  on: string[];
  /** Notices of earlier runs that await delivery. */
  waiting: number;
  /** With `--test`; null without. */
  delivered: boolean | null;
  message: string | null;
  hint: string | null;
}

export interface NotifySummary {
  type: "summary";
  verb: "notify";
  tested: boolean;
  /** Each channel, and `ping` where it is configured. */
  channels: ChannelLine[];
}
