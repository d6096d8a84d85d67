import type { ScheduleSummary } from "../../job/schedule-summary.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

const WORDS = {
  success: "went well",
  finding: "went well, with findings",
  failure: "FAILED",
} as const;

export function formatSchedule(summary: ScheduleSummary, look: Look): string[] {
  if (summary.manifest !== null) return summary.manifest.trimEnd().split("\n");
  if (summary.action === "remove") {
    return summary.removed.length === 0
      ? ["nothing to remove: no daily run of this installation is installed for this user"]
      : summary.removed.map((what) => `removed  ${what}`);
  }
  return [
    ...(summary.action === "install" ? [`${look.paint("green", "✓")} installed`] : []),
    ...summary.removed.map((what) => `removed  ${what}`),
    ...formatPairs(
      [
        ["times", `${summary.times}, ${summary.timeZone}`],
        ["by", byWhat(summary)],
        ...summary.installed.map((what) => ["installed", what] as const),
        ["next run", summary.next === null ? "none" : `${formatUtc(summary.next)}, or up to half an hour later`],
        ["last run", lastRun(summary, look)],
      ],
      look,
      "  ",
    ),
  ];
}

function byWhat({ by, calendar }: ScheduleSummary): string {
  if (by === null) return "nothing";
  return by === "crontab" ? "this user's crontab" : `${by}: ${calendar.join("; ")}`;
}

function lastRun({ lastRun: last, lastSuccess }: ScheduleSummary, look: Look): string {
  if (last === null) return "none yet";
  const success =
    last.outcome === "failure" && lastSuccess !== null
      ? `; the last that went well ended ${formatUtc(lastSuccess)}`
      : "";
  return `${formatUtc(last.startedAt)}, ${formatAge(last.startedAt, look.nowMs)}: ${WORDS[last.outcome]} (exit ${last.exit})${success}`;
}
