import { formatBytes, formatCount, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { DiffSummary } from "../../job/summaries.ts";
import { clip, hintWidth, type Look, wrap } from "../look.ts";
import { type Column, formatPairs, formatTable } from "../table.ts";
import { formatUtc } from "../when.ts";

/** More than these are counted, not named; `--json` names more. */
const ACCOUNTS = 10;
const TABLES = 20;
const NAMES = 10;

const KINDS = ["added", "changed", "removed"] as const;
/** A sign and never only a colour. */
const SIGNS = { added: "+", changed: "~", removed: "-" } as const;
const COLOURS = { added: "green", changed: "yellow", removed: "red" } as const;
type Kind = (typeof KINDS)[number];

export function formatDiff(summary: DiffSummary, look: Look): string[] {
  const { installation, before, after, swapped } = summary;
  return [
    fit(`what changed in ${installation.name}`, look),
    ...formatPairs([["from", when(before)], ["to", when(after)], ...versions(summary)], look, "  "),
    ...(swapped ? ["  They were given the other way round; the older one comes first."] : []),
    ...(summary.rows === null ? everything(summary, look) : oneTable(summary, summary.rows, look)),
  ];
}

function when({ point, takenAt }: DiffSummary["before"]): string {
  return `${shortId(point)}, ${formatUtc(takenAt)}`;
}

/** A name is one line without colours, whatever somebody put into it. */
function oneLine(text: string): string {
  return plain(text).replaceAll(/\s+/g, " ").trim();
}

function plain(text: string): string {
  return text.replaceAll("\u001B", String.raw`\x1b`);
}

function fit(text: string, { width }: Look): string {
  const line = plain(text).replaceAll(/[\n\t]+/g, " ");
  return width === undefined ? line : clip(line, width);
}

function change(name: string, { before, after }: DiffSummary["chatwoot"]): [string, string][] {
  return before === after ? [] : [[name, `${before ?? "version unknown"} → ${after ?? "version unknown"}`]];
}

function versions({ chatwoot, postgresql, migrations }: DiffSummary): [string, string][] {
  const { added, removed } = migrations;
  const ran = [...(added > 0 ? [`${added} added`] : []), ...(removed > 0 ? [`${removed} gone`] : [])];
  return [
    ...change("chatwoot", chatwoot),
    ...change("postgresql", postgresql),
    ...(ran.length === 0 ? [] : ([["migrations", ran.join(", ")]] as [string, string][])),
  ];
}

function everything(summary: DiffSummary, look: Look): string[] {
  const parts = [
    ...accounts(summary, look),
    ...tables(summary, look),
    ...largeObjects(summary),
    ...storage(summary, look),
    ...named("configuration", summary.config, look),
    ...code(summary, look),
    ...secrets(summary, look),
  ];
  if (parts.length > 0 || summary.damaged.length > 0) return parts;
  return [
    "",
    `nothing differs: ${plural(summary.tablesCompared, "table")}, files, configuration and code are the same`,
  ];
}

type Account = NonNullable<DiffSummary["accounts"]>[number];
type Objects = Account["objects"][keyof Account["objects"]];

function numbers<Row>(countsOf: (row: Row) => Record<Kind, number>): Column<Row>[] {
  return KINDS.map((kind) => ({
    title: kind,
    cell: (row: Row) => (countsOf(row)[kind] === 0 ? "-" : formatCount(countsOf(row)[kind])),
    align: "right" as const,
  }));
}

function countsOf({ added, changed, removed }: Objects): Record<Kind, number> {
  return { added: added.count, changed: changed.count, removed: removed.count };
}

function sumOf({ objects }: Account): number {
  return Object.values(objects).reduce((sum, one) => sum + KINDS.reduce((all, kind) => all + one[kind].count, 0), 0);
}

function accounts({ accounts: all }: DiffSummary, look: Look): string[] {
  if (all === null || all.length === 0) return [];
  const shown = all.toSorted((a, b) => sumOf(b) - sumOf(a)).slice(0, ACCOUNTS);
  return [
    ...shown.flatMap((one) => ["", ...account(one, look)]),
    ...(all.length > shown.length ? ["", `and ${plural(all.length - shown.length, "more account")}: see --json`] : []),
  ];
}

function account({ account: id, name, objects }: Account, look: Look): string[] {
  const rows = Object.entries(objects).filter(([, one]) => KINDS.some((kind) => one[kind].count > 0));
  const title = clip(oneLine(`account ${id}${name === null ? "" : `, ${name}`}`), 48);
  return [
    ...formatTable(
      [{ title, cell: ([kind]) => `  ${kind}` }, ...numbers(([, one]: (typeof rows)[number]) => countsOf(one))],
      rows,
      look,
    ),
    ...rows.flatMap(([kind, one]) => KINDS.flatMap((change) => examples(kind, change, one[change], look))),
  ];
}

/** One line each, under their table: `+ conversation #42, last active 2026-11-23 14:02:11 UTC`. */
function examples(kind: string, change: Kind, { count, examples: some }: Objects[Kind], look: Look): string[] {
  const one = kind === "inboxes" ? "inbox" : kind.slice(0, -1);
  const rest = count - some.length;
  return some.map(({ what, at }, index) => {
    const time = at === null ? "" : `, ${kind === "conversations" ? "last active " : ""}${formatUtc(at)}`;
    const more = rest > 0 && index === some.length - 1 ? ` and ${formatCount(rest)} more` : "";
    const room = look.width === undefined ? 200 : look.width - 5 - one.length - time.length - more.length;
    const shown = clip(oneLine(what), Math.max(8, room));
    return `  ${look.paint(COLOURS[change], SIGNS[change])} ${one} ${shown}${time}${more}`;
  });
}

type Table = DiffSummary["tables"][number];

function nameOf({ schema, name }: Table): string {
  return oneLine(schema === "public" ? name : `${schema}.${name}`);
}

function tables({ tables: all, tablesCompared }: DiffSummary, look: Look): string[] {
  if (all.length === 0) return [];
  const weight = ({ added, changed, removed }: Table) => added + changed + removed;
  const shown = all.toSorted((a, b) => weight(b) - weight(a)).slice(0, TABLES);
  const columns: Column<Table>[] = [
    { title: "rows by table", cell: (table) => clip(nameOf(table), 34) + (table.isPartial ? " (in part)" : "") },
    ...numbers<Table>((table) => table),
    {
      title: "now",
      cell: ({ rowsAfter }) => (rowsAfter === null ? "no table" : formatCount(rowsAfter)),
      align: "right",
      leaveOut: 1,
    },
  ];
  const others = all.length - shown.length;
  return [
    "",
    ...formatTable(columns, shown, look),
    ...(others > 0 ? [`and ${plural(others, "more table")}: see --json`] : []),
    ...all.flatMap((table) => otherColumns(table, look)),
    ...(tablesCompared > all.length
      ? [`the other ${plural(tablesCompared - all.length, "table")} of ${formatCount(tablesCompared)} are the same`]
      : []),
  ];
}

function otherColumns(table: Table, look: Look): string[] {
  const { rowsBefore, rowsAfter, columnsAdded, columnsRemoved } = table;
  if (rowsBefore === null || rowsAfter === null) {
    return [fit(`table ${nameOf(table)} is ${rowsBefore === null ? "new" : "gone"}`, look)];
  }
  const line = (what: string, columns: readonly string[]) =>
    columns.length === 0 ? [] : [fit(`table ${nameOf(table)}: columns ${what}: ${columns.join(", ")}`, look)];
  return [...line("added", columnsAdded), ...line("gone", columnsRemoved)];
}

function largeObjects({ largeObjects: counts }: DiffSummary): string[] {
  if (counts === null) return [];
  return ["", `large objects differ: ${formatCount(counts.before)} before, ${formatCount(counts.after)} now`];
}

function storage({ storage: services }: DiffSummary, look: Look): string[] {
  return (services ?? []).flatMap((service) => [
    "",
    fit(`uploaded files of storage service '${service.service}'`, look),
    ...KINDS.filter((kind) => service[kind].files > 0).map((kind) => {
      const { files, bytes } = service[kind];
      return `  ${look.paint(COLOURS[kind], SIGNS[kind])} ${plural(files, "file")} ${kind}, ${formatBytes(bytes)}`;
    }),
  ]);
}

type Names = NonNullable<DiffSummary["config"]>;

function named(title: string, names: Names | null, look: Look, one = "file"): string[] {
  if (names === null) return [];
  const counts = KINDS.filter((kind) => names.counts[kind] > 0);
  if (counts.length === 0) return [];
  return [
    "",
    `${title}: ${counts.map((kind) => `${plural(names.counts[kind], one)} ${kind}`).join(", ")}`,
    ...counts.flatMap((kind) => {
      const rest = names.counts[kind] - Math.min(NAMES, names[kind].length);
      return [
        ...names[kind]
          .slice(0, NAMES)
          .map((name) => `  ${look.paint(COLOURS[kind], SIGNS[kind])} ${nameFit(name, look)}`),
        ...(rest > 0 ? [`    and ${formatCount(rest)} more`] : []),
      ];
    }),
  ];
}

function nameFit(name: string, { width }: Look): string {
  return width === undefined ? oneLine(name) : clip(oneLine(name), width - 4);
}

function short(head: string | null): string {
  return head === null ? "none" : head.slice(0, 12);
}

function code({ code: found }: DiffSummary, look: Look): string[] {
  if (found === null) return [];
  const { before, after } = found.head;
  const moved = before === after ? [] : [`  git ${short(before)} → ${short(after)}`];
  const files = named("code", found, look);
  return files.length === 0 && moved.length > 0 ? ["", "code", ...moved] : [...files, ...moved];
}

function secrets({ secrets: found }: DiffSummary, look: Look): string[] {
  if (found === null) return [];
  const lines = named("secrets", found, look, "secret");
  if (found.isKnown) return lines;
  return [
    ...lines,
    "",
    ...wrap(
      "secrets: whether they changed cannot be said. Every fingerprint differs: all were changed, or the two points were made in different repositories.",
      Math.min(80, hintWidth(look)),
    ),
  ];
}

type RowIds = NonNullable<DiffSummary["rows"]>;

function oneTable(summary: DiffSummary, rows: RowIds, look: Look): string[] {
  const [table] = summary.tables;
  if (table === undefined) {
    return summary.damaged.length > 0 ? [] : ["", fit(`nothing differs in table ${rows.table}`, look)];
  }
  if (!rows.hasIds) {
    return [...tables(summary, look), fit(`table ${rows.table} has no key, so its rows have no ids`, look)];
  }
  return [...tables(summary, look), ...KINDS.flatMap((kind) => rowIds(rows, kind, table[kind], look))];
}

function rowIds(rows: RowIds, kind: Kind, count: number, look: Look): string[] {
  const ids = kind === "changed" ? rows.changed.map(({ id }) => id) : rows[kind];
  if (ids.length === 0) return [];
  const width = look.width ?? 80;
  const lines = wrap(ids.map(oneLine).join("  "), width, "  ");
  const rest = count - ids.length;
  return [
    "",
    ...wrap(`${kind}${kind === "changed" ? changedIn(rows.changed) : ""}`, width),
    ...lines.map((line) => fit(line.trimEnd(), look)),
    ...(rest > 0 ? [`  and ${formatCount(rest)} more`] : []),
  ];
}

/** The columns in which the listed rows changed, the most frequent first. */
function changedIn(changed: readonly { columns: string[] }[]): string {
  const counts = new Map<string, number>();
  for (const column of changed.flatMap(({ columns }) => columns)) counts.set(column, (counts.get(column) ?? 0) + 1);
  const names = [...counts].toSorted(([, a], [, b]) => b - a).map(([column]) => column);
  return ` in ${names.join(", ")}`;
}

export function formatNotCompared({ damaged }: DiffSummary, look: Look): string[] {
  const rest = damaged.length - NAMES;
  return [
    ...damaged.slice(0, NAMES).map(({ what, message }) => `error: not compared: ${what}: ${message}`),
    ...(rest > 0 ? [`error: not compared: ${plural(rest, "more part")}, which --json names`] : []),
    ...wrap(
      "Everything else was compared. 'chatkeep verify --read-data' says which restore points the damage touches, 'chatkeep repair packs' mends it from another repository.",
      hintWidth(look),
      "  ",
    ),
  ];
}
