/** Tells people of what a watch finds: when something new needs a look, and when all is well again. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { discreetly, type Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Notice } from "../notify/notice.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { Config } from "./config.ts";
import { openChannels } from "./channels.ts";
import { tellAll, tellKept } from "./telling.ts";
import type { StateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

/** By which it is known whether a finding was told already. */
export function nameOf({ kind, subject, event }: Finding): string {
  return [kind, subject, event].filter((part) => part !== undefined).join(" ");
}

interface Telling {
  /** When it was told last, milliseconds since 1970. */
  readonly atMs: number;
  readonly isAlarm: boolean;
  readonly isOver: boolean;
  /** It is about something that happened, and does not come again. */
  readonly isEvent: boolean;
  /** Since when it is there again without having been told anew. */
  readonly backMs?: number | undefined;
}

/** What people were told, and have not been told to be over. */
export interface Told {
  /** By name. What is well again stays, until it may be told anew. */
  readonly last: ReadonlyMap<string, Telling>;
  /** They believe that something is wrong. */
  readonly isOwed: boolean;
}

export const NOTHING_TOLD: Told = { last: new Map(), isOwed: false };

/**
 * What of this needs somebody and was not told yet; and what is known to them then. Something that comes and goes is told again
 * when {@link LIMITS.watchToldAgainMs} have passed since it was told, if it is there then; an alarm already when it stays for
 * {@link LIMITS.watchStaysMs}, for people were told that it was over. What happened is not, within a day; what becomes an alarm is told at
 * once.
 */
export function newsOf(
  { last: known, isOwed }: Told,
  findings: readonly Finding[],
  nowMs: number,
): { readonly fresh: Finding[]; readonly told: Told; readonly isOver: boolean } {
  const last = new Map([...known].map(([name, telling]) => [name, notLater(telling, nowMs)]));
  const loud = new Map(findings.filter(({ level }) => level !== "note").map((one) => [nameOf(one), one]));
  const fresh = [...loud].filter(([name, { level }]) => {
    const before = last.get(name);
    if (before === undefined || (level === "alarm" && !before.isAlarm)) return true;
    if (!before.isOver || before.isEvent) return false;
    const stays = level === "alarm" && nowMs - (before.backMs ?? nowMs) >= LIMITS.watchStaysMs;
    return stays || nowMs - before.atMs >= LIMITS.watchToldAgainMs;
  });
  const told = new Map<string, Telling>();
  for (const [name, before] of last) {
    const isThere = loud.has(name);
    if (isThere || nowMs - before.atMs < (before.isEvent ? LIMITS.watchEventMs : LIMITS.watchToldAgainMs)) {
      const backMs = isThere && before.isOver ? (before.backMs ?? nowMs) : undefined;
      told.set(name, { ...before, isOver: before.isOver || !isThere, backMs });
    }
  }
  for (const [name, { level, event }] of fresh) {
    told.set(name, { atMs: nowMs, isAlarm: level === "alarm", isOver: false, isEvent: event !== undefined });
  }
  const isOver = isOwed && loud.size === 0;
  return {
    fresh: fresh.map(([, one]) => one),
    told: { last: told, isOwed: !isOver && (isOwed || fresh.length > 0) },
    isOver,
  };
}

/** Where this machine's clock was set back, what was told by the one before would be young for as long as that. */
function notLater(telling: Telling, nowMs: number): Telling {
  const { atMs, backMs } = telling;
  return {
    ...telling,
    atMs: Math.min(atMs, nowMs),
    backMs: backMs === undefined ? undefined : Math.min(backMs, nowMs),
  };
}

export class WatchTeller {
  readonly #config: Config;
  readonly #state: StateFolder;
  readonly #s: Surroundings;
  /** Undefined before it was read what an earlier watch told. */
  #told: Told | undefined;
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
    const before = (this.#told ??= { ...NOTHING_TOLD, last: await readEvents(this.#state) });
    // That somebody cannot be told is no news for those who can.
    const { fresh, told, isOver } = newsOf(
      before,
      findings.filter(({ kind }) => kind !== "notice-failed"),
      now,
    );
    this.#told = told;
    const isNews = fresh.length > 0 || isOver;
    this.#triedMs = Math.min(this.#triedMs, now);
    if (!isNews && (this.#failed.length === 0 || now - this.#triedMs < LIMITS.watchToldAgainMs)) return this.#failed;
    const s = { ...this.#s, signal, folder: this.#state.notices };
    const listeners = await openChannels(this.#config, s);
    this.#triedMs = now;
    this.#failed = isNews
      ? (await tellAll(listeners, noticeOf(this.#config, isOver ? [] : fresh, now), s)).findings
      : await tellKept(listeners, s);
    // Told twice is better than not at all: it is written down when it was told.
    if (fresh.some(({ event }) => event !== undefined)) await writeEvents(this.#state, told);
    return this.#failed;
  }
}

/** What happened is told once, and not by every watch that begins anew. */
function eventsFile({ path }: StateFolder): string {
  return join(path, "watch-told.json");
}

/** Empty where nothing is there, or nothing that can be read. */
async function readEvents(state: StateFolder): Promise<Told["last"]> {
  try {
    const value = JSON.parse(await readFile(eventsFile(state), "utf8")) as { schema?: unknown; told?: unknown };
    if (value.schema !== 1 || !Array.isArray(value.told)) return new Map();
    const told = value.told as { name: unknown; at: unknown; isAlarm: unknown }[];
    return new Map(
      told.flatMap(({ name, at, isAlarm }) => {
        const atMs = typeof at === "string" ? parseZonedInstant(at) : undefined;
        if (typeof name !== "string" || atMs === undefined) return [];
        return [[name, { atMs, isAlarm: isAlarm === true, isOver: true, isEvent: true }]];
      }),
    );
  } catch {
    return new Map();
  }
}

/** A disk that is full keeps nobody from being told. */
async function writeEvents(state: StateFolder, { last }: Told): Promise<void> {
  const told = [...last].flatMap(([name, { atMs, isAlarm, isEvent }]) =>
    isEvent ? [{ name, at: formatInstant(atMs), isAlarm }] : [],
  );
  await replaceFile(eventsFile(state), `${JSON.stringify({ schema: 1, told }, null, 1)}\n`, 0o600).catch(() => {});
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
    ...(fresh.length === 0
      ? []
      : [
          "docs/watch-findings.md has each by its first words: what happened, whether anything is lost, and what to do.",
        ]),
  ];
  return {
    outcome: fresh.length === 0 ? "success" : isAlarm ? "failure" : "finding",
    title: `[chatkeep] ${name}: continuous protection ${what}`,
    text: `${text.join("\n")}\n`,
    facts: { verb: "watch", installation: { id, name }, host: hostname(), findings: told },
  };
}
