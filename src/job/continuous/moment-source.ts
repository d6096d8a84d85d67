/** What of a repository serves a moment: which base, which stretch of the log after it, and where replaying ends. */
import { parseZonedInstant } from "../../base/clock.ts";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import type { BaseFacts } from "../../point/base-facts.ts";
import { formatMicros } from "../../point/continuous.ts";
import type { AskedMoment } from "../../point/moment.ts";
import type { Commit } from "../../point/wal-facts.ts";
import type { ClusterFacts } from "../../postgres/recovery.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import { readJournals } from "./journal.ts";
import { type Continuous, type ListedBase, type ListedSpan, listContinuous } from "./list.ts";
import type { MomentSource } from "./moment.ts";
import { readBase, readBaseFacts, readWalFacts } from "./read-base.ts";
import { openWal } from "./read-wal.ts";

export type SettledMoment = Exclude<AskedMoment, { kind: "now" }>;

/** A base that serves a moment, with the log after it as far as it goes without a gap. */
export interface ServingBase {
  /** The moment: of `now`, the time of the last commit. */
  readonly asked: SettledMoment;
  readonly base: ListedBase;
  /** Up to where the log is there. */
  readonly reached: Lsn;
  /** The last commit in it; undefined where it has none. */
  readonly last: Commit | undefined;
}

export interface SourceSearch {
  repository: Repository;
  installationId: string;
  asked: AskedMoment;
  signal: AbortSignal;
}

/**
 * The bases that serve a moment, the newest first: of one that was being taken at that moment, the one before serves it.
 * @throws Failure `moment/outside`, with the nearest moment that can be had.
 */
export async function findServingBases(
  search: SourceSearch,
): Promise<{ serving: ServingBase[]; continuous: Continuous }> {
  const { repository, installationId, asked, signal } = search;
  const continuous = await listContinuous(repository, installationId, { signal });
  const newestFirst = continuous.bases.toSorted((a, b) => Number(b.base.beganUs - a.base.beganUs));
  const oldest = newestFirst.at(-1);
  if (oldest === undefined) {
    throw new Failure("moment/outside", "the repository has no base that a moment could be recovered from", {
      hint: "Moments can be had while 'chatkeep watch' protects the installation. 'chatkeep list' shows the restore points.",
    });
  }
  const before = newestFirst.filter(({ base }) => {
    if (asked.kind === "now") return true;
    return asked.kind === "lsn" ? base.to <= asked.lsn : base.beganUs <= asked.us;
  });
  if (before.length === 0) {
    const from = asked.kind === "lsn" ? formatLsn(oldest.base.to) : formatMicros(oldest.base.beganUs);
    throw outside(asked, `the oldest base is of ${from}`);
  }
  const serving: ServingBase[] = [];
  let ends = "";
  for (const base of before) {
    const log = await logAfter(base, continuous, search);
    const settled = settle(asked, base, log);
    if (settled !== undefined) serving.push({ ...log, base, asked: settled });
    else ends ||= endOf(asked, log);
    if (serving.length === LIMITS.servingBases) break;
  }
  if (serving.length > 0) return { serving, continuous };
  throw outside(asked, ends);
}

type Log = Pick<ServingBase, "reached" | "last">;

/** `now` is the last commit that is there; a time after that may have seen others. */
function settle(asked: AskedMoment, { base }: ListedBase, { reached, last }: Log): SettledMoment | undefined {
  // Without the log that was written while it was taken, a base is not consistent.
  if (reached < base.to) return undefined;
  if (asked.kind === "now") return { kind: "time", us: last?.timeUs ?? base.beganUs };
  if (asked.kind === "lsn") return asked.lsn <= reached ? asked : undefined;
  return last !== undefined && asked.us <= last.timeUs ? asked : undefined;
}

function endOf({ kind }: AskedMoment, { reached, last }: Log): string {
  if (kind === "lsn") return `the log after its base is there up to ${formatLsn(reached)}`;
  return last === undefined
    ? "the log after its base has no commit"
    : `the last commit in the log after its base is of ${formatMicros(last.timeUs)}`;
}

function outside(asked: AskedMoment, why: string): Failure {
  const shown = asked.kind === "now" ? "now" : asked.kind === "lsn" ? formatLsn(asked.lsn) : formatMicros(asked.us);
  return new Failure("moment/outside", `the moment ${shown} cannot be had: ${why}`, {
    hint: "'chatkeep list' shows from when to when any moment can be had; 'now' is the newest.",
  });
}

/** How far the log goes on without a gap after a base, by what tags and names say; commits of the journal are read. */
async function logAfter(
  { base }: ListedBase,
  { spans, journal }: Continuous,
  { repository, signal }: SourceSearch,
): Promise<Log> {
  const isOurs = ({ systemId, timeline }: { systemId: string; timeline: number }) =>
    systemId === base.systemId && timeline === base.timeline;
  const pieces = [
    ...spans
      .filter(({ span }) => isOurs(span))
      .map((span) => ({ from: span.span.from, to: span.span.to, span, object: undefined })),
    ...journal.objects.filter(isOurs).map((object) => ({ from: object.from, to: object.to, span: undefined, object })),
  ].toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  let reached = base.from;
  let newest: ListedSpan | undefined;
  const young: (typeof journal.objects)[number][] = [];
  for (const { from, to, span, object } of pieces) {
    if (from > reached || to <= reached) continue;
    reached = to;
    if (object !== undefined) young.push(object);
    if (span?.span.lastCommitUs !== undefined) newest = span;
  }
  let last = newest === undefined ? undefined : (await readWalFacts(repository, newest, { signal })).commits.last;
  const options = { signal, onRefused: () => {} };
  for await (const { commits } of readJournals(repository, young, options)) last = commits.last ?? last;
  return { reached, last };
}

export interface OpenedSource extends MomentSource, AsyncDisposable {}

/** Opens what a base serves a moment with. What is read of the log lies in a temporary folder until it is handed on. */
export async function openMomentSource(
  { asked, base: listed, reached, last }: ServingBase,
  { spans, journal }: Continuous,
  {
    repository,
    database,
    roles,
    progress,
    signal,
  }: {
    repository: Repository;
    /** The one that is to be read: its extensions are needed. */
    database: string | undefined;
    roles: readonly string[];
    progress: Progress;
    signal: AbortSignal;
  },
): Promise<OpenedSource> {
  const { base } = listed;
  const facts = await readBaseFacts(repository, listed, { signal });
  const folder = await openTemporaryFolder("chatkeep-wal");
  try {
    const { installation, systemId, timeline, segmentBytes } = base;
    const legs = [{ timeline, from: base.from, to: reached }];
    const wanted = { installation, systemId, segmentBytes, legs, spans, journal: journal.objects };
    const wal = await openWal(repository, wanted, folder.path, { signal });
    const isEnd = asked.kind === "time" ? last === undefined || asked.us >= last.timeUs : asked.lsn >= reached;
    return {
      systemId,
      timeline,
      base: listed.id,
      cluster: clusterOf(facts, { database, roles }),
      wal,
      target: isEnd ? { kind: "end" } : asked,
      ...soundFrom(facts),
      ...(isEnd && last !== undefined ? { reach: last.lsn } : {}),
      files: async (data) => void (await readBase(repository, listed, data, { signal, progress })),
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

/** The label is written when the checkpoint is over, and says so to the second. Zones have names that mean several things. */
function soundFrom({ backupLabel }: BaseFacts): { soundFromUs?: bigint } {
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
