import { runDiff } from "../../app/diff.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatDiff, formatNotCompared } from "../reports/diff.ts";

export const diff: Verb = async (invocation) => {
  const { given, globals, surroundings, mode, printer, redactor, look } = invocation;
  if (given.isEmpty("table")) {
    throw new Failure("usage/invalid", "--table needs the name of a table", { hint: "As in --table messages." });
  }
  const points = [given.argument(0), given.argument(1)] as const;
  const summary = await runDiff(globals, { points, table: given.text("table") }, surroundings);
  answer(invocation, summary, formatDiff, { isAnswer: true });
  if (summary.damaged.length === 0) return 0;
  if (!mode.json) printer.note(formatNotCompared(redactor.redactDeep(summary), look));
  return 13;
};
