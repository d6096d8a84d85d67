import { runVerify } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatVerify, formatProblems } from "../reports/verify.ts";

export const verify: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const readData = given.has("readData") ? (given.text("readData") ?? "all") : undefined;
  const summary = await runVerify(globals, readData === undefined ? {} : { readData }, surroundings);
  answer(invocation, summary, formatVerify);
  if (summary.errors === 0) return 0;
  printer.note(formatProblems(redactor.redactDeep(summary), look));
  return 13;
};
