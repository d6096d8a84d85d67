import { planRestore, runRestore } from "../../app/verbs.ts";
import type { ChosenPlan } from "../../app/opened-point.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { CloneChoice } from "../../job/restore.ts";
import type { RestorePlan } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { statusOf } from "../findings.ts";
import { formatNext, formatPlan, formatRestored } from "../reports/restore.ts";
import { cloneBeside } from "./clone-flags.ts";
import { discardPrevious } from "./discard-previous.ts";

export const restore: Verb = async (invocation) => {
  const { given, globals, surroundings, mode, printer, redactor, look } = invocation;
  const server = await import("./run-server.ts");
  if (server.isServerMeant(invocation)) return await server.runServer(invocation);
  if (given.has("resume")) return await (await import("./restore-whole.ts")).resume(invocation);
  if (given.has("discardPrevious")) return await discardPrevious(invocation);
  const whole = await import("./restore-whole.ts");
  if (whole.isWholeMeant(invocation)) return await whole.restoreWhole(invocation);
  const isPlan = given.has("plan");
  const options = readOptions(invocation);
  if (!isPlan && !mode.yes && surroundings.person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm the restore", {
      hint: "Look at the plan with --plan, then say --yes.",
    });
  }
  const point = given.optionalArgument(0);
  if (point === undefined) {
    throw new Failure("usage/invalid", "no restore point is named", {
      hint: "'latest' is the newest one; 'chatkeep list' shows all.",
    });
  }
  const plan = await planRestore(globals, point, options, surroundings);
  const isShown = isPlan || !(mode.quiet && mode.yes);
  if (isShown) showPlan(invocation, plan);
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
  const summary = await runRestore(
    globals,
    { snapshot: plan.snapshot, repository: plan.repository, findings: plan.findings },
    options,
    surroundings,
  );
  answer(invocation, summary, formatRestored);
  tellFindings(invocation, isShown ? notIn(plan, summary.findings) : summary.findings);
  if (!mode.json && !mode.quiet) printer.note(formatNext(redactor.redactDeep(summary), look));
  return statusOf(summary.findings);
};

interface Options {
  to: string | undefined;
  databaseUrl: string | undefined;
  only?: string[];
  withRoles: boolean;
  tables?: string[];
  schemaOnly?: boolean;
  clone: CloneChoice | undefined;
}

function readOptions(invocation: Invocation): Options {
  const { given } = invocation;
  const only = given.list("only");
  const to = given.text("to");
  const databaseUrl = given.text("databaseUrl");
  const withRoles = given.has("withRoles");
  const isDatabase =
    only.join() === "database" || (databaseUrl !== undefined && (only.length === 0 || only.includes("database")));
  if (withRoles && !isDatabase) {
    throw new Failure("usage/invalid", "--with-roles is for the database, which is not restored", {
      hint: "Name a new or empty database with --database-url, or say '--only database'.",
    });
  }
  const tables = given.list("table");
  return {
    to,
    databaseUrl,
    withRoles,
    clone: cloneBeside(invocation),
    ...(only.length > 0 ? { only } : {}),
    ...(tables.length > 0 ? { tables } : {}),
    ...(given.has("schemaOnly") ? { schemaOnly: true } : {}),
  };
}

function showPlan({ mode, printer, progress, redactor, look }: Invocation, plan: ChosenPlan<RestorePlan>): void {
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
