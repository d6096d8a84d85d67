/** Says what a watch finds where it runs, on its terminal or in its service's journal: whoever looks there learns it without a channel. */
import { formatSpan } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Surroundings } from "./surroundings.ts";
import { nameOf, newsOf, NOTHING_TOLD, type Told } from "./watch-told.ts";

interface Said {
  readonly message: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
}

export class WatchAloud {
  readonly #s: Pick<Surroundings, "clock" | "warn">;
  #told: Told = NOTHING_TOLD;
  /** What was said and is not over, by its name. */
  readonly #said = new Map<string, Said>();

  constructor(s: Pick<Surroundings, "clock" | "warn">) {
    this.#s = s;
  }

  /**
   * Once when something appears that needs somebody, and once when that is over. What comes and goes is said as seldom as channels are
   * told of it.
   */
  say(findings: readonly Finding[]): void {
    const { clock, warn } = this.#s;
    const nowMs = clock.now();
    const { fresh, told } = newsOf(this.#told, findings, nowMs);
    this.#told = told;
    const there = new Set(findings.filter(({ level }) => level !== "note").map(nameOf));
    for (const [name, { message, sinceMs }] of this.#said) {
      if (there.has(name)) continue;
      this.#said.delete(name);
      warn?.(`over, after ${formatSpan((nowMs - sinceMs) / 1000)}: ${message}`);
    }
    for (const finding of fresh) {
      warn?.(finding);
      // What happened is never over: it is forgotten some day.
      if (finding.event !== undefined) continue;
      const name = nameOf(finding);
      this.#said.set(name, { message: finding.message, sinceMs: this.#said.get(name)?.sinceMs ?? nowMs });
    }
  }
}
