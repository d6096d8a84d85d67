import { listSome } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { HoldLine, HoldSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatUtc } from "../when.ts";

export function formatHolds(summary: HoldSummary, look: Look): string[] {
  const { action, changed, holds } = summary;
  if (action === "listed") return holds.length === 0 ? [`no hold in ${summary.repository}`] : table(holds, look);
  const { repositories } = summary;
  const where = repositories.length < 2 ? "" : `, in ${listSome(repositories)}`;
  const lines = holds.map((hold) => {
    const what = `restore point ${look.paint("bold", shortId(hold.point))}`;
    if (action === "released") return `${what} is no longer held by '${hold.name}'${where}`;
    const end = hold.until === null ? "until it is released" : `until ${hold.until}`;
    return `${what} ${changed ? "is held" : "was held already"} by '${hold.name}' ${end}${where}`;
  });
  // A copy may have brought the same hold twice.
  return [...new Set(lines)];
}

function table(holds: readonly HoldLine[], look: Look): string[] {
  return formatTable(
    [
      { title: "point", cell: (hold) => look.paint("bold", shortId(hold.point)) },
      {
        title: "taken",
        cell: (hold) => (hold.takenAt === null ? "not here" : formatUtc(hold.takenAt)),
        leaveOut: 2,
      },
      { title: "hold", cell: (hold) => hold.name },
      { title: "until", cell: (hold) => `${hold.until ?? "released"}${hold.inForce ? "" : " (ended)"}` },
      { title: "by", cell: (hold) => hold.by ?? "?", leaveOut: 1 },
      { title: "reason", cell: (hold) => hold.reason ?? "-", leaveOut: 3 },
    ],
    holds,
    look,
  );
}
