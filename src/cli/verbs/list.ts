import { runList } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatList, formatDamaged } from "../reports/list.ts";

export const list: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor } = invocation;
  const summary = await runList(globals, { all: given.has("all") }, surroundings);
  answer(invocation, summary, formatList, { isAnswer: true });
  if (!invocation.mode.json) printer.note(formatDamaged(redactor.redactDeep(summary)));
  return summary.damaged.length > 0 ? 3 : 0;
};
