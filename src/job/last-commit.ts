/**
 * A time after the last commit of the log. Between two commits the database does not change, so it is the moment of that commit, where
 * it is known that no other came until then. A repository alone does not know that: where a watch was cut off, what was committed
 * afterwards never came. The watch's report does: it says at which time everything that the server had was stored.
 */
import { LIMITS } from "../base/limits.ts";
import { parseMicros } from "../point/continuous.ts";
import { nearest, type Range, type Window } from "../policy/window.ts";
import type { Repository } from "../repo/repository.ts";
import { isLsn, parseLsn } from "../wal/lsn.ts";
import { lookAtWindow } from "./continuous/list.ts";
import type { WatchStatus } from "./watch-book.ts";

export interface BeforeTime {
  /** The last commit before the time, where the database did not change from then on; undefined where that is not known. */
  readonly commitUs: bigint | undefined;
  /** The nearest moment before it that can be had. */
  readonly beforeUs: bigint | undefined;
}

/** What a repository has before a time that no window covers. @throws Failure of the store. */
export async function lookBefore(
  repository: Repository,
  { us, installation, report }: { us: bigint; installation: string; report: WatchStatus | undefined },
  { signal }: { signal: AbortSignal },
): Promise<BeforeTime> {
  const { window } = await lookAtWindow(repository, installation, { signal });
  return { commitUs: lastCommitBefore(window, us, report), beforeUs: nearest(window, us).beforeUs };
}

/**
 * @param us the time that is asked for, microseconds since 1970 by the server's clock.
 * @param report what a watch of the installation wrote down; undefined where there is none on this machine.
 * @returns the time of the last commit before it, where the database did not change from then on; undefined where that is not known.
 */
export function lastCommitBefore(window: Window, us: bigint, report: WatchStatus | undefined): bigint | undefined {
  const range = window.ranges.at(-1);
  const log = report?.log;
  if (range?.toUs === undefined || us <= range.toUs || log === undefined || log === null) return undefined;
  return isOfRange(log, range) && isQuietUntil(log.even, us, range) ? range.toUs : undefined;
}

function isOfRange({ systemId, timeline }: NonNullable<WatchStatus["log"]>, range: Range): boolean {
  return range.systemId === systemId && range.timeline === timeline;
}

/** A commit's time is taken before it is in the log: what was just being written then may have an earlier one. */
function isQuietUntil(even: NonNullable<WatchStatus["log"]>["even"], us: bigint, { to }: Range): boolean {
  const evenUs = parseMicros(even?.at);
  if (even === undefined || evenUs === undefined || !isLsn(even.lsn)) return false;
  return us + BigInt(LIMITS.commitSettlesMs) * 1000n <= evenUs && parseLsn(even.lsn) <= to;
}
