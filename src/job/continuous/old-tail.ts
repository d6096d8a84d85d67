/**
 * What an old primary wrote alone: a server that was promoted goes on from where its own log ended, and what came to the repositories
 * behind that is on no line of it. It is kept, and can be brought back by the old timeline's positions.
 */
import { join } from "node:path";
import { LIMITS } from "../../base/limits.ts";
import { parseGoTime } from "../../format/go-time.ts";
import type { Line } from "../../point/continuous.ts";
import type { Commit } from "../../point/wal-facts.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import type { TimelineHistory } from "../../wal/history.ts";
import { type Lsn, segmentStart } from "../../wal/lsn.ts";
import { type Continuous, listContinuous } from "./list.ts";
import { readCommits } from "./read-commits.ts";
import { openWal } from "./read-wal.ts";
import { standingOf } from "./take-up.ts";

/** Of one repository. */
export interface OldTail {
  /** The old timeline. */
  readonly line: Line;
  /** Where the next one left it, and up to where it is there. */
  readonly from: Lsn;
  readonly to: Lsn;
  /** When the repository got the first of what came after it, milliseconds since 1970; undefined where it has nothing of that. */
  readonly leftMs: number | undefined;
  /** Of the server; undefined where no base in the repository tells it. */
  readonly server: { readonly segmentBytes: number; readonly major: number } | undefined;
}

/** What a repository has of older timelines behind the positions at which the history of a line left them, the oldest first. */
export function oldTailsIn(
  found: Pick<Continuous, "bases" | "spans" | "journal">,
  { line, history }: { line: Line; history: TimelineHistory },
): OldTail[] {
  const spans = found.spans.filter(({ span }) => span.systemId === line.systemId);
  const base = found.bases.find((one) => one.base.systemId === line.systemId)?.base;
  const server = base === undefined ? undefined : { segmentBytes: base.segmentBytes, major: base.major };
  return history.parents.flatMap(({ timeline, switchLsn: from }) => {
    const old = { ...line, timeline };
    const stretches = spans.map(({ span }) => span);
    const to = standingOf(old, stretches, found.journal.objects, server?.segmentBytes ?? 1)?.durableTo ?? from;
    if (to <= from) return [];
    const after = spans
      .filter(({ span }) => span.timeline > timeline)
      .map(({ snapshot }) => parseGoTime(snapshot.time));
    const first = after.reduce<bigint | undefined>(
      (least, ns) => (least === undefined || ns < least ? ns : least),
      undefined,
    );
    return [{ line: old, from, to, leftMs: first === undefined ? undefined : Number(first / 1_000_000n), server }];
  });
}

export interface TailCommits {
  readonly count: number;
  /** In the log's order; undefined where there is none. */
  readonly last: Commit | undefined;
  /** The earliest and the latest of their times, which need not come in the log's order: microseconds since 1970. */
  readonly sinceUs: bigint;
  readonly untilUs: bigint;
}

/**
 * What was committed there. Server's own work counts, too, as that of autovacuum.
 * @returns undefined where that is more than is read for it, or cannot be read to its end.
 * @throws Failure of the store or the repository; the signal's reason.
 */
export async function commitsInTail(
  repository: Repository,
  { line, from, to, server }: Pick<OldTail, "line" | "from" | "to" | "server">,
  { signal }: { signal: AbortSignal },
): Promise<TailCommits | undefined> {
  if (server === undefined || to - from > BigInt(LIMITS.oldTailBytes)) return undefined;
  const { segmentBytes, major } = server;
  const { spans, journal, histories } = await listContinuous(repository, line.installation, { signal });
  const { systemId, timeline } = line;
  const legs = [{ timeline, from, to }];
  const wanted = { ...line, segmentBytes, legs, spans, journal: journal.objects, major, histories };
  await using folder = await openTemporaryFolder("chatkeep-tail");
  await using wal = await openWal(repository, wanted, join(folder.path, "put-together"), { signal });
  let commits: TailCommits = { count: 0, last: undefined, sinceUs: 0n, untilUs: 0n };
  let unread = Number(to - segmentStart(from, segmentBytes));
  const troubles = await readCommits(
    { wal, legs, major, systemId, segmentBytes, histories },
    {
      onCommit: (commit) => (commits = withCommit(commits, commit)),
      onBytes: (bytes) => (unread -= bytes),
      signal,
    },
  );
  return troubles.length > 0 || unread > 0 ? undefined : commits;
}

function withCommit({ count, sinceUs, untilUs }: TailCommits, { lsn, timeUs }: Commit): TailCommits {
  return {
    count: count + 1,
    last: { lsn, timeUs },
    sinceUs: count === 0 || timeUs < sinceUs ? timeUs : sinceUs,
    untilUs: timeUs > untilUs ? timeUs : untilUs,
  };
}
