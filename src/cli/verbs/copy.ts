import { runCopy } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatCopy, formatNotCopied } from "../reports/copy.ts";

export const copy: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const to = given.text("to");
  if (to === undefined) {
    throw new Failure("usage/invalid", "say where to copy to: --to NAME or --to LOCATION", {
      hint: "NAME is that of a repository in the configuration.",
    });
  }
  const summary = await runCopy(globals, { to, points: given.argumentsFrom(0), all: given.has("all") }, surroundings);
  answer(invocation, summary, formatCopy);
  if (summary.failed.length === 0) return 0;
  if (!invocation.mode.json) printer.note(formatNotCopied(redactor.redactDeep(summary), look));
  return 13;
};
