import { planRollback, runRollback } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import type { ExitStatus } from "../exits.ts";
import { formatWholeNext, formatWholeRollback, formatWholeRollbackPlan } from "../reports/restore-whole.ts";
import { formatRollback, formatRollbackPlan } from "../reports/rollback.ts";

export const rollback: Verb = async (invocation) => {
  const { given, mode, surroundings } = invocation;
  const { person } = surroundings;
  if (!given.has("plan") && !mode.yes && person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm the rollback", {
      hint: "Look at it with --plan, then say --yes.",
    });
  }
  return (await rollbackWhole(invocation)) ?? (await rollbackDatabase(invocation));
};

/** Undefined where the last restore was none of the whole place. */
async function rollbackWhole(invocation: Invocation): Promise<ExitStatus | undefined> {
  const { given, globals, surroundings, mode, printer, progress, redactor, look } = invocation;
  const app = await import("../../app/restore-whole.ts");
  if (given.optionalArgument(0) !== undefined) {
    await app.refuseWhileUnfinished(globals, surroundings);
    return undefined;
  }
  const found = await app.findRollback(globals, surroundings);
  if (found === undefined) return undefined;
  const isPlan = given.has("plan");
  const plan = await app.planUndo(globals, found, surroundings);
  progress.end();
  if (mode.json) printer.json(plan);
  else if (isPlan || !(mode.quiet && mode.yes)) printer.out(formatWholeRollbackPlan(redactor.redactDeep(plan), look));
  const blocked = app.blockedFailure(plan);
  if (blocked !== undefined) throw blocked;
  if (isPlan) return notApplied(invocation);
  await confirm(invocation, "the installation's name", plan.installation);
  const summary = await app.runUndo(globals, found, surroundings);
  answer(invocation, summary, formatWholeRollback);
  const status = tellFindings(invocation, summary.findings);
  if (!mode.json && !mode.quiet) printer.note(formatWholeNext(redactor.redactDeep(summary), look));
  return status;
}

async function rollbackDatabase(invocation: Invocation): Promise<ExitStatus> {
  const { given, globals, surroundings, mode, printer, progress, redactor, look } = invocation;
  const isPlan = given.has("plan");
  const plan = await planRollback(globals, given.optionalArgument(0), surroundings);
  progress.end();
  if (mode.json) printer.json(plan);
  else if (isPlan || !(mode.quiet && mode.yes)) printer.out(formatRollbackPlan(redactor.redactDeep(plan), look));
  refuseBlocked(plan.blockers);
  if (isPlan) return notApplied(invocation);
  await confirm(invocation, "the database's name", plan.live);
  const summary = await runRollback(globals, plan, surroundings);
  answer(invocation, summary, formatRollback);
  return tellFindings(invocation, summary.findings);
}

function refuseBlocked([blocker]: readonly { message: string; hint: string }[]): void {
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
}

function notApplied({ mode, printer }: Invocation): ExitStatus {
  if (mode.json) printer.json({ type: "summary", verb: "rollback", applied: false });
  return 0;
}

async function confirm({ mode, surroundings }: Invocation, what: string, name: string): Promise<void> {
  const { person } = surroundings;
  if (mode.yes || person === undefined) return;
  if ((await person.text(`To go on, type ${what} (${name}):`)) === name) return;
  throw new Failure("run/cancelled", "the rollback was not confirmed", { hint: "Nothing was changed." });
}
