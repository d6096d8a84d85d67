import { runLs } from "../../app/verbs.ts";
import type { Verb } from "../command.ts";
import { formatEntries } from "../reports/ls.ts";

export const ls: Verb = async ({ given, globals, surroundings, mode, printer, redactor, look }) => {
  const entries = await runLs(globals, given.argument(0), given.optionalArgument(1), surroundings);
  if (mode.json) {
    for (const entry of entries) printer.json({ ...entry, type: "entry", entry: entry.type });
    printer.json({ type: "summary", verb: "ls", entries: entries.length });
  } else printer.out(formatEntries(redactor.redactDeep(entries), look));
  return 0;
};
