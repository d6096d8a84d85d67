/** What a watch has found, by keys: what goes on until it is over, and what happened, which is known for a while. Pure. */
import type { Finding } from "../base/findings.ts";

/** What happened once, and until when it is known: milliseconds since 1970. */
export interface Happened {
  readonly key: string;
  readonly findings: readonly Finding[];
  readonly untilMs: number;
}

export class KnownFindings {
  readonly #known = new Map<string, Omit<Happened, "key">>();

  /** In place of what had that key. @param findings None takes it away. @param untilMs Without it until it is taken away. */
  set(key: string, findings: readonly Finding[], untilMs = Infinity): void {
    this.#known.delete(key);
    if (findings.length > 0) this.#known.set(key, { findings, untilMs });
  }

  /** The clock was set. */
  shift(byMs: number): void {
    for (const [key, { findings, untilMs }] of this.#known) this.#known.set(key, { findings, untilMs: untilMs + byMs });
  }

  at(nowMs: number): Finding[] {
    return [...this.#known.values()].flatMap(({ findings, untilMs }) => (nowMs < untilMs ? findings : []));
  }

  /** What happened and has a name of its own, so that whoever begins anew does not know it by looking. */
  happenedBy(nowMs: number): Happened[] {
    return [...this.#known].flatMap(([key, { findings, untilMs }]) => {
      const events = findings.filter(({ event }) => event !== undefined);
      return untilMs === Infinity || nowMs >= untilMs || events.length === 0
        ? []
        : [{ key, findings: events, untilMs }];
    });
  }
}
