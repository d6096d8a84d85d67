import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { CopyOutcome, CopySummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";

export function formatCopy(summary: CopySummary, look: Look): string[] {
  const { copied, skipped, added, from, to, continuous = 0 } = summary;
  const there = skipped === 0 ? "" : `; ${plural(skipped, "other")} there already`;
  const holds = summary.holds === 0 ? [] : [`  ${plural(summary.holds, "hold")} went along`];
  const log = continuous === 0 ? [] : [`  ${plural(continuous, "snapshot")} of continuous protection went along`];
  if (copied.length + continuous === 0) return [`nothing to copy from ${from} to ${to}${there}`, ...holds];
  return [
    `copied ${plural(copied.length, "restore point")} from ${from} to ${to} in ${formatSeconds(summary.seconds)}${there}`,
    ...copied.map(({ point, takenAt }) => `  ${look.paint("bold", shortId(point))}  ${takenAt}`),
    ...holds,
    ...log,
    `  added ${formatBytes(added.bytes)}${added.packs === 0 ? "" : ` in ${plural(added.packs, "pack")}`}`,
  ];
}

export function formatNotCopied({ failed }: CopySummary, look: Look): string[] {
  return [
    ...failed.map(({ message }) => `${look.paint("red", "error:")} ${message}`),
    "hint: The other points were copied. 'chatkeep verify --read-data' shows all that is damaged.",
  ];
}

/** One line a copy, for the report of a backup. */
export function formatCopied({ repository, points, bytes, ok }: CopyOutcome): string {
  if (!ok) return `${repository}: failed, see below`;
  if (points === 0) return `${repository}: nothing to copy`;
  return `${repository}: ${plural(points, "restore point")}, ${formatBytes(bytes)}`;
}

/** For each repository that gave back what had been made while the first did not answer. */
export function formatBrought({ repository, brought }: CopyOutcome): string {
  return `${repository}: ${plural(brought, "restore point")}, made while this one did not answer`;
}
