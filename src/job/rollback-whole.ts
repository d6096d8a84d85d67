/** Undoes a restore into an installation's own place by its journal, the last stage first; and forgets what was kept for that. */
import { plural } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { type Surrounding, undoContextOf } from "./plan-whole.ts";
import { type KeptRestore, removeRestoreFolder } from "./restore-journals.ts";
import { refuseOtherPlace } from "./restore-whole.ts";
import { ALL_STAGES } from "./stages/all.ts";
import type { JournalValue } from "./stages/journal.ts";
import { nameDisk } from "./stages/full-disk.ts";
import { leftFinding } from "./stages/left-over.ts";
import { type Applied, recordOf, stageOf, undoStages, withWayOn } from "./stages/run-stages.ts";
import type { Place, StageName, UndoContext } from "./stages/stage.ts";
import type { WholeRollbackPlan, WholeRollbackSummary } from "./whole-summaries.ts";

export interface UndoOptions extends Surrounding {
  place: Place;
}

function contextOf({ folder, journal }: KeptRestore, options: UndoOptions): UndoContext {
  return undoContextOf({ ...options, folder, fresh: journal.value.fresh });
}

/** Those of which something may be done, the last first. Pure. */
function toUndo({ stages }: JournalValue) {
  return stages.filter(({ state }) => state === "begun" || state === "done").toReversed();
}

/**
 * What would be undone, and what stands in the way. Changes nothing.
 * @throws Failure `target/unsuitable` where the place is another, or all was undone already.
 */
export async function planWholeRollback(kept: KeptRestore, options: UndoOptions): Promise<WholeRollbackPlan> {
  const { value } = kept.journal;
  if (value.state === "undone") {
    throw new Failure("target/unsuitable", `the restore of ${value.beganAt} was undone already`, {
      hint: "Nothing is left of it to undo.",
    });
  }
  refuseOtherPlace(value, options.place);
  const context = contextOf(kept, options);
  const { blockers, findings } = await lookBack(kept, context);
  return {
    type: "plan",
    verb: "rollback",
    isWhole: true,
    restore: value.id,
    point: value.point,
    installation: value.installation.name,
    beganAt: value.beganAt,
    state: value.state,
    stages: toUndo(value).map(({ name }) => name),
    blockers,
    findings,
  };
}

/** Every stage looks, also where another has found something in the way: all of it is told at once. */
async function lookBack({ journal }: KeptRestore, context: UndoContext) {
  const blockers: Finding[] = [];
  const findings: Finding[] = [];
  for (const { name } of toUndo(journal.value)) {
    context.signal.throwIfAborted();
    const stage = stageOf(ALL_STAGES, name);
    try {
      const found = await stage.planUndo?.(context, recordOf(journal, name));
      blockers.push(...(found?.blockers ?? []));
      findings.push(...(found?.findings ?? []));
    } catch (error) {
      const { folder, place } = context;
      const failure = await nameDisk(error, { name, folder, root: place.installation.root });
      // Also where a record of the restore cannot be read: as yet nothing was changed.
      if (!isFailure(failure) || context.signal.aborted || failure.code === "internal/bug") throw error;
      if (stage.undoIs === "spared") findings.push(leftFinding(name, failure));
      else blockers.push(blockedFinding(name, failure));
    }
  }
  return { blockers: eachOnce(blockers), findings: eachOnce(findings) };
}

function blockedFinding(name: StageName, { message, hint = "Put that right first." }: Failure): Finding {
  return {
    kind: "rollback-blocked",
    level: "alarm",
    subject: name,
    message: `'${name}' cannot be undone: ${message}`,
    hint,
  };
}

/** What several of them need is told once. */
function eachOnce(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ message }, at) => findings.findIndex((one) => one.message === message) === at);
}

/** Nothing was changed. Undefined where nothing stands in the way. */
export function blockedFailure({ blockers }: Pick<WholeRollbackPlan, "blockers">): Failure | undefined {
  const [first, ...others] = blockers;
  if (first === undefined) return undefined;
  const more =
    others.length === 0
      ? ""
      : ` ${plural(others.length, "other thing")} ${others.length === 1 ? "stands" : "stand"} in the way, too: --plan names all.`;
  return new Failure("target/unsuitable", first.message, { hint: `${first.hint} Nothing was undone.${more}` });
}

/** @throws Failure `target/unsuitable` when something stands in the way: nothing was undone then; and whatever a stage threw. */
export async function rollbackWhole(kept: KeptRestore, options: UndoOptions): Promise<WholeRollbackSummary> {
  const plan = await planWholeRollback(kept, options);
  const blocked = blockedFailure(plan);
  if (blocked !== undefined) throw blocked;
  const { journal } = kept;
  let applied: Applied;
  try {
    applied = await undoStages(ALL_STAGES, contextOf(kept, options), journal);
  } catch (error) {
    throw withWayOn(error, GO_ON, options.signal);
  }
  const { value } = journal;
  const { held } = applied;
  const undone = value.stages.filter(({ name, state }) => state === "undone" || name === held?.stage).toReversed();
  return {
    type: "summary",
    verb: "rollback",
    isWhole: true,
    restore: value.id,
    point: value.point,
    state: held === undefined ? "undone" : "held",
    held: held ?? null,
    stages: undone.map(({ name, state, undoSeconds = 0, result }) => ({
      name,
      state,
      seconds: undoSeconds,
      lines: [...(result?.lines ?? [])],
    })),
    seconds: undone.reduce((sum, { undoSeconds = 0 }) => sum + undoSeconds, 0),
    findings: [...undone.flatMap(({ result }) => result?.findings ?? []), ...heldFindings(applied)],
    next: undone.flatMap(({ result }) => result?.next ?? []),
  };
}

function heldFindings({ held }: Applied): Finding[] {
  if (held === undefined) return [];
  const message = `the rollback stopped before the end, at '${held.stage}': ${held.why}`;
  return [{ kind: "rollback-held", level: "warning", message, hint: GO_ON }];
}

const GO_ON = "'chatkeep rollback' goes on with what is not undone yet.";

/** Looks whether {@link forgetWhole} can be done, and changes nothing. @throws Failure that says what is in its way. */
export async function planForget(kept: KeptRestore, options: UndoOptions): Promise<void> {
  const { journal } = kept;
  const context = contextOf(kept, options);
  for (const { name, state } of journal.value.stages) {
    if (state !== "waiting") await stageOf(ALL_STAGES, name).planDiscard?.(context, recordOf(journal, name));
  }
}

/**
 * Removes what a restore that is through, or was undone, kept for an undo; databases are dropped by others.
 * @throws Failure `restore/unfinished`; whatever a stage threw: the journal is still there then.
 */
export async function forgetWhole(kept: KeptRestore, options: UndoOptions): Promise<void> {
  const { journal, folder } = kept;
  const context = contextOf(kept, options);
  for (const { name, state } of journal.value.stages) {
    if (state !== "waiting") await stageOf(ALL_STAGES, name).discard?.(context, recordOf(journal, name));
  }
  await removeRestoreFolder(folder);
}
