import { type ForgetFlags, planForget, runForget } from "../../app/tidy.ts";
import { runPrune } from "../../app/upkeep.ts";
import { Failure } from "../../base/errors.ts";
import type { ForgetSummary } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatForget } from "../reports/forget.ts";
import { formatPrune } from "../reports/prune.ts";

export const forget: Verb = async (invocation) => {
  const { given, globals, mode, surroundings } = invocation;
  const flags = readFlags(invocation);
  const isPruning = given.has("prune");
  const isNamed = flags.points.length > 0;
  if (given.has("dryRun")) {
    const plan: ForgetSummary = { ...(await planForget(globals, flags, surroundings)), type: "summary" };
    answer(invocation, plan, formatForget, { isAnswer: true });
    return tellFindings(invocation, plan.findings);
  }
  const summary = await runForget(globals, isNamed ? await confirmed(invocation, flags) : flags, surroundings);
  // A person is told at once; a program gets one summary, at the end.
  if (!mode.json) answer(invocation, summary, (told, look) => formatForget(told, look, { isPruning }));
  const byDefault = { maxUnused: undefined, maxRepack: undefined, dryRun: false };
  const prune = isPruning ? await runPrune(globals, byDefault, surroundings) : undefined;
  if (mode.json) answer(invocation, prune === undefined ? summary : { ...summary, prune }, formatForget);
  else if (prune !== undefined) answer(invocation, prune, formatPrune);
  return tellFindings(invocation, summary.findings);
};

function readFlags({ given }: Invocation): ForgetFlags {
  const points = given.argumentsFrom(0);
  if (given.has("prune") && given.has("dryRun")) {
    throw new Failure("usage/invalid", "what --prune would free is not known before the points are gone", {
      hint: "Leave out --prune to see what would be forgotten.",
    });
  }
  const rule = (name: string) => readCount(name, given.text(`keep${name}`));
  const tags = given.list("keepTag");
  const keep = {
    last: rule("Last"),
    hourly: rule("Hourly"),
    daily: rule("Daily"),
    weekly: rule("Weekly"),
    monthly: rule("Monthly"),
    yearly: rule("Yearly"),
    within: given.text("keepWithin"),
    tags: tags.length > 0 ? tags : undefined,
  };
  const installation = given.text("installation");
  const window = given.text("keepWindow");
  const all = given.has("all");
  if (
    points.length > 0 &&
    (all || [installation, window, ...Object.values(keep)].some((value) => value !== undefined))
  ) {
    throw new Failure("usage/invalid", "points are named, and rules or installations too", {
      hint: "Name the points that are to go, or give rules for those that are to stay.",
    });
  }
  if (all && installation !== undefined) {
    throw new Failure("usage/invalid", "--all and --installation exclude each other", { hint: "Give one of them." });
  }
  return { points, keep, window, installation, all };
}

function readCount(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new Failure("usage/invalid", `--keep-${name.toLowerCase()} cannot be '${text}'`, {
    hint: "Give a whole number; 0 switches the rule off.",
  });
}

/** By the exact ids of the snapshots: 'latest' may be another by then, and what was confirmed is what is done. */
async function confirmed(invocation: Invocation, flags: ForgetFlags): Promise<ForgetFlags> {
  const { globals, mode, surroundings, printer, progress, redactor, look } = invocation;
  const { person } = surroundings;
  if (!mode.yes && person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm that these points go", {
      hint: "Look at them with --dry-run, then say --yes.",
    });
  }
  const plan = await planForget(globals, flags, surroundings);
  const exact = { ...flags, points: plan.forgotten.map(({ snapshot }) => snapshot) };
  if (mode.yes || person === undefined) return exact;
  progress.end();
  if (mode.json) printer.json(plan);
  else printer.out(formatForget(redactor.redactDeep(plan), look));
  if (await person.confirm("Forget them?")) return exact;
  throw new Failure("run/cancelled", "nothing was confirmed", { hint: "Nothing was changed." });
}
