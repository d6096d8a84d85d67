/** What people are told of a daily run: written for somebody who was woken up by it. */
import { formatSeconds, plural } from "../base/bytes.ts";
import { parseZonedInstant } from "../base/clock.ts";
import { discreetly, sortFindings } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { Zone } from "../policy/calendar.ts";
import type { BackupSummary } from "./summaries.ts";
import type { RepositoryState, RunStage, RunSummary } from "./run-summary.ts";

export interface RunNotice {
  title: string;
  text: string;
}

interface Times {
  zone: Zone;
  nowMs: number;
}

/** @param timeZone IANA: in which times are written. */
export function describeRun(summary: RunSummary, timeZone: string): RunNotice {
  const { installation, host, endedAt, startedAt } = summary;
  const times = { zone: new Zone(timeZone), nowMs: parseZonedInstant(endedAt) ?? 0 };
  const lines = [
    `Installation ${installation.name}, on ${host}. Times are those of ${timeZone}.`,
    `The daily run began ${wallTime(startedAt, times)} and ended after ${formatSeconds(summary.seconds)}.`,
    "",
    ...section("What happened", stageLines(summary.stages)),
    ...section("Findings", findingLines(summary)),
    ...section("Uploaded files", lossLines(summary)),
    ...section("Since when", sinceLines(summary, times)),
    ...section("What to do", whatToDo(summary)),
    ...section(
      "What there is to restore",
      summary.repositories.flatMap((state) => repositoryLines(state, times)),
    ),
  ];
  return { title: titleOf(summary), text: `${lines.join("\n").trimEnd()}\n` };
}

function titleOf({ installation, outcome, stages, findings }: RunSummary): string {
  const name = `[chatkeep] ${installation.name}:`;
  const lost = filesLost(stages);
  if (outcome === "success" && lost > 0) return `${name} backed up; ${plural(lost, "file")} missing, as before`;
  if (outcome === "success") return `${name} backed up, all is well`;
  if (outcome === "finding") {
    const count = findings.filter(({ level }) => level !== "note").length;
    return `${name} backed up, but ${plural(count, "finding needs", "findings need")} a look`;
  }
  const failed = stages.filter(({ status }) => status === "failed").map(({ stage }) => stage);
  if (stages.some(({ stage, status }) => stage === "backup" && status === "done")) {
    return `${name} backed up, but FAILED: ${[...new Set(failed)].join(", ")}`;
  }
  return `${name} NO BACKUP was made`;
}

/** Uploaded files that are missing or damaged in Chatwoot itself, by the backup of this run. */
function filesLost(stages: readonly RunStage[]): number {
  const made = stages.find(({ stage, status }) => stage === "backup" && status === "done");
  const summary: Partial<BackupSummary> | null | undefined = made?.summary;
  return summary?.storage?.missing ?? 0;
}

function lossLines({ outcome, stages }: RunSummary): string[] {
  const lost = filesLost(stages);
  if (lost === 0) return [];
  const before = outcome === "success" ? ", as before" : "";
  return [`${plural(lost, "file is", "files are")} missing or damaged${before}. 'chatkeep show' names them.`];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`), ""];
}

function stageLines(stages: readonly RunStage[]): string[] {
  return stages.flatMap(({ stage, repository, status, why, error, seconds }) => {
    const name = repository === null ? stage : `${stage} in '${repository}'`;
    if (status === "skipped") return [`${name}: left out (${why ?? ""})`];
    if (error === null) return [`${name}: done in ${formatSeconds(seconds)}`];
    return [`${name}: FAILED: ${error.message}`, ...(error.hint === null ? [] : [`  ${error.hint}`])];
  });
}

function findingLines({ findings }: RunSummary): string[] {
  const told = sortFindings(discreetly(findings)).filter(({ level }) => level !== "note");
  const lines = told
    .slice(0, LIMITS.noticeFindings)
    .flatMap(({ level, message, hint }) => [`${level}: ${message}`, `  ${hint}`]);
  const more = told.length - LIMITS.noticeFindings;
  return more > 0 ? [...lines, `and ${plural(more, "more finding")}`] : lines;
}

function sinceLines({ outcome, failingSince, lastSuccess, startedAt }: RunSummary, times: Times): string[] {
  if (outcome !== "failure") return [];
  const first = failingSince === null || failingSince === startedAt;
  return [
    first ? "This is the first run that failed." : `Every run has failed since ${formatTime(failingSince, times)}.`,
    lastSuccess === null
      ? "No run on this machine went well before."
      : `The last one that went well ended ${formatTime(lastSuccess, times)}.`,
  ];
}

function repositoryLines({ name, trouble, newest, proven }: RepositoryState, times: Times): string[] {
  const point =
    newest === null ? "no restore point" : `newest ${shortId(newest.point)}, taken ${formatTime(newest.at, times)}`;
  const proof =
    proven === null
      ? "no restore point was ever proven"
      : `last proven: ${shortId(proven.point)}, ${formatTime(proven.at, times)}`;
  const doubt = trouble === null ? [] : [`  as known before: ${trouble}`];
  return [`${name}: ${point}`, `  ${proof}`, ...doubt];
}

function whatToDo({ outcome, stages }: RunSummary): string[] {
  if (outcome === "success") return [];
  const isMade = stages.some(({ stage, status }) => stage === "backup" && status === "done");
  if (outcome === "finding")
    return ["Look at each finding; the restore point was made. 'chatkeep doctor' looks at everything."];
  return [
    ...(isMade ? ["Today's restore point was made."] : ["Earlier restore points are untouched."]),
    "Mend what failed as its second line says, then run 'chatkeep run'. 'chatkeep doctor' looks at everything.",
  ];
}

/** `2026-11-28 02:41 (5 h ago)`: how long ago when it was written, for a mail may be read late. */
function formatTime(instant: string, times: Times): string {
  const seconds = (times.nowMs - (parseZonedInstant(instant) ?? times.nowMs)) / 1000;
  return `${wallTime(instant, times)} (${formatAgo(seconds)})`;
}

/** `2026-11-28 02:41` in the zone. */
function wallTime(instant: string, { zone }: Times): string {
  const ms = parseZonedInstant(instant);
  if (ms === undefined) return instant;
  const { year, month, day, hour, minute } = zone.wallTime(ms);
  return `${year}-${two(month)}-${two(day)} ${two(hour)}:${two(minute)}`;
}

function formatAgo(seconds: number): string {
  if (seconds < 60) return "just now";
  if (seconds < 2 * 3_600) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 48 * 3_600 ? `${Math.round(seconds / 3_600)} h ago` : `${Math.floor(seconds / 86_400)} days ago`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
