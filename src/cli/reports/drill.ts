import { formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { DrillSummary } from "../../job/summaries.ts";
import type { ProofCheck } from "../../point/proof.ts";
import { padEnd, widthOf, type Look } from "../look.ts";

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
  const stages = Object.entries(summary.stages).map(([name, seconds]) => `${name} ${formatSeconds(seconds)}`);
  const head = summary.proven
    ? `${look.paint("green", "✓ proven:")} restore point ${shortId(summary.point)} restores, in ${formatSeconds(summary.seconds)}${withoutFiles(summary.lost)}`
    : `${look.paint("red", "✗ not proven:")} restore point ${shortId(summary.point)}, after ${formatSeconds(summary.seconds)}`;
  return [
    head,
    ...formatChecks(summary.checks, look),
    "",
    `  server  ${summary.server}`,
    `  in      ${summary.repository}${summary.recorded ? "" : ", as it was then: the outcome is not kept there"}`,
    ...(stages.length === 0 ? [] : [`  time    ${stages.join(" · ")}`]),
  ];
}

export function formatNotProven({ point, checks }: DrillSummary, look: Look): string[] {
  const failed = checks.filter(({ ok }) => !ok);
  return [
    `${look.paint("red", "error:")} ${plural(failed.length, "check")} of restore point ${shortId(point)} failed: ${failed.map(({ name }) => name).join(", ")}`,
    "hint: Do not count on this point. Make a new backup and drill it; 'chatkeep verify --read-data' tells whether the repository is damaged.",
  ];
}
