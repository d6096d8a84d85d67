/** Where the log cannot be had: a restore point every few minutes, but never so often that reading the database is most of what the server does. */
import { formatSpan } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { failureOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { WatchBook } from "../job/watch-book.ts";
import type { BackupSummary } from "../job/summaries.ts";
import { INTERVAL_TAG } from "../point/layout.ts";
import { runBackup } from "./back-up.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface IntervalOptions {
  readonly everyMs: number;
  readonly book: WatchBook;
}

/** Until the signal is aborted; a point that cannot be made is told, and the next one tried. @throws the signal's reason. */
export async function makePoints(
  { everyMs, book }: IntervalOptions,
  globals: Globals,
  s: Surroundings,
): Promise<never> {
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

function slowFinding(everyMs: number, tookMs: number, nextMs: number) {
  const [asked, took, next] = [everyMs, tookMs, nextMs].map((ms) => formatSpan(ms / 1000));
  return {
    kind: "interval-too-short",
    level: "note",
    message: `a restore point is made every ${next}, not every ${asked}: each takes ${took}`,
    hint: "So most of the server's work stays Chatwoot's. A longer watch.interval says the same; a role that may replicate lets the log be followed instead.",
  } as const;
}
