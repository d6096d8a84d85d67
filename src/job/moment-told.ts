/** What whoever uses the restore point of a moment must know of it, and was told only to who made it. */
import type { Finding } from "../base/findings.ts";
import type { Manifest } from "../point/manifest.ts";

/** Kinds of findings that are about the moment, and not about the installation as it was found when the point was made. */
const OF_MOMENTS: ReadonlySet<string> = new Set([
  "unlogged-tables",
  "moment-clock-ahead",
  "moment-clock-set-back",
  "moment-collation-differs",
  "moment-configuration-later",
  "moment-configuration-now",
]);

/** None of any other point. */
export function momentFindings({ moment, findings }: Pick<Manifest, "moment" | "findings">): Finding[] {
  return moment === undefined ? [] : findings.filter(({ kind }) => OF_MOMENTS.has(kind));
}
