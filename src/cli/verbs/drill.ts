import { runDrill } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatDrill, formatNotProven } from "../reports/drill.ts";

export const drill: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const flags = { all: given.has("all"), inPlaceServer: given.has("inPlaceServer") };
  const summary = await runDrill(globals, given.optionalArgument(0), flags, surroundings);
  answer(invocation, summary, formatDrill);
  if (summary.proven) return 0;
  printer.note(formatNotProven(redactor.redactDeep(summary), look));
  return 1;
};
