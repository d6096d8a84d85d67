/** `restore --discard-previous`: what restores put aside for a rollback is no longer wanted. */
import { discard, listDiscardable } from "../../app/verbs.ts";
import { formatBytes, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { DiscardSummary } from "../../job/whole-summaries.ts";
import type { KeptDatabase } from "../../app/verbs.ts";
import type { Invocation } from "../command.ts";
import type { ExitStatus } from "../exits.ts";

/** Drops what earlier restores put aside: the named database, or all of them with what else was kept for a rollback. */
export async function discardPrevious({
  given,
  globals,
  surroundings,
  mode,
  printer,
}: Invocation): Promise<ExitStatus> {
  const app = await import("../../app/restore-whole.ts");
  const name = given.optionalArgument(0);
  // Also for a single database: it may be the one that an unfinished restore is about to swap in.
  const restores = await app.listForgettable(globals, surroundings);
  const forgotten = name === undefined ? restores : [];
  const kept = await listDiscardable(globals, surroundings);
  const chosen = name === undefined ? kept : kept.filter((one) => one.name === name);
  if (chosen.length === 0 && forgotten.length === 0) throw nothingKept(name, kept);
  if (!mode.json) {
    printer.note([
      "to be dropped, with all that is in it",
      ...chosen.map(({ name: database, at, bytes }) => `  ${database}: put aside ${at}, ${formatBytes(bytes)}`),
      ...forgotten.map(({ id }) => `  what restore ${id} kept for its rollback`),
    ]);
  }
  const { person } = surroundings;
  if (!mode.yes) {
    if (person === undefined) {
      throw new Failure("usage/invalid", "nobody is at a terminal to confirm", { hint: "Say --yes to drop them." });
    }
    const typed = await person.text("To drop, type yes:");
    if (typed !== "yes") throw new Failure("run/cancelled", "nothing was dropped", { hint: "Nothing was changed." });
  }
  await discard(globals, chosen, surroundings);
  if (forgotten.length > 0) await app.forgetRestores(globals, surroundings);
  const discarded = chosen.map(({ name: database, bytes }) => ({ name: database, bytes }));
  const summary: DiscardSummary = {
    type: "summary",
    verb: "restore",
    discarded,
    forgotten: forgotten.map(({ id }) => id),
    findings: [],
  };
  if (mode.json) printer.json(summary);
  else {
    const said = forgotten.length === 0 ? [] : [`${plural(forgotten.length, "restore")} forgotten`];
    printer.out([
      [...(chosen.length === 0 ? [] : [`dropped ${plural(chosen.length, "database")}`]), ...said].join(", "),
    ]);
  }
  return 0;
}

function nothingKept(name: string | undefined, kept: readonly KeptDatabase[]): Failure {
  return new Failure(
    "target/unsuitable",
    name === undefined ? "no restore put a database aside" : `'${name}' was put aside by no restore`,
    {
      hint:
        kept.length === 0 ? "There is nothing to drop." : `These are kept: ${kept.map((one) => one.name).join(", ")}.`,
    },
  );
}
