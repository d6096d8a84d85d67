/**
 * Where a server's log is no longer the one that repositories have, although it is the same cluster and timeline: a disk was brought back
 * from before, or the server lost what it had said to be durable. What it writes then lies at positions that are taken. Nothing of it is
 * mixed with what is there: the log is taken up again behind all of that, with a gap, in a segment of its own.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line } from "../../point/continuous.ts";
import { describeAddress, type ServerAddress } from "../../postgres/address.ts";
import type { SystemIdentity } from "../../postgres/replication.ts";
import { formatLsn, type Lsn, segmentStart } from "../../wal/lsn.ts";
import { isSameLine } from "./journal-bounds.ts";
import type { FoundLine } from "./line-start.ts";
import type { Standing } from "./take-up.ts";
import type { WatchedPlace } from "./watched-place.ts";

/** So often what the server sends must not fit before it counts as another log: a line may garble it once. */
const MOST_MISFITS = 3;

type LineName = Pick<Line, "systemId" | "timeline">;

/** What repositories have of a line. */
interface Known {
  readonly line: LineName;
  /** Up to where the one that has most of what is gone on with has it without a gap. */
  readonly durableTo: Lsn;
  /** The end of all. */
  readonly reach: Lsn;
}

interface Parted {
  readonly line: LineName;
  /** The last position up to which both are the same, as far as is known. */
  readonly at: Lsn;
  /** What begins behind it may be the server's log of now. */
  readonly after: Lsn;
}

/** Where a line begins, and what is in the way of going on from what was there. */
export interface Beginning {
  /** From where on the server is asked at the earliest. */
  readonly oldest: Lsn;
  /** Repositories that end before. */
  readonly lacking: readonly string[];
  /** Up to where the log was the same; undefined where it still is. */
  readonly partedAt: Lsn | undefined;
}

export class Parting {
  readonly #clock: Clock;
  #misfit: { readonly line: LineName; readonly at: Lsn; readonly times: number } | undefined;
  #parted: Parted | undefined;
  #partedMs: number | undefined;
  #known: Known | undefined;
  /** Those that have nothing behind it. */
  readonly #lacking = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * What the server sends does not follow what is known to be whole.
   * @returns true where it is another log from now on.
   */
  misfit(line: LineName, at: Lsn): boolean {
    const before = this.#misfit?.at === at && isSameLine(this.#misfit.line, line) ? this.#misfit.times : 0;
    this.#misfit = { line, at, times: before + 1 };
    const now = this.#clock.monotonic();
    // A base for each: where it happens again and again, the server is not to send one after the other.
    const isTooSoon = this.#partedMs !== undefined && now - this.#partedMs < LIMITS.partAgainMs;
    if (this.#misfit.times < MOST_MISFITS || isTooSoon) return false;
    this.#parted = { line, at, after: latest(at, this.#knownOf(line).durableTo) };
    this.#partedMs = now;
    this.#misfit = undefined;
    return true;
  }

  /** The place, of which only what lies behind counts. */
  within(place: WatchedPlace): WatchedPlace {
    return {
      ...place,
      standing: async (line, segmentBytes, options) => {
        const standing = await place.standing(line, segmentBytes, options);
        if (standing === undefined) return undefined;
        const { reach = standing.durableTo } = standing;
        const parted = this.#of(line);
        if (parted === undefined) return this.#note(line, standing, reach);
        const later = await place.standing(line, segmentBytes, { ...options, after: parted.after });
        if (later === undefined) this.#lacking.add(place.name);
        else this.#lacking.delete(place.name);
        return this.#note(line, later, reach);
      },
    };
  }

  #note(line: LineName, standing: Standing | undefined, reach: Lsn): Standing | undefined {
    const known = this.#knownOf(line);
    const durableTo = latest(known.durableTo, standing?.durableTo ?? 0n);
    this.#known = { line, durableTo, reach: latest(known.reach, reach) };
    return standing;
  }

  #knownOf(line: LineName): Known {
    const isOwn = this.#known !== undefined && isSameLine(this.#known.line, line);
    return isOwn && this.#known !== undefined ? this.#known : { line, durableTo: 0n, reach: 0n };
  }

  #of(line: LineName): Parted | undefined {
    return this.#parted !== undefined && isSameLine(this.#parted.line, line) ? this.#parted : undefined;
  }

  /**
   * @param oldest from where on the server would be asked else.
   * @throws Failure `wal/other-cluster` while the server has not come so far.
   */
  beginning(
    { line, standings }: Pick<FoundLine, "line" | "standings">,
    asking: { oldest: Lsn; identity: SystemIdentity; segmentBytes: number; address: ServerAddress },
  ): Beginning {
    const { oldest, identity, segmentBytes, address } = asking;
    const isKnown = standings.some(({ standing }) => standing !== undefined && !isFailure(standing));
    const isOwn = identity.timeline === line.timeline;
    const parted = this.#of(line);
    if (parted === undefined) return { oldest, lacking: [], partedAt: undefined };
    if (isKnown) return { oldest, lacking: [...this.#lacking], partedAt: undefined };
    // Behind a segment's end, so that nothing of the one joins the other.
    const { reach } = this.#knownOf(line);
    const start = segmentStart(reach, segmentBytes) + BigInt(segmentBytes);
    if (isOwn && identity.flushed < start) throw waiting({ at: parted.at, reach, start }, address);
    const begin = isOwn ? segmentStart(identity.flushed, segmentBytes) : oldest;
    return { oldest: begin, lacking: [...this.#lacking], partedAt: parted.at };
  }
}

function latest(one: Lsn, other: Lsn): Lsn {
  return one > other ? one : other;
}

function waiting({ at, reach, start }: { at: Lsn; reach: Lsn; start: Lsn }, address: ServerAddress): Failure {
  return new Failure(
    "wal/other-cluster",
    `the server's log is not the one any more that was followed (${describeAddress(address)}): behind ${formatLsn(at)} it has other bytes than what is kept, which ends at ${formatLsn(reach)}`,
    {
      hint: `Was a disk brought back from before, or did the server lose what it had written (fsync = off)? If it is not the one that Chatwoot uses, let the address lead to that. Else the log is followed again, behind a gap and with a new base, when it has come to ${formatLsn(start)}: 'select pg_switch_wal();' brings it there sooner.`,
    },
  );
}
