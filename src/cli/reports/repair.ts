import { formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { RepairSummary } from "../../job/summaries.ts";
import { proseWidth, wrap, type Look } from "../look.ts";

export function formatRepair(summary: RepairSummary, look: Look): string[] {
  const { damaged, lost, repository, fromOther } = summary;
  const scope = `${plural(summary.packs, "pack")}, ${formatSeconds(summary.seconds)}`;
  if (damaged.length + lost.length === 0 && fromOther === 0) {
    return [`${look.paint("green", "✓")} nothing to mend in ${repository}: ${scope}`];
  }
  const left = damaged.filter(({ mended }) => !mended).length;
  const isWhole = left + lost.length === 0;
  const mark = isWhole ? look.paint("green", "✓ mended:") : look.paint("red", "✗ not whole:");
  return [
    `${mark} ${repository}, ${scope}`,
    ...damaged.map(({ message, mended }) => `  ${mended ? "mended" : "left  "}  ${message}`),
    ...(fromOther === 0 ? [] : [`  ${plural(fromOther, "chunk")} came from the other repository`]),
  ];
}

/** What is lost, each with the restore points that it touches. */
export function formatLost({ lost, what }: RepairSummary, look: Look): string[] {
  const lines = lost.flatMap(({ message, points }) => [
    `${look.paint("red", "error:")} ${message}`,
    ...(points.length === 0 ? [] : wrap(`touches ${points.map(shortId).join(", ")}`, proseWidth(look), "  ")),
  ]);
  const hint =
    what === "index"
      ? "What is left is damaged in the packs themselves: 'chatkeep repair packs', with --from where another repository has a copy."
      : "Restore points that are not named here are whole. The next 'chatkeep backup' stores again what the installation still has; 'chatkeep repair packs --from NAME' takes the rest from another repository.";
  return [...lines, ...wrap(`hint: ${hint}`, proseWidth(look))];
}
