/**
 * Where a line of the log is taken up again: by what each repository has of it, and what the server still has. Pure: whoever
 * calls it reads the lists and asks the server.
 */
import type { Line, WalSpan } from "../../point/continuous.ts";
import { type Lsn, segmentStart } from "../../wal/lsn.ts";
import type { RefusedObject } from "./journal.ts";

/** Up to where a repository has a line; undefined where it has nothing of it. */
export interface Standing {
  /** By spans: a segment's beginning. */
  readonly savedTo: Lsn;
  /** By spans and journal together. */
  readonly durableTo: Lsn;
  /** From where on it has all of that. */
  readonly since: Lsn;
  /** What of the journal cannot be used: it does not count. */
  readonly refused?: readonly RefusedObject[];
  /** What the journal has behind something that lacks, of the newest line that began there. */
  readonly newest?: Pick<Standing, "savedTo" | "durableTo">;
  /** Something lacks before it. */
  readonly isBehindGap?: boolean;
  /** The end of all that there is of the line, whatever lacks before it and whether it can be used. */
  readonly reach?: Lsn;
}

type Stretch = Pick<WalSpan, "systemId" | "timeline" | "from" | "to">;

function isOf({ systemId, timeline }: Pick<Line, "systemId" | "timeline">): (stretch: Stretch) => boolean {
  return (stretch) => stretch.systemId === systemId && stretch.timeline === timeline;
}

/**
 * What is missing before the newest span does not come any more, and the window tells of it; what the journal lacks behind it the
 * server may still have.
 * @param spans and journal of one installation in one repository, in any order.
 */
export function standingOf(
  line: Pick<Line, "systemId" | "timeline">,
  spans: readonly Stretch[],
  journal: readonly Stretch[],
  segmentBytes: number,
): Standing | undefined {
  const own = spans.filter(isOf(line));
  const objects = journal.filter(isOf(line)).toSorted((a, b) => (a.from < b.from ? -1 : 1));
  const most = own.reduce<Lsn | undefined>((to, span) => (to === undefined || span.to > to ? span.to : to), undefined);
  const first = most ?? objects[0]?.from;
  if (first === undefined) return undefined;
  let durableTo = first;
  let newest: Standing["newest"];
  for (const { from, to } of objects) {
    if (newest !== undefined && from <= newest.durableTo) {
      if (to > newest.durableTo) newest = { ...newest, durableTo: to };
    } else if (from <= durableTo) {
      if (to > durableTo) durableTo = to;
    } else if (from === segmentStart(from, segmentBytes)) {
      // As a line begins; what goes on elsewhere lacks something before it.
      newest = { savedTo: from, durableTo: to };
    }
  }
  // A span's last file may be a segment's beginning, and the journal may begin inside one: that segment comes again.
  const since = sinceOf(own, first);
  return { savedTo: segmentStart(first, segmentBytes), durableTo, since, ...(newest === undefined ? {} : { newest }) };
}

/** Where a repository stands when the server no longer has what lacks in its journal. */
export function behindGap({ newest, ...standing }: Standing): Standing {
  return newest === undefined ? standing : { ...standing, ...newest, since: newest.savedTo, isBehindGap: true };
}

/** Where the stretch of spans begins that goes on without a gap up to a position. */
function sinceOf(spans: readonly Stretch[], end: Lsn): Lsn {
  let since = end;
  for (const { from, to } of spans.toSorted((a, b) => (a.to > b.to ? -1 : 1))) {
    if (to < since) break;
    if (from < since) since = from;
  }
  return since;
}

export interface TakeUp {
  /** Where the line begins in memory: a segment's beginning. */
  readonly start: Lsn;
  /** Up to where journals together have what comes from there on; `start` where none has anything. */
  readonly to: Lsn;
  /** Whose journals that are. */
  readonly from: readonly number[];
  /** In the order of the standings. One that lacks what lies between has a gap, and begins anew at `start`, or goes on behind it. */
  readonly places: readonly (Standing & { readonly isGapped: boolean })[];
}

/**
 * A repository goes on where its own journal reaches to what the server still has, or to where another one's does.
 * @param standings of all repositories; undefined for one that has nothing of the line.
 * @param oldest the beginning of the oldest segment that the server has.
 */
export function planTakeUp(standings: readonly (Standing | undefined)[], oldest: Lsn): TakeUp {
  const known = standings.filter((one) => one !== undefined);
  const leastOf = (reaching: Lsn) =>
    known
      .filter(({ durableTo }) => durableTo >= reaching)
      .reduce<Lsn | undefined>(
        (least, { savedTo }) => (least === undefined || savedTo < least ? savedTo : least),
        undefined,
      );
  let start = leastOf(oldest) ?? oldest;
  for (let earlier = leastOf(start); earlier !== undefined && earlier < start; earlier = leastOf(start))
    start = earlier;
  let to = start;
  for (const { savedTo, durableTo } of known.toSorted((a, b) => (a.savedTo < b.savedTo ? -1 : 1))) {
    if (savedTo <= to && durableTo > to) to = durableTo;
  }
  return {
    start,
    to,
    from: standings.flatMap((one, at) => (one !== undefined && one.durableTo >= start ? [at] : [])),
    places: standings.map((one) => {
      const goesOn = one !== undefined && one.durableTo >= start;
      const { savedTo, durableTo, since } = goesOn ? one : { savedTo: start, durableTo: start, since: start };
      const isGapped = one !== undefined && (!goesOn || one.isBehindGap === true);
      return { savedTo, durableTo, since, isGapped };
    }),
  };
}
