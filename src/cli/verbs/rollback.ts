import { planRollback, runRollback } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatRollback, formatRollbackPlan } from "../reports/rollback.ts";

export const rollback: Verb = async (invocation) => {
  const { given, globals, surroundings, mode, printer, progress, redactor, look } = invocation;
  const isPlan = given.has("plan");
  const { person } = surroundings;
  if (!isPlan && !mode.yes && person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm the rollback", {
      hint: "Look at it with --plan, then say --yes.",
    });
  }
  const plan = await planRollback(globals, given.optionalArgument(0), surroundings);
  progress.end();
  if (mode.json) printer.json(plan);
  else if (isPlan || !(mode.quiet && mode.yes)) printer.out(formatRollbackPlan(redactor.redactDeep(plan), look));
  const [blocker] = plan.blockers;
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  if (isPlan) {
    if (mode.json) printer.json({ type: "summary", verb: "rollback", applied: false });
    return 0;
  }
  if (!mode.yes && person !== undefined) {
    const typed = await person.text(`To go on, type the database's name (${plan.live}):`);
    if (typed !== plan.live) {
      throw new Failure("run/cancelled", "the rollback was not confirmed", { hint: "Nothing was changed." });
    }
  }
  const summary = await runRollback(globals, plan, surroundings);
  answer(invocation, summary, formatRollback);
  return tellFindings(invocation, summary.findings);
};
