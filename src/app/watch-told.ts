/** Tells people of what a watch finds: when something new needs a look, and when all is well again. */
import { hostname } from "node:os";
import { formatInstant } from "../base/clock.ts";
import { discreetly, type Finding } from "../base/findings.ts";
import type { Notice } from "../notify/notice.ts";
import type { Config } from "./config.ts";
import { openChannels } from "./channels.ts";
import { tellAll } from "./telling.ts";
import type { StateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

function nameOf({ kind, subject }: Finding): string {
  return subject === undefined ? kind : `${kind} ${subject}`;
}

/** What of this needs somebody and was not told yet; and what became of what was. */
export function newsOf(
  told: ReadonlySet<string>,
  findings: readonly Finding[],
): { readonly fresh: Finding[]; readonly now: ReadonlySet<string>; readonly isOver: boolean } {
  const loud = findings.filter(({ level }) => level !== "note");
  const now = new Set(loud.map(nameOf));
  return { fresh: loud.filter((one) => !told.has(nameOf(one))), now, isOver: told.size > 0 && now.size === 0 };
}

export class WatchTeller {
  readonly #config: Config;
  readonly #state: StateFolder;
  readonly #s: Surroundings;
  #told: ReadonlySet<string> = new Set();

  constructor(config: Config, state: StateFolder, s: Surroundings) {
    this.#config = config;
    this.#state = state;
    this.#s = s;
  }

  /** @returns what could not be told. Never rejects for a channel that takes nothing. */
  async tell(findings: readonly Finding[], signal = this.#s.signal): Promise<Finding[]> {
    const { fresh, now, isOver } = newsOf(this.#told, findings);
    this.#told = now;
    if (fresh.length === 0 && !isOver) return [];
    const s = { ...this.#s, signal };
    const listeners = await openChannels(this.#config, s);
    const notice = noticeOf(this.#config, isOver ? [] : fresh, s.clock.now());
    return (await tellAll(listeners, notice, { ...s, folder: this.#state.notices })).findings;
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
