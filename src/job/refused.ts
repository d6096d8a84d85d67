/** Statements of a restore that the server refused, and that nothing else depends on. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Refused } from "../postgres/grants.ts";

const SHOWN = 3;

/** A value may be a secret: neither it nor what the server says of it is shown. */
function describe({ statement, why }: Refused): string {
  const bare = statement.replaceAll(/'(?:[^']|'')*'/g, "'…'");
  return bare === statement ? `${statement} (${why})` : bare;
}

/** None when there is none. @param about what they do, and what to do about it. */
export function refusedFindings(
  refused: readonly Refused[],
  about: { kind: string; what: string; hint: string },
): Finding[] {
  if (refused.length === 0) return [];
  const more = refused.length > SHOWN ? ` and ${refused.length - SHOWN} more` : "";
  const shown = refused.slice(0, SHOWN).map(describe).join(" ");
  const { kind, what, hint } = about;
  const message = `${plural(refused.length, "statement")} ${what} ${refused.length === 1 ? "was" : "were"} refused: ${shown}${more}`;
  return [{ kind, level: "warning", message, hint }];
}
