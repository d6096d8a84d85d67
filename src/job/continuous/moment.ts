/**
 * A moment becomes a restore point: the cluster is recovered as it was then in a private folder, and what comes back is saved
 * as an installation's own database would be. So everything that is done with restore points is done with moments, too.
 */
import { recoveredFindings } from "./moment-findings.ts";
import { type Clock, formatInstant } from "../../base/clock.ts";
import { type Finding, sortFindings } from "../../base/findings.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { Progress } from "../../base/progress.ts";
import { formatGoTime } from "../../format/go-time.ts";
import type { Installation } from "../../installation/installation.ts";
import { formatMicros } from "../../point/continuous.ts";
import { type AskedMoment, isSameMoment, momentOf, momentTags } from "../../point/moment.ts";
import type { ProofCheck } from "../../point/proof.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import {
  type ClusterFacts,
  recover,
  type Recovered,
  type RecoveryOptions,
  type RecoveryTarget,
} from "../../postgres/recovery.ts";
import { earlierBaseNeeded } from "../../postgres/recovery-failure.ts";
import type { WalSource } from "../../postgres/recovery-wal.ts";
import type { ScratchPlaces } from "../../postgres/scratch.ts";
import type { Repository } from "../../repo/repository.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import type { BackupOptions } from "../backup.ts";
import { checkBaseFiles, checkRecovered } from "../check-recovered.ts";
import { type DatabaseTrace, recoverDatabase } from "./dropped-database.ts";
import { gatherMoment, neighboursOf } from "../moment-parts.ts";
import { type Point, pointListOf, type PointList } from "../points.ts";
import type { RecoveryMeasure } from "../recovery-pace.ts";
import type { BackupSummary } from "../summaries.ts";

/** What serves a moment: a base, the log after it, and where replaying ends. */
export interface MomentSource {
  /** The cluster's system identifier, in decimal. */
  readonly systemId: string;
  /** The timeline that the moment lies on. */
  readonly timeline: number;
  readonly base: SnapshotId;
  /** Where replaying begins. */
  readonly from: Lsn;
  readonly cluster: ClusterFacts;
  readonly wal: WalSource;
  /** Where the log ends before the moment, because nothing was committed any more, that is its end. */
  readonly target: RecoveryTarget;
  /** Microseconds since 1970: what lies in the base without being replayed was surely committed before; unknown: undefined. */
  readonly soundFromUs?: bigint;
  /** What must have been replayed then. */
  readonly reach?: Lsn;
  /** What whoever asked for the moment must know of it. */
  readonly findings?: readonly Finding[];
  /** Where a database of it went; undefined where nobody knows. */
  readonly trace?: DatabaseTrace;
  /** Puts the base's files into a folder, which it makes. */
  files(data: string): Promise<void>;
}

/** What a recovery is told of it. */
export function recoveryOf(
  source: MomentSource,
): Pick<RecoveryOptions, "cluster" | "files" | "wal" | "timeline" | "target" | "reach"> {
  const { cluster, wal, timeline, target, reach } = source;
  const files = async (data: string) => await source.files(data);
  return { cluster, files, wal, timeline, target, ...(reach === undefined ? {} : { reach }) };
}

export interface MomentOptions {
  repository: Repository;
  /** Where the moment lies; never `now`, which somebody has made a time of. */
  asked: Exclude<AskedMoment, { kind: "now" }>;
  source: MomentSource;
  identity: { id: string; name: string };
  /** As it is now: where its storage is. */
  installation: Installation;
  /** Chatwoot's database; by default the one that the nearest point is of. */
  database: string | undefined;
  scratch: ScratchPlaces;
  /** Told each check of the recovered cluster, and how long recovering it took, in seconds; without it nothing is checked. */
  proving?: MomentProving | undefined;
  /** Told what it took, when the point is there. */
  onMade?: ((measure: RecoveryMeasure) => Promise<void>) | undefined;
  /** Makes a point of the database at an address. */
  backup: (made: Pick<BackupOptions, "address" | "moment" | "findings">) => Promise<BackupSummary>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** What was proven of a cluster before a point was made of it. */
export interface MomentProving {
  checks: ProofCheck[];
  recoverySeconds: number;
}

/**
 * The point that was made of a moment already; undefined where there is none.
 * @param line `reach`: what it must have, where the log's end is meant. A clock that was set back gives the same time to what was
 * committed since.
 */
export function findMoment(
  { moments }: PointList,
  asked: MomentOptions["asked"],
  line: { installationId: string; systemId: string; timeline: number; reach?: Lsn | undefined },
): Point | undefined {
  return moments.find((point) => {
    const facts = momentOf(point.snapshot.tags);
    if (point.installationId !== line.installationId || facts === undefined) return false;
    return isSameMoment(facts, asked, line) && (line.reach === undefined || facts.replayedTo >= line.reach);
  });
}

/**
 * Makes a restore point of a moment. The same moment again is the same point: ask {@link findMoment} before.
 * @throws Failure as a recovery and as a backup.
 */
export async function makeMoment(options: MomentOptions): Promise<BackupSummary> {
  const { repository, source, identity, proving, clock, progress, signal } = options;
  const listed = await repository.listSnapshots({ signal });
  const list = pointListOf(repository, listed);
  await repository.loadIndex({ signal });
  const found = await recoverDatabase(source, {
    recoverTo: async (from) => await recoverTimed({ ...options, source: from }),
    addressOf: async (made) => {
      refuseUnsound(options, made);
      return await addressOf(made, options, list, Number(momentUs(options, made) / 1000n));
    },
    progress,
    signal,
  });
  const { address } = found;
  const { folder, base, log, ...timed } = found.made;
  await using recovered = timed.recovered;
  const us = momentUs(options, recovered);
  const momentMs = Number(us / 1000n);
  const { configurationOf, ...parts } = await gatherMoment({
    repository,
    points: list.points,
    snapshots: listed.snapshots,
    installation: options.installation,
    installationId: identity.id,
    momentMs,
    signal,
  });
  proving?.checks.push(...(await checkRecovered(address, folder, { progress, signal })));
  const entry = {
    at: formatMicros(us),
    systemIdentifier: source.systemId,
    timeline: source.timeline,
    replayedTo: formatLsn(recovered.replayedTo),
    lastCommitAt: recovered.lastCommitUs === undefined ? null : formatMicros(recovered.lastCommitUs),
    base: source.base,
    configurationOf,
  };
  const tags = momentTags({
    us,
    upTo: options.asked.kind === "lsn" ? options.asked.lsn : undefined,
    systemId: source.systemId,
    timeline: source.timeline,
    replayedTo: recovered.replayedTo,
    madeMs: clock.now(),
  });
  const saving = clock.monotonic();
  const made = await options.backup({
    address,
    findings: sortFindings([...(await recoveredFindings(address, { signal })), ...(source.findings ?? [])]),
    moment: { ...parts, startedAt: formatGoTime(us * 1000n), entry, tags },
  });
  const saveSeconds = secondsSince(saving, clock);
  await options.onMade?.({ at: formatInstant(clock.now()), base, log, saveSeconds });
  return made;
}

interface Timed extends Pick<RecoveryMeasure, "base" | "log"> {
  recovered: Recovered;
  /** The cluster's folder. */
  folder: string;
}

async function recoverTimed({ source, scratch, proving, clock, progress, signal }: MomentOptions): Promise<Timed> {
  const began = clock.monotonic();
  let [folder, baseSeconds, replaying] = ["", 0, began];
  const recovered = await recover({
    ...recoveryOf(source),
    files: async (data) => {
      folder = data;
      const reading = clock.monotonic();
      await source.files(data);
      baseSeconds = secondsSince(reading, clock);
      // Of what was recovered before, and thrown away, nothing is proven.
      if (proving !== undefined) proving.checks.length = 0;
      proving?.checks.push(await checkBaseFiles(data, { progress, signal }));
      replaying = clock.monotonic();
    },
    places: scratch,
    progress,
    signal,
  });
  if (proving !== undefined) proving.recoverySeconds = secondsSince(began, clock);
  const { replayedTo } = recovered;
  return {
    recovered,
    folder,
    base: { bytes: source.cluster.bytes, seconds: baseSeconds },
    log: {
      bytes: replayedTo > source.from ? Number(replayedTo - source.from) : 0,
      seconds: secondsSince(replaying, clock),
    },
  };
}

function secondsSince(ms: number, clock: Clock): number {
  return Math.round(clock.monotonic() - ms) / 1000;
}

/**
 * A server takes a base for what was there at a time before it, if nothing was committed while the base was taken: but what lies
 * in its files may have been committed after that time.
 */
export function refuseUnsound(
  { asked, source }: Pick<MomentOptions, "asked" | "source">,
  { lastCommitUs }: Pick<Recovered, "lastCommitUs">,
): void {
  if (asked.kind !== "time" || source.target.kind !== "time" || lastCommitUs !== undefined) return;
  if (source.soundFromUs === undefined || asked.us < source.soundFromUs) throw earlierBaseNeeded();
}

/** Of a position: when the last transaction before it ended, or else when the base was begun. */
function momentUs({ asked, clock }: MomentOptions, { lastCommitUs }: Recovered): bigint {
  if (asked.kind === "time") return asked.us;
  return lastCommitUs ?? BigInt(clock.now()) * 1000n;
}

/** A copy of the cluster has the same databases: that of the nearest point is Chatwoot's. */
export async function addressOf(
  { address }: Recovered,
  { database, identity, repository, signal }: Pick<MomentOptions, "database" | "identity" | "repository" | "signal">,
  { points }: PointList,
  momentMs: number,
): Promise<ServerAddress> {
  if (database !== undefined) return { ...address, database };
  const { before, after } = neighboursOf(points, identity.id, momentMs);
  const [nearest] = [...before, ...after];
  if (nearest === undefined) return address;
  const { PointReader } = await import("../point-reader.ts");
  const { server } = await new PointReader(repository, nearest, { signal }).manifest();
  return { ...address, database: server.database };
}
