/** Restores into an installation's own place as the doors call them: begun, gone on with, undone, and forgotten. */
import { isDeepStrictEqual } from "node:util";
import { Failure, isFailure } from "../base/errors.ts";
import { secretValuesOf } from "../chatwoot/secrets.ts";
import type { OutboundChoice, StageOptions, StageQuestion, WholeOptions } from "../job/plan-whole.ts";
import { listPoints } from "../job/points.ts";
import { findUnfinished, isUnfinished, type KeptRestore, refuseUnfinished } from "../job/restore-journals.ts";
import type { Part } from "../job/restore-findings.ts";
import { planWholeRollback, rollbackWhole } from "../job/rollback-whole.ts";
import { namesAtTarget } from "../job/target-server.ts";
import type { WholePlan, WholeRollbackPlan, WholeRollbackSummary, WholeSummary } from "../job/whole-summaries.ts";
import { parseMoment } from "../point/moment.ts";
import { type KeptDatabase, listKept } from "../postgres/kept-databases.ts";
import { findConfig } from "./config.ts";
import { PROGRAM } from "./program.ts";
import {
  chooseRestore,
  type FoundRestore,
  lockHome,
  rememberedRestores,
  type OntoKind,
  type OpenedPlace,
  openPlace,
  restoreHome,
  type RememberedRestore,
  type RestoreHome,
} from "./restore-home.ts";
import {
  chosenPlan,
  type ChosenPlan,
  type ChosenPoint,
  findSnapshot,
  openPoint,
  readingPoint,
  whereChosen,
} from "./opened-point.ts";
import { ofChoice } from "./repository-findings.ts";
import { openToRead } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export { blockedFailure } from "../job/rollback-whole.ts";

export interface WholeFlags {
  parts: readonly Part[] | undefined;
  withRoles: boolean;
  storage: string | undefined;
  missing: boolean;
  migrate: boolean;
  outbound: OutboundChoice;
  clone: StageOptions["clone"];
  onto: OntoKind | undefined;
}

const ALL: readonly Part[] = ["database", "storage", "config", "code"];

/**
 * What would be done. Changes nothing.
 * @throws Failure before a moment is recovered: `restore/unfinished`, and of the `database/` codes for a server that does not let us in.
 */
export async function planWhole(
  globals: Globals,
  point: string,
  flags: WholeFlags,
  s: Surroundings,
): Promise<ChosenPlan<WholePlan>> {
  const opened = await openPlace(globals, flags.onto, s);
  // Before the point: where that is a moment, the database is recovered first, which may take hours.
  await refuseBesideUnfinished(globals, s);
  const isMoment = parseMoment(point, s.clock.now()) !== undefined;
  if (isMoment && (flags.parts ?? ALL).includes("database")) await namesAtTarget(opened.place, s);
  const found = await openPoint(globals, point, s);
  const job = await import("../job/plan-whole.ts");
  const options = { ...optionsOf(flags, opened, found.name, s), known: found.findings ?? [] };
  return await readingPoint(found, s, async () => {
    const plan = await job.planWhole(found.reader, options);
    return chosenPlan({ ...plan, findings: [...opened.findings, ...plan.findings] }, found);
  });
}

/** @param snapshot The very one that was shown and confirmed. */
export async function runWhole(
  globals: Globals,
  chosen: ChosenPoint,
  flags: WholeFlags,
  s: Surroundings,
): Promise<WholeSummary> {
  const opened = await openPlace(globals, flags.onto, s);
  const { repository, name } = await openToRead(whereChosen(globals, chosen), s);
  const { restoreWhole } = await import("../job/restore-whole.ts");
  const options = { ...optionsOf(flags, opened, name, s), known: ofChoice(chosen.findings ?? []) };
  const choose = (list: Parameters<typeof findSnapshot>[0]) => findSnapshot(list, chosen.snapshot);
  const { installationId } = choose(await listPoints(repository, s));
  const home = await restoreHome(opened.loaded, installationId, s);
  await using _lock = await lockHome(opened.loaded, home, s);
  return await restoreWhole({ repository, choose }, options);
}

function optionsOf(
  flags: WholeFlags,
  { place, own, loaded }: OpenedPlace,
  repositoryName: string,
  s: Surroundings,
): WholeOptions {
  const { withRoles, storage, missing, migrate, outbound, clone, onto } = flags;
  return {
    place,
    own,
    parts: flags.parts ?? ALL,
    isNamed: flags.parts !== undefined,
    stages: { withRoles, storage, missing, migrate, outbound, clone, isElsewhere: onto !== undefined },
    home: async ({ installation }) => (await restoreHome(loaded, installation.id, s)).path,
    repositoryName,
    program: PROGRAM,
    ...watching(s),
  };
}

/** What a whole restore has of the run that it is in. */
export function watching(s: Surroundings) {
  const { redact, clock, progress, signal, person } = s;
  return {
    hide: (environment: ReadonlyMap<string, string>) => s.hide(secretValuesOf(environment)),
    ask: person === undefined ? undefined : async (question: StageQuestion) => await ask(question, person, s),
    redact,
    clock,
    progress,
    signal,
  };
}

/** Until one of the choices is typed; an empty line means the first. */
async function ask(
  { lines, question, choices }: StageQuestion,
  person: NonNullable<Surroundings["person"]>,
  { progress }: Surroundings,
): Promise<string> {
  for (const line of [...lines, ...choices.map(({ answer, meaning }) => `  ${answer}: ${meaning}`)]) progress.say(line);
  const [first] = choices;
  for (;;) {
    const typed = (await person.text(question, first?.answer)).trim();
    const chosen = typed === "" ? first?.answer : choices.find(({ answer }) => answer === typed)?.answer;
    if (chosen !== undefined) return chosen;
    progress.say(`'${typed}' is none of ${choices.map(({ answer }) => answer).join(", ")}`);
  }
}

/** Goes on with the restore that is not finished. @throws Failure `restore/record` where there is none. */
export async function resumeWhole(
  globals: Globals,
  { outbound }: { outbound: OutboundChoice | undefined },
  s: Surroundings,
): Promise<WholeSummary> {
  const found = chooseRestore(await rememberedRestores(globals, s), isUnfinished);
  if (found === undefined) {
    throw new Failure("restore/record", "no restore is unfinished here", {
      hint: "'chatkeep restore POINT' begins one. Was it begun with another configuration? Name that with --config.",
    });
  }
  const { repository: named = found.kept.journal.value.repository } = globals;
  await using _lock = await lockHome(found.loaded, found.home, s);
  const kept = await readAgain(globals, found, s);
  const { place } = await openRemembered(globals, found, s);
  const { repository } = await openToRead({ ...globals, repository: named }, s);
  const job = await import("../job/restore-whole.ts");
  const summary = await job.resumeWhole(repository, kept, {
    place,
    isConfigured: found.loaded !== undefined,
    outbound,
    ...watching(s),
  });
  return { ...summary, findings: [...found.findings, ...summary.findings] };
}

/** The place of a restore that was begun: by the configuration, or without one by the kind that the journal says. */
export async function openRemembered(
  globals: Globals,
  { loaded, kept }: RememberedRestore,
  s: Surroundings,
): Promise<OpenedPlace> {
  if (loaded !== undefined) return await openPlace(globals, undefined, s);
  const { kind } = kept.journal.value.place;
  return await openPlace(globals, ontoOf(kind), s);
}

function ontoOf(kind: string): OntoKind | undefined {
  if (kind === "docker-compose") return "compose";
  return kind === "linux-vm" || kind === "swarm" || kind === "kubernetes" ? kind : undefined;
}

/**
 * The whole restore that 'rollback' undoes: the one that is not finished, or the newest that is not undone. Undefined where there is
 * none, or where a restore of the database alone, or its rollback, came after it.
 */
export async function findRollback(globals: Globals, s: Surroundings): Promise<FoundRestore | undefined> {
  const all = await rememberedRestores(globals, s);
  const found = chooseRestore(all, ({ state }) => state !== "undone");
  if (found === undefined || found.kept.journal.value.state !== "done") return found;
  const { endedAt = "", stages } = found.kept.journal.value;
  const { place } = await openRemembered(globals, found, s);
  let kept: KeptDatabase[];
  try {
    kept = await listKept(place.address, s);
  } catch (error) {
    // Of a server that is down its own look tells, with all else that stands in the way.
    if (isFailure(error, "database/unreachable") && stages.some(({ name }) => name === "swap")) return found;
    throw error;
  }
  const swaps = kept.filter(({ chatkeep }) => chatkeep !== "restoring");
  // What a later restore swapped, and put back when it was undone, changed nothing.
  const undone = all.restores.flatMap(({ kept: { journal } }) =>
    journal.value.state === "undone" ? [journal.value] : [],
  );
  const isUndone = ({ at }: { at: string }) =>
    undone.some(({ beganAt, endedAt: over = "" }) => beganAt <= at && at <= over);
  return swaps.some((swap) => swap.at > endedAt && !isUndone(swap)) ? undefined : found;
}

export async function planUndo(globals: Globals, found: FoundRestore, s: Surroundings): Promise<WholeRollbackPlan> {
  const { place } = await openRemembered(globals, found, s);
  const plan = await planWholeRollback(found.kept, { place, ...s });
  return { ...plan, findings: [...found.findings, ...plan.findings] };
}

export async function runUndo(globals: Globals, found: FoundRestore, s: Surroundings): Promise<WholeRollbackSummary> {
  await using _lock = await lockHome(found.loaded, found.home, s);
  const kept = await readAgain(globals, found, s);
  const { place } = await openRemembered(globals, found, s);
  const summary = await rollbackWhole(kept, { place, ...s });
  return { ...summary, findings: [...found.findings, ...summary.findings] };
}

/**
 * Its journal as it is now that nobody else works on it. Between the look and the lock somebody may have gone on with it, or have
 * undone it: what is written over their journal would lose what they did.
 * @throws Failure `run/locked`.
 */
async function readAgain(globals: Globals, { kept: seen }: RememberedRestore, s: Surroundings): Promise<KeptRestore> {
  const { restores } = await rememberedRestores(globals, s);
  const same = restores.find(({ kept }) => kept.id === seen.id)?.kept;
  if (same !== undefined && isDeepStrictEqual(same.journal.value, seen.journal.value)) return same;
  throw new Failure("run/locked", "somebody else went on with this restore, or undid it, meanwhile", {
    hint: "Nothing was changed by this call. 'chatkeep doctor' says where it stands; then say it again.",
  });
}

async function configuredHome(globals: Globals, s: Surroundings): Promise<RestoreHome | undefined> {
  const loaded = await findConfig(globals, s);
  return loaded === undefined ? undefined : await restoreHome(loaded, loaded.config.installation.id, s);
}

/**
 * What is restored into the place of a database must not meet half a restore of the whole.
 * @throws Failure `restore/unfinished`; `restore/record` where a journal cannot be read.
 */
export async function refuseBesideUnfinished(globals: Globals, s: Surroundings): Promise<void> {
  const home = await configuredHome(globals, s);
  if (home !== undefined) await refuseUnfinished(home.path);
}

/** As {@link refuseBesideUnfinished}; a journal that cannot be read stands in nobody's way, for it is the only way back then. */
export async function refuseWhileUnfinished(globals: Globals, s: Surroundings): Promise<void> {
  const home = await configuredHome(globals, s);
  if (home !== undefined && (await findUnfinished(home.path)) !== undefined) await refuseUnfinished(home.path);
}
