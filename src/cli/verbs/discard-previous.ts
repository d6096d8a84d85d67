/** `restore --discard-previous`: what restores put aside for a rollback is no longer wanted. */
import type { Discardable } from "../../app/discard-previous.ts";
import { formatBytes, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { DiscardPlan, DiscardSummary } from "../../job/whole-summaries.ts";
import type { Invocation } from "../command.ts";
import type { ExitStatus } from "../exits.ts";

/** Drops what earlier restores put aside, or shows it: the named database, or all with what else was kept for a rollback. */
export async function discardPrevious({
  given,
  globals,
  surroundings,
  mode,
  printer,
}: Invocation): Promise<ExitStatus> {
  const app = await import("../../app/discard-previous.ts");
  const name = given.optionalArgument(0);
  // Also for a single database: it may be the one that an unfinished restore is about to swap in.
  const found = await app.findDiscardable(globals, surroundings);
  const chosen: Discardable =
    name === undefined
      ? found
      : { databases: found.databases.filter((one) => one.name === name), restores: [], unreadable: [] };
  const forgotten = [...chosen.restores.map(({ kept }) => kept.id), ...chosen.unreadable];
  if (chosen.databases.length === 0 && forgotten.length === 0) throw app.nothingToDiscard(name, found.databases);
  const isPlan = given.has("plan");
  if (!mode.json) {
    const show = isPlan ? printer.out.bind(printer) : printer.note.bind(printer);
    show([
      "to be dropped, with all that is in it",
      ...chosen.databases.map(
        ({ name: database, at, bytes }) => `  ${database}: put aside ${at}, ${formatBytes(bytes)}`,
      ),
      ...forgotten.map((id) => `  what restore ${id} kept for its rollback`),
    ]);
  }
  await app.refuseUsed(chosen.databases, surroundings);
  if (isPlan) {
    tellPlan({ mode, printer }, chosen, forgotten);
    return 0;
  }
  const { person } = surroundings;
  if (!mode.yes) {
    if (person === undefined) {
      throw new Failure("usage/invalid", "nobody is at a terminal to confirm", { hint: "Say --yes to drop them." });
    }
    const typed = await person.text("To drop, type yes:");
    if (typed !== "yes") throw new Failure("run/cancelled", "nothing was dropped", { hint: "Nothing was changed." });
  }
  await app.discard(globals, chosen, surroundings);
  const discarded = chosen.databases.map(({ name: database, bytes }) => ({ name: database, bytes }));
  const summary: DiscardSummary = {
    type: "summary",
    verb: "restore",
    discarded,
    forgotten,
    findings: [],
  };
  if (mode.json) printer.json(summary);
  else {
    const said = forgotten.length === 0 ? [] : [`${plural(forgotten.length, "restore")} forgotten`];
    printer.out([
      [...(discarded.length === 0 ? [] : [`dropped ${plural(discarded.length, "database")}`]), ...said].join(", "),
    ]);
  }
  return 0;
}

function tellPlan(
  { mode, printer }: Pick<Invocation, "mode" | "printer">,
  chosen: Discardable,
  restores: string[],
): void {
  if (!mode.json) {
    printer.note("This is the plan: nothing was dropped.");
    return;
  }
  const databases = chosen.databases.map(({ name, at, bytes }) => ({ name, at, bytes }));
  const plan: DiscardPlan = { type: "plan", verb: "restore", databases, restores };
  printer.json(plan);
  printer.json({ type: "summary", verb: "restore", applied: false });
}
