/**
 * Which rows of a range the server cannot give, where it cannot give all of them: a page is damaged, or a value would be longer
 * as text than PostgreSQL can write. Ids are halved until single ones are left, so that everything else can be saved.
 */
import { isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { RangePlan } from "./ranges.ts";

/** Rows by their ids, the last one included; null where the table has none to name them by: then it is all of them. */
export interface UnreadableRows {
  from: string | null;
  to: string | null;
  /** What the server says of the first of them. */
  why: string;
}

interface Span {
  from: bigint;
  to: bigint;
}

/**
 * @param range one that could not be read.
 * @param why what the server said.
 * @param tryRead says why a part cannot be read; undefined where it can.
 * @returns parts that cannot be read, in order. After `LIMITS.unreadableProbes` tries what is left is not divided any more.
 */
export async function findUnreadable(
  { from, to }: RangePlan,
  why: string,
  tryRead: (part: RangePlan) => Promise<string | undefined>,
): Promise<UnreadableRows[]> {
  if (from === undefined || to === undefined) return [{ from: null, to: null, why }];
  const found: (Span & { why: string })[] = [];
  /** What cannot be read as a whole, the first last. */
  const left: (Span & { why: string })[] = [{ from, to, why }];
  let tries = 0;
  for (let span = left.pop(); span !== undefined; span = left.pop()) {
    if (span.to - span.from === 1n || tries >= LIMITS.unreadableProbes) {
      const last = found.at(-1);
      if (last?.to === span.from) last.to = span.to;
      else found.push(span);
      continue;
    }
    const middle = span.from + (span.to - span.from) / 2n;
    const halves = [
      { from: span.from, to: middle },
      { from: middle, to: span.to },
    ];
    const failed: (Span & { why: string })[] = [];
    for (const half of halves) {
      tries += 1;
      const reason = await tryRead({ bucket: "part", ...half });
      if (reason !== undefined) failed.push({ ...half, why: reason });
    }
    left.push(...failed.toReversed());
  }
  return found.map((span) => ({ from: span.from.toString(), to: (span.to - 1n).toString(), why: span.why }));
}

/** The range without those rows: its parts, in order. */
export function partsWithout({ bucket, from, to }: RangePlan, rows: readonly UnreadableRows[]): RangePlan[] {
  if (from === undefined || to === undefined) return rows.length === 0 ? [{ bucket }] : [];
  const parts: RangePlan[] = [];
  let next = from;
  for (const hole of rows) {
    if (hole.from === null || hole.to === null) return [];
    if (BigInt(hole.from) > next) parts.push({ bucket, from: next, to: BigInt(hole.from) });
    next = BigInt(hole.to) + 1n;
  }
  return next < to ? [...parts, { bucket, from: next, to }] : parts;
}

/** What the server said, without our own words; undefined for any error that does not say that rows cannot be read. */
export function whyUnreadable(error: unknown): string | undefined {
  if (!isFailure(error, "database/unreadable")) return undefined;
  return error.cause === undefined ? error.message : messageOf(error.cause);
}
