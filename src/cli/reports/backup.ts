import { formatBytes, formatCount, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { BackupSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatUtc } from "../when.ts";
import { formatPairs } from "../table.ts";
import { formatBrought, formatCopied } from "./copy.ts";

/** A few calm lines with the true numbers. */
export function formatBackup(summary: BackupSummary, look: Look): string[] {
  const { database, storage, added } = summary;
  const seconds = formatSeconds(summary.seconds);
  const isDry = summary.point === null;
  const head =
    summary.point === null
      ? `dry run, ${seconds}: nothing was written to ${summary.repository}`
      : `restore point ${look.paint("bold", shortId(summary.point))} made in ${seconds}, in ${summary.repository}`;
  const packs = added.packs === 0 ? "" : ` in ${plural(added.packs, "pack")}`;
  const lines = [
    head,
    ...formatPairs(
      [
        ["database", databaseLine(database)],
        ...snapshotPairs(database),
        ["files", filesLine(storage)],
        [isDry ? "would add" : "added", `${formatBytes(added.bytes)}${packs}, compressed and encrypted`],
        [
          "built upon",
          summary.parent === null ? "nothing: the first restore point of this installation" : shortId(summary.parent),
        ],
        ...lockedPairs(summary),
        ...summary.copies
          .filter(({ brought }) => brought > 0)
          .map((copy) => ["brought from", formatBrought(copy)] as const),
        ...summary.copies.map((copy) => ["copied to", formatCopied(copy)] as const),
      ],
      look,
      "  ",
    ),
  ];
  if (!isDry && summary.parent === null) lines.push("Prove that it restores: chatkeep drill");
  return lines;
}

function lockedPairs({ retention }: BackupSummary): (readonly [string, string])[] {
  if (retention === undefined || retention.until === null) return [];
  const { files, extended, until } = retention;
  return [["locked", `${plural(files, "file")} until ${formatUtc(until)} at least; ${formatCount(extended)} extended`]];
}

function snapshotPairs({ snapshotSeconds, standby }: BackupSummary["database"]): (readonly [string, string])[] {
  const pairs: [string, string][] = [];
  if (snapshotSeconds !== undefined) pairs.push(["snapshot", `held for ${formatSeconds(snapshotSeconds)}`]);
  if (standby !== undefined) pairs.push(["read from", `a standby ${formatLag(standby.lagSeconds)}`]);
  return pairs;
}

function formatLag(lagSeconds: number | null): string {
  if (lagSeconds === null) return "that does not tell how far it is behind its primary";
  return lagSeconds === 0 ? "that has applied all it received" : `${formatSeconds(lagSeconds)} behind its primary`;
}

function databaseLine({ rows, tables, ranges, rangesReused, bytesRead }: BackupSummary["database"]): string {
  const unchanged =
    rangesReused === 0 ? "" : `, ${formatCount(rangesReused)} of ${plural(ranges, "range")} taken over unchanged`;
  return `${plural(rows, "row")} in ${plural(tables, "table")}; ${formatBytes(bytesRead)} read${unchanged}`;
}

function filesLine(storage: BackupSummary["storage"]): string {
  const parts = [
    `${formatCount(storage.copied)} new`,
    `${formatCount(storage.reused)} as before`,
    ...(storage.missing > 0 ? [`${formatCount(storage.missing)} missing or damaged`] : []),
    ...(storage.purged > 0 ? [`${formatCount(storage.purged)} deleted by Chatwoot while the backup ran`] : []),
  ];
  return `${plural(storage.blobs, "uploaded file")}, ${formatBytes(storage.bytes)}: ${parts.join(", ")}`;
}
