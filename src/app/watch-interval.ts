/** Where the log cannot be had: a restore point every few minutes, but never so often that reading the database is most of what the server does. */
import { formatSpan, plural } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { failureOf, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Point } from "../job/points.ts";
import type { WatchBook } from "../job/watch-book.ts";
import type { BackupSummary } from "../job/summaries.ts";
import { INTERVAL_TAG } from "../point/layout.ts";
import { runBackup } from "./back-up.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface IntervalOptions {
  readonly everyMs: number;
  readonly book: WatchBook;
  /** The restore points of the installation that the repository has, whoever made them. */
  readonly points: () => Promise<readonly SeenPoint[]>;
}

/** What of a point says whose it is. */
export type SeenPoint = Pick<Point, "id" | "snapshot">;

/** Until the signal is aborted; a point that cannot be made is told, and the next one tried. @throws the signal's reason. */
export async function makePoints(
  { everyMs, book, points }: IntervalOptions,
  globals: Globals,
  s: Surroundings,
): Promise<never> {
  const others = new OtherPoints();
  for (;;) {
    const beganMs = s.clock.now();
    const began = s.clock.monotonic();
    const made = await makePoint(book, globals, s);
    const tookMs = s.clock.monotonic() - began;
    const least = tookMs * LIMITS.intervalShare;
    const next = Math.max(everyMs, least);
    const slow = least > everyMs && made !== undefined;
    book.find("interval", ...(slow ? [slowFinding(everyMs, tookMs, next)] : []));
    if (made !== undefined) {
      const last = formatInstant(beganMs);
      book.pointMade({ last, seconds: made.seconds, next: formatInstant(beganMs + next) });
      const found = made.point === null ? [] : others.look(await seen(points, s), made.point);
      if (found.length > 0) book.happened("other-watch", otherFinding(found));
    }
    await s.clock.sleep(Math.max(0, next - tookMs), s.signal);
  }
}

async function makePoint(book: WatchBook, globals: Globals, s: Surroundings): Promise<BackupSummary | undefined> {
  try {
    const summary = await runBackup(globals, { full: false, tags: [INTERVAL_TAG], dryRun: false }, s);
    book.find("point", ...summary.findings);
    return summary;
  } catch (error) {
    s.signal.throwIfAborted();
    const failure = failureOf(error);
    if (failure.code === "internal/bug") throw error;
    book.pointTrouble(failure);
    return undefined;
  }
}

/** That it cannot be looked at tells the next point. */
async function seen(points: IntervalOptions["points"], s: Surroundings): Promise<readonly SeenPoint[] | undefined> {
  try {
    return await points();
  } catch (error) {
    s.signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return undefined;
  }
}

/**
 * Points that another watch makes. Where the log is followed the server keeps two of them apart, by the slot; here nobody does. By
 * names, as two machines' clocks differ.
 */
export class OtherPoints {
  #known: Set<string> | undefined;

  /**
   * @param own the point that was made just now.
   * @returns those that came from another watch since the last look; none at the first.
   */
  look(points: readonly SeenPoint[] | undefined, own: string): SeenPoint[] {
    this.#known?.add(own);
    if (points === undefined) return [];
    // What was copied here was made elsewhere, and before.
    const made = points.filter(({ snapshot }) => {
      return snapshot.original === undefined && snapshot.tags?.includes(INTERVAL_TAG) === true;
    });
    const known = this.#known;
    this.#known = new Set([own, ...made.map(({ id }) => id)]);
    return known === undefined ? [] : made.filter(({ id }) => !known.has(id));
  }
}

function otherFinding(found: readonly SeenPoint[]) {
  return {
    kind: "other-watch",
    level: "warning",
    message: `another watch of this installation makes restore points in the same repository: ${plural(found.length, "point")} came between the last two of this one`,
    hint: "One is enough: two read the whole database twice as often. End the other one: 'chatkeep watch --remove' on its machine. If it is the one that should run, end this one.",
  } as const;
}

function slowFinding(everyMs: number, tookMs: number, nextMs: number) {
  const [asked, took, next] = [everyMs, tookMs, nextMs].map((ms) => formatSpan(ms / 1000));
  return {
    kind: "interval-too-short",
    level: "note",
    message: `a restore point is made every ${next}, not every ${asked}: each takes ${took}`,
    hint: "So most of the server's work stays Chatwoot's. A longer watch.interval says the same; a role that may replicate lets the log be followed instead.",
  } as const;
}
