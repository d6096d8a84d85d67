import { formatBytes, formatSeconds, listSome, plural } from "../../base/bytes.ts";
import type { PruneSummary } from "../../job/summaries.ts";
import { formatUtc } from "../when.ts";
import { padEnd, type Look } from "../look.ts";

export function formatPrune(summary: PruneSummary, look: Look): string[] {
  const { packs, bytes, dryRun, repository } = summary;
  const total = packs.kept + packs.removed + packs.repacked + packs.unindexed;
  if (packs.removed + packs.repacked + packs.unindexed === 0) {
    return [
      `nothing to free in ${repository}: ${plural(total, "pack")}, ${formatBytes(bytes.before)}`,
      unusedLine(summary),
      ...othersLines(summary),
    ];
  }
  const amount = `${formatBytes(bytes.freed)} of ${formatBytes(bytes.before)}`;
  const head = dryRun
    ? `would free ${amount} in ${repository}`
    : `${look.paint("green", "✓")} freed ${amount} in ${repository}, in ${formatSeconds(summary.seconds)}`;
  const left = packs.unindexed === 0 ? "" : `, and ${plural(packs.unindexed, "pack")} of runs that were interrupted`;
  const anew =
    packs.repacked === 0 ? "none" : `${plural(packs.repacked, "pack")}, ${formatBytes(bytes.copied)} of them`;
  return [
    head,
    line("kept", plural(packs.kept, "pack")),
    line("removed", `${plural(packs.removed, "pack")}${left}`),
    line("written anew", anew),
    ...lockedLines(summary),
    unusedLine(summary),
    ...othersLines(summary),
  ];
}

function lockedLines({ retained }: PruneSummary): string[] {
  if (retained === undefined) return [];
  const { packs, bytes, until } = retained;
  const what = `${plural(packs, "pack")} of what goes, ${formatBytes(bytes)}`;
  return [line("locked", `${what}: the place keeps them as old versions, the last until ${formatUtc(until)}`)];
}

function line(name: string, text: string): string {
  return `  ${padEnd(name, 12)}  ${text}`;
}

function unusedLine({ bytes }: PruneSummary): string {
  return line("unused", `${formatBytes(bytes.unused)} stay though nobody needs them`);
}

function othersLines({ others = [] }: PruneSummary): string[] {
  return others.length === 0 ? [] : [line("left out", `${listSome(others)}: each by --repository`)];
}
