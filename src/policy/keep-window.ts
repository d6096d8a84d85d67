/**
 * What of continuous protection is kept so that the last days stay without a gap, and what may go: pure, as the rules for
 * restore points are.
 *
 * The time counts from the newest moment that is known, so that a machine that stood still forgets nothing. What can be
 * brought back at the beginning of that time stays so: the newest base before it stays, with the log from there on.
 */
import { Failure } from "../base/errors.ts";
import { segmentStart } from "../wal/lsn.ts";
import type { Leg, Range, Window, WindowBase, WindowPiece } from "./window.ts";

export interface KeptSpan extends WindowPiece {
  readonly id: string;
  /** When it was written, by the clock of who wrote it: microseconds since 1970. */
  readonly writtenUs: bigint;
}

export interface KeptBase extends WindowBase {
  /** As of a span; undefined where that is not known. */
  readonly writtenUs?: bigint | undefined;
}

export interface WindowPlan<B extends WindowBase, S extends KeptSpan> {
  /** From here on nothing is taken away: microseconds since 1970. */
  readonly fromUs: bigint;
  readonly keepBases: readonly B[];
  readonly keepSpans: readonly S[];
  /** Oldest first: the order in which they go. */
  readonly removeBases: readonly B[];
  readonly removeSpans: readonly S[];
  /** The log that is needed, by cluster: what of the journal lies before all of it may go, too. */
  readonly needed: readonly NeededLog[];
}

export interface NeededLog extends Leg {
  readonly systemId: string;
}

/** How long the window is where nobody says otherwise. */
export const DEFAULT_WINDOW = "7d";

const HOUR_US = 3_600_000_000n;
/**
 * Log behind the newest base that no base serves stays for so long, however short the window is: a base may be under way that begins
 * with it, which nobody can see here while it is taken into another repository.
 */
const BASE_UNDER_WAY_US = 7n * 24n * HOUR_US;
const SPAN = /^(?=\d)(?:(\d{1,4})d)?(?:(\d{1,5})h)?$/;

/** `7d`, `36h`, `2d12h` → microseconds. @throws Failure `usage/invalid`. */
export function parseWindow(text: string): bigint {
  const [, days = "0", hours = "0"] = SPAN.exec(text) ?? [];
  const us = (BigInt(days) * 24n + BigInt(hours)) * HOUR_US;
  if (us > 0n) return us;
  throw new Failure("usage/invalid", `'${text}' is no length of a window`, { hint: "Write it as 7d, 36h or 2d12h." });
}

/**
 * @param window of all bases and pieces, the journal's too.
 * @param options `nowUs`: a clock that runs ahead moves nothing out of the window.
 */
export function planWindow<B extends KeptBase, S extends KeptSpan>(
  { window, bases, spans }: { window: Window<B>; bases: readonly B[]; spans: readonly S[] },
  { nowUs, windowUs }: { nowUs: bigint; windowUs: bigint },
): WindowPlan<B, S> {
  const ages = agesOf({ bases, spans }, nowUs);
  const { baseUs, spanUs } = ages;
  const ends = window.ranges.map(endOf).filter((us) => us <= nowUs);
  const newestUs = [...ends, ...ages.known].reduce((newest, us) => (us > newest ? us : newest), 0n);
  const fromUs = newestUs - windowUs;
  const isOver = (range: Range<B>) => {
    const { systemId, from, legs } = range;
    const own = spans.filter((span) => span.to > from && legs.some((leg) => overlaps({ ...leg, systemId }, span)));
    return [endOf(range), ...own.map(spanUs)].every((us) => us < fromUs || us > nowUs);
  };
  const needed: NeededLog[] = [];
  const serving = new Set<string>();
  for (const range of window.ranges) {
    // Log comes without a commit, too: what can be brought back now stays, however old its newest commit is.
    if (range !== window.ranges.at(-1) && isOver(range)) continue;
    const first = range.bases.findLast(({ base }) => baseUs(base) <= fromUs) ?? range.bases[0];
    if (first === undefined) continue;
    // One that was begun before it and ended with it or later serves nothing more, and needs log that may go.
    for (const { base } of range.bases) {
      if (base.to >= first.base.to && base.from >= first.base.from) serving.add(base.id);
    }
    needed.push(...logFrom(range, first.base));
  }
  const isServed = (span: S) =>
    window.ranges.some(({ systemId, legs }) => legs.some((leg) => overlaps({ ...leg, systemId }, span)));
  const mayBeNeeded = (span: S) =>
    spanUs(span) >= newestUs - BASE_UNDER_WAY_US && !isServed(span) && isBehindBases(span, bases);
  const isNeeded = (span: S) => needed.some((leg) => overlaps(leg, span)) || mayBeNeeded(span);
  const goes = <T>(all: readonly T[], isKept: (one: T) => boolean, usOf: (one: T) => bigint) =>
    all.filter((one) => !isKept(one) && usOf(one) < fromUs).toSorted((a, b) => (usOf(a) < usOf(b) ? -1 : 1));
  const removeBases = goes(bases, ({ id }) => serving.has(id), baseUs);
  const removeSpans = goes(spans, isNeeded, spanUs);
  return {
    fromUs,
    keepBases: bases.filter((base) => !removeBases.includes(base)),
    keepSpans: spans.filter((span) => !removeSpans.includes(span)),
    removeBases,
    removeSpans,
    needed,
  };
}

function endOf({ fromUs, toUs }: Range): bigint {
  return toUs !== undefined && toUs > fromUs ? toUs : fromUs;
}

interface Ages<B, S> {
  readonly baseUs: (base: B) => bigint;
  readonly spanUs: (span: S) => bigint;
  /** Of all of which it is known. */
  readonly known: readonly bigint[];
}

/**
 * When something was made: by the server's clock or by that of who wrote it, the later of the two, so that nothing goes too early. One
 * that lies in the future is wrong. Where both do, it is that of what came next in the log; where nothing did, it is as new as can be.
 */
function agesOf<B extends KeptBase, S extends KeptSpan>(
  { bases, spans }: { bases: readonly B[]; spans: readonly S[] },
  nowUs: bigint,
): Ages<B, S> {
  const latest = (times: readonly (bigint | undefined)[]) =>
    times.reduce<bigint | undefined>((most, us) => {
      return us === undefined || us > nowUs || (most !== undefined && most >= us) ? most : us;
    }, undefined);
  const timed: { one: B | S; us: bigint | undefined }[] = [
    ...bases.map((one) => ({ one, us: latest([one.endedUs ?? one.beganUs, one.writtenUs]) })),
    ...spans.map((one) => ({ one, us: latest([one.lastCommitUs, one.writtenUs]) })),
  ];
  const known = new Map(timed.map(({ one, us }) => [one.id, us]));
  // What lies further on in the log is no older than what is before it, whatever both clocks said.
  const newest = new Map<string, bigint>();
  for (const { one, us } of timed.toSorted((a, b) => (a.one.to < b.one.to ? -1 : a.one.to > b.one.to ? 1 : 0))) {
    const line = `${one.systemId} ${one.timeline}`;
    const before = newest.get(line);
    if (us !== undefined && (before === undefined || us > before)) newest.set(line, us);
    else if (us !== undefined) known.set(one.id, before);
  }
  const ageOf = (one: B | S) => {
    const us = known.get(one.id);
    if (us !== undefined) return us;
    const next = timed.filter((other) => isBehind(other.one, one)).flatMap((other) => other.us ?? []);
    return next.reduce((least, other) => (other < least ? other : least), nowUs);
  };
  return { baseUs: ageOf, spanUs: ageOf, known: timed.flatMap(({ us }) => us ?? []) };
}

function isBehind(
  { systemId, timeline, to }: Pick<WindowPiece, "systemId" | "timeline" | "to">,
  one: Pick<WindowPiece, "systemId" | "timeline" | "to">,
): boolean {
  return systemId === one.systemId && timeline === one.timeline && to > one.to;
}

/** True where no base of the cluster begins behind it: the next one may. */
function isBehindBases({ systemId, timeline, to }: WindowPiece, bases: readonly WindowBase[]): boolean {
  return bases.every(
    (base) => base.systemId !== systemId || base.timeline < timeline || (base.timeline === timeline && base.from < to),
  );
}

/** From the beginning of the base's first segment, which a server reads whole. */
function logFrom({ systemId, legs }: Range, base: WindowBase): NeededLog[] {
  const begin = legs.findIndex(({ timeline }) => timeline === base.timeline);
  return legs.slice(begin).map((leg, at) => {
    const from = at === 0 ? segmentStart(base.from, base.segmentBytes) : segmentStart(leg.from, base.segmentBytes);
    return { ...leg, systemId, from };
  });
}

function overlaps(leg: NeededLog, piece: WindowPiece): boolean {
  return (
    piece.systemId === leg.systemId && piece.timeline === leg.timeline && piece.to > leg.from && piece.from < leg.to
  );
}

/** True for what lies before all that is needed of its timeline, where something of it is. */
export function isBeforeNeeded(
  needed: readonly NeededLog[],
  { systemId, timeline, to }: Pick<WindowPiece, "systemId" | "timeline" | "to">,
): boolean {
  const own = needed.filter((leg) => leg.systemId === systemId && leg.timeline === timeline);
  return own.length > 0 && own.every(({ from }) => to <= from);
}
