/**
 * The window: which moments of a database can be brought back, and where that is not so, why. Pure: what a repository has in,
 * ranges and gaps out.
 *
 * A position can be had when a base lies before it, on the same line of history, and the log is there without a gap from where
 * that base begins. A timeline's line of history goes through its parents, each up to where it was left. What two pieces of
 * the log both have counts once. Times are the server's own, of commits: between two commits the database did not change.
 */
import { type Lsn, segmentStart } from "../wal/lsn.ts";
import type { TimelineHistory } from "../wal/history.ts";
import {
  earliest,
  latest,
  passes,
  type Sample,
  samplesOf,
  SETTLES_US,
  timeAtEnd,
  type TimedPiece,
} from "./set-back.ts";

interface OnLine {
  /** The cluster's system identifier. */
  readonly systemId: string;
  readonly timeline: number;
  readonly from: Lsn;
  readonly to: Lsn;
}

export interface WindowBase extends OnLine {
  readonly id: string;
  readonly segmentBytes: number;
  /** Microseconds since 1970, by the server's clock. */
  readonly beganUs: bigint;
  /** When its end was reached; undefined where that was not noted. */
  readonly endedUs?: bigint | undefined;
}

/** A stretch of the log: a span or an object of the journal. */
export type WindowPiece = OnLine & TimedPiece;

/** What no piece has, although the log is there. */
export interface Hole extends OnLine {
  /** The server wrote too little there to be replayed; otherwise there are versions of which nobody can tell which one is right. */
  readonly isMinimal?: boolean;
}

export interface WindowParts<B extends WindowBase = WindowBase, P extends WindowPiece = WindowPiece> {
  readonly bases: readonly B[];
  readonly pieces: readonly P[];
  /** Of timelines above the first, where they are known. */
  readonly histories: readonly (TimelineHistory & { readonly systemId: string })[];
  readonly holes?: readonly Hole[];
}

/** A stretch of one timeline that a recovery reads. */
export interface Leg {
  readonly timeline: number;
  readonly from: Lsn;
  readonly to: Lsn;
}

export interface ServingBase<B extends WindowBase = WindowBase> {
  readonly base: B;
  /** From this time on it serves: microseconds since 1970. */
  readonly fromUs: bigint;
}

/** Moments without a gap between them: any position from `from` to `to`, any time from `fromUs` to `toUs`. */
export interface Range<B extends WindowBase = WindowBase> {
  readonly systemId: string;
  /** The one that its end lies on. */
  readonly timeline: number;
  /** Its line of history, the oldest first; the last leg ends where the log ends. */
  readonly legs: readonly Leg[];
  /** Those that moments in it can be recovered from, oldest first; the first one's end is `from`. */
  readonly bases: readonly ServingBase<B>[];
  readonly from: Lsn;
  readonly to: Lsn;
  readonly fromUs: bigint;
  /** Of the last commit; undefined where nothing was committed in it as far as is known. */
  readonly toUs: bigint | undefined;
  /** What is known of the times of its commits, in the log's order: a clock that was set back has some twice, and some that are later than `toUs`. */
  readonly samples: readonly Sample[];
}

export type GapReason =
  /** The log is there before and behind it, and not here. */
  | "log-missing"
  /** The log is there in several versions, and nobody can tell which one is the server's. */
  | "log-twice"
  /** The server ran with `wal_level = minimal`: what it wrote then cannot be replayed. */
  | "log-minimal"
  /** The log is there, and no base before it on its line of history. */
  | "no-base"
  /** A base is there, and not the log that makes it consistent. */
  | "base-without-log"
  /** The log is of a timeline of which nobody knows where it began. */
  | "history-unknown"
  /** Another cluster began: a new server, or one that was restored. */
  | "other-cluster";

export interface Gap {
  readonly reason: GapReason;
  readonly systemId: string;
  readonly timeline: number;
  readonly from: Lsn;
  readonly to: Lsn;
  /** The last known commit before it, and the first one behind it. */
  readonly fromUs: bigint | undefined;
  readonly toUs: bigint | undefined;
}

export interface Window<B extends WindowBase = WindowBase> {
  /** In the order of their ends: the newest moment of the cluster and timeline that is in force is the last one's. */
  readonly ranges: readonly Range<B>[];
  readonly gaps: readonly Gap[];
}

export function windowOf<B extends WindowBase>(parts: WindowParts<B>): Window<B> {
  const clusters: Window<B>[] = [];
  for (const systemId of new Set([...parts.bases, ...parts.pieces].map((one) => one.systemId))) {
    const ofCluster = <T extends { readonly systemId: string }>(all: readonly T[]) =>
      all.filter((one) => one.systemId === systemId);
    const { bases, pieces, histories, holes = [] } = parts;
    clusters.push(
      windowOfCluster(systemId, {
        bases: ofCluster(bases),
        pieces: ofCluster(pieces),
        histories: ofCluster(histories),
        holes: ofCluster(holes),
      }),
    );
  }
  // The living cluster comes last, and of it the timeline that it is on, whatever an old server still wrote afterwards.
  clusters.sort((a, b) => compare(newestUs(a), newestUs(b)));
  const ranges = clusters.flatMap((cluster) =>
    cluster.ranges.toSorted((a, b) => a.timeline - b.timeline || compare(endUs(a), endUs(b)) || compare(a.to, b.to)),
  );
  return { ranges, gaps: [...clusters.flatMap(({ gaps }) => gaps), ...betweenClusters(clusters)] };
}

function newestUs({ ranges }: Window): bigint {
  return ranges.reduce((newest, range) => (endUs(range) > newest ? endUs(range) : newest), 0n);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function endUs({ fromUs, toUs }: Range): bigint {
  return toUs !== undefined && toUs > fromUs ? toUs : fromUs;
}

/** What was before a new cluster began ended with the old one's last range. */
function betweenClusters(clusters: readonly Window[]): Gap[] {
  const living = clusters.filter(({ ranges }) => ranges.length > 0);
  return living.slice(1).flatMap(({ ranges }, at) => {
    const [first] = ranges.toSorted((a, b) => compare(a.fromUs, b.fromUs));
    const fromUs = newestUs(living[at] ?? { ranges: [], gaps: [] });
    if (first === undefined || first.fromUs <= fromUs) return [];
    const { systemId, timeline, from } = first;
    return [{ reason: "other-cluster" as const, systemId, timeline, from, to: from, fromUs, toUs: first.fromUs }];
  });
}

interface Stretch<P extends WindowPiece = WindowPiece> {
  readonly from: Lsn;
  readonly to: Lsn;
  /** In order. */
  readonly pieces: readonly P[];
}

/** The line of history of a timeline: each parent up to where it was left. The last leg has no end yet. */
export function legsOf(
  timeline: number,
  history: TimelineHistory | undefined,
): { timeline: number; from: Lsn; to: Lsn | undefined }[] {
  let from = 0n;
  const legs: { timeline: number; from: Lsn; to: Lsn | undefined }[] = [];
  for (const parent of history?.parents ?? []) {
    // A timeline that was left at its very beginning has nothing of its own.
    if (parent.switchLsn > from) legs.push({ timeline: parent.timeline, from, to: parent.switchLsn });
    from = parent.switchLsn;
  }
  return [...legs, { timeline, from, to: undefined }];
}

function windowOfCluster<B extends WindowBase>(systemId: string, parts: WindowParts<B>): Window<B> {
  const timelines = [...new Set([...parts.bases, ...parts.pieces].map(({ timeline }) => timeline))].toSorted(
    (a, b) => a - b,
  );
  const ranges: Range<B>[] = [];
  const gaps = new Map<string, Gap>();
  for (const timeline of timelines) {
    const history = parts.histories.find((one) => one.timeline === timeline);
    const legs = legsOf(timeline, history);
    const own = legs.at(-1)?.from ?? 0n;
    const stretches = stretchesOf(legs, parts.pieces);
    const line = { systemId, timeline, legs, isKnown: timeline === 1 || history !== undefined };
    for (const stretch of stretches) {
      const found = rangeOf(line, stretch, parts.bases);
      // What lies on a parent is the parent's, unless this one goes on from there.
      if (found !== undefined && (found.to > own || legs.length === 1)) ranges.push(found);
    }
    for (const gap of gapsOf(line, stretches, parts)) {
      gaps.set(`${gap.reason} ${gap.timeline} ${gap.from} ${gap.to}`, gap);
    }
  }
  return { ranges: ranges.flatMap((range) => withoutShared(range, ranges)), gaps: [...gaps.values()] };
}

interface HistoryLine {
  readonly systemId: string;
  readonly timeline: number;
  readonly legs: readonly { readonly timeline: number; readonly from: Lsn; readonly to: Lsn | undefined }[];
  readonly isKnown: boolean;
}

/** The log along a line of history, joined where it touches or overlaps. */
function stretchesOf<P extends WindowPiece>(legs: HistoryLine["legs"], pieces: readonly P[]): Stretch<P>[] {
  const clipped = legs.flatMap((leg) =>
    pieces
      .filter(
        ({ timeline, from, to }) =>
          timeline === leg.timeline && to > leg.from && (leg.to === undefined || from < leg.to),
      )
      .map((piece) => ({
        piece,
        from: piece.from > leg.from ? piece.from : leg.from,
        to: leg.to !== undefined && leg.to < piece.to ? leg.to : piece.to,
      })),
  );
  clipped.sort((a, b) => compare(a.from, b.from) || compare(a.to, b.to));
  const stretches: { from: Lsn; to: Lsn; pieces: P[] }[] = [];
  for (const { piece, from, to } of clipped) {
    const last = stretches.at(-1);
    if (last === undefined || from > last.to) stretches.push({ from, to, pieces: [piece] });
    else {
      last.pieces.push(piece);
      if (to > last.to) last.to = to;
    }
  }
  return stretches;
}

/** True for a base on the line of history, as {@link legsOf} has it: its end lies on a leg of its own timeline. */
export function isOn(legs: HistoryLine["legs"], { timeline, to }: Pick<OnLine, "timeline" | "to">): boolean {
  return legs.some((leg) => leg.timeline === timeline && to >= leg.from && (leg.to === undefined || to <= leg.to));
}

/** True where the log is there from the base's first segment on to its end. */
function isConsistent(legs: HistoryLine["legs"], { from, to }: Stretch, base: WindowBase): boolean {
  const begin = segmentStart(base.from, base.segmentBytes);
  const leg = legs.find(({ timeline }) => timeline === base.timeline);
  // A timeline's first segment begins with what its parent wrote, and is sent with it.
  const needed = leg !== undefined && begin < leg.from ? leg.from : begin;
  return from <= needed && to > needed && to >= base.to;
}

function rangeOf<B extends WindowBase>(line: HistoryLine, stretch: Stretch, all: readonly B[]): Range<B> | undefined {
  const bases = all
    .filter((base) => isOn(line.legs, base) && isConsistent(line.legs, stretch, base))
    .toSorted((a, b) => compare(a.to, b.to));
  const [first] = bases;
  if (first === undefined) return undefined;
  const legs = line.legs
    .map(({ timeline, from, to }) => ({
      timeline,
      from: from > stretch.from ? from : stretch.from,
      to: to !== undefined && to < stretch.to ? to : stretch.to,
    }))
    .filter(({ from, to }) => from < to);
  const { systemId } = line;
  const timeline = legs.at(-1)?.timeline ?? line.timeline;
  const samples = samplesOf(stretch.pieces);
  const serving = bases.map((base) => ({ base, fromUs: servesFromUs(base, stretch.pieces, samples) }));
  return {
    systemId,
    timeline,
    legs,
    bases: serving,
    from: first.to,
    to: stretch.to,
    fromUs: serving[0]?.fromUs ?? first.beganUs,
    toUs: timeAtEnd(samples),
    samples,
  };
}

/** A clock that was set back behind a base had earlier times than that was taken at. */
function servesFromUs(base: WindowBase, pieces: readonly WindowPiece[], samples: readonly Sample[]): bigint {
  const reached = reachedUs(base, pieces);
  const least = earliest(behind(base, samples));
  return least !== undefined && least < reached - SETTLES_US ? least : reached;
}

function behind({ to }: WindowBase, samples: readonly Sample[]): readonly Sample[] {
  return samples.filter((sample) => sample.from >= to);
}

/** Of pieces by their beginnings. */
function lastCommitUs(pieces: readonly WindowPiece[]): bigint | undefined {
  return timeAtEnd(samplesOf(pieces));
}

/**
 * From which time on a base can be brought: that of its end, or what can be said of it by the commits around. Where its log has none,
 * the first one behind it is the first moment that is surely after its end: a recovery to a time before that ends too early.
 */
export function reachedUs(base: WindowBase, pieces: readonly WindowPiece[]): bigint {
  if (base.endedUs !== undefined) return base.endedUs;
  const within = pieces.filter(({ from, to }) => from < base.to && to >= base.from);
  const us = lastCommitUs(within) ?? firstCommitUs(pieces.filter(({ from }) => from >= base.to));
  return us !== undefined && us > base.beganUs ? us : base.beganUs;
}

/** Of two timelines that share their past, the newer one has it; the older one keeps what came after it was left. */
function withoutShared<B extends WindowBase>(range: Range<B>, all: readonly Range<B>[]): Range<B>[] {
  let shared: Lsn | undefined;
  for (const { timeline, from, legs } of all) {
    const leg = legs.find((one) => one.timeline === range.timeline);
    if (timeline <= range.timeline || leg === undefined || from > range.from) continue;
    if (leg.to >= range.to) return [];
    if (leg.to > (shared ?? range.from)) shared = leg.to;
  }
  return shared === undefined ? [range] : [{ ...range, from: shared }];
}

function gapsOf(line: HistoryLine, stretches: readonly Stretch[], { bases, holes = [] }: WindowParts): Gap[] {
  const { systemId } = line;
  const on = bases.filter((base) => isOn(line.legs, base));
  const gaps: Gap[] = [];
  const timelineAt = (lsn: Lsn) => line.legs.find(({ to }) => to === undefined || lsn < to)?.timeline ?? line.timeline;
  for (const [at, stretch] of stretches.entries()) {
    const before = stretches[at - 1];
    if (before !== undefined) {
      const times = { fromUs: lastCommitUs(before.pieces), toUs: firstCommitUs(stretch.pieces) };
      gaps.push({
        reason: reasonOf(holeAt(line, before.to, holes)),
        systemId,
        timeline: timelineAt(before.to),
        from: before.to,
        to: stretch.from,
        ...times,
      });
    }
    const served = on.filter((base) => isConsistent(line.legs, stretch, base));
    const [first] = served.toSorted((a, b) => compare(a.to, b.to));
    // Before the first base of all nothing was promised.
    if (first !== undefined && (before === undefined || segmentStart(first.from, first.segmentBytes) <= stretch.from))
      continue;
    const to = first?.to ?? stretch.to;
    const lacking = stretch.pieces.filter((piece) => piece.to <= to);
    const reason = line.isKnown ? "no-base" : "history-unknown";
    const times = { fromUs: firstCommitUs(stretch.pieces), toUs: lastCommitUs(lacking) };
    gaps.push({ reason, systemId, timeline: timelineAt(stretch.from), from: stretch.from, to, ...times });
  }
  const last = stretches.at(-1);
  const behind = last === undefined ? undefined : holeAt(line, last.to, holes);
  if (last !== undefined && behind !== undefined) {
    const { timeline, from, to } = behind;
    const times = { fromUs: lastCommitUs(last.pieces), toUs: undefined };
    gaps.push({ reason: reasonOf(behind), systemId, timeline, from, to, ...times });
  }
  for (const base of on) {
    if (stretches.some((stretch) => isConsistent(line.legs, stretch, base))) continue;
    const { timeline, from, to, beganUs, endedUs } = base;
    gaps.push({ reason: "base-without-log", systemId, timeline, from, to, fromUs: beganUs, toUs: endedUs });
  }
  return gaps;
}

function reasonOf(hole: Hole | undefined): GapReason {
  if (hole === undefined) return "log-missing";
  return hole.isMinimal === true ? "log-minimal" : "log-twice";
}

/** What begins where a stretch ends. */
function holeAt({ legs }: HistoryLine, lsn: Lsn, holes: readonly Hole[]): Hole | undefined {
  return holes.find(({ timeline, from }) => from === lsn && legs.some((leg) => leg.timeline === timeline));
}

function firstCommitUs(pieces: readonly WindowPiece[]): bigint | undefined {
  return pieces.reduce<bigint | undefined>(
    (first, { firstCommitUs: us }) => (us !== undefined && (first === undefined || us < first) ? us : first),
    undefined,
  );
}

interface Place {
  readonly lsn: Lsn;
  readonly timeline?: number | undefined;
  readonly systemId?: string | undefined;
}

export type Moment =
  /** The last state that had been committed then. */
  | { readonly us: bigint }
  /** Everything up to a position; of the newest timeline that has it, and of the cluster that lives, unless they are named. */
  | Place
  /** The newest there is. */
  | "now";

/** How a moment is brought back. */
export interface Served<B extends WindowBase = WindowBase> {
  readonly range: Range<B>;
  readonly base: B;
  /** From the base's beginning on to the end of the range. */
  readonly legs: readonly Leg[];
}

/** The nearest moments that can be had; undefined where there are none on that side. */
export interface Nearest {
  readonly beforeUs: bigint | undefined;
  readonly afterUs: bigint | undefined;
}

/** The newest base serves, because the least is replayed from it. Undefined for a moment that cannot be had. */
export function serve<B extends WindowBase>({ ranges }: Window<B>, moment: Moment): Served<B> | undefined {
  for (const range of ranges.toReversed()) {
    const base = baseFor(range, moment);
    if (base === undefined) continue;
    const begin = range.legs.findIndex(({ timeline }) => timeline === base.timeline);
    const legs = range.legs.slice(begin).map((leg, at) => (at === 0 ? { ...leg, from: base.from } : leg));
    return { range, base, legs };
  }
  return undefined;
}

function baseFor<B extends WindowBase>(range: Range<B>, moment: Moment): B | undefined {
  if (moment === "now") return range.bases.at(-1)?.base;
  if ("us" in moment) {
    const { us } = moment;
    if (range.toUs === undefined) return undefined;
    if (us <= range.toUs) return range.bases.findLast(({ fromUs }) => fromUs <= us)?.base;
    if (us > (latest(range.samples) ?? 0n)) return undefined;
    return range.bases.findLast(({ base }) => passes(base.endedUs ?? base.beganUs, behind(base, range.samples), us))
      ?.base;
  }
  const { lsn, timeline, systemId } = moment;
  if (lsn < range.from || lsn > range.to) return undefined;
  if (systemId !== undefined && systemId !== range.systemId) return undefined;
  if (timeline !== undefined && timelineOf(range, lsn) !== timeline) return undefined;
  return range.bases.findLast(({ base }) => base.to <= lsn)?.base;
}

/**
 * What names a position, as short as it can be: after a failover two timelines have the same numbers, and two clusters always do.
 * Where nothing serves it all is named.
 */
export function placeOf(window: Pick<Window, "ranges">, place: OnPlace): Place {
  const { lsn, timeline, systemId } = place;
  const shorter: readonly Place[] = [{ lsn }, { lsn, timeline }];
  return (
    shorter.find((one) => {
      if (mayChange(window, place, one)) return false;
      const range = serve({ ranges: window.ranges, gaps: [] }, one)?.range;
      if (range?.systemId !== systemId) return false;
      return range.legs.some((leg) => leg.timeline === timeline && leg.from <= lsn && lsn <= leg.to);
    }) ?? place
  );
}

/** True where the word means something else as soon as the server that lives has come so far. */
function mayChange({ ranges }: Pick<Window, "ranges">, { systemId }: OnPlace, { lsn, timeline }: Place): boolean {
  const living = ranges.at(-1);
  if (living === undefined) return false;
  if (timeline === undefined) return lsn > living.to;
  if (systemId === living.systemId) return false;
  return timeline > living.timeline || (timeline === living.timeline && lsn > living.to);
}

/** The same of a position that was reached along a timeline: it may lie on a parent of that one. */
export function placeAlong(window: Pick<Window, "ranges">, { lsn, timeline, systemId }: OnPlace): Place {
  const along = window.ranges.findLast((range) => {
    return range.systemId === systemId && range.timeline === timeline && range.from <= lsn && lsn <= range.to;
  });
  return placeOf(window, { lsn, systemId, timeline: along === undefined ? timeline : timelineOf(along, lsn) });
}

interface OnPlace {
  readonly lsn: Lsn;
  readonly timeline: number;
  readonly systemId: string;
}

function timelineOf({ legs, timeline }: Range, lsn: Lsn): number {
  return legs.find(({ to }) => lsn < to)?.timeline ?? timeline;
}

/** For a time that cannot be had. */
export function nearest({ ranges }: Window, us: bigint): Nearest {
  const ends = ranges.map((range) => endUs(range)).filter((end) => end <= us);
  const begins = ranges.map(({ fromUs }) => fromUs).filter((begin) => begin >= us);
  return {
    beforeUs: ends.reduce<bigint | undefined>(
      (most, end) => (most === undefined || end > most ? end : most),
      undefined,
    ),
    afterUs: begins.reduce<bigint | undefined>(
      (least, at) => (least === undefined || at < least ? at : least),
      undefined,
    ),
  };
}
