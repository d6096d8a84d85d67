/**
 * A restore may be killed, or hold, for hours, and a machine be restarted meanwhile, or somebody start what was stopped: each stage that
 * must find Chatwoot, or its worker, stopped looks again before it begins. It must not work on a place that is half restored.
 */
import { keepStopped } from "./kept-stopped.ts";
import { type NobodyOptions, seeNobody } from "./nobody.ts";
import { readRanBefore } from "./ran-before.ts";
import { behind, NOTHING_DONE, type Stage, type StageContext, type StageResult, type UndoContext } from "./stage.ts";

export interface StillStopped {
  /** The web process runs already, and the worker must not. */
  isWorkerAlone?: boolean;
  /** Where it does not matter, nobody is looked for. */
  isMeant?: (context: StageContext) => boolean;
  /** Of a stage to which a run comes at once behind one that has looked: it looks only where the run begins with it. */
  isBehindAnother?: boolean;
  /** Likewise before it is undone: what it changes is live. */
  isLive?: boolean;
}

/** Where this restore stopped nobody, nobody has to be stopped. */
async function look(context: UndoContext, options: NobodyOptions): Promise<StageResult> {
  if ((await readRanBefore(context.folder)) === undefined) return NOTHING_DONE;
  // A container that was made anew meanwhile has its file's policy again.
  await keepStopped(context, options.isWorkerAlone === true ? ["worker"] : undefined);
  return await seeNobody(context, { ...options, isAgain: true });
}

/** The stage, which sees first that nobody runs. What was started again is stopped once more, and told. */
export function stillStopped<T>(stage: Stage<T>, options: StillStopped = {}): Stage<T> {
  const { isWorkerAlone = false, isMeant = () => true, isBehindAnother = false, isLive = false } = options;
  return {
    ...stage,
    async before(context, run) {
      const own = (await stage.before?.(context, run)) ?? NOTHING_DONE;
      if (!isMeant(context) || (isBehindAnother && !run.isFirst)) return own;
      // Once is enough where this run has seen everything stopped.
      return behind(own, await look(context, { isWorkerAlone, ...(run.isFirst ? {} : { looks: 1 }) }));
    },
    ...(isLive
      ? {
          async beforeUndo(context) {
            const own = (await stage.beforeUndo?.(context)) ?? NOTHING_DONE;
            return behind(own, await look(context, { looks: 1 }));
          },
        }
      : {}),
  };
}
