import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { VerifySummary } from "../../job/summaries.ts";
import { proseWidth, wrap, type Look } from "../look.ts";

export function formatVerify(summary: VerifySummary, look: Look): string[] {
  const read = summary.bytesRead === 0 ? "data not read" : `${formatBytes(summary.bytesRead)} read`;
  const scope = `${plural(summary.points, "restore point")}, ${plural(summary.packs, "pack")}, ${read}, ${formatSeconds(summary.seconds)}`;
  if (summary.errors === 0) return [`${look.paint("green", "✓")} nothing is wrong: ${scope}`];
  return [`${look.paint("red", "✗")} ${plural(summary.errors, "error")}: ${scope}`];
}

/** Each with the restore points that it touches, and what of continuous protection. */
export function formatProblems(summary: VerifySummary, look: Look): string[] {
  const lines = summary.problems.flatMap(({ message, points, continuous }) => [
    `${look.paint("red", "error:")} ${message}`,
    ...(points.length + continuous.length === 0
      ? ["  touches no restore point"]
      : wrap(`touches ${[...points.map(shortId), ...continuous].join(", ")}`, proseWidth(look), "  ")),
  ]);
  const hint =
    "Restore points that are not named here are whole. Delete nothing, and look at the disk below the repository. A new backup stores again what a lost pack held; what is damaged inside a pack must come from another copy: 'chatkeep repair packs --from NAME'.";
  const isIndex = summary.problems.some(({ kind }) => kind === "pack-not-indexed" || kind === "index-damaged");
  const index = isIndex ? " 'chatkeep repair index' makes the index anew from the packs." : "";
  const isHeld = summary.problems.some(({ kind }) => kind === "held-point-lost");
  const held = isHeld
    ? " A held point that is gone is brought back by 'chatkeep copy POINT --repository NAME --to NAME' from another repository that has it, or given up by 'chatkeep hold --release'; until then 'chatkeep prune' refuses, and 'restic prune' would free what the point needs."
    : "";
  return [...lines, ...wrap(`hint: ${hint}${index}${held}`, proseWidth(look))];
}
