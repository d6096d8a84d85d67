/** What `objectives:` in the configuration says. */
import { DEFAULT_OBJECTIVES, type Objectives } from "../job/objectives.ts";
import type { Config } from "./config.ts";
import { durationMs } from "./config-daily.ts";

export function objectivesOf(config: Config | undefined): Objectives {
  const { rpo, rto, drill } = config?.objectives ?? {};
  return {
    rpoMs: rpo === undefined ? DEFAULT_OBJECTIVES.rpoMs : durationMs(rpo),
    rtoMs: rto === undefined ? undefined : durationMs(rto),
    drillMs: drill === undefined ? undefined : durationMs(drill),
  };
}
