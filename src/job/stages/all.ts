/** Every stage that a whole restore has. Each adds itself here; the runner does them in the order of {@link STAGE_NAMES}. */
import { codeStage } from "./code-stage.ts";
import { cloneStage } from "./clone-stage.ts";
import { databaseStage } from "./database-stage.ts";
import { environmentStage } from "./environment-stage.ts";
import { filesStage } from "./files-stage.ts";
import { healthStage } from "./health-stage.ts";
import { migrateStage } from "./migrate-stage.ts";
import { outboundStage } from "./outbound-stage.ts";
import { imageStage } from "./image-stage.ts";
import { redisStage } from "./redis-stage.ts";
import { STAGE_NAMES, type Stage } from "./stage.ts";
import { stillStopped } from "./still-stopped.ts";
import { stopStage } from "./stop-stage.ts";
import { swapStage } from "./swap-stage.ts";
import { webStage } from "./web-stage.ts";
import { workerStage } from "./worker-stage.ts";

/** What a stage keeps is its own business: the runner only hands it back. */
const STAGES: readonly Stage[] = [
  stopStage,
  stillStopped(databaseStage, { isBehindAnother: true }),
  stillStopped(filesStage, { isBehindAnother: true }),
  stillStopped(codeStage, { isBehindAnother: true }),
  stillStopped(imageStage, { isBehindAnother: true }),
  stillStopped(cloneStage, { isBehindAnother: true }),
  // It looks itself, at the last moment.
  swapStage,
  stillStopped(environmentStage, { isLive: true }),
  stillStopped(redisStage, { isLive: true }),
  stillStopped(migrateStage, { isLive: true, isMeant: ({ options }) => options.migrate }),
  // What would go out is reviewed, or was, before the worker runs.
  stillStopped(webStage, { isWorkerAlone: true, isBehindAnother: true }),
  stillStopped(healthStage, { isWorkerAlone: true, isBehindAnother: true }),
  stillStopped(outboundStage, { isWorkerAlone: true }),
  // One that is to be started may run: what was killed had just started it.
  stillStopped(workerStage, { isWorkerAlone: true, isMeant: ({ options }) => options.clone !== undefined }),
];

/** In the order in which they are done. */
export const ALL_STAGES: readonly Stage[] = inOrder(STAGES);

/** Pure. */
export function inOrder(stages: readonly Stage[]): Stage[] {
  return stages.toSorted((a, b) => STAGE_NAMES.indexOf(a.name) - STAGE_NAMES.indexOf(b.name));
}
