import { formatCount, listSome } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { AckLine, AckSummary } from "../../job/ack-summary.ts";
import { isDoctorsOwn } from "../../job/quiet.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatUtc } from "../when.ts";

export function formatAcks(summary: AckSummary, look: Look): string[] {
  const { action, point, takenAt, changed, repositories, acks } = summary;
  const named = `${look.paint("bold", shortId(point ?? ""))} of ${formatUtc(takenAt ?? "")}`;
  if (action === "acknowledged") {
    const where = repositories.length < 2 ? "" : `, in ${listSome(repositories)}`;
    const said = changed ? "is acknowledged" : "was acknowledged already";
    const finding = acks[0]?.finding ?? "shrunk";
    if (isDoctorsOwn(finding)) return [`'${finding}' ${said}${where}`];
    const what = finding === "shrunk" ? "what restore point" : `'${finding}' of restore point`;
    const of = finding === "shrunk" ? " says of accounts that shrank" : "";
    return [`${what} ${named}${of} ${said}${where}`, ...fallTable(summary, look)];
  }
  const awaiting =
    point === null
      ? [`nothing in ${summary.repository} awaits that somebody acknowledges it`]
      : [`restore point ${named} awaits that somebody acknowledges it:`, ...fallTable(summary, look)];
  const way = point === null ? [] : ["", `'chatkeep ack ${shortId(point)}' says that it is as it should be.`];
  const others = summary.awaiting.flatMap(({ kind, message }) => [
    `${kind}: ${message}`,
    `  'chatkeep ack ${kind}' makes it a note until it changes.`,
  ]);
  const nothing = point === null && others.length > 0 ? [] : [...awaiting, ...way];
  return [...nothing, ...others, ...(acks.length === 0 ? [] : ["", ...ackTable(acks, look)])];
}

function fallTable({ falls }: AckSummary, look: Look): string[] {
  if (falls.length === 0) return [];
  return formatTable(
    [
      { title: "account", cell: ({ account }) => account ?? "all" },
      { title: "name", cell: ({ name }) => name ?? "-", leaveOut: 1 },
      { title: "what", cell: ({ kind }) => (kind === "account" ? "the account itself" : kind) },
      { title: "had", cell: ({ from }) => formatCount(from), align: "right" },
      { title: "has", cell: ({ to }) => formatCount(to), align: "right" },
    ],
    falls,
    look,
  );
}

function ackTable(acks: readonly AckLine[], look: Look): string[] {
  return formatTable(
    [
      { title: "acknowledged", cell: ({ at }) => formatUtc(at) },
      { title: "finding", cell: ({ finding }) => finding, leaveOut: 2 },
      { title: "up to point", cell: ({ point }) => look.paint("bold", shortId(point)) },
      { title: "by", cell: ({ by }) => by ?? "?", leaveOut: 1 },
      { title: "reason", cell: ({ reason }) => reason ?? "-", leaveOut: 3 },
    ],
    acks,
    look,
  );
}
