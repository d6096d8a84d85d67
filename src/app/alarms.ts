/** What `alarms:` in the configuration says. */
import { COUNTED_KINDS } from "../base/account-counts.ts";
import { FALL_LIMITS, type FallLimits } from "../policy/shrinkage.ts";
import type { AlarmsConfig } from "./config.ts";

/** How much an account may lose; a kind that is switched off has no limit. */
export function fallLimitsOf(config: AlarmsConfig | undefined): FallLimits {
  const limits: FallLimits = {};
  for (const kind of COUNTED_KINDS) {
    const { percent, count } = FALL_LIMITS[kind];
    const given = config?.[kind];
    if (given === false) continue;
    limits[kind] = { percent: given?.percent ?? percent, count: given?.count ?? count };
  }
  return limits;
}
