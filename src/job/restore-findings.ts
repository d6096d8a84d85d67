/** What every plan of a restore says of the point itself. Pure. */
import { listSome, plural } from "../base/bytes.ts";
import { type Finding, needsAttention } from "../base/findings.ts";
import { type Manifest, missingFiles } from "../point/manifest.ts";
import { expectedFiles } from "./shortfall.ts";

export type Part = "database" | "storage" | "config" | "code";

/** True where the manifest lists files in a part of the point; a part that is not there then was taken out of it. */
export function isListed({ storage, config, code }: Manifest, part: Part): boolean {
  if (part === "storage") return expectedFiles(storage) > 0;
  return part !== "database" && (part === "config" ? config : code).files > 0;
}

export function absentPart(part: string): Finding {
  return {
    kind: "part-missing",
    level: "alarm",
    message: part.includes(" ")
      ? "the restore point holds nothing that was asked for"
      : `the restore point holds no ${part}`,
    hint: "'chatkeep show' says what is in it.",
  };
}

export function missingFindings(manifest: Manifest, parts: readonly Part[]): Finding[] {
  const missing = missingFiles(manifest.storage);
  if (missing === 0 || !parts.includes("storage")) return [];
  return [
    {
      kind: "point-misses-files",
      level: "note",
      message: `${plural(missing, "uploaded file")} ${missing === 1 ? "was" : "were"} missing or damaged when the point was taken`,
      hint: "'chatkeep show' names them; an older restore point may have them.",
    },
  ];
}

/** What a backup finds when something had gone wrong before it. */
const AFTER_DAMAGE: ReadonlySet<string> = new Set(["shrunk", "restore-unfinished"]);

/** Of a point that was taken too late: the one from before is meant at night, and `latest` is not it. */
export function afterDamageFindings({ findings }: Manifest): Finding[] {
  const found = findings.filter((finding) => AFTER_DAMAGE.has(finding.kind) && needsAttention([finding]));
  if (found.length === 0) return [];
  return [
    {
      kind: "point-after-damage",
      level: "warning",
      message: `something had gone wrong already when this restore point was made: ${listSome(found.map(({ message }) => message))}`,
      hint: "A point from before may be the one that you want: 'chatkeep list' has them all, and 'chatkeep diff OLDER THIS-ONE' says what changed.",
    },
  ];
}
