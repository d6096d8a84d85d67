/** When the daily run is due, and waiting for it. */
import { randomInt } from "node:crypto";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { parseCron, previousTime, nextTime } from "../schedule/cron.ts";
import { type Config, loadConfig } from "./config.ts";
import { findStateFolder, readStatus } from "./state-folder.ts";
import { timeZoneOf } from "./tidy.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** In the night, and not on the hour, when everybody else's runs begin. */
const DEFAULT_TIMES = "30 2 * * *";
/** A timer cannot be set for more than 24 days, and a machine may sleep meanwhile: it looks at the clock again so often. */
const LOOK_AGAIN_MS = 60_000;

export function timesOf(config: Config | undefined): string {
  return config?.schedule?.backup ?? DEFAULT_TIMES;
}

/**
 * Resolves when the next of the times of `schedule.backup` has come; at once when one has passed since the last run began,
 * so that what was slept through is made up for.
 * @throws Failure `config/invalid` for what is no cron expression.
 */
export async function waitUntilDue(globals: Globals, s: Surroundings): Promise<void> {
  const loaded = await loadConfig(globals, s);
  const cron = parseCron(timesOf(loaded.config), timeZoneOf(loaded.config));
  const status = await readStatus(await findStateFolder(loaded, s));
  const lastMs = parseZonedInstant(status?.lastRun.startedAt ?? "");
  const missed = previousTime(cron, s.clock.now());
  if (lastMs !== undefined && missed !== undefined && missed > lastMs) return;
  const dueMs = nextTime(cron, s.clock.now());
  s.progress.say(`waiting until ${formatInstant(dueMs)}`);
  while (s.clock.now() < dueMs) await s.clock.sleep(Math.min(LOOK_AGAIN_MS, dueMs - s.clock.now()), s.signal);
}

/** Waits up to so long, by chance: many machines with one configuration should not all come at once. */
export async function waitByChance(longestMs: number, s: Surroundings): Promise<void> {
  if (longestMs > 0) await s.clock.sleep(randomInt(longestMs), s.signal);
}
