/** `restore` without a target: everything into Chatwoot's own place, or on with one that was begun. */
import { ONTO_KINDS, type OntoKind } from "../../app/restore-home.ts";
import type { WholeFlags } from "../../app/restore-whole.ts";
import type { ChosenPlan } from "../../app/opened-point.ts";
import { Failure } from "../../base/errors.ts";
import type { WholePlan, WholeSummary } from "../../job/whole-summaries.ts";
import { cloneOf } from "./clone-flags.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation } from "../command.ts";
import { PARTS } from "../commands.ts";
import type { ExitStatus } from "../exits.ts";
import { statusOf } from "../findings.ts";
import { formatWhole, formatWholeNext, formatWholePlan } from "../reports/restore-whole.ts";

/** Options that mean something only in Chatwoot's own place, as commander names them and as they are typed. */
const IN_PLACE = {
  migrate: "--migrate",
  outbound: "--outbound",
  storage: "--storage",
  missing: "--missing",
  onto: "--onto",
  replace: "--replace",
} as const;

/** Options that mean something wherever a restore goes. */
const ANYWHERE = { asClone: "--as-clone", frontendUrl: "--frontend-url", anonymise: "--anonymise" } as const;

function inPlaceOptions({ given }: Invocation, named: Readonly<Record<string, string>> = IN_PLACE): string[] {
  return Object.entries(named).flatMap(([name, flag]) => (given.has(name) ? [flag] : []));
}

/**
 * True where the whole place is meant; '--only database' alone stays what it is.
 * @throws Failure `usage/invalid` where options of the one are given for the other.
 */
export function isWholeMeant(invocation: Invocation): boolean {
  const { given } = invocation;
  const own = inPlaceOptions(invocation);
  const elsewhere = [
    ...(given.has("to") ? ["--to"] : []),
    ...(given.has("databaseUrl") ? ["--database-url"] : []),
    ...(given.list("table").length > 0 ? ["--table"] : []),
    ...(given.has("schemaOnly") ? ["--schema-only"] : []),
  ];
  const [first] = elsewhere;
  if (first === undefined) return own.length > 0 || given.has("asClone") || given.list("only").join() !== "database";
  const [wrong] = own;
  if (wrong === undefined) return false;
  throw new Failure("usage/invalid", `${wrong} is for a restore into Chatwoot's own place, and ${first} is not`, {
    hint: "Leave one of the two out: 'chatkeep help restoring' says what a restore into the own place does.",
  });
}

export async function restoreWhole(invocation: Invocation): Promise<ExitStatus> {
  const { given, globals, surroundings, mode, printer } = invocation;
  const isPlan = given.has("plan");
  const flags = readFlags(invocation);
  refuseNobody(invocation, isPlan);
  const point = given.optionalArgument(0);
  if (point === undefined) {
    throw new Failure("usage/invalid", "no restore point is named", {
      hint: "'latest' is the newest one; 'chatkeep list' shows all.",
    });
  }
  const app = await import("../../app/restore-whole.ts");
  const plan = await app.planWhole(globals, point, flags, surroundings);
  const isShown = isPlan || !(mode.quiet && mode.yes);
  if (isShown) showPlan(invocation, plan);
  const [blocker] = plan.blockers;
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  if (isPlan) {
    if (mode.json) printer.json({ type: "summary", verb: "restore", point: plan.point, applied: false });
    return 0;
  }
  await confirm(invocation, plan);
  // By its exact snapshot: 'latest' may be another by now, and what was confirmed is what is done.
  const summary = await app.runWhole(
    globals,
    { snapshot: plan.snapshot, repository: plan.repository, findings: plan.findings },
    flags,
    surroundings,
  );
  return tell(invocation, summary, isShown ? plan : undefined);
}

export async function resume(invocation: Invocation): Promise<ExitStatus> {
  const { given, globals, surroundings } = invocation;
  const others = [
    ...inPlaceOptions(invocation, { ...IN_PLACE, ...ANYWHERE }).filter((flag) => flag !== "--outbound"),
    ...["to", "databaseUrl", "plan", "withRoles", "schemaOnly", "discardPrevious"].filter((name) => given.has(name)),
    ...(given.list("only").length + given.list("table").length > 0 ? ["--only"] : []),
    ...(given.optionalArgument(0) === undefined ? [] : ["a restore point"]),
  ];
  if (others.length > 0) {
    throw new Failure(
      "usage/invalid",
      "--resume takes what the restore was begun with, and nothing else but --outbound",
      {
        hint: "Say 'chatkeep restore --resume' alone; to begin with something else, undo it first: 'chatkeep rollback'.",
      },
    );
  }
  const app = await import("../../app/restore-whole.ts");
  const outbound = given.has("outbound") ? outboundOf(invocation) : undefined;
  return tell(invocation, await app.resumeWhole(globals, { outbound }, surroundings), undefined);
}

function tell(invocation: Invocation, summary: WholeSummary, plan: WholePlan | undefined): ExitStatus {
  const { mode, printer, redactor, look } = invocation;
  answer(invocation, summary, formatWhole);
  const shown = new Set(plan?.findings.map(({ message }) => message));
  tellFindings(
    invocation,
    summary.findings.filter(({ message }) => !shown.has(message)),
  );
  if (!mode.json && !mode.quiet) printer.note(formatWholeNext(redactor.redactDeep(summary), look));
  return statusOf(summary.findings);
}

function refuseNobody({ mode, surroundings }: Invocation, isPlan: boolean): void {
  if (isPlan || mode.yes || surroundings.person !== undefined) return;
  throw new Failure("usage/invalid", "nobody is at a terminal to confirm the restore", {
    hint: "Look at the plan with --plan, then say --yes.",
  });
}

function outboundOf({ given, surroundings }: Invocation): WholeFlags["outbound"] {
  const words = ["ask", "defuse", "allow", "hold"] as const;
  const said = words.find((word) => word === given.text("outbound"));
  const nobody = surroundings.person === undefined;
  return said === undefined || (said === "ask" && nobody) ? (nobody ? "hold" : "ask") : said;
}

function readFlags(invocation: Invocation): WholeFlags {
  const { given } = invocation;
  const only = given.list("only");
  const parts = PARTS.filter((part) => only.includes(part));
  const clone = cloneOf(invocation);
  if (given.has("missing") && parts.join() !== "storage") {
    throw new Failure("usage/invalid", "--missing is for uploaded files alone", {
      hint: "Say --only storage --missing.",
    });
  }
  return {
    parts: only.length === 0 ? undefined : parts,
    withRoles: given.has("withRoles"),
    storage: given.text("storage"),
    missing: given.has("missing"),
    migrate: given.has("migrate"),
    outbound: outboundOf(invocation),
    clone,
    onto: ontoOf(given.text("onto")),
  };
}

function ontoOf(word: string | undefined): OntoKind | undefined {
  return ONTO_KINDS.find((kind) => kind === word);
}

function showPlan({ mode, printer, progress, redactor, look }: Invocation, plan: ChosenPlan<WholePlan>): void {
  progress.end();
  if (mode.json) printer.json(plan);
  else printer.out(formatWholePlan(redactor.redactDeep(plan), look));
}

/** A place that is somebody else's is asked for by its own name, too: a point of production must not land on a copy by a slip. */
async function confirm(invocation: Invocation, plan: WholePlan): Promise<void> {
  const { given, mode, surroundings } = invocation;
  const { person } = surroundings;
  const { replaces, installation } = plan;
  const named = given.text("replace");
  if (named !== undefined && replaces?.name !== named) {
    const is = replaces === null ? "the place is the point's own" : `what is replaced is called '${replaces.name}'`;
    throw new Failure("usage/invalid", `--replace says '${named}', and ${is}`, {
      hint: "Look at the plan with --plan.",
    });
  }
  if (mode.yes || person === undefined) {
    if (replaces === null || named !== undefined) return;
    throw new Failure("target/unsuitable", replaces.why.join("; "), {
      hint: `If that is meant, say --replace ${replaces.name}. Nothing was changed.`,
    });
  }
  const typed = await person.text(`To go on, type the installation's name (${installation}):`);
  if (typed !== installation) throw notConfirmed();
  if (replaces === null || named !== undefined) return;
  const again = await person.text(
    `This is another place: ${replaces.why.join("; ")}. To replace what is here, type its name (${replaces.name}):`,
  );
  if (again !== replaces.name) throw notConfirmed();
}

function notConfirmed(): Failure {
  return new Failure("run/cancelled", "the restore was not confirmed", { hint: "Nothing was changed." });
}
