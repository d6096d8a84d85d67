import { formatBytes, formatCount, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { NewestSize, OtherSize, PointSize, StatsSummary } from "../../job/stats-summary.ts";
import { formatBar } from "../bars.ts";
import type { Look } from "../look.ts";
import { formatPairs, formatTable, type Column } from "../table.ts";
import { formatAge } from "../when.ts";

/** More than these are counted, not named; `--json` names them all. */
const POINTS = 30;
const TABLES = 8;
const BAR_COLUMNS = 20;

export function formatStats(summary: StatsSummary, look: Look): string[] {
  const { stored, used, beside, ratios } = summary;
  const rest = summary.unusedBytes;
  return [
    `sizes of ${summary.repository}`,
    ...formatPairs(
      [
        ["stored", `${formatBytes(stored.bytes + beside.bytes)} in ${plural(stored.packs + beside.files, "file")}`],
        [
          "needed",
          `${formatBytes(used.bytes)} in ${plural(used.chunks, "chunk")}; before compression ${formatBytes(used.unpackedBytes)}`,
        ],
        ["not needed", `${formatBytes(rest)} in packs, their own lists included`],
        ["compression", ratio(ratios.compression)],
        ["deduplication", ratio(ratios.deduplication)],
        ["both", `${ratio(ratios.overall)}: what all points restore to, against what is stored for them`],
      ],
      look,
      "  ",
    ),
    ...points(summary, look),
    ...others(summary, look),
    ...(summary.newest === null ? [] : newest(summary.newest, look)),
  ];
}

function ratio(value: number | null): string {
  return value === null ? "-" : `${value.toFixed(value < 10 ? 2 : 1)} : 1`;
}

function points({ points: all }: StatsSummary, look: Look): string[] {
  if (all.length === 0) return ["", "no restore point yet"];
  const shown = all.slice(-POINTS);
  const max = Math.max(...shown.map(({ addedBytes }) => addedBytes));
  const columns: Column<PointSize>[] = [
    { title: "point", cell: ({ point }) => look.paint("bold", shortId(point)) },
    { title: "age", cell: ({ takenAt }) => formatAge(takenAt, look.nowMs), leaveOut: 2 },
    ...(new Set(all.map(({ installation }) => installation.id)).size > 1
      ? [{ title: "installation", cell: ({ installation }: PointSize) => installation.name, leaveOut: 3 }]
      : []),
    { title: "restores to", cell: ({ bytes }) => formatBytes(bytes), align: "right" },
    { title: "its alone", cell: ({ uniqueBytes }) => formatBytes(uniqueBytes), align: "right", leaveOut: 1 },
    { title: "added", cell: ({ addedBytes }) => formatBytes(addedBytes), align: "right" },
    { title: "", cell: ({ addedBytes }) => look.paint("cyan", formatBar(addedBytes, max, BAR_COLUMNS)), leaveOut: 4 },
  ];
  const older = all.length - shown.length;
  return [
    "",
    ...formatTable(columns, shown, look),
    ...(older > 0 ? [`and ${plural(older, "older point")}: --json has all of them`] : []),
  ];
}

const WHAT: Readonly<Record<OtherSize["what"], string>> = {
  moments: "points of moments",
  bases: "bases",
  log: "stretches of the log",
  files: "followed files",
  marks: "proofs, holds and other marks",
  others: "snapshots of other programs",
};

function others({ otherSizes }: StatsSummary, look: Look): string[] {
  if (otherSizes.length === 0) return [];
  const columns: Column<OtherSize>[] = [
    { title: "beside them", cell: ({ what }) => WHAT[what] },
    { title: "snapshots", cell: ({ snapshots }) => formatCount(snapshots), align: "right" },
    { title: "added", cell: ({ addedBytes }) => formatBytes(addedBytes), align: "right" },
  ];
  return ["", ...formatTable(columns, otherSizes, look)];
}

function newest({ point, database, storage }: NewestSize, look: Look): string[] {
  const rows = [
    ...storage.map(({ name, files, bytes }) => ({ name: `files of '${name}'`, count: files, bytes })),
    ...database.tables.slice(0, TABLES).map(({ name, rows: count, bytes }) => ({ name, count, bytes })),
  ];
  const others = database.tables.slice(TABLES);
  if (others.length > 0) {
    rows.push({
      name: plural(others.length, "other table"),
      count: others.reduce((sum, table) => sum + table.rows, 0),
      bytes: others.reduce((sum, table) => sum + table.bytes, 0),
    });
  }
  const max = Math.max(0, ...rows.map(({ bytes }) => bytes));
  return [
    "",
    ...formatTable(
      [
        { title: `in ${shortId(point)}`, cell: ({ name }) => name },
        { title: "files, rows", cell: ({ count }) => formatCount(count), align: "right", leaveOut: 1 },
        { title: "size", cell: ({ bytes }) => formatBytes(bytes), align: "right" },
        { title: "", cell: ({ bytes }) => look.paint("cyan", formatBar(bytes, max, BAR_COLUMNS)), leaveOut: 2 },
      ],
      rows,
      look,
    ),
  ];
}

export function formatUncounted({ damaged }: StatsSummary): string[] {
  if (damaged.length === 0) return [];
  return [
    ...damaged.map(({ message, points: touched, continuous }) => {
      const of = [...touched.map((point) => `point ${shortId(point)}`), ...continuous];
      return `warning: not counted${of.length === 0 ? "" : `, of ${of.join(" and ")}`}: ${message}`;
    }),
    "  Run 'chatkeep verify' to see all that it touches.",
  ];
}
