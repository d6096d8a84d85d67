/**
 * A time that a server's clock had more than once, because it was set back: which position is meant. A recovery to a time would stop where the
 * log passes it first, and one that ran ahead for a minute passes years of it; the last passage counts, and it is said.
 */
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { formatMicros } from "../../point/continuous.ts";
import { formatPosition } from "../../point/moment.ts";
import { passagesOf, type Sample } from "../../policy/set-back.ts";
import { type Leg, placeAlong } from "../../policy/window.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { type Continuous, windowIn } from "./list.ts";
import type { ServingBase } from "./moment-source.ts";
import { readCommits } from "./read-commits.ts";
import { openWal } from "./read-wal.ts";

export interface Passage {
  /** The end of the last commit that is no later than the time; undefined where the clock had it once. */
  readonly lsn: Lsn | undefined;
  readonly findings: readonly Finding[];
}

/**
 * @returns undefined for what is no time, and for the end of the log.
 * @throws Failure of the store.
 */
export async function passageOf(
  served: ServingBase,
  continuous: Continuous,
  {
    repository,
    clock,
    progress,
    signal,
  }: { repository: Repository; clock: Clock; progress: Progress; signal: AbortSignal },
): Promise<Passage | undefined> {
  const { asked, base, timeline, isEnd, samples } = served;
  if (asked.kind !== "time" || isEnd) return undefined;
  const { us } = asked;
  const ahead = aheadFindings(samples, us, clock.now());
  const stretches = passagesOf(samples, us);
  if (stretches.length === 0) return { lsn: undefined, findings: ahead };
  progress.stage("looking where the log passes the time");
  // The last passage and the first may lie in one stretch: it is read once.
  const read = new Map<Pick<Leg, "from" | "to">, Lsn[]>();
  const passed = async (stretch: Pick<Leg, "from" | "to">) => {
    const found = read.get(stretch) ?? (await passagesIn(stretch, us, served, continuous, { repository, signal }));
    read.set(stretch, found);
    return found;
  };
  let lsn: Lsn | undefined;
  for (const stretch of stretches) {
    lsn = (await passed(stretch)).at(-1);
    if (lsn !== undefined) break;
  }
  if (lsn === undefined) return { lsn, findings: ahead };
  let first = lsn;
  for (const stretch of stretches.toReversed()) {
    const [found] = await passed(stretch);
    if (found === undefined) continue;
    first = found;
    break;
  }
  const { systemId } = base.base;
  const window = windowIn(continuous);
  const wordOf = (at: Lsn) => formatPosition(placeAlong(window, { systemId, timeline, lsn: at }));
  return { lsn, findings: [...ahead, ...(first === lsn ? [] : [twiceFinding(us, wordOf(lsn), wordOf(first))])] };
}

/** What is dated in the future was committed before now: perhaps before the time that is asked for. */
function aheadFindings(samples: readonly Sample[], us: bigint, nowMs: number): Finding[] {
  const next = samples[samples.findLastIndex((sample) => sample.us <= us) + 1];
  const nowUs = BigInt(Math.trunc(nowMs + LIMITS.clockOffMs)) * 1000n;
  if (next === undefined || next.us <= nowUs || us > nowUs) return [];
  return [
    {
      kind: "moment-clock-ahead",
      level: "warning",
      message: `the log goes on behind this moment with commits that are dated in the future, from ${formatMicros(next.us)} on: the server's clock was ahead, and some of them may have been committed before it`,
      hint: "'now' has all of them. 'chatkeep moments' shows each with its position, which depends on no clock: name the one that you want.",
    },
  ];
}

function twiceFinding(us: bigint, last: string, first: string): Finding {
  return {
    kind: "moment-clock-set-back",
    level: "note",
    message: `the server's clock was set back, and had ${formatMicros(us)} more than once: the last time is taken, ${last}; the first is ${first}`,
    hint: "'chatkeep moments' shows what was committed, with positions, which depend on no clock: name the one that you want.",
  };
}

/** The ends of commits behind which one comes that is later than a time, where they are not. */
async function passagesIn(
  { from, to }: Pick<Leg, "from" | "to">,
  us: bigint,
  { base: { base }, legs }: ServingBase,
  { spans, journal, histories }: Continuous,
  { repository, signal }: { repository: Repository; signal: AbortSignal },
): Promise<Lsn[]> {
  const { installation, systemId, segmentBytes, major } = base;
  const within = legs
    .map((leg) => ({ ...leg, from: leg.from > from ? leg.from : from, to: leg.to < to ? leg.to : to }))
    .filter((leg) => leg.from < leg.to);
  await using folder = await openTemporaryFolder("chatkeep-passage");
  const log = { spans, journal: journal.objects, major, histories };
  const wanted = { installation, systemId, segmentBytes, legs: within, ...log };
  await using wal = await openWal(repository, wanted, join(folder.path, "put-together"), { signal });
  const passages: Lsn[] = [];
  let before: Lsn | undefined;
  await readCommits(
    { wal, legs: within, major, systemId, segmentBytes, histories },
    {
      onCommit: ({ timeUs, lsn }) => {
        if (timeUs > us && before !== undefined) passages.push(before);
        before = timeUs > us ? undefined : lsn;
      },
      hasAborts: true,
      onBytes: () => {},
      signal,
    },
  );
  return passages;
}
