import { plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { ForgetLine, ForgetSummary } from "../../job/summaries.ts";
import type { WindowLine } from "../../job/window-summary.ts";
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
  const isLess = forgotten.length > 0 || (summary.continuous ?? []).some((line) => line.forgotten.spans > 0);
  const space = !isLess || dryRun || isPruning ? [] : ["Their space comes back with 'chatkeep prune'."];
  const windows = (summary.continuous ?? []).flatMap((line) => formatWindow(line, gone));
  return [head + stay, ...table("forget", forgotten, look), ...table("keep", kept, look), ...windows, ...space];
}

/** What else went is small beside these. */
function formatWindow({ from, kept, forgotten: { bases, spans } }: WindowLine, gone: string): string[] {
  const log = `${plural(kept.bases, "base")} and ${plural(kept.spans, "span")} of the log`;
  const over = `${plural(bases, "base")} and ${plural(spans, "span")} before it ${gone}`;
  return ["", `any moment since ${formatUtc(from)} stays: ${log}`, ...(bases + spans === 0 ? [] : [over])];
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
