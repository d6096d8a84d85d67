import { formatBytes } from "../../base/bytes.ts";
import type { ListedEntry } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatUtc } from "../when.ts";

/** Generated files carry no time of their own: 1970 stands for none. */
function modified({ modifiedAt }: ListedEntry): string {
  return modifiedAt.startsWith("1970-01-01T00:00:00") ? "" : formatUtc(modifiedAt);
}

/** One line an entry and no heading, so that `wc -l`, `sort` and `grep` do what one expects. */
export function formatEntries(entries: readonly ListedEntry[], look: Look): string[] {
  const columns = [
    { title: "", cell: ({ type }: ListedEntry) => type },
    {
      title: "",
      cell: ({ type, bytes }: ListedEntry) => (type === "dir" ? "" : formatBytes(bytes)),
      align: "right" as const,
    },
    { title: "", cell: modified },
    { title: "", cell: ({ type, path }: ListedEntry) => (type === "dir" ? look.paint("cyan", `${path}/`) : path) },
  ];
  return formatTable(columns, entries, look).slice(1);
}
