import type { KitSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";

export function formatKit(summary: KitSummary, look: Look): string[] {
  return [
    summary.withPassword ? "recovery kit written, with the password" : "recovery kit written, without a password",
    ...formatPairs(
      [
        ["page to print", summary.page],
        ["as text", summary.text],
        ...summary.repositories.map(
          ({ name, fingerprint }) => ["fingerprint", `${fingerprint ?? "unknown"} (${name})`] as const,
        ),
      ],
      look,
      "  ",
    ),
    "",
    "next",
    `  1. print the page${summary.withPassword ? "" : " and write the password on it"}, and keep it away from this machine`,
    "  2. delete both files, and destroy the papers with an older fingerprint",
  ];
}
