/**
 * What one repository missed while it was away, another has, and brings it. What is damaged there is told, and tried again rarely: each try
 * reads it, and all that came before it, anew.
 */
import type { Clock } from "../../base/clock.ts";
import { type Failure, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Repository } from "../../repo/repository.ts";
import type { ListedSpan } from "./list.ts";
import { type Lists, spansForHoles } from "./serving-bases.ts";
import { copySnapshots } from "./share.ts";

export interface HolePlace {
  /** The repository's name. */
  readonly name: string;
  readonly repository: Repository;
  readonly lists: Lists;
}

/** Log that a repository lacks, and that cannot be read in the other that has it. */
export interface OpenHole {
  readonly from: string;
  readonly spans: readonly [ListedSpan, ...ListedSpan[]];
  /** Why, of the first. */
  readonly failure: Failure;
}

export interface HoleFillerOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told at each look; none: what the repository lacks can be had, or nobody has it. */
  readonly onHoles?: ((repository: string, holes: readonly OpenHole[]) => void) | undefined;
  /** Instead of {@link LIMITS.damagedSpanRetryMs}. */
  readonly retryMs?: number;
}

interface DamagedSpan {
  readonly to: string;
  readonly from: string;
  readonly listed: ListedSpan;
  readonly failure: Failure;
  readonly againMs: number;
}

export class HoleFiller {
  readonly #o: HoleFillerOptions;
  readonly #damaged = new Map<string, DamagedSpan>();

  constructor(options: HoleFillerOptions) {
    this.#o = options;
  }

  /**
   * @param places all that answer.
   * @param onFailure told what kept a repository from getting what another has, but for damage.
   */
  async look(places: readonly HolePlace[], onFailure: (failure: Failure) => void): Promise<void> {
    for (const place of places) {
      this.#forgetMended(place, places);
      for (const other of places) {
        if (other === place) continue;
        const spans = spansForHoles(place.lists, other.lists).filter((span) => this.#mayBeTried(place, other, span));
        try {
          if (await this.#bring(spans, other, place)) break;
        } catch (error) {
          this.#o.signal.throwIfAborted();
          if (!isFailure(error) || error.code === "internal/bug") throw error;
          onFailure(error);
        }
      }
      this.#o.onHoles?.(place.name, this.#holesOf(place));
    }
  }

  /** @returns whether any came. */
  async #bring(spans: readonly ListedSpan[], from: HolePlace, to: HolePlace): Promise<boolean> {
    const [only, ...others] = spans;
    if (only === undefined) return false;
    try {
      await copySnapshots(from.repository, to.repository, spans, this.#o);
      return true;
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      if (others.length === 0) {
        const againMs = this.#o.clock.monotonic() + (this.#o.retryMs ?? LIMITS.damagedSpanRetryMs);
        const damaged = { to: to.name, from: from.name, listed: only, failure: error, againMs };
        this.#damaged.set(keyOf(to, from, only), damaged);
        return false;
      }
    }
    // The one that is damaged keeps no other from coming.
    const half = Math.ceil(spans.length / 2);
    const first = await this.#bring(spans.slice(0, half), from, to);
    return (await this.#bring(spans.slice(half), from, to)) || first;
  }

  #mayBeTried(to: HolePlace, from: HolePlace, span: ListedSpan): boolean {
    const damaged = this.#damaged.get(keyOf(to, from, span));
    return damaged === undefined || this.#o.clock.monotonic() >= damaged.againMs;
  }

  /** What has come, is not missed any more, or was forgotten where it was damaged. */
  #forgetMended({ name, lists }: HolePlace, places: readonly HolePlace[]): void {
    for (const [key, { to, from, listed }] of this.#damaged) {
      if (to !== name) continue;
      const isMissed = spansForHoles(lists, { ...lists, spans: [listed] }).length > 0;
      const other = places.find((place) => place.name === from);
      const isThere = other === undefined || other.lists.spans.some(({ id }) => id === listed.id);
      if (!isMissed || !isThere) this.#damaged.delete(key);
    }
  }

  #holesOf({ name }: HolePlace): OpenHole[] {
    const own = [...this.#damaged.values()].filter(({ to }) => to === name);
    return [...Map.groupBy(own, ({ from }) => from)].flatMap(([from, all]) => {
      const [first, ...others] = all;
      if (first === undefined) return [];
      return [{ from, spans: [first.listed, ...others.map(({ listed }) => listed)], failure: first.failure }];
    });
  }
}

function keyOf(to: HolePlace, from: HolePlace, { id }: ListedSpan): string {
  return `${to.name} ${from.name} ${id}`;
}
