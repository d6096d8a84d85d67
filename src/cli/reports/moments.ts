import { formatBytes, formatCount, plural } from "../../base/bytes.ts";
import { DATABASES, type FoundCommit, type MomentsSummary, type TableChange } from "../../job/commits-summary.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";

/** More tables of one transaction than these are counted, not named; `--json` names them all. */
const TABLES = 4;

export function formatMoments(summary: MomentsSummary, look: Look): string[] {
  const { found, matching, commits } = summary;
  const bytes = summary.searched.reduce((sum, range) => sum + range.bytes, 0);
  const read = `${plural(commits, "transaction")} in ${formatBytes(bytes)} of the log`;
  const [last] = found.toReversed();
  if (last === undefined && summary.searched.length === 0)
    return ["the log has nothing of that time: 'chatkeep list' shows from when to when it is there"];
  if (last === undefined && bytes === 0)
    return ["nothing was committed since then, as far as the log reaches: 'chatkeep list' shows until when that is"];
  if (last === undefined) {
    const unnamed = summary.unnamed?.commits ?? 0;
    const but = unnamed > 0 ? `; of ${formatCount(unnamed)} of them it is not known which tables they changed` : "";
    return [`nothing of that in ${read}${but}`];
  }
  const earlier = matching - found.length;
  const rows = formatTable(
    [
      { title: "everything before it", cell: ({ before }: FoundCommit) => look.paint("bold", before) },
      { title: "committed (UTC)", cell: ({ at }: FoundCommit) => at.slice(0, 23).replace("T", " ") },
      { title: "transaction", cell: ({ xid }: FoundCommit) => String(xid), align: "right", leaveOut: 1 },
      { title: "rows", cell: changesOf },
    ],
    found,
    look,
  );
  return [
    ...rows,
    "",
    `${formatCount(matching)} of ${read}${earlier > 0 ? `; ${formatCount(earlier)} earlier ones are not shown: --limit, --until` : ""}`,
    `'chatkeep restore ${last.before} --plan' says what would come back as it was before the last of them`,
  ];
}

function changesOf({ tables, whole }: FoundCommit): string {
  const others = tables.length - TABLES;
  const shown = tables.slice(0, TABLES).map((change) => `${change.table}: ${changeOf(change)}`);
  const text = [...shown, ...(others > 0 ? [`and ${plural(others, "other table")}`] : [])].join("; ");
  return whole ? text : `at least ${text}`;
}

function changeOf({ table, inserted, updated, deleted, replaced }: TableChange): string {
  return [
    ...(replaced ? ["emptied"] : []),
    ...(deleted > 0 ? [`${formatCount(deleted)} ${table === DATABASES ? "dropped" : "deleted"}`] : []),
    ...(updated > 0 ? [`${formatCount(updated)} changed`] : []),
    ...(inserted > 0 ? [`${formatCount(inserted)} added`] : []),
  ].join(", ");
}

/** What the answer lacks. */
export function formatUnread({ unread, unnamed }: MomentsSummary): string[] {
  const lines = unread.map((line) => `warning: ${line}`);
  if (unnamed === null) return lines;
  const { commits, from, to, baseComes } = unnamed;
  return [
    ...lines,
    `warning: ${plural(commits, "transaction")} from ${from} to ${to} changed a database that no base knows, as one is after a restore: its tables are called by their files, and --table does not find them${baseComes ? "; 'chatkeep watch' takes a base then, which says their names" : ""}`,
  ];
}
