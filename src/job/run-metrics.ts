/** The status as metrics in Prometheus's text format, for node_exporter's textfile collector. */
import { parseZonedInstant } from "../base/clock.ts";
import type { RunOutcome, RunStatus } from "./run-summary.ts";

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
  const families: [name: string, help: string, samples: Sample[]][] = [
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
  ];
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

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    return `${name}="${escaped}"`;
  });
  return `{${pairs.join(",")}}`;
}
