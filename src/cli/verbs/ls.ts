import { runLs } from "../../app/verbs.ts";
import { formatBytes } from "../../base/bytes.ts";
import type { ListedEntry } from "../../job/summaries.ts";
import type { Verb } from "../command.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatUtc } from "../when.ts";

export const ls: Verb = async ({ given, globals, surroundings, mode, printer, redactor, look }) => {
  const entries = await runLs(globals, given.argument(0), given.optionalArgument(1), surroundings);
  if (mode.json) {
    for (const entry of entries) printer.json({ ...entry, type: "entry", entry: entry.type });
    printer.json({ type: "summary", verb: "ls", entries: entries.length });
  } else printer.out(formatEntries(redactor.redactDeep(entries), look));
  return 0;
};

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
