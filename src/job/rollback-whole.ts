/** Undoes a restore into an installation's own place by its journal, the last stage first; and forgets what was kept for that. */
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { type Surrounding, undoContextOf } from "./plan-whole.ts";
import { type KeptRestore, removeRestoreFolder } from "./restore-journals.ts";
import { refuseOtherPlace } from "./restore-whole.ts";
import { ALL_STAGES } from "./stages/all.ts";
import type { JournalValue } from "./stages/journal.ts";
import { type Applied, recordOf, stageOf, undoStages, withWayOn } from "./stages/run-stages.ts";
import type { Place, UndoContext } from "./stages/stage.ts";
import { stopBeforeUndo } from "./stages/stop-again.ts";
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
  const blockers: Finding[] = [];
  for (const { name } of toUndo(value)) {
    const stage = stageOf(ALL_STAGES, name);
    blockers.push(...((await stage.planUndo?.(context, recordOf(kept.journal, name))) ?? []));
  }
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
    findings: [],
  };
}

/** @throws Failure `target/unsuitable` when something stands in the way: nothing was undone then; and whatever a stage threw. */
export async function rollbackWhole(kept: KeptRestore, options: UndoOptions): Promise<WholeRollbackSummary> {
  const plan = await planWholeRollback(kept, options);
  const [blocker] = plan.blockers;
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  const { journal } = kept;
  let applied: Applied;
  try {
    await stopBeforeUndo(contextOf(kept, options), journal);
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
