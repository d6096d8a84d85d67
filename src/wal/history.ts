/**
 * Timelines: every promotion or recovery to a moment begins a new one, and its history file says from which it came and where
 * it left it. (PostgreSQL's timeline.c: readTimeLineHistory, writeTimeLineHistory.) A line is
 * `<parent> TAB <where it was left> TAB <why>`, the oldest first; the first timeline has no file.
 */
import { isLsn, type Lsn, parseLsn } from "./lsn.ts";

export interface TimelineParent {
  readonly timeline: number;
  /** The first byte that is no longer of the parent. */
  readonly switchLsn: Lsn;
  /** Why it was left, in PostgreSQL's words; may be empty. */
  readonly reason: string;
}

export interface TimelineHistory {
  readonly timeline: number;
  /** The oldest first. */
  readonly parents: readonly TimelineParent[];
}

const LINE = /^\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(?:\s+(.*?))?\s*$/;
const NEWEST = 2 ** 32 - 1;

/** A timeline without a past that is known: the first one of a cluster. */
export function firstTimeline(timeline = 1): TimelineHistory {
  return { timeline, parents: [] };
}

/** Reads the history file of a timeline; undefined for what PostgreSQL would refuse. */
export function parseHistory(timeline: number, text: string): TimelineHistory | undefined {
  const parents: TimelineParent[] = [];
  for (const line of text.split("\n")) {
    if (/^\s*(?:#.*)?$/.test(line)) continue;
    const [, parent = "", at = "", reason = ""] = LINE.exec(line) ?? [];
    if (!isLsn(at)) return undefined;
    const next = { timeline: Number(parent), switchLsn: parseLsn(at), reason };
    const last = parents.at(-1);
    if (next.timeline <= (last?.timeline ?? 0) || next.switchLsn < (last?.switchLsn ?? 0n)) return undefined;
    parents.push(next);
  }
  if ((parents.at(-1)?.timeline ?? 0) >= timeline || timeline > NEWEST) return undefined;
  return { timeline, parents };
}

/** The timeline that a byte is of, as one sees it who is on the history's timeline. */
export function timelineAt({ timeline, parents }: TimelineHistory, lsn: Lsn): number {
  return parents.find(({ switchLsn }) => lsn < switchLsn)?.timeline ?? timeline;
}

/** Whether all of a timeline up to (and without) a position belongs to a history: a base or span there can be used on it. */
export function isAncestor(history: TimelineHistory, { timeline, lsn }: { timeline: number; lsn: Lsn }): boolean {
  if (timeline === history.timeline) return true;
  const parent = history.parents.find((one) => one.timeline === timeline);
  return parent !== undefined && lsn <= parent.switchLsn;
}
