import { runImport } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatImport, formatNotImported } from "../reports/export.ts";

export const importVerb: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const flags = { file: given.argument(0), to: given.text("to"), passwordFile: given.text("passwordFile") };
  const summary = await runImport(globals, flags, surroundings);
  answer(invocation, summary, formatImport);
  if (summary.failed.length === 0) return 0;
  if (!invocation.mode.json) printer.note(formatNotImported(redactor.redactDeep(summary), look));
  return 13;
};
