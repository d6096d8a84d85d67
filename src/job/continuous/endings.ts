/** Lines of the log that are over, while what came of them is stored beside whatever began next. */
import type { Clock } from "../../base/clock.ts";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";

export interface Ending {
  /** Never rejects. */
  readonly done: Promise<void>;
  readonly stop: AbortController;
}

/** Lines that are over and not stored yet, while a repository refuses. */
const MOST_ENDING = 1;
const NOT_STORED = new Failure("run/cancelled", "what could not be stored in time is asked for again");

export class Endings {
  readonly #all: Ending[] = [];

  add(ending: Ending): void {
    this.#all.push(ending);
    void ending.done.finally(() => this.#all.splice(this.#all.indexOf(ending), 1));
    // What is not stored was not acknowledged, and comes again: no more of it is held in memory.
    this.#all.at(-1 - MOST_ENDING)?.stop.abort(NOT_STORED);
  }

  /** Until all is stored; a repository that takes nothing is not waited for longer than {@link LIMITS.lastWordsMs}, nor than a signal. */
  async stored(clock: Clock, ...signals: readonly AbortSignal[]): Promise<void> {
    const enough = new AbortController();
    const waiting = clock.sleep(LIMITS.lastWordsMs, AbortSignal.any([enough.signal, ...signals])).catch(() => {});
    await Promise.race([Promise.all(this.#all.map(({ done }) => done)), waiting]);
    enough.abort();
  }

  stop(): void {
    for (const { stop } of this.#all) stop.abort(NOT_STORED);
  }
}
