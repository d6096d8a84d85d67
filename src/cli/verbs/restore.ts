import { planRestore, runRestore } from "../../app/verbs.ts";
import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { shortId } from "../../base/ids.ts";
import type { RestorePlan, RestoreSummary } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { PARTS } from "../commands.ts";
import { formatFindings, statusOf } from "../findings.ts";
import { proseWidth, wrap, type Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

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
  showPlan(invocation, plan);
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
  // By the point's own name: 'latest' may be another by now, and what was confirmed is what is done.
  const summary = await runRestore(globals, plan.point, options, surroundings);
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

const NOUNS = { database: "database", storage: "uploaded files", config: "configuration", code: "code" } as const;

/** A page that can be read at three in the morning: what, where, what not, and what stands in the way. */
export function formatPlan(plan: RestorePlan, look: Look): string[] {
  const steps = formatTable(
    [
      { title: "", cell: ({ index }) => `${index + 1}.`, align: "right" },
      { title: "", cell: ({ step }) => look.paint("bold", NOUNS[step.part]) },
      { title: "", cell: ({ step }) => `${step.what}${step.bytes > 0 ? `, ${formatBytes(step.bytes)}` : ""}` },
      { title: "", cell: ({ step }) => `→ ${step.target}` },
    ],
    plan.steps.map((step, index) => ({ step, index })),
    // Targets are never left out or broken, whatever the width: they are what must be read.
    { ...look, width: undefined },
  ).slice(1);
  const left = PARTS.filter((part) => !plan.steps.some((step) => step.part === part)).map((part) => NOUNS[part]);
  const untouched =
    "Nothing that exists is overwritten: the database is new or empty, and so is the folder. The Chatwoot that runs now, its database and its files stay as they are. The repository is only read.";
  return [
    `plan of a restore of ${look.paint("bold", plan.installation)}`,
    ...formatPairs(
      [
        ["restore point", shortId(plan.point)],
        ["taken", `${formatUtc(plan.takenAt)}, ${formatAge(plan.takenAt, look.nowMs)}`],
        ["chatwoot", plan.chatwoot ?? "version unknown"],
      ],
      look,
      "  ",
    ),
    "",
    "written",
    ...(steps.length === 0 ? ["  nothing"] : steps.map((line) => `  ${line}`)),
    "",
    "not touched",
    ...wrap(untouched, proseWidth(look), "  "),
    ...(left.length === 0 ? [] : [`  Not part of this restore: ${left.join(", ")}.`]),
    ...(plan.findings.length === 0 ? [] : ["", ...formatFindings(plan.findings, look)]),
    ...blockers(plan, look),
    "",
  ];
}

function blockers({ blockers: found }: RestorePlan, look: Look): string[] {
  if (found.length === 0) return [];
  return [
    "",
    look.paint("red", "✗ in the way"),
    ...found.flatMap(({ message, hint }) => [`  ${message}`, ...wrap(hint, proseWidth(look), "    ")]),
  ];
}

export function formatRestored(summary: RestoreSummary, look: Look): string[] {
  const { database, storage, config, code } = summary;
  const pairs: [string, string][] = [];
  if (database !== null) {
    const kept = database.previous === null ? "" : `; the old one is kept as ${database.previous}`;
    pairs.push(["database", `${database.name}: ${plural(database.rows, "row")}${kept}`]);
  }
  if (storage !== null)
    pairs.push(["uploaded files", `${plural(storage.blobs, "file")}, ${formatBytes(storage.bytes)}`]);
  if (config !== null) pairs.push(["configuration", config]);
  if (code !== null) pairs.push(["code", code]);
  return [
    `${look.paint("green", "✓ restored")} from restore point ${shortId(summary.point)} in ${formatSeconds(summary.seconds)}`,
    ...formatPairs(pairs, look, "  "),
  ];
}

function formatNext({ next }: RestoreSummary, look: Look): string[] {
  if (next.length === 0) return [];
  return [
    "",
    "what is left for you",
    ...next.flatMap((step, index) => {
      const [first = "", ...rest] = wrap(step, proseWidth(look), "     ");
      return [`  ${index + 1}. ${first.trimStart()}`, ...rest];
    }),
  ];
}
