/**
 * Repositories that take no part in a line of the log, because they did not answer when it began or held up the others since. They
 * are asked beside it whether they answer again, and nobody waits for what they say.
 */
import type { Clock } from "../../base/clock.ts";
import { type Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { RefusedObject } from "./journal.ts";
import { tryStanding } from "./line-start.ts";
import type { Joined, LogLine } from "./line.ts";
import type { WatchedPlace } from "./watched-place.ts";

interface Away {
  readonly failure: Failure;
  /** Since when, milliseconds on the monotonic clock. */
  readonly sinceMs: number;
  /** Not before then is it asked again, on the monotonic clock. */
  readonly atMs: number;
  isBeingAsked: boolean;
}

/** The line that they may join. */
export interface LineToJoin {
  readonly log: LogLine;
  readonly segmentBytes: number;
  readonly histories: ReadonlyMap<number, string>;
  /** Whether it is followed no more. */
  readonly isOver: () => boolean;
  readonly onJoined: (name: string, joined: Joined, refused: readonly RefusedObject[]) => void;
  /** One answers that lacks what the server alone may have. */
  readonly onLacking: () => void;
  /** A fault of ours. */
  readonly onFault: (error: unknown) => void;
}

export class AwayPlaces {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #away: ReadonlyMap<string, Away> = new Map();
  /** Of those that held up the others: when they joined last, and how long they were waited for before. */
  readonly #returns = new Map<string, { readonly atMs: number; readonly waitMs: number }>();

  constructor({ clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal }) {
    this.#clock = clock;
    this.#signal = signal;
  }

  get all(): { name: string; failure: Failure }[] {
    return [...this.#away].map(([name, { failure }]) => ({ name, failure }));
  }

  /** A line begins, and these do not answer. */
  begin(failures: readonly { readonly name: string; readonly failure: Failure }[]): void {
    const atMs = this.#clock.monotonic();
    this.#away = new Map(
      failures.map(({ name, failure }) => [name, { failure, sinceMs: atMs, atMs, isBeingAsked: false }]),
    );
  }

  /**
   * One was left behind. One that soon held up the others again is asked later each time.
   * @param failingSinceMs Since when it has taken nothing, on the monotonic clock; undefined where it takes too little.
   */
  leave(name: string, failure: Failure, failingSinceMs: number | undefined): void {
    const now = this.#clock.monotonic();
    const before = this.#returns.get(name);
    const isSoon = before !== undefined && now - before.atMs < LIMITS.leftBehindMostMs;
    const waitMs = isSoon ? Math.min(Math.max(before.waitMs * 2, LIMITS.watchLookMs), LIMITS.leftBehindMostMs) : 0;
    this.#returns.set(name, { atMs: now, waitMs });
    const away = { failure, sinceMs: failingSinceMs ?? now, atMs: now + waitMs, isBeingAsked: false };
    this.#away = new Map([...this.#away, [name, away]]);
  }

  /** Asks those that are away and due; the answer is told whenever it comes. */
  ask(places: readonly WatchedPlace[], line: LineToJoin): void {
    for (const place of places) {
      const away = this.#away.get(place.name);
      if (away === undefined || away.isBeingAsked || this.#clock.monotonic() < away.atMs) continue;
      away.isBeingAsked = true;
      void this.#ask(place, away, line)
        .catch((error: unknown) => {
          if (failureOf(error).code === "internal/bug") line.onFault(error);
        })
        .finally(() => (away.isBeingAsked = false));
    }
  }

  async #ask(place: WatchedPlace, away: Away, line: LineToJoin): Promise<void> {
    const { log, segmentBytes, histories } = line;
    const { name } = place;
    const standing = await tryStanding(place, log.line, segmentBytes, { signal: this.#signal });
    if (isFailure(standing)) return;
    const spanPlace = await place.spanPlace({ segmentBytes, histories });
    if (line.isOver() || this.#away.get(name) !== away) return await spanPlace.close?.();
    const joined = log.join(spanPlace, standing, away.sinceMs);
    this.#returns.set(name, { atMs: this.#clock.monotonic(), waitMs: this.#returns.get(name)?.waitMs ?? 0 });
    if (joined === undefined) {
      line.onLacking();
      return await spanPlace.close?.();
    }
    this.#away = new Map([...this.#away].filter(([other]) => other !== name));
    line.onJoined(name, joined, standing?.refused ?? []);
  }
}
