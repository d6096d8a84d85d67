/**
 * What an old primary wrote alone: a server that was promoted goes on from where its own log ended, and what came to the repositories
 * behind that is on no line of it. It is kept, and can be brought back by the old timeline's positions.
 */
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { isFailure, type Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line } from "../../point/continuous.ts";
import type { Commit } from "../../point/wal-facts.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import { type Lsn, parseSegmentName, segmentStart } from "../../wal/lsn.ts";
import { createWalReader } from "../../wal/reader.ts";
import { listContinuous } from "./list.ts";
import { openWal } from "./read-wal.ts";
import type { Standing } from "./take-up.ts";

export interface OldTail {
  /** The old timeline. */
  readonly line: Line;
  /** Where the new one left it, and up to where it is there. */
  readonly from: Lsn;
  readonly to: Lsn;
  /** The repositories that have something of it, the one that has most first. */
  readonly repositories: readonly string[];
  readonly segmentBytes: number;
  readonly major: number;
}

/** What is there of a timeline behind the position at which the next one left it; undefined where nothing is. */
export function oldTailOf(
  { line, at }: { line: Line; at: Lsn },
  standings: readonly {
    readonly place: { readonly name: string };
    readonly standing: Standing | undefined | Failure;
  }[],
  facts: Pick<OldTail, "segmentBytes" | "major">,
): OldTail | undefined {
  const having = standings
    .flatMap(({ place, standing }) =>
      standing === undefined || isFailure(standing) ? [] : [{ name: place.name, to: standing.durableTo }],
    )
    .filter(({ to }) => to > at)
    .toSorted((a, b) => (a.to > b.to ? -1 : a.to < b.to ? 1 : 0));
  const [most] = having;
  if (most === undefined) return undefined;
  return { line, from: at, to: most.to, repositories: having.map(({ name }) => name), ...facts };
}

export interface TailCommits {
  readonly count: number;
  /** In the log's order; undefined where there is none. */
  readonly first: Commit | undefined;
  readonly last: Commit | undefined;
}

/**
 * What was committed there. Server's own work counts, too, as that of autovacuum.
 * @returns undefined where that is more than is read for it, or cannot be read to its end.
 * @throws Failure of the store or the repository; the signal's reason.
 */
export async function commitsInTail(
  repository: Repository,
  { line, from, to, segmentBytes, major }: Omit<OldTail, "repositories">,
  { signal }: { signal: AbortSignal },
): Promise<TailCommits | undefined> {
  if (to - from > BigInt(LIMITS.oldTailBytes)) return undefined;
  const { spans, journal, histories } = await listContinuous(repository, line.installation, { signal });
  const { systemId, timeline } = line;
  const history = histories.find((one) => one.systemId === systemId && one.timeline === timeline);
  const legs = [{ timeline, from, to }];
  const wanted = { ...line, segmentBytes, legs, spans, journal: journal.objects, major, histories };
  await using folder = await openTemporaryFolder("chatkeep-tail");
  await using wal = await openWal(repository, wanted, join(folder.path, "put-together"), { signal });
  const start = segmentStart(from, segmentBytes);
  const reader = createWalReader({ from: start, major, systemId, timeline: history ?? timeline, segmentBytes });
  let count = 0;
  let first: Commit | undefined;
  let last: Commit | undefined;
  const path = join(folder.path, "segment");
  for (const name of wal.names) {
    const segment = parseSegmentName(name, segmentBytes);
    if (segment?.timeline !== timeline || segment.start !== reader.position || segment.start >= to) continue;
    await wal.fetch(name, path);
    // Behind the end lies what belongs to nobody.
    const end = Number(to - segment.start) - 1;
    for await (const bytes of createReadStream(path, { highWaterMark: LIMITS.walChunkBytes, end, signal })) {
      const { events, problem } = reader.push(bytes as Buffer);
      if (problem !== undefined) return undefined;
      for (const event of events) {
        if (event.kind !== "commit" || event.lsn <= from || event.lsn > to) continue;
        count += 1;
        last = { lsn: event.lsn, timeUs: event.timeUs };
        first ??= last;
      }
    }
    await rm(path, { force: true });
  }
  return reader.position < to ? undefined : { count, first, last };
}
