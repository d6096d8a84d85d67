/**
 * A restore may hold for hours, and a machine be restarted meanwhile: each stage behind the swap that must find Chatwoot, or its
 * worker, stopped looks again before it begins.
 */
import { keepStopped } from "./kept-stopped.ts";
import { behind, type NobodyOptions, seeNobody } from "./nobody.ts";
import type { Stage, StageContext } from "./stage.ts";

/** Once is enough where everything was seen to be stopped before. */
const ONCE: NobodyOptions = { looks: 1 };

/**
 * The stage, which sees first that nobody runs. What was started again is stopped once more, and the stage's result tells so.
 * @param options.isMeant Where it does not matter, nobody is looked for.
 */
export function stillStopped<T>(
  stage: Stage<T>,
  {
    isWorkerAlone = false,
    isMeant = () => true,
  }: { isWorkerAlone?: boolean; isMeant?: (context: StageContext) => boolean } = {},
): Stage<T> {
  return {
    ...stage,
    async apply(context, record) {
      if (!isMeant(context)) return await stage.apply(context, record);
      // A container that was made anew meanwhile has its file's policy again.
      await keepStopped(context, isWorkerAlone ? ["worker"] : undefined);
      const seen = await seeNobody(context, { ...ONCE, isWorkerAlone });
      return behind(seen, await stage.apply(context, record));
    },
  };
}
