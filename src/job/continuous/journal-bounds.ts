/**
 * What repositories' journals have of a line, read back when it is taken up; and what of it counts, where it does not fit: a record that
 * ends in nothing may be one journal's fault, and another may have it whole.
 */
import { isFailure } from "../../base/errors.ts";
import type { Line } from "../../point/continuous.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import type { LogLine } from "./line.ts";
import type { WatchedPlace } from "./watched-place.ts";

type LineName = Pick<Line, "systemId" | "timeline">;

export function isSameLine(one: LineName, other: LineName): boolean {
  return one.systemId === other.systemId && one.timeline === other.timeline;
}

/** By repositories' names. */
type Bounds = ReadonlyMap<string, { readonly line: LineName; readonly to: Lsn }>;

/** Up to where journals count, where what they have behind did not fit: a record that was begun there is no record. */
export class JournalBounds {
  #bounds: Bounds = new Map();
  /** Behind a last whole record: what counted before anybody was blamed, and journals that were not yet. */
  #doubt: { readonly line: LineName; readonly at: Lsn; readonly before: Bounds; readonly left: string[] } | undefined;

  /**
   * What came of journals does not fit behind a position. Each that gave some of it is left out there in turn, and it alone, the one
   * that gave the last first; then all are.
   * @param givers in the order in which they gave it.
   */
  blame(line: LineName, at: Lsn, { givers, all }: { givers: readonly string[]; all: readonly string[] }): void {
    const isKnown = this.#doubt !== undefined && this.#doubt.at === at && isSameLine(this.#doubt.line, line);
    if (!isKnown) this.#doubt = { line, at, before: this.#bounds, left: [...new Set(givers.toReversed())] };
    if (this.leaveOutAnother()) return;
    this.#bounds = lowered(this.#bounds, all, { line, to: at });
  }

  /** @returns false where none is left that could be to blame. */
  leaveOutAnother(): boolean {
    const name = this.#doubt?.left.shift();
    if (this.#doubt === undefined || name === undefined) return false;
    const { line, at, before } = this.#doubt;
    this.#bounds = lowered(before, [name], { line, to: at });
    return true;
  }

  clear(): void {
    this.#bounds = new Map();
    this.#doubt = undefined;
  }

  /** The place, whose journal counts no further than that. */
  within(place: WatchedPlace): WatchedPlace {
    return {
      ...place,
      standing: async (line, segmentBytes, options) => {
        const standing = await place.standing(line, segmentBytes, options);
        const bound = this.#of(place.name, line);
        if (standing === undefined || bound === undefined) return standing;
        const { newest: _, ...counting } = standing;
        if (standing.durableTo <= bound) return counting;
        const reason = `what the journal has from ${formatLsn(bound)} on does not follow what lies before it`;
        const refused = [...(standing.refused ?? []), { name: formatLsn(bound), reason }];
        const { savedTo } = standing;
        return { ...counting, durableTo: bound > savedTo ? bound : savedTo, refused };
      },
      readJournal: (line, from, options) => {
        const bound = this.#of(place.name, line);
        const journal = place.readJournal(line, from, options);
        return bound === undefined ? journal : upTo(journal, Number(bound - from));
      },
    };
  }

  #of(place: string, line: LineName): Lsn | undefined {
    const bound = this.#bounds.get(place);
    return bound !== undefined && isSameLine(bound.line, line) ? bound.to : undefined;
  }
}

/** One that counts less far already goes on doing so. */
function lowered(bounds: Bounds, names: readonly string[], { line, to }: { line: LineName; to: Lsn }): Bounds {
  const found = new Map(bounds);
  for (const name of names) {
    const known = bounds.get(name);
    if (known === undefined || !isSameLine(known.line, line) || known.to > to) found.set(name, { line, to });
  }
  return found;
}

async function* upTo(parts: AsyncIterable<Buffer>, length: number): AsyncGenerator<Buffer, void, void> {
  let left = length;
  if (left <= 0) return;
  for await (const bytes of parts) {
    yield bytes.subarray(0, left);
    left -= bytes.length;
    if (left <= 0) return;
  }
}

/** Which repository's bytes came from where on. */
export class Takings {
  readonly #parts: { readonly name: string; readonly at: Lsn }[] = [];

  from(name: string, at: Lsn): void {
    if (this.#parts.at(-1)?.name !== name) this.#parts.push({ name, at });
  }

  /** Those that gave something behind a position, in order: the last one gave what came last, whether it was taken or not. */
  givers(behind: Lsn): string[] {
    return this.#parts
      .filter((_, index) => {
        const next = this.#parts[index + 1];
        return next === undefined || next.at > behind;
      })
      .map(({ name }) => name);
  }
}

/**
 * Reads back what journals have of a line up to a position, and hands it on as if the server had sent it: what one of them lacks,
 * another may have.
 * @returns false where they do not have it, or what they have does not follow what lies before it: see {@link LogLine.validTo}.
 * @throws Failure of the stores.
 */
export async function takeUpJournals(
  places: readonly WatchedPlace[],
  log: LogLine,
  { to, takings, signal }: { to: Lsn; takings: Takings; signal: AbortSignal },
): Promise<boolean> {
  const { tail } = log;
  try {
    for (let before: Lsn | undefined; tail.end < to && before !== tail.end;) {
      before = tail.end;
      for (const place of places) {
        for await (const bytes of place.readJournal(log.line, tail.end, { signal })) {
          takings.from(place.name, tail.end);
          await log.add(bytes.subarray(0, Number(to - tail.end)), { signal });
          if (tail.end >= to) return true;
        }
      }
    }
  } catch (error) {
    if (!isFailure(error, "wal/damaged")) throw error;
  }
  return tail.end >= to;
}
