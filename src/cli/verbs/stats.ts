import { runStats } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatStats, formatUncounted } from "../reports/stats.ts";

export const stats: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor } = invocation;
  const summary = await runStats(globals, { all: given.has("all") }, surroundings);
  answer(invocation, summary, formatStats, { isAnswer: true });
  if (!invocation.mode.json) printer.note(formatUncounted(redactor.redactDeep(summary)));
  return summary.damaged.length > 0 ? 3 : 0;
};
