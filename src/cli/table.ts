/** Aligned tables. On a narrow terminal the least important columns go first; nothing is cut off in the middle. */
import { padEnd, padStart, widthOf, type Look } from "./look.ts";

export interface Column<Row> {
  title: string;
  cell: (row: Row) => string;
  /** Numbers stand at the right. */
  align?: "left" | "right";
  /** Columns with the highest number are left out first where the terminal is too narrow; 0 (the default) never is. */
  leaveOut?: number;
}

const GAP = "  ";

export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], look: Look): string[] {
  const measured = columns.map((column) => {
    const cells = rows.map(column.cell);
    return { column, cells, width: Math.max(widthOf(column.title), ...cells.map(widthOf)) };
  });
  const shown = fit(measured, look.width);
  const line = (texts: readonly string[]) =>
    shown
      .map(({ column, width }, index) => {
        const text = texts[index] ?? "";
        return column.align === "right" ? padStart(text, width) : padEnd(text, width);
      })
      .join(GAP)
      .trimEnd();
  return [
    look.paint("dim", line(shown.map(({ column }) => column.title))),
    ...rows.map((_row, index) => line(shown.map(({ cells }) => cells[index] ?? ""))),
  ];
}

interface Measured {
  column: { leaveOut?: number };
  width: number;
}

function fit<T extends Measured>(measured: readonly T[], width: number | undefined): T[] {
  let shown = [...measured];
  const total = () => shown.reduce((sum, { width: own }) => sum + own + GAP.length, -GAP.length);
  if (width === undefined) return shown;
  for (;;) {
    if (total() <= width) break;
    const rank = Math.max(...shown.map(({ column }) => column.leaveOut ?? 0));
    if (rank === 0) break;
    shown = shown.filter(({ column }) => (column.leaveOut ?? 0) !== rank);
  }
  return shown;
}

/** `name   value` pairs, the values in one line below each other. */
export function formatPairs(pairs: readonly (readonly [string, string])[], look: Look, indent = ""): string[] {
  const width = Math.max(0, ...pairs.map(([name]) => widthOf(name)));
  return pairs.map(([name, value]) => `${indent}${look.paint("dim", padEnd(name, width))}${GAP}${value}`.trimEnd());
}
