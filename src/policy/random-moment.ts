/** A moment by chance, so that over the weeks every part of a window is proven and not its newest end alone. */
import type { Window } from "./window.ts";

/**
 * Every moment of the window is as likely as any other. A range in which nothing was committed has none.
 * @param below gives a number from 0 on, smaller than the one that it is given.
 * @returns microseconds since 1970; undefined where the window has no moment.
 */
export function randomMoment({ ranges }: Window, below: (end: bigint) => bigint): bigint | undefined {
  const spans = ranges.flatMap(({ fromUs, toUs }) =>
    toUs === undefined || toUs < fromUs ? [] : [{ fromUs, length: toUs - fromUs + 1n }],
  );
  const total = spans.reduce((sum, { length }) => sum + length, 0n);
  if (total === 0n) return undefined;
  let at = below(total);
  for (const { fromUs, length } of spans) {
    if (at < length) return fromUs + at;
    at -= length;
  }
  return undefined;
}
