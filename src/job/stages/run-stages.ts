/** Does the stages of a restore in their order, goes on with one that was killed, and undoes them, the last first. */
import { formatInstant } from "../../base/clock.ts";
import { bug, Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { nameDisk, withDiskNamed } from "./full-disk.ts";
import type { Journal } from "./journal.ts";
import { mayStart } from "./kept-stopped.ts";
import { leftFinding, mayBeTold } from "./left-over.ts";
import {
  behind,
  NOTHING_DONE,
  type Stage,
  type StageContext,
  type StageName,
  type StageRecord,
  type StageResult,
  type UndoContext,
} from "./stage.ts";

export interface Applied {
  /** Why it stopped in good order before its end; undefined where all is done. */
  readonly held: { readonly stage: StageName; readonly why: string } | undefined;
}

/**
 * Does what the journal says is not done. Called again after a kill at any instant, it goes on there.
 * @param stages At least those that the journal has.
 * @throws what a stage throws; Failure `restore/record` for a journal that cannot be written, or a stage that is unknown.
 */
export async function applyStages(stages: readonly Stage[], context: StageContext, journal: Journal): Promise<Applied> {
  const { folder, clock, progress, signal } = context;
  const { root } = context.place.installation;
  let isFirst = true;
  for (const { name, state } of journal.value.stages) {
    if (state === "done") continue;
    if (state === "undone") throw bug(`stage '${name}' was undone and cannot be gone on with`);
    signal.throwIfAborted();
    const stage = stageOf(stages, name);
    const run = { isFirst };
    isFirst = false;
    const holds = await withDiskNamed(
      { name, folder, root, room: async () => await stage.room?.(context) },
      async () => {
        if (state === "waiting") await journal.setStage(name, { state: "begun" });
        progress.stage(name);
        const call = async () => {
          const seen = await tellSeen(journal, { name, of: "seen" }, await stage.before?.(context, run));
          return behind(seen, await stage.apply(context, recordOf(journal, name)));
        };
        const { result, seconds } = await timed(journal, { name, of: "seconds" }, context, call);
        await journal.setStage(name, { ...(result.holds === undefined ? { state: "done" } : {}), result, seconds });
        return result.holds;
      },
    );
    if (holds === undefined) continue;
    const isUp = journal.stage("web")?.state === "done";
    const care = await mayStart(context.folder, isUp ? ["worker"] : undefined);
    return { held: { stage: name, why: care === undefined ? holds : `${holds.replace(/\.$/, "")}. ${care}` } };
  }
  if (journal.value.state !== "done") await journal.set({ state: "done", endedAt: formatInstant(clock.now()) });
  return { held: undefined };
}

/**
 * Undoes what the journal says was begun, the last first. Called again after a kill, it goes on there.
 * @throws what a stage throws that is needed: those behind it are undone, and it and those before it are not. What one leaves that is
 * spared is a finding of its result.
 */
export async function undoStages(stages: readonly Stage[], context: UndoContext, journal: Journal): Promise<Applied> {
  const { folder, clock, progress, signal } = context;
  const { root } = context.place.installation;
  if (journal.value.state !== "undoing") await journal.set({ state: "undoing" });
  for (const { name, state } of journal.value.stages.toReversed()) {
    if (state === "waiting" || state === "undone") continue;
    signal.throwIfAborted();
    const stage = stageOf(stages, name);
    const holds = await withDiskNamed({ name, folder, root }, async () => {
      progress.stage(`undoing ${name}`);
      const call = async () => {
        const seen = await tellSeen(journal, { name, of: "undoSeen" }, await stage.beforeUndo?.(context));
        return behind(seen, await undoOrTell(stage, context, recordOf(journal, name)));
      };
      const { result, seconds } = await timed(journal, { name, of: "undoSeconds" }, context, call);
      const undone = result.holds === undefined ? ({ state: "undone" } as const) : {};
      await journal.setStage(name, { ...undone, result, undoSeconds: seconds });
      return result.holds;
    });
    if (holds !== undefined) return { held: { stage: name, why: holds } };
  }
  await journal.set({ state: "undone", endedAt: formatInstant(clock.now()) });
  return { held: undefined };
}

/** Nobody waits for what is spared: it is told, and the rest is undone. */
async function undoOrTell(stage: Stage, context: UndoContext, record: StageRecord<unknown>): Promise<StageResult> {
  try {
    return await stage.undo(context, record);
  } catch (error) {
    const { folder, place } = context;
    const failure = await nameDisk(error, { name: stage.name, folder, root: place.installation.root });
    if (stage.undoIs === "needed" || !mayBeTold(failure, context)) throw error;
    return { lines: [], findings: [leftFinding(stage.name, failure)] };
  }
}

/** What was done before a stage is kept at once: the stage may fail, hold or be killed, and nobody would know of it. */
async function tellSeen(
  journal: Journal,
  { name, of }: { name: StageName; of: "seen" | "undoSeen" },
  now: Pick<StageResult, "lines" | "findings"> = NOTHING_DONE,
): Promise<Pick<StageResult, "lines" | "findings">> {
  const before = journal.stage(name)?.[of] ?? NOTHING_DONE;
  if (now.lines.length === 0 && now.findings.length === 0) return before;
  const { lines, findings } = behind(before, { lines: now.lines, findings: now.findings });
  await journal.setStage(name, { [of]: { lines, findings } });
  return { lines, findings };
}

/** What was found, without what the stages that are done have settled since: whoever reads it at the end need not see to it. */
export function unsettled(stages: readonly Stage[], journal: Journal, found: readonly Finding[]): Finding[] {
  const done = stages.filter(({ name }) => journal.stage(name)?.state === "done");
  const settled = new Set(done.flatMap(({ settles = [] }) => settles));
  return found.filter(({ kind }) => !settled.has(kind));
}

/** What a stage that failed, or the reason for cancelling it, says to do about it, and then the way that there is in any case. */
export function withWayOn(error: unknown, way: string, signal: AbortSignal): unknown {
  const reason: unknown = signal.aborted ? signal.reason : error;
  if (!isFailure(reason)) return reason;
  const { code, message, hint } = reason;
  return new Failure(code, message, { hint: hint === undefined ? way : `${hint} ${way}`, cause: reason });
}

/** @throws Failure `restore/record` where this version does not have it. */
export function stageOf(stages: readonly Stage[], name: StageName): Stage {
  const found = stages.find((stage) => stage.name === name);
  if (found !== undefined) return found;
  throw new Failure("restore/record", `this version of Chatkeep has no stage '${name}', which the restore has`, {
    hint: "Use the version that began the restore, or a newer one.",
  });
}

export function recordOf(journal: Journal, name: StageName): StageRecord<unknown> {
  return {
    get kept() {
      return journal.stage(name)?.kept;
    },
    async keep(kept) {
      await journal.setStage(name, { kept });
    },
  };
}

/** What calls that failed have taken counts too; that it cannot be written is no reason to hide why one failed. */
async function timed(
  journal: Journal,
  { name, of }: { name: StageName; of: "seconds" | "undoSeconds" },
  { clock, redact }: Pick<UndoContext, "clock" | "redact">,
  call: () => Promise<StageResult>,
): Promise<{ result: StageResult; seconds: number }> {
  const started = clock.monotonic();
  const before = journal.stage(name)?.[of] ?? 0;
  const seconds = () => before + Math.round(clock.monotonic() - started) / 1000;
  try {
    // What a service or a person's own command said may hold anything.
    return { result: redact(await call()), seconds: seconds() };
  } catch (error) {
    await journal.setStage(name, { [of]: seconds() }).catch(() => {});
    throw error;
  }
}
