import { formatSeconds } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { GuardSummary } from "../../job/guard-summary.ts";
import { formatFindings } from "../findings.ts";
import { type Look, proseWidth, wrap } from "../look.ts";
import { formatPairs } from "../table.ts";
import { formatAge } from "../when.ts";

export function formatGuard(summary: GuardSummary, look: Look): string[] {
  const { point, repository, takenAt, back, changes, next } = summary;
  if (summary.outcome === "forgotten") return [`nothing is left to do about: ${summary.command}`];
  return [
    headOf(summary, look),
    ...formatPairs(
      [
        ["command", `${summary.command}: ${endOf(summary)}`],
        ["way back", `restore point ${shortId(point)} in ${repository}, ${formatAge(takenAt, look.nowMs)}`],
      ],
      look,
      "  ",
    ),
    ...listed("what changed", changes, look),
    ...listed("what was put back", back, look),
    ...listed("what to do now", next, look),
  ];
}

function headOf({ outcome, reasons, seconds }: GuardSummary, look: Look): string {
  const time = `after ${formatSeconds(seconds)}`;
  if (outcome === "well") return `${look.paint("green", "✓ Chatwoot is well")}, ${time}`;
  if (outcome === "back") return `${look.paint("yellow", "✓ everything is as it was before")}, ${time}`;
  const isHeld = reasons.some(({ kind }) => kind === "guard-held");
  if (isHeld) return `${look.paint("yellow", "! going back waits for you")}, ${time}`;
  return `${look.paint("red", "✗ something is wrong")}, ${time}`;
}

function endOf({ status, signal }: GuardSummary): string {
  if (status === null) return "nobody saw how it ended";
  return signal === null ? `ended with status ${status}` : `ended by ${signal}`;
}

function listed(title: string, lines: readonly string[], look: Look): string[] {
  if (lines.length === 0) return [];
  return ["", `  ${title}`, ...lines.flatMap((line) => wrap(`- ${line}`, proseWidth(look), "    "))];
}

/** What went wrong: for standard error, before the question. */
export function formatReasons({ reasons }: GuardSummary, look: Look): string[] {
  return formatFindings(reasons, look);
}
