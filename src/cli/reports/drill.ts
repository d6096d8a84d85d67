import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { DrillSummary } from "../../job/summaries.ts";
import type { ProofCheck, Recovery } from "../../point/proof.ts";
import { formatFindings } from "../findings.ts";
import { padEnd, widthOf, type Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";

/** One line a check: a mark, a word, the name, the numbers. */
export function formatChecks(checks: readonly ProofCheck[], look: Look): string[] {
  const width = Math.max(0, ...checks.map(({ name }) => widthOf(name)));
  return checks.map(({ name, ok, detail }) => {
    const word = ok ? look.paint("green", "✓ ok") : look.paint("red", "✗ failed");
    return `  ${padEnd(word, 8)}  ${padEnd(name, width)}  ${detail}`.trimEnd();
  });
}

/** What a proof does not say: the point restores, and these files were gone before it was taken. */
export function withoutFiles(lost: number): string {
  if (lost === 0) return "";
  return `, without ${plural(lost, "file")} that ${lost === 1 ? "was" : "were"} missing when it was taken`;
}

export function formatDrill(summary: DrillSummary, look: Look): string[] {
  const head = summary.proven
    ? `${look.paint("green", "✓ proven:")} restore point ${shortId(summary.point)} restores, in ${formatSeconds(summary.seconds)}${withoutFiles(summary.lost)}`
    : `${look.paint("red", "✗ not proven:")} restore point ${shortId(summary.point)}, after ${formatSeconds(summary.seconds)}`;
  const pairs: [string, string][] = [
    ["server", summary.server],
    ["in", `${summary.repository}${summary.recorded ? "" : ", as it was then: the outcome is not kept there"}`],
    ...(summary.recovery === null ? [] : [["recovery", describeRecovery(summary.recovery)] as [string, string]]),
  ];
  return [
    head,
    ...formatChecks(summary.checks, look),
    "",
    ...formatStages(summary, look),
    ...formatPairs(pairs, look, "  "),
    ...(summary.findings.length === 0 ? [] : ["", ...formatFindings(summary.findings, look)]),
  ];
}

function formatStages({ stages, amounts }: DrillSummary, look: Look): string[] {
  const rows = Object.entries(stages);
  if (rows.length === 0) return [];
  const data = amounts === null ? "" : `${plural(amounts.rows, "row")}, ${formatBytes(amounts.bytes)}`;
  const files = amounts === null ? "" : `${plural(amounts.files, "file")}, ${formatBytes(amounts.fileBytes)}`;
  const what: Readonly<Record<string, string>> = { load: data, rows: data, files };
  const table = formatTable(
    [
      { title: "stage", cell: ([name]) => name },
      { title: "time", cell: ([, seconds]) => formatSeconds(seconds), align: "right" },
      { title: "of", cell: ([name]) => what[name] ?? "" },
    ],
    rows,
    look,
  );
  return [...table.map((text) => `  ${text}`), ""];
}

/** How long bringing a point back takes, and what that leaves out. */
export function describeRecovery({ seconds, database, files, compare }: Recovery): string {
  const parts = `database ${formatAbout(database)}${files === null ? "" : `, files ${formatAbout(files)}`}`;
  const left = files === null ? "uploaded files (too few were read to tell), the machine" : "the machine";
  return `a restore of this point takes about ${formatAbout(seconds)} here: ${parts} (into Chatwoot's own place ${formatAbout(compare)} more); ${left} and Chatwoot's code come on top`;
}

/** As exact as an estimate can be. */
export function formatAbout(seconds: number): string {
  if (seconds < 1) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

export function formatNotProven({ point, checks }: DrillSummary, look: Look): string[] {
  const failed = checks.filter(({ ok }) => !ok);
  return [
    `${look.paint("red", "error:")} ${plural(failed.length, "check")} of restore point ${shortId(point)} failed: ${failed.map(({ name }) => name).join(", ")}`,
    "hint: Do not count on this point. Make a new backup and drill it; 'chatkeep verify --read-data' tells whether the repository is damaged.",
  ];
}
