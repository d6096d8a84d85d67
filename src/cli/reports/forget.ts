import { plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { ForgetLine, ForgetSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatTable, type Column } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

export function formatForget(summary: ForgetSummary, look: Look, { isPruning = false } = {}): string[] {
  const { kept, forgotten, records, dryRun } = summary;
  const gone = dryRun ? "would be forgotten" : "forgotten";
  const count = plural(forgotten.length, "restore point");
  const besides = records === 0 ? "" : `, and ${plural(records, "proof or hold", "proofs and holds")} about them`;
  const head = forgotten.length === 0 ? `nothing to forget in ${summary.repository}` : `${count} ${gone}${besides}`;
  const stay = kept.length === 0 ? "" : `; ${plural(kept.length, "stays", "stay")}`;
  const space = forgotten.length === 0 || dryRun || isPruning ? [] : ["Their space comes back with 'chatkeep prune'."];
  return [head + stay, ...table("forget", forgotten, look), ...table("keep", kept, look), ...space];
}

function table(title: string, lines: readonly ForgetLine[], look: Look): string[] {
  if (lines.length === 0) return [];
  const installations = new Set(lines.map((line) => line.installation.id));
  const columns: Column<ForgetLine>[] = [
    { title, cell: (line) => look.paint("bold", shortId(line.point)) },
    { title: "age", cell: (line) => formatAge(line.takenAt, look.nowMs), leaveOut: 1 },
    { title: "taken", cell: (line) => formatUtc(line.takenAt), leaveOut: 2 },
    ...(installations.size > 1
      ? [{ title: "installation", cell: (line: ForgetLine) => line.installation.name, leaveOut: 3 }]
      : []),
    ...(lines.some((line) => line.reasons.length > 0)
      ? [{ title: "because", cell: (line: ForgetLine) => line.reasons.join(", ") }]
      : []),
  ];
  return ["", ...formatTable(columns, lines, look)];
}
