/**
 * Which bases of a repository the log that is kept now goes on from, by the repository's own window: what comes next counts as if
 * it were there already, so that a base serves from the moment on in which it was taken. Pure: lists in, bases out.
 */
import type { Line } from "../../point/continuous.ts";
import type { TimelineHistory } from "../../wal/history.ts";
import { type Lsn, segmentStart } from "../../wal/lsn.ts";
import type { JournalObject } from "./journal.ts";
import { type Continuous, type ListedBase, type ListedSpan, windowIn } from "./list.ts";
import { spansLacking } from "./share.ts";
import type { Settled } from "./versions.ts";

export type Lists = Pick<Continuous, "bases" | "spans" | "journal" | "histories"> & { readonly settled?: Settled };

/** The line that is followed now. */
export interface KeptLine {
  readonly line: Line;
  readonly history: TimelineHistory;
  /** Where it begins for the repository that is asked about. */
  readonly start: Lsn;
  /** How much of it is durable. */
  readonly position: Lsn;
}

function endOf(all: readonly { readonly to: Lsn }[]): Lsn | undefined {
  return all.reduce<Lsn | undefined>((most, { to }) => (most === undefined || to > most ? to : most), undefined);
}

/**
 * What a repository does not have yet of the line, and gets, as a piece of the log.
 * @param isGapped The line begins anew in it: what it has ends before.
 */
function coming(
  lists: Lists,
  bases: readonly ListedBase[],
  { line, history, start, position, isGapped }: KeptLine & { isGapped: boolean },
): JournalObject {
  const isOwn = ({ systemId, timeline }: Pick<Line, "systemId" | "timeline">) =>
    systemId === line.systemId && timeline === line.timeline;
  const there = endOf([...lists.spans.map(({ span }) => span), ...lists.journal.objects].filter(isOwn));
  const from = there === undefined || (isGapped && there < start) ? start : there;
  const to = [
    position,
    // A timeline's own bytes begin where its parent was left, inside a segment.
    (history.parents.at(-1)?.switchLsn ?? 0n) + 1n,
    // A base that was taken just now ends behind all that is stored.
    endOf(bases.map(({ base }) => base).filter(isOwn)) ?? 0n,
  ].reduce((most, each) => (each > most ? each : most), from + 1n);
  return { ...line, name: "", from, to };
}

/**
 * Those from which the newest moment of the line can be brought back, oldest first.
 * @param lent What it would have besides: that changes nothing about where its own log goes on.
 */
export function servingBases(
  own: Lists,
  kept: KeptLine,
  isGapped: boolean,
  lent: Partial<Pick<Lists, "bases" | "spans">> = {},
): ListedBase[] {
  const { line, history } = kept;
  const bases = [...own.bases, ...(lent.bases ?? [])];
  const lists = { ...own, bases, spans: [...own.spans, ...(lent.spans ?? [])] };
  const next = coming(own, bases, { ...kept, isGapped });
  const { ranges } = windowIn({
    ...lists,
    journal: { ...lists.journal, objects: [...lists.journal.objects, next] },
    histories: [{ ...history, systemId: line.systemId }, ...lists.histories],
  });
  const range = ranges.findLast(
    ({ systemId, timeline, to }) => systemId === line.systemId && timeline === line.timeline && to >= next.to,
  );
  return range?.bases.map(({ base }) => base.listed) ?? [];
}

/** What a repository is brought by another, so that a base serves in it. */
export interface Help {
  readonly base: ListedBase;
  /** True where the base comes from the other one, too. */
  readonly isCopied: boolean;
  readonly spans: readonly ListedSpan[];
}

/**
 * The repository's own newest base with the spans that it lacks since, or else the other's newest base with those.
 * @param isDue Such a base helps nobody.
 */
export function helpBy(
  other: Lists,
  {
    lists,
    kept,
    isGapped,
    isDue,
  }: { lists: Lists; kept: KeptLine; isGapped: boolean; isDue: (base: ListedBase) => boolean },
): Help | undefined {
  const lacking = spansLacking(other.spans, lists.spans);
  for (const bases of [[], other.bases]) {
    const base = servingBases(lists, kept, isGapped, { bases, spans: lacking }).at(-1);
    if (base === undefined || isDue(base)) continue;
    const from = segmentStart(base.base.from, base.base.segmentBytes);
    const timelines = new Set([kept.line.timeline, ...kept.history.parents.map(({ timeline }) => timeline)]);
    const spans = lacking.filter(
      ({ span }) => span.systemId === kept.line.systemId && timelines.has(span.timeline) && span.to > from,
    );
    return { base, isCopied: !lists.bases.includes(base), spans };
  }
  return undefined;
}

/** Spans of another repository that lie in a hole of the log behind moments that can be had: they come for good. */
export function spansForHoles(lists: Lists, other: Lists): ListedSpan[] {
  const { ranges, gaps } = windowIn(lists);
  const holes = gaps.filter(
    ({ reason, systemId, from }) =>
      reason === "log-missing" && ranges.some((range) => range.systemId === systemId && range.to === from),
  );
  return spansLacking(other.spans, lists.spans).filter(({ span }) =>
    holes.some(({ systemId, from, to }) => span.systemId === systemId && span.to > from && span.from < to),
  );
}
