import { runVerify } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatVerify, formatProblems } from "../reports/verify.ts";

export const verify: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const all = given.has("readData") ? (given.text("readData") ?? "all") : undefined;
  const subset = given.text("readDataSubset");
  if (all !== undefined && subset !== undefined) {
    throw new Failure("usage/invalid", "--read-data and --read-data-subset say the same thing twice", {
      hint: "Give one of them.",
    });
  }
  const readData = all ?? subset;
  const summary = await runVerify(globals, readData === undefined ? {} : { readData }, surroundings);
  answer(invocation, summary, formatVerify);
  if (summary.errors === 0) return 0;
  printer.note(formatProblems(redactor.redactDeep(summary), look));
  return 13;
};
