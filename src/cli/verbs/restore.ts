import { planRestore, runRestore } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { RestorePlan } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { statusOf } from "../findings.ts";
import { formatNext, formatPlan, formatRestored } from "../reports/restore.ts";

export const restore: Verb = async (invocation) => {
  const { given, globals, surroundings, mode, printer, redactor, look } = invocation;
  const isPlan = given.has("plan");
  const options = readOptions(invocation);
  if (!isPlan && !mode.yes && surroundings.person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm the restore", {
      hint: "Look at the plan with --plan, then say --yes.",
    });
  }
  const plan = await planRestore(globals, given.argument(0), options, surroundings);
  if (isPlan || !(mode.quiet && mode.yes)) showPlan(invocation, plan);
  const [blocker] = plan.blockers;
  if (blocker !== undefined) {
    const code = blocker.kind.endsWith("not-empty") ? "target/not-empty" : "target/unsuitable";
    throw new Failure(code, blocker.message, { hint: blocker.hint });
  }
  if (isPlan) {
    if (mode.json) printer.json({ type: "summary", verb: "restore", point: plan.point, applied: false });
    return 0;
  }
  await confirm(invocation, plan);
  // By its exact id: 'latest' may be another by now, and what was confirmed is what is done.
  const summary = await runRestore(globals, { snapshot: plan.snapshot }, options, surroundings);
  answer(invocation, summary, formatRestored);
  tellFindings(invocation, notIn(plan, summary.findings));
  if (!mode.json && !mode.quiet) printer.note(formatNext(redactor.redactDeep(summary), look));
  return statusOf(summary.findings);
};

interface Options {
  to: string | undefined;
  databaseUrl: string | undefined;
  only?: string[];
}

function readOptions({ given }: Invocation): Options {
  const only = given.list("only");
  const to = given.text("to");
  const databaseUrl = given.text("databaseUrl");
  if (to === undefined && databaseUrl === undefined) {
    throw new Failure("usage/invalid", "restore has no target", {
      hint: "Name a new folder with --to, a new database with --database-url, or both.",
    });
  }
  return { to, databaseUrl, ...(only.length > 0 ? { only } : {}) };
}

function showPlan({ mode, printer, progress, redactor, look }: Invocation, plan: RestorePlan): void {
  progress.end();
  if (mode.json) printer.json(plan);
  else printer.out(formatPlan(redactor.redactDeep(plan), look));
}

async function confirm({ mode, surroundings }: Invocation, plan: RestorePlan): Promise<void> {
  const { person } = surroundings;
  if (mode.yes || person === undefined) return;
  const typed = await person.text(`To go on, type the installation's name (${plan.installation}):`);
  if (typed === plan.installation) return;
  throw new Failure("run/cancelled", "the restore was not confirmed", { hint: "Nothing was changed." });
}

function notIn(plan: RestorePlan, findings: readonly Finding[]): Finding[] {
  return findings.filter(({ message }) => !plan.findings.some((shown) => shown.message === message));
}
