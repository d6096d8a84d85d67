import { plural } from "../../base/bytes.ts";
import { isAckable } from "../../job/quiet.ts";
import type { DoctorSummary } from "../../job/summaries.ts";
import { formatFindings } from "../findings.ts";
import { padEnd, widthOf, type Look } from "../look.ts";

/** For `--quiet`: only what somebody must look at. */
export function formatWorries(summary: DoctorSummary, look: Look): string[] {
  return formatFindings(
    summary.findings.filter((finding) => finding.level !== "note"),
    look,
  );
}

export function formatDoctor(summary: DoctorSummary, look: Look): string[] {
  const names = Math.max(0, ...summary.facts.map(({ name }) => widthOf(name)));
  const values = Math.max(0, ...summary.facts.map(({ value }) => Math.min(48, widthOf(value))));
  const facts = summary.facts.map(({ name, value, from }) => {
    const source = from === "" ? "" : look.paint("dim", `(${from})`);
    return `  ${look.paint("dim", padEnd(name, names))}  ${padEnd(value, values)}  ${source}`.trimEnd();
  });
  return [
    ...fixLines(summary, look),
    "found",
    ...facts,
    "",
    ...formatFindings(summary.findings, look),
    verdict(summary, look),
    ...wayOn(summary),
  ];
}

const OUTCOMES = {
  done: "✓ changed",
  declined: "- not changed",
  failed: "✗ failed",
  told: "- to be done by hand",
} as const;

function fixLines({ fixes }: DoctorSummary, look: Look): string[] {
  if (fixes === undefined) return [];
  if (fixes.length === 0) return ["nothing keeps the server's log from being followed", ""];
  const lines = fixes.flatMap(({ what, outcome, line, note }) => [
    `${look.paint(outcome === "done" ? "green" : "dim", OUTCOMES[outcome])}: ${what}`,
    ...(line === null ? [] : [`    ${line}`]),
    `    ${note}`,
  ]);
  return [...lines, ""];
}

/** What is as somebody wants it should not ring again. */
function wayOn({ findings }: DoctorSummary): string[] {
  const kinds = new Set(
    findings.filter(({ kind, level }) => level !== "note" && isAckable(kind)).map(({ kind }) => kind),
  );
  if (kinds.size === 0) return [];
  return [`  what is meant to be so becomes a note with 'chatkeep ack KIND': ${[...kinds].join(", ")}`];
}

function verdict({ findings }: DoctorSummary, look: Look): string {
  const worries = findings.filter((finding) => finding.level !== "note").length;
  if (worries === 0) return `${look.paint("green", "✓")} ready: nothing here keeps a backup from working`;
  return `${look.paint("red", "✗")} ${plural(worries, "finding needs", "findings need")} attention`;
}
