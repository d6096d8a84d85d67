import { runKey } from "../../app/verbs.ts";
import type { KeySummary } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatKeys, formatUnreadable } from "../reports/key.ts";

export const key: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, mode } = invocation;
  const action = given.argument(0) as KeySummary["action"];
  const flags = {
    key: given.optionalArgument(1),
    newPasswordFile: given.text("newPasswordFile"),
    newPasswordCommand: given.text("newPasswordCommand"),
    generate: given.text("generate"),
    user: given.text("user"),
    host: given.text("host"),
  };
  const summary = await runKey(globals, action, flags, surroundings);
  answer(invocation, summary, formatKeys, { isAnswer: action === "list" });
  if (!mode.json) printer.note(formatUnreadable(redactor.redactDeep(summary)));
  const status = tellFindings(invocation, summary.findings);
  return summary.damaged.length > 0 ? 3 : status;
};
