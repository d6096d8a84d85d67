/** What of a repository serves a moment: which base, which stretch of the log after it, and where replaying ends. */
import { parseZonedInstant } from "../../base/clock.ts";
import { Failure, isFailure, messageOf } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import type { BaseFacts } from "../../point/base-facts.ts";
import { formatMicros } from "../../point/continuous.ts";
import { type AskedMoment, formatMoment, formatPosition, type Position } from "../../point/moment.ts";
import type { Sample } from "../../policy/set-back.ts";
import { type Leg, type Moment, nearest, placeOf, type Range, serve, type Window } from "../../policy/window.ts";
import type { ClusterFacts } from "../../postgres/recovery.ts";
import { needsEarlierBase } from "../../postgres/recovery-failure.ts";
import { isDamage } from "../../repo/chunk.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { traceOf } from "./dropped-database.ts";
import { type Continuous, listAndRead, type ListedBase, type ReadObjects, windowIn } from "./list.ts";
import type { MomentSource } from "./moment.ts";
import { readBase, readBaseFacts, readWalFacts } from "./read-base.ts";
import { openWal } from "./read-wal.ts";
import type { Passage } from "./set-back.ts";

export type SettledMoment = Exclude<AskedMoment, { kind: "now" }>;

/** A base that serves a moment, and the log that is replayed on it. */
export interface ServingBase {
  /** The moment: of `now`, the time of the last commit. */
  readonly asked: SettledMoment;
  readonly base: ListedBase;
  /** The timeline that the log ends on. */
  readonly timeline: number;
  readonly legs: readonly Leg[];
  /** True where all of the log is replayed: nothing in it was committed after the moment. */
  readonly isEnd: boolean;
  /** The log goes on there, and cannot be replayed. */
  readonly barrier?: Pick<Leg, "from" | "to"> | undefined;
  /** The end of the last commit in the log, where that is known. */
  readonly lastCommit: Lsn | undefined;
  /** The first moment from which on there is no gap up to it: microseconds since 1970. */
  readonly sinceUs: bigint;
  /** Times of the log's commits, as far as its lists tell. */
  readonly samples: readonly Sample[];
}

export interface SourceSearch {
  repository: Repository;
  installationId: string;
  asked: AskedMoment;
  signal: AbortSignal;
}

/**
 * The bases that serve a moment, the newest first: where it is not known when one was finished, the moment may lie before that,
 * and the one before serves it.
 * @throws Failure `moment/outside`, with the nearest moments that can be had.
 */
export async function findServingBases(
  search: SourceSearch,
): Promise<{ serving: ServingBase[]; continuous: Continuous }> {
  const { repository, installationId, asked, signal } = search;
  const { continuous, read } = await listAndRead(repository, installationId, { signal });
  const window = windowIn(continuous, read);
  const serving: ServingBase[] = [];
  let bases = continuous.bases;
  while (serving.length < LIMITS.servingBases) {
    const served = serve(windowIn({ ...continuous, bases }, read), momentOf(asked));
    if (served === undefined) break;
    const { range, base, legs } = served;
    bases = bases.filter(({ id }) => id !== base.id);
    const settled: SettledMoment = asked.kind === "now" ? { kind: "time", us: range.toUs ?? range.fromUs } : asked;
    const isEnd =
      settled.kind === "lsn" ? settled.lsn >= range.to : range.toUs === undefined || settled.us === range.toUs;
    const lastCommit = isEnd ? await lastCommitOf(legs, { ...continuous, commits: read.commits }, search) : undefined;
    serving.push({
      asked: settled,
      base: base.listed,
      timeline: range.timeline,
      legs,
      isEnd,
      barrier: barrierAt(window, range),
      lastCommit,
      sinceUs: range.fromUs,
      samples: range.samples.filter(({ to }) => to > base.from),
    });
  }
  if (serving.length === 0) throw outside(asked, window);
  return { serving, continuous };
}

/** A server that is handed the record there refuses it, and all that it has replayed. */
function barrierAt({ gaps }: Window, { systemId, timeline, to }: Range): ServingBase["barrier"] {
  return gaps.find(
    (one) => one.reason === "log-minimal" && one.systemId === systemId && one.timeline === timeline && one.from === to,
  );
}

function momentOf(asked: AskedMoment): Moment {
  if (asked.kind === "now") return "now";
  return asked.kind === "lsn" ? asked : { us: asked.us };
}

function outside(asked: AskedMoment, window: Window): Failure {
  if (window.ranges.length === 0) {
    return new Failure("moment/outside", "the repository has nothing that a moment could be recovered from", {
      hint: "Moments can be had while 'chatkeep watch' protects the installation. 'chatkeep list' shows the restore points.",
    });
  }
  return new Failure("moment/outside", `the moment ${formatMoment(asked)} cannot be had: ${nearestTo(asked, window)}`, {
    hint: "'now' is the newest moment; a restore point is named by its id, or as latest.",
  });
}

function nearestTo(asked: AskedMoment, window: Window): string {
  if (asked.kind === "lsn") {
    return `${noTimeline(asked, window)}the log is there from ${stretchesFor(asked, window).join(", and from ")}`;
  }
  const { beforeUs, afterUs } = nearest(window, asked.kind === "time" ? asked.us : 0n);
  const sides = [
    ...(beforeUs === undefined ? [] : [`the nearest before it is ${formatMicros(beforeUs)}`]),
    ...(afterUs === undefined ? [] : [`the nearest after it is ${formatMicros(afterUs)}`]),
  ];
  return sides.join(", ");
}

/** With their timelines where one was asked for: without, a stretch of another one may seem to have the position. */
function stretchesFor({ timeline }: Position, window: Window): string[] {
  if (timeline === undefined) {
    const wordOf = (range: Range, lsn: Lsn) => formatPosition(placeOf(window, { ...range, lsn }));
    return window.ranges.map((range) => `${wordOf(range, range.from)} to ${wordOf(range, range.to)}`);
  }
  const isAlone = new Set(window.ranges.map(({ systemId }) => systemId)).size === 1;
  const stretches = window.ranges.flatMap(({ systemId, legs, from, to }) =>
    legs
      .map((leg) => ({ ...leg, from: leg.from < from ? from : leg.from, to: leg.to < to ? leg.to : to }))
      .filter((leg) => leg.from < leg.to)
      .map((leg) => {
        const wordOf = (lsn: Lsn) => formatPosition({ lsn, timeline: leg.timeline, ...(isAlone ? {} : { systemId }) });
        return `${wordOf(leg.from)} to ${wordOf(leg.to)}`;
      }),
  );
  // Two ranges may have a parent in common.
  return [...new Set(stretches)];
}

/** Of a timeline of which nothing is there. */
function noTimeline({ timeline, systemId }: Position, { ranges, gaps }: Window): string {
  if (timeline === undefined) return "";
  const known = [...ranges.flatMap((range) => range.legs.map((leg) => ({ ...range, ...leg }))), ...gaps].filter(
    (one) => systemId === undefined || one.systemId === systemId,
  );
  if (known.some((one) => one.timeline === timeline)) return "";
  const of = systemId === undefined ? "" : ` of the cluster ${systemId}`;
  return `there is no timeline ${timeline}${of} here; `;
}

/** Of the newest piece of the last leg that has one. */
async function lastCommitOf(
  legs: readonly Leg[],
  { spans, journal, commits }: Continuous & Pick<ReadObjects, "commits">,
  { repository, signal }: SourceSearch,
): Promise<Lsn | undefined> {
  const leg = legs.at(-1);
  if (leg === undefined) return undefined;
  const inLeg = ({ timeline, from, to }: { timeline: number; from: Lsn; to: Lsn }) =>
    timeline === leg.timeline && from < leg.to && to > leg.from && to <= leg.to;
  const young = journal.objects
    .filter(inLeg)
    .map(({ name }) => commits.get(name)?.last?.lsn)
    .findLast((lsn) => lsn !== undefined);
  if (young !== undefined) return young;
  const last = spans
    .filter(({ span }) => inLeg(span) && span.lastCommitUs !== undefined)
    .toSorted((a, b) => (a.span.to < b.span.to ? -1 : 1))
    .at(-1);
  return last === undefined ? undefined : (await readWalFacts(repository, last, { signal })).commits.last?.lsn;
}

/**
 * Does with the first base that will do what is to be done with a moment: one that was being taken then is passed over, and one that is
 * damaged is told and passed over, for the one before it serves the same moment with more of the log.
 * @param options `isProof`: what is damaged is not passed over.
 * @throws what the attempts threw: of several the first that tells of damage, else the last.
 */
export async function withServingBase<T>(
  serving: readonly ServingBase[],
  attempt: (served: ServingBase) => Promise<T>,
  { progress, isProof = false }: { progress: Progress; isProof?: boolean },
): Promise<T> {
  let damaged: Failure | undefined;
  let last: unknown;
  for (const [at, served] of serving.entries()) {
    try {
      return await attempt(served);
    } catch (error) {
      last = error;
      if (needsEarlierBase(error)) continue;
      const isDamaged = isFailure(error, "recovery/damaged") && !isProof;
      if (!isDamaged) throw damaged ?? error;
      damaged ??= error;
      const before = serving[at + 1]?.base.base.beganUs;
      if (before === undefined) continue;
      const next = `the base of ${formatMicros(before)} is taken in its place, with more of the log to replay`;
      progress.say(`${error.message}; ${next}. 'chatkeep verify --read-data' says what else is touched`);
    }
  }
  throw damaged ?? last;
}

/** What reads a base says of it. */
async function ofBase<T>({ id, base }: ListedBase, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
    throw new Failure(
      "recovery/damaged",
      `the base ${id.slice(0, 8)} of ${formatMicros(base.beganUs)} is damaged: ${messageOf(error)}`,
      {
        hint: "Moments that another base serves, and every restore point, are untouched; 'chatkeep verify --read-data' says what else is damaged, and 'chatkeep repair packs' mends what another repository has.",
        cause: error,
      },
    );
  }
}

export interface OpenedSource extends MomentSource, AsyncDisposable {}

/** Opens what a base serves a moment with. What is read of the log lies in a temporary folder until it is handed on. */
export async function openMomentSource(
  { asked, base: listed, timeline, legs, isEnd, barrier, lastCommit }: ServingBase,
  continuous: Continuous,
  {
    repository,
    database,
    roles,
    passage,
    progress,
    signal,
  }: {
    repository: Repository;
    /** The one that is to be read: its extensions are needed. */
    database: string | undefined;
    roles: readonly string[];
    /** Of a time. */
    passage?: Passage | undefined;
    progress: Progress;
    signal: AbortSignal;
  },
): Promise<OpenedSource> {
  const { base } = listed;
  const { spans, journal, histories } = continuous;
  const facts = await ofBase(listed, async () => await readBaseFacts(repository, listed, { signal }));
  const folder = await openTemporaryFolder("chatkeep-wal");
  try {
    const { installation, systemId, segmentBytes, major } = base;
    const log = { spans, journal: journal.objects, major, histories };
    // A server that is to stop before a record must see it.
    const own =
      isEnd && barrier !== undefined
        ? legs.map((leg) => (leg.to === barrier.from ? { ...leg, to: barrier.to } : leg))
        : legs;
    const isOpenEnd = !isEnd || barrier !== undefined;
    const wanted = { installation, systemId, segmentBytes, legs: own, ...log, isOpenEnd };
    const wal = await openWal(repository, wanted, folder.path, { signal });
    return {
      systemId,
      timeline,
      base: listed.id,
      from: base.from,
      cluster: clusterOf(facts, { database, roles }),
      wal,
      target: isEnd ? endAt(barrier) : passage?.lsn === undefined ? asked : { kind: "lsn", lsn: passage.lsn },
      findings: passage?.findings ?? [],
      ...soundFrom(facts),
      ...(lastCommit === undefined ? {} : { reach: lastCommit }),
      trace: traceOf(facts, wal, continuous, legs),
      files: async (data) => {
        await ofBase(listed, async () => await readBase(repository, listed, data, { signal, progress }));
      },
      async [Symbol.asyncDispose]() {
        await wal[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

function endAt(barrier: ServingBase["barrier"]): MomentSource["target"] {
  return barrier === undefined ? { kind: "end" } : { kind: "lsn", lsn: barrier.from };
}

/** The label is written when the checkpoint is over, and says so to the second. Zones have names that mean several things. */
function soundFrom({ backupLabel, base }: BaseFacts): { soundFromUs?: bigint } {
  if (base.endedUs !== undefined) return { soundFromUs: base.endedUs };
  const [, day, time] = /^START TIME: (\S+) (\S+) (?:UTC|GMT)$/m.exec(backupLabel) ?? [];
  const ms = day === undefined ? undefined : parseZonedInstant(`${day}T${time ?? ""}Z`);
  return ms === undefined ? {} : { soundFromUs: BigInt(ms + 1000) * 1000n };
}

function clusterOf(
  { base, databases, settings }: BaseFacts,
  { database, roles }: { database: string | undefined; roles: readonly string[] },
): ClusterFacts {
  const read = databases.filter(({ name }) => database === undefined || name === database);
  const extensions = read.flatMap(({ extensions: own = [] }) => own.map(({ name }) => name));
  const locales = databases.flatMap(({ collate, ctype }) => [collate, ctype]).filter((name) => name !== null);
  return {
    major: base.major,
    segmentBytes: base.segmentBytes,
    bytes: base.bytes,
    extensions: [...new Set(extensions)],
    locales: [...new Set(locales)],
    settings,
    roles,
  };
}
