/** What is to be told of rows that the server could not give when the restore point was made. */
import { formatCount, listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { type Manifest, type TableEntry, tablesLackingRows, type UnreadableEntry } from "../point/manifest.ts";
import { shownName } from "../postgres/names.ts";
import type { UnheldKey } from "../postgres/load-foreign-keys.ts";
import type { PlannedTable } from "./read-rows.ts";

/** One for each table: an alarm at every backup, for the rows are not saved and only somebody's help gets them saved. */
export function unreadableFindings(planned: readonly PlannedTable[]): Finding[] {
  return planned.flatMap(({ saved: { entry } }) => {
    const all = entry.unreadable ?? [];
    return [false, true].flatMap((isKept) => {
      const rows = all.filter(({ kept = false }) => kept === isKept);
      return rows.length === 0 ? [] : [toFinding(entry, rows, isKept)];
    });
  });
}

function toFinding(table: TableEntry, rows: readonly UnreadableEntry[], isKept: boolean): Finding {
  const [first] = rows;
  const said = `the server cannot read ${describeRows(table, rows)}: ${first?.why ?? ""}`;
  return {
    kind: "rows-unreadable",
    level: "alarm",
    message: isKept ? `${said}; they have not changed, and were taken over from the last restore point` : said,
    hint: isKept
      ? "This restore point has all rows. Look at the server's log and its disks before anything else."
      : "All else is saved. Earlier restore points may have these rows: hold one ('chatkeep hold POINT --name NAME'). Look at the server's log and its disks; pg_dump cannot read them either.",
  };
}

const NAMED = 3;

/** `ids 1000 to 1019 and 7 of table public.messages`. */
export function describeRows(table: Pick<TableEntry, "schema" | "name">, rows: readonly UnreadableEntry[]): string {
  const of = `of table ${shownName(table)}`;
  if (rows.some(({ from }) => from === null)) return `any row ${of}`;
  const spans = rows.map(({ from, to }) => (from === to ? (from ?? "") : `${from ?? ""} to ${to ?? ""}`));
  const more = spans.length > NAMED ? ` and ${formatCount(spans.length - NAMED)} more` : "";
  return `the rows with ${spans.length === 1 && rows[0]?.from === rows[0]?.to ? "id" : "ids"} ${spans.slice(0, NAMED).join(", ")}${more} ${of}`;
}

/** Tables of a restore point that lack rows, for whoever would restore it; `kept` ones lack none. */
export function lackingRows({ tables }: Pick<Manifest, "tables">): { table: TableEntry; rows: UnreadableEntry[] }[] {
  return tablesLackingRows({ tables }).map((table) => {
    return { table, rows: (table.unreadable ?? []).filter(({ kept }) => kept !== true) };
  });
}

/** For the plan of a restore. */
export function lackingFindings(manifest: Pick<Manifest, "tables">): Finding[] {
  return lackingRows(manifest).map(({ table, rows }) => ({
    kind: "point-lacks-rows",
    level: "warning",
    message: `the restore point lacks ${describeRows(table, rows)}: the server could not read them when it was made`,
    hint: "An older restore point may have them; 'chatkeep list' shows which there are.",
  }));
}

/** For a restore. */
export function unheldFindings(keys: readonly UnheldKey[]): Finding[] {
  const [first] = keys;
  if (first === undefined) return [];
  const said = keys.map(({ shown, isLeftOut }) => `${shown} (${isLeftOut ? "left out" : "NOT VALID"})`);
  return [
    {
      kind: "keys-not-held",
      level: "warning",
      message: `${plural(keys.length, "foreign key does", "foreign keys do")} not hold, because the restore point lacks rows: ${listSome(said)}`,
      hint: "New rows are held to keys that are NOT VALID. When the rows are there again, ALTER TABLE … VALIDATE CONSTRAINT; database/schema.sql of the restore point has those that were left out.",
    },
  ];
}

/** For a proof. */
export function lackingText(manifest: Pick<Manifest, "tables">): string {
  const lacking = lackingRows(manifest);
  const [first] = lacking;
  if (first === undefined) return "";
  const more = lacking.length > 1 ? `, and rows of ${plural(lacking.length - 1, "more table")}` : "";
  return `; the point itself lacks ${describeRows(first.table, first.rows)}${more}`;
}
