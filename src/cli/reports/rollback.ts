import { formatBytes, formatSeconds } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { RollbackPlan, RollbackSummary } from "../../job/summaries.ts";
import { formatFindings } from "../findings.ts";
import { proseWidth, wrap, type Look } from "../look.ts";
import { formatBlockers } from "./restore.ts";
import { formatPairs } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

export function formatRollbackPlan(plan: RollbackPlan, look: Look): string[] {
  const untouched =
    "Only names change, in a moment: sessions on both databases are ended then, and nothing is copied. What Chatwoot wrote since is kept with the database that is live now. Files, configuration and code are not touched.";
  return [
    `plan of a rollback of database ${look.paint("bold", plan.live)}`,
    ...formatPairs(
      [
        ["put back", `${plan.back}, ${formatBytes(plan.bytes)}`],
        ["put aside", `${formatUtc(plan.at)}, ${formatAge(plan.at, look.nowMs)}`],
        [
          "taken out",
          plan.kind === "before" ? `${plan.live}, which came from restore point ${shortId(plan.point)}` : plan.live,
        ],
      ],
      look,
      "  ",
    ),
    "",
    ...wrap(untouched, proseWidth(look), "  "),
    ...(plan.findings.length === 0 ? [] : ["", ...formatFindings(plan.findings, look)]),
    ...formatBlockers(plan.blockers, look),
    "",
  ];
}

export function formatRollback({ database, back, seconds }: RollbackSummary, look: Look): string[] {
  return [
    `${look.paint("green", "✓ rolled back")} in ${formatSeconds(seconds)}`,
    ...formatPairs(
      [
        ["database", `${database.name}: what was kept as ${back}`],
        ["kept", `${database.previous}: what was live until now`],
      ],
      look,
      "  ",
    ),
    "  Restart Chatwoot's web and worker.",
  ];
}
