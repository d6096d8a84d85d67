import { formatBytes, formatCount, listSome, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { ListSummary, PointLine } from "../../job/summaries.ts";
import { type Look, proseWidth, wrap } from "../look.ts";
import { formatAbout } from "./drill.ts";
import { formatTable, type Column } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";
import { formatWindow } from "./window.ts";

function count(value: number | null): string {
  return value === null ? "?" : formatCount(value);
}

/** Colour never alone: a mark and words. */
function proven(line: PointLine, look: Look): string {
  if (line.notWhole) return look.paint("red", "✗ not whole");
  if (line.failedDrill) return look.paint("red", "✗ failed");
  if (line.provenAt === null) return "-";
  const lost = (line.lost ?? 0) > 0 ? ` (−${formatCount(line.lost ?? 0)})` : "";
  return look.paint("green", `✓ ${formatAge(line.provenAt, look.nowMs)}`) + lost;
}

/** What the last drill says of the time to recover. */
function recovery({ recoverSeconds }: PointLine): string {
  return recoverSeconds === null ? "-" : formatAbout(recoverSeconds);
}

export function formatList(summary: ListSummary, look: Look): string[] {
  const { points } = summary;
  if (points.length === 0)
    return [`no restore point in ${summary.repository} yet`, ...windows(summary, look), ...others(summary)];
  const installations = new Set(points.map((line) => line.installation.id));
  const columns: Column<PointLine>[] = [
    { title: "point", cell: (line) => look.paint("bold", shortId(line.point)) },
    { title: "age", cell: (line) => formatAge(line.takenAt, look.nowMs) },
    { title: "taken", cell: (line) => formatUtc(line.takenAt), leaveOut: 2 },
    ...(installations.size > 1 ? [{ title: "installation", cell: (line: PointLine) => line.installation.name }] : []),
    { title: "chatwoot", cell: (line) => line.chatwoot ?? "?", leaveOut: 4 },
    {
      title: "size",
      cell: (line) => (line.bytes === null ? "?" : formatBytes(line.bytes)),
      align: "right",
      leaveOut: 1,
    },
    { title: "rows", cell: (line) => count(line.rows), align: "right", leaveOut: 3 },
    { title: "files", cell: (line) => count(line.blobs), align: "right", leaveOut: 3 },
    { title: "proven", cell: (line) => proven(line, look) },
    ...(points.some((line) => line.recoverSeconds !== null)
      ? [{ title: "back in", cell: recovery, align: "right" as const, leaveOut: 3 }]
      : []),
    {
      title: "findings",
      cell: (line) => (line.findings === 0 ? "-" : formatCount(line.findings)),
      align: "right",
      leaveOut: 1,
    },
    ...(points.some((line) => line.holds.length > 0)
      ? [{ title: "held", cell: (line: PointLine) => [...new Set(line.holds)].join(", ") || "-", leaveOut: 3 }]
      : []),
    ...(points.some((line) => line.tags.length > 0)
      ? [{ title: "tags", cell: (line: PointLine) => line.tags.join(", "), leaveOut: 5 }]
      : []),
  ];
  return [
    ...formatTable(columns, points, look),
    ...torn(points),
    ...shrunk(points),
    ...windows(summary, look),
    ...others(summary),
  ];
}

/** What lies between the points, where that is kept. */
function windows({ windows: all, points, repository, otherRepositories = [] }: ListSummary, look: Look): string[] {
  const found = all.flatMap((window) => {
    const name = points.find(({ installation }) => installation.id === window.installation)?.installation.name;
    const whose = all.length > 1 ? ` of ${name ?? window.installation}` : "";
    return ["", `continuous protection${whose}`, ...formatWindow(window, look, "  ")];
  });
  if (found.length === 0 || otherRepositories.length === 0) return found;
  const others = listSome(otherRepositories.map((name) => `'${name}'`));
  // 'restore now' asks them all.
  const told = `That is what '${repository}' has. ${others} may have more: 'chatkeep status' shows each.`;
  return [...found, ...wrap(told, proseWidth(look), "  ")];
}

function torn(points: readonly PointLine[]): string[] {
  const lacking = points.filter((line) => line.lacksRows);
  if (lacking.length === 0) return [];
  return [
    `rows are lacking in ${listSome(lacking.map(({ point }) => shortId(point)))}, which the server could not read: see 'chatkeep show'`,
  ];
}

function shrunk(points: readonly PointLine[]): string[] {
  const awaiting = points.filter((line) => line.shrunk === "awaiting");
  const [newest] = awaiting;
  if (newest === undefined) return [];
  return [
    `accounts shrank in ${listSome(awaiting.map(({ point }) => shortId(point)))}, and nobody has acknowledged it: see 'chatkeep ack'`,
  ];
}

function others({ otherSnapshots }: ListSummary): string[] {
  if (otherSnapshots === 0) return [];
  return [
    `and ${plural(otherSnapshots, "snapshot")} that ${otherSnapshots === 1 ? "is no restore point" : "are no restore points"} of Chatkeep's`,
  ];
}

export function formatDamaged({ damaged }: ListSummary): string[] {
  if (damaged.length === 0) return [];
  return [
    ...damaged.map(({ name, message }) => `warning: snapshot file ${name} cannot be read: ${message}`),
    "  Run 'chatkeep verify' to see what else is damaged; the other restore points are listed above.",
  ];
}
