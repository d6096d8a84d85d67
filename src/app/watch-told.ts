/** Tells people of what a watch finds: when something new needs a look, and when all is well again. */
import { hostname } from "node:os";
import { formatInstant } from "../base/clock.ts";
import { discreetly, type Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Notice } from "../notify/notice.ts";
import type { Config } from "./config.ts";
import { openChannels } from "./channels.ts";
import { tellAll, tellKept } from "./telling.ts";
import type { StateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

function nameOf({ kind, subject, event }: Finding): string {
  return [kind, subject, event].filter((part) => part !== undefined).join(" ");
}

/** What people were told, and have not been told to be over. */
export interface Told {
  /** By name: when it was told last, and whether it was told as an alarm. What is well again stays, until it may be told anew. */
  readonly last: ReadonlyMap<string, { readonly atMs: number; readonly isAlarm: boolean; readonly isOver: boolean }>;
  /** They believe that something is wrong. */
  readonly isOwed: boolean;
}

export const NOTHING_TOLD: Told = { last: new Map(), isOwed: false };

/**
 * What of this needs somebody and was not told yet; and what is known to them then. Something that comes and goes is told again
 * when {@link LIMITS.watchToldAgainMs} have passed since it was told, if it is there then; what becomes an alarm is told at once.
 */
export function newsOf(
  { last, isOwed }: Told,
  findings: readonly Finding[],
  nowMs: number,
): { readonly fresh: Finding[]; readonly told: Told; readonly isOver: boolean } {
  const loud = new Map(findings.filter(({ level }) => level !== "note").map((one) => [nameOf(one), one]));
  const fresh = [...loud].filter(([name, { level }]) => {
    const before = last.get(name);
    if (before === undefined || (level === "alarm" && !before.isAlarm)) return true;
    return before.isOver && nowMs - before.atMs >= LIMITS.watchToldAgainMs;
  });
  const told = new Map<string, { atMs: number; isAlarm: boolean; isOver: boolean }>();
  for (const [name, before] of last) {
    const isThere = loud.has(name);
    if (isThere || nowMs - before.atMs < LIMITS.watchToldAgainMs) {
      told.set(name, { ...before, isOver: before.isOver || !isThere });
    }
  }
  for (const [name, { level }] of fresh) told.set(name, { atMs: nowMs, isAlarm: level === "alarm", isOver: false });
  const isOver = isOwed && loud.size === 0;
  return {
    fresh: fresh.map(([, one]) => one),
    told: { last: told, isOwed: !isOver && (isOwed || fresh.length > 0) },
    isOver,
  };
}

export class WatchTeller {
  readonly #config: Config;
  readonly #state: StateFolder;
  readonly #s: Surroundings;
  #told = NOTHING_TOLD;
  /** What could not be told the last time, and when that was. */
  #failed: Finding[] = [];
  #triedMs = 0;

  constructor(config: Config, state: StateFolder, s: Surroundings) {
    this.#config = config;
    this.#state = state;
    this.#s = s;
  }

  /**
   * @returns what could not be told, and is tried again with the next news and every {@link LIMITS.watchToldAgainMs}. Never rejects
   * for a channel that takes nothing.
   */
  async tell(findings: readonly Finding[], signal = this.#s.signal): Promise<Finding[]> {
    const now = this.#s.clock.now();
    // That somebody cannot be told is no news for those who can.
    const { fresh, told, isOver } = newsOf(
      this.#told,
      findings.filter(({ kind }) => kind !== "notice-failed"),
      now,
    );
    this.#told = told;
    const isNews = fresh.length > 0 || isOver;
    if (!isNews && (this.#failed.length === 0 || now - this.#triedMs < LIMITS.watchToldAgainMs)) return this.#failed;
    const s = { ...this.#s, signal, folder: this.#state.notices };
    const listeners = await openChannels(this.#config, s);
    this.#triedMs = now;
    this.#failed = isNews
      ? (await tellAll(listeners, noticeOf(this.#config, isOver ? [] : fresh, now), s)).findings
      : await tellKept(listeners, s);
    return this.#failed;
  }
}

/** @param fresh empty: all is well again. */
export function noticeOf({ installation }: Config, fresh: readonly Finding[], nowMs: number): Notice {
  const { id, name } = installation;
  const told = discreetly(fresh);
  const isAlarm = fresh.some(({ level }) => level === "alarm");
  const what = fresh.length === 0 ? "is well again" : isAlarm ? "NEEDS YOU" : "needs a look";
  const lines = told.flatMap(({ level, message, hint }) => [`${level}: ${message}`, `  ${hint}`, ""]);
  const text = [
    `Continuous protection of installation ${name}, on ${hostname()}, ${what} (${formatInstant(nowMs)}).`,
    "",
    ...lines,
    "'chatkeep status' shows how far everything is, and from when to when any moment can be had.",
  ];
  return {
    outcome: fresh.length === 0 ? "success" : isAlarm ? "failure" : "finding",
    title: `[chatkeep] ${name}: continuous protection ${what}`,
    text: `${text.join("\n")}\n`,
    facts: { verb: "watch", installation: { id, name }, host: hostname(), findings: told },
  };
}
