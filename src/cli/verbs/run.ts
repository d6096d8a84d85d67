import { runDay } from "../../app/verbs.ts";
import { waitByChance, waitUntilDue } from "../../app/due.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { isExitStatus } from "../exits.ts";
import { formatFailures, formatRun } from "../reports/run.ts";

export const run: Verb = async (invocation) => {
  const { given, globals, mode, surroundings, printer, redactor, look } = invocation;
  const delay = given.text("delay") ?? "0";
  if (!/^\d{1,4}$/.test(delay)) {
    throw new Failure("usage/invalid", `--delay cannot be '${delay}'`, { hint: "It is a whole number of minutes." });
  }
  if (given.has("whenDue")) await waitUntilDue(globals, surroundings);
  await waitByChance(Number(delay) * 60_000, surroundings);
  const summary = await runDay(globals, surroundings);
  answer(invocation, summary, formatRun);
  tellFindings(invocation, summary.findings);
  // A program has them in the summary; a person is told.
  if (!mode.json || !mode.quiet) printer.note(formatFailures(redactor.redactDeep(summary), look));
  return isExitStatus(summary.exit) ? summary.exit : 1;
};
