import { systemClock, type Clock } from "../../src/base/clock.ts";
import { LIMITS } from "../../src/base/limits.ts";

/** Waits between two tries take no time; what watches for a place that fell silent goes on waiting. */
export const quick: Clock = {
  ...systemClock,
  sleep: async (ms, signal) => await systemClock.sleep(ms <= LIMITS.retryLongestWaitMs ? 0 : ms, signal),
};
