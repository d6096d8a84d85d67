import { formatBytes, formatSpan, plural } from "../../base/bytes.ts";
import { parseZonedInstant } from "../../base/clock.ts";
import { shortId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { InstallationStatus, RepositoryStatus, StatusSummary } from "../../job/status-summary.ts";
import type { WatchStatus } from "../../job/watch-book.ts";
import type { Rate } from "../../job/recovery-pace.ts";
import type { RecoveryEstimate, WatchState } from "../../job/window-summary.ts";
import { formatFindings } from "../findings.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";
import { formatAbout } from "./drill.ts";
import { formatServers } from "./run-server.ts";
import { formatWindow } from "./window.ts";

type Pair = readonly [string, string];

/** What is wrong first: whoever looks at three in the morning reads no further. */
export function formatStatus(summary: StatusSummary, look: Look): string[] {
  const { installation, watch, servers = [], repositories, findings } = summary;
  const loud = findings.filter(({ level }) => level !== "note");
  const name = installation === null ? "what the repository has" : `installation ${installation.name}`;
  const verdict =
    loud.length === 0
      ? `${look.paint("green", "✓")} ${name}: nothing needs attention`
      : `${look.paint("red", "✗")} ${name}: ${plural(loud.length, "finding needs", "findings need")} attention`;
  return [
    verdict,
    ...formatFindings(findings, look),
    "",
    ...formatPairs(overview(summary, look), look),
    ...(watch === null ? [] : ["", "watch", ...formatPairs(watchPairs(watch, look), look, "  ")]),
    ...(servers.length === 0
      ? []
      : [
          "",
          "recovered servers: 'chatkeep restore --stop NAME' ends one",
          ...indent(formatServers({ servers }, look)),
        ]),
    ...repositories.flatMap((repository) => ["", ...formatRepository(repository, look)]),
  ];
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function overview(
  { installation, lastBackup, newestMoment, lastProof, lastMomentProof, run, objectives }: StatusSummary,
  look: Look,
): Pair[] {
  // Without a configuration nobody has said what is wanted.
  const within = (most: number | null) =>
    most === null || installation === null ? "" : `; at most ${formatSpan(most)} is wanted`;
  const when = ({ at, repository }: { at: string; repository: string }) =>
    `${formatAge(at, look.nowMs)} (${formatUtc(at)}) in '${repository}'`;
  const { rpoSeconds, drillSeconds } = objectives;
  // Whichever of the two is newer is what would be brought back.
  const isMoment = newestMoment !== null && newestMoment.ageSeconds <= (lastBackup?.ageSeconds ?? Infinity);
  return [
    ...(newestMoment === null
      ? []
      : [["newest moment", `${when(newestMoment)}${isMoment ? within(rpoSeconds) : ""}`] as const]),
    ["last backup", lastBackup === null ? "never" : `${when(lastBackup)}${isMoment ? "" : within(rpoSeconds)}`],
    ["last proof", lastProof === null ? neverProven(lastMomentProof) : `${when(lastProof)}${within(drillSeconds)}`],
    ...(lastMomentProof === undefined ? [] : [["moment proven", when(lastMomentProof)] as const]),
    ["daily run", run === null ? "none has ended on this machine" : runText(run, look)],
  ];
}

function neverProven(ofMoment: StatusSummary["lastMomentProof"]): string {
  return ofMoment === undefined ? "never" : "of a restore point never";
}

const OUTCOMES = { success: "well", finding: "with findings", failure: "failed" } as const;

function runText({ endedAt, outcome, failingSince }: NonNullable<StatusSummary["run"]>, look: Look): string {
  const colour = outcome === "failure" ? "red" : outcome === "finding" ? "yellow" : "green";
  const since = failingSince === null ? "" : `, each since ${formatUtc(failingSince)}`;
  return `${look.paint(colour, OUTCOMES[outcome])}, ${formatAge(endedAt, look.nowMs)} (${formatUtc(endedAt)})${since}`;
}

function watchPairs({ isRunning, ageSeconds, report }: WatchState, look: Look): Pair[] {
  if (report === null) return [["runs", look.paint("red", "no: it has left no report on this machine")]];
  const { mode, why, since, pid, host, log, points, base, repositories } = report;
  const age = `its report is ${formatSpan(ageSeconds ?? 0)} old`;
  const runs = isRunning
    ? `${look.paint("green", "yes")}, since ${formatUtc(since)}, process ${pid} on ${host}; ${age}`
    : `${look.paint("red", "no")}: ${age}; what follows was so then`;
  return [
    ["runs", runs],
    ["mode", modeText(mode, why)],
    ...(log === null ? [] : logPairs(log, repositories, look)),
    ...(points === null ? [] : ([["points", pointsText(points, look)]] as const)),
    ...(mode === "stream" ? [["last base", baseText(base)] as const] : []),
    ...repositories.map((one): Pair => [`into '${one.name}'`, intoText(one, look)]),
  ];
}

function modeText(mode: WatchStatus["mode"], why: WatchStatus["why"]): string {
  const told = mode === "waiting" ? "none yet: it waits for the database's server" : mode;
  return why === null ? told : `${told}, because ${why}`;
}

function baseText(base: WatchStatus["base"]): string {
  if (base === null) return "none";
  const { at, repository, bytes, seconds } = base;
  return `begun ${formatUtc(at)} in '${repository}', ${formatBytes(bytes)}${seconds === null ? "" : ` in ${formatSpan(seconds)}`}`;
}

function logPairs(
  { lagBytes, lagSeconds, lastCommit, timeline, slot, heard }: NonNullable<WatchStatus["log"]>,
  repositories: WatchStatus["repositories"],
  look: Look,
): Pair[] {
  const lag = lagBytes === 0 ? "none" : `${formatBytes(lagBytes)}, for ${formatSpan(lagSeconds)}`;
  // One that has not answered since the watch, or another cluster, began may have nothing of this log.
  const away = repositories.filter(({ durable }) => durable === null).map(({ name }) => `'${name}'`);
  const known = away.length === 0 ? "" : `; how far ${away.join(" and ")} is, is not known`;
  const isSilent = heard !== undefined && look.nowMs - (parseZonedInstant(heard) ?? 0) > LIMITS.walSilenceMs;
  const silent = isSilent
    ? look.paint("red", `; the server was heard last ${formatAge(heard, look.nowMs)} (${formatUtc(heard)})`)
    : "";
  const commit = lastCommit === null ? "" : `; the last commit that is safe is of ${formatUtc(lastCommit)}`;
  const safe = slot.safeBytes === null ? "" : `, ${formatBytes(Math.max(0, slot.safeBytes))} more are safe`;
  const status = slot.status === null ? "" : ` (${slot.status})`;
  const kind = slot.permanent ? "" : ", temporary";
  return [
    ["behind", `${lag}${known}${silent}${commit}, timeline ${timeline}`],
    ["slot", `${slot.name}${kind}: the server keeps ${formatBytes(slot.retainedBytes)} for it${safe}${status}`],
  ];
}

function pointsText({ last, next }: NonNullable<WatchStatus["points"]>, look: Look): string {
  const newest = last === null ? "none yet" : `the last ${formatAge(last, look.nowMs)}`;
  return next === null ? newest : `${newest}, the next at ${formatUtc(next)}`;
}

function intoText({ files, filesWaiting, trouble, since }: WatchStatus["repositories"][number], look: Look): string {
  const followed = `${plural(files, "file")} followed, ${filesWaiting} waiting`;
  if (trouble === null) return followed;
  return `${look.paint("red", "refuses")} since ${since === null ? "?" : formatUtc(since)}: ${trouble}; ${followed}`;
}

function formatRepository({ name, trouble, installations }: RepositoryStatus, look: Look): string[] {
  const title = `repository '${name}'`;
  if (trouble !== null) return [`${title}  ${look.paint("red", "cannot be looked at")}`];
  const answers = `${title}  ${look.paint("green", "answers")}`;
  if (installations.length === 0) return [answers, "  nothing of Chatkeep's is in it"];
  return [
    answers,
    ...installations.flatMap((one) => [
      ...(installations.length > 1 ? [`  ${one.installation.name || one.installation.id}`] : []),
      ...formatPairs(pointPairs(one, look), look, "  "),
      ...windowLines(one, look),
    ]),
  ];
}

function pointPairs({ points, newest, proven, provenMoment, recoverSeconds }: InstallationStatus, look: Look): Pair[] {
  const at = (point: NonNullable<typeof newest>) =>
    `${shortId(point.point)}, ${formatAge(point.at, look.nowMs)} (${formatUtc(point.at)})`;
  const back = recoverSeconds === null ? "" : `; back in ${formatAbout(recoverSeconds)}`;
  return [
    ["newest point", newest === null ? "none" : `${at(newest)}, of ${plural(points, "point")}`],
    ["newest proof", proven === null ? "none" : `${at(proven)}${back}`],
    ...(provenMoment === undefined ? [] : [["moment proven", at(provenMoment)] as const]),
  ];
}

function windowLines({ window }: InstallationStatus, look: Look): string[] {
  if (window === null) return [];
  const { lastBase, recovery } = window;
  const pairs: Pair[] = [
    ...(lastBase === null ? [] : [["last base", `${formatUtc(lastBase.at)}, ${formatBytes(lastBase.bytes)}`] as const]),
    ...(recovery === null ? [] : [["back to now", recoveryText(recovery)] as const]),
  ];
  return ["  window", ...formatWindow(window, look, "    "), ...formatPairs(pairs, look, "  ")];
}

function recoveryText({ seconds, bytes, rates, saveSeconds, loadSeconds }: RecoveryEstimate): string {
  const parts = [
    `${formatBytes(bytes.base)} of a base ${rateText(rates.base)}`,
    `${formatBytes(bytes.log)} of log ${rateText(rates.log)}`,
    saveSeconds === null
      ? "saving what comes back is not counted, as no recovery was made here"
      : `${formatAbout(saveSeconds)} of saving what comes back, as in the last recovery`,
    loadSeconds === null
      ? "loading it into a database is not counted, as no drill has measured that"
      : `${formatAbout(loadSeconds)} of loading, as in the last drill`,
  ];
  return `${formatAbout(seconds)}: ${parts.join("; ")}`;
}

function rateText({ bytesPerSecond, measurements }: Rate): string {
  const by = measurements === 0 ? "which is assumed" : `by ${plural(measurements, "recovery", "recoveries")} here`;
  return `at ${formatBytes(bytesPerSecond)} a second, ${by}`;
}
