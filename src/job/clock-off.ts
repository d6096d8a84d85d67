/** This machine's clock against another's. */
import { formatSpan } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";

/** @param aheadMs The other clock less ours. @param whose For people: `the database's server`. */
export function clockOffFindings(whose: string, aheadMs: number): Finding[] {
  if (Math.abs(aheadMs) <= LIMITS.clockOffMs) return [];
  return [
    {
      kind: "clock-differs",
      level: "warning",
      // Drifting a little further is nothing new.
      subject: whose,
      message: `this machine's clock is ${formatSpan(Math.abs(aheadMs) / 1000)} ${aheadMs > 0 ? "behind" : "ahead of"} that of ${whose}`,
      hint: "Run NTP on the one that is wrong. Restore points, locks and retention go by the clock, a run comes at the wrong hour, and object stores refuse who is 15 minutes off.",
    },
  ];
}
