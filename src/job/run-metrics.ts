/** The status as metrics in Prometheus's text format, for node_exporter's textfile collector. */
import { parseZonedInstant } from "../base/clock.ts";
import { parseMicros } from "../point/continuous.ts";
import type { RunOutcome, RunStatus } from "./run-summary.ts";
import type { WatchStatus } from "./watch-book.ts";

interface Sample {
  labels?: Readonly<Record<string, string>>;
  value: number;
}

const OUTCOMES: readonly RunOutcome[] = ["success", "finding", "failure"];

/**
 * A time that is not known has no sample, so that an alert rule can tell "never" by `absent`.
 * Format: Prometheus's exposition format 0.0.4.
 */
export function formatMetrics(status: RunStatus): string {
  const { lastRun, lastSuccess, repositories, findings, installation } = status;
  const own = { installation: installation.name };
  const count = (level: string) => findings.filter((finding) => finding.level === level).length;
  const families: Family[] = [
    ["last_run_timestamp_seconds", "When the last run ended.", instant(lastRun.endedAt)],
    ["last_success_timestamp_seconds", "When a run last ended without a failure.", instant(lastSuccess)],
    ["last_run_duration_seconds", "How long the last run took.", [{ value: lastRun.seconds }]],
    [
      "last_run_exit_status",
      "The last run's exit status: 0 done, 3 with findings, else failed.",
      [{ value: lastRun.exit }],
    ],
    [
      "last_run_outcome",
      "1 for what the last run came to.",
      OUTCOMES.map((outcome) => ({ labels: { outcome }, value: Number(lastRun.outcome === outcome) })),
    ],
    [
      "findings",
      "What somebody must look at, by level.",
      ["alarm", "warning"].map((level) => ({ labels: { level }, value: count(level) })),
    ],
    [
      "repository_up",
      "1 when the repository could be looked at in the last run.",
      repositories.map(({ name, trouble }) => ({ labels: { repository: name }, value: Number(trouble === null) })),
    ],
    [
      "newest_point_timestamp_seconds",
      "When the newest restore point was taken.",
      repositories.flatMap(({ name, newest }) => instant(newest?.at, { repository: name })),
    ],
    [
      "newest_proof_timestamp_seconds",
      "When a restore point was last proven to restore.",
      repositories.flatMap(({ name, proven }) => instant(proven?.at, { repository: name })),
    ],
    [
      "window_start_timestamp_seconds",
      "Since when any moment can be brought back without a gap.",
      repositories.flatMap(({ name, window }) => micros(window?.from, { repository: name })),
    ],
    [
      "window_end_timestamp_seconds",
      "The newest moment that can be brought back.",
      repositories.flatMap(({ name, window }) => micros(window?.to, { repository: name })),
    ],
  ];
  return formatFamilies(families, own);
}

type Family = [name: string, help: string, samples: Sample[]];

/** Of a watch that runs, for a file of its own: it is written far more often than what a run knows. */
export function formatWatchMetrics(status: WatchStatus, installation: string): string {
  const { at, log, repositories, findings } = status;
  const count = (level: string) => findings.filter((finding) => finding.level === level).length;
  const families: Family[] = [
    ["watch_report_timestamp_seconds", "When the watch wrote this.", instant(at)],
    [
      "watch_lag_bytes",
      "What the server has of its log and not every repository of which that is known.",
      known(log?.lagBytes),
    ],
    ["watch_lag_seconds", "For how long it has had that.", known(log?.lagSeconds)],
    ["watch_server_heard_timestamp_seconds", "When the server said last how far it is.", instant(log?.heard)],
    [
      "watch_safe_until_timestamp_seconds",
      "Everything that was committed until then is in the repository.",
      repositories.flatMap(({ name, safeUntil }) => instant(safeUntil, { repository: name })),
    ],
    [
      "watch_files_waiting",
      "Uploaded files that are still to come.",
      repositories.map(({ name, filesWaiting }) => ({ labels: { repository: name }, value: filesWaiting })),
    ],
    [
      "watch_repository_up",
      "1 unless the repository takes nothing.",
      repositories.map(({ name, trouble }) => ({ labels: { repository: name }, value: Number(trouble === null) })),
    ],
    [
      "watch_findings",
      "What the watch found that somebody must look at, by level.",
      ["alarm", "warning"].map((level) => ({ labels: { level }, value: count(level) })),
    ],
  ];
  return formatFamilies(families, { installation });
}

function formatFamilies(families: readonly Family[], own: Readonly<Record<string, string>>): string {
  return families
    .filter(([, , samples]) => samples.length > 0)
    .flatMap(([name, help, samples]) => [
      `# HELP chatkeep_${name} ${help}`,
      `# TYPE chatkeep_${name} gauge`,
      ...samples.map(({ labels, value }) => `chatkeep_${name}${formatLabels({ ...own, ...labels })} ${value}`),
    ])
    .map((line) => `${line}\n`)
    .join("");
}

function instant(text: string | null | undefined, labels: Record<string, string> = {}): Sample[] {
  const ms = parseZonedInstant(text ?? "");
  return ms === undefined ? [] : [{ labels, value: ms / 1000 }];
}

function known(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ value }];
}

/** As continuous protection writes times. */
function micros(text: string | undefined, labels: Record<string, string>): Sample[] {
  const us = parseMicros(text);
  return us === undefined ? [] : [{ labels, value: Number(us) / 1e6 }];
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    return `${name}="${escaped}"`;
  });
  return `{${pairs.join(",")}}`;
}
