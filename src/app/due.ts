/** When the daily run is due, and waiting for it. */
import { randomInt } from "node:crypto";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { parseCron, previousTime, nextTime } from "../schedule/cron.ts";
import { type Config, loadConfig } from "./config.ts";
import { findStateFolder, readBegun, readStatus } from "./state-folder.ts";
import { timeZoneOf } from "./tidy.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** In the night, and not on the hour, when everybody else's runs begin. */
const DEFAULT_TIMES = "30 2 * * *";
/** A timer cannot be set for more than 24 days, and a machine may sleep meanwhile: it looks at the clock again so often. */
const LOOK_AGAIN_MS = 5 * 60_000;

export function timesOf(config: Config | undefined): string {
  return config?.schedule?.backup ?? DEFAULT_TIMES;
}

/**
 * Resolves when the next of the times of `schedule.backup` has come; at once when one has passed since the last run began,
 * so that what was slept through is made up for. One that was killed is made up for an hour after it began. A configuration that
 * is changed meanwhile counts from then on.
 * @throws Failure for a configuration that cannot be read or has no times; people were told.
 */
export async function waitUntilDue(globals: Globals, s: Surroundings): Promise<void> {
  const { madeUpMs, nextMs } = await firstDue(globals, s);
  let dueMs = madeUpMs ?? nextMs;
  if (dueMs > s.clock.now()) s.progress.say(`waiting until ${formatInstant(dueMs)}`);
  while (s.clock.now() < dueMs) {
    const before = s.clock.now();
    await s.clock.sleep(Math.min(LOOK_AGAIN_MS, dueMs - before), s.signal);
    // As seen from before it slept: a time that came meanwhile is this one.
    const seen = madeUpMs === undefined ? await seeAgain(before, globals, s) : undefined;
    if (seen === undefined || seen === dueMs) continue;
    dueMs = seen;
    s.progress.say(`waiting until ${formatInstant(dueMs)}`);
  }
}

async function firstDue(globals: Globals, s: Surroundings): Promise<Due> {
  try {
    return await findDue(s.clock.now(), globals, s);
  } catch (error) {
    if (isFailure(error) && !s.signal.aborted) {
      await (await import("./not-begun.ts")).tellNotBegun(error, globals, s, { isOnceADay: true });
    }
    throw error;
  }
}

/** Undefined for a configuration that is broken now: the run tells that when it is due. */
async function seeAgain(nowMs: number, globals: Globals, s: Surroundings): Promise<number | undefined> {
  try {
    return (await findDue(nowMs, globals, s)).nextMs;
  } catch (error) {
    if (!isFailure(error) || s.signal.aborted) throw error;
    return undefined;
  }
}

interface Due {
  /** Milliseconds since 1970, perhaps over already: when a run that was missed or killed is made up for. */
  madeUpMs: number | undefined;
  /** The next of the times. */
  nextMs: number;
}

async function findDue(nowMs: number, globals: Globals, s: Surroundings): Promise<Due> {
  const loaded = await loadConfig(globals, s);
  const cron = parseCron(timesOf(loaded.config), timeZoneOf(loaded.config));
  const state = await findStateFolder(loaded, s);
  const lastMs = parseZonedInstant((await readStatus(state))?.lastRun.startedAt ?? "");
  const begunMs = await readBegun(state);
  const nextMs = nextTime(cron, nowMs);
  // It began and left no status.
  if (begunMs !== undefined && begunMs <= nowMs && begunMs > (lastMs ?? -Infinity)) {
    return { madeUpMs: Math.min(nextMs, begunMs + LIMITS.killedRunMs), nextMs };
  }
  const missed = previousTime(cron, nowMs);
  const isMissed = lastMs !== undefined && missed !== undefined && missed > lastMs;
  return { madeUpMs: isMissed ? missed : undefined, nextMs };
}

/** Waits up to so long, by chance: many machines with one configuration should not all come at once. */
export async function waitByChance(longestMs: number, s: Surroundings): Promise<void> {
  if (longestMs > 0) await s.clock.sleep(randomInt(longestMs), s.signal);
}
