/** Sizes: what lies in the store, what each point restores to, and what each run added. Reads trees, and no data. */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { describePiece, kindOfPiece } from "../point/continuous.ts";
import type { FileKind } from "../store/store.ts";
import type { Repository } from "../repo/repository.ts";
import { measureUsage, type RepositoryUsage } from "../repo/usage.ts";
import { lockToRead } from "./lock.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList } from "./points.ts";
import type { NewestSize, OtherSize, PointSize, StatsSummary } from "./stats-summary.ts";

export interface StatsOptions {
  repository: Repository;
  repositoryName: string;
  /** Undefined: the points of every installation are listed. What is counted is the whole repository either way. */
  installationId: string | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

const BESIDE: readonly FileKind[] = ["index", "snapshots", "keys"];

export async function stats(options: StatsOptions): Promise<StatsSummary> {
  const { repository, clock, installationId } = options;
  const started = clock.monotonic();
  await using lock = await lockToRead(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const { snapshots, damaged: unreadable } = await repository.listSnapshots({ signal });
  const list = await listPoints(repository, { signal });
  const index = await repository.loadIndex({ signal });
  const usage = await measureUsage(repository, snapshots, { signal });
  const sizes = new Map(usage.snapshots.map((size) => [size.id as string, size]));
  const points = list.points
    .filter((point) => installationId === undefined || point.installationId === installationId)
    .toReversed()
    .map((point): PointSize => {
      const {
        files = 0,
        bytes = 0,
        addedBytes = 0,
        addedChunks = 0,
        uniqueBytes = 0,
      } = sizes.get(point.snapshotId) ?? {};
      const installation = { id: point.installationId, name: point.snapshot.hostname ?? "" };
      const own = { point: point.id, takenAt: point.snapshot.time, installation };
      return { ...own, files, bytes, addedBytes, addedChunks, uniqueBytes };
    });
  const stored = { packs: index.packCount, bytes: 0, chunks: index.size };
  for (const { sizeBytes } of index.packSizes()) stored.bytes += sizeBytes;
  const newest = list.points.find((point) => installationId === undefined || point.installationId === installationId);
  return {
    type: "summary",
    verb: "stats",
    repository: options.repositoryName,
    stored,
    used: usage.used,
    unusedBytes: stored.bytes - usage.used.bytes,
    beside: await measureBeside(repository, signal),
    ratios: ratiosOf(usage),
    points,
    otherSnapshots: snapshots.length - points.length,
    otherSizes: otherSizesOf(list, usage),
    newest: newest === undefined ? null : await describeNewest(repository, newest, signal),
    damaged: [
      // Of a snapshot that cannot be read nobody knows what it was.
      ...unreadable.map(({ id, reason }) => ({ name: id, message: reason, points: [], continuous: [] })),
      ...usage.damaged.map(({ snapshots: ids, ...one }) => ({ ...one, ...namesOf(list, ids) })),
    ],
    seconds: (clock.monotonic() - started) / 1000,
  };
}

const OTHERS = ["moments", "bases", "log", "files", "marks", "others"] as const;
const PIECES = { base: "bases", log: "log", files: "files" } as const;

function otherSizesOf(list: PointList, { snapshots }: RepositoryUsage): OtherSize[] {
  const points = new Set<string>(list.points.map(({ snapshotId }) => snapshotId));
  const kinds = new Map<string, OtherSize["what"]>([
    ...list.moments.map(({ snapshotId }) => [snapshotId, "moments"] as const),
    ...list.records.map(({ snapshotId }) => [snapshotId, "marks"] as const),
    ...list.continuous.flatMap(({ id, snapshot }) => {
      const kind = kindOfPiece(snapshot.tags);
      return kind === undefined ? [] : [[id, PIECES[kind]] as const];
    }),
  ]);
  const sizes = Map.groupBy(
    snapshots.filter(({ id }) => !points.has(id)),
    ({ id }) => kinds.get(id) ?? "others",
  );
  return OTHERS.flatMap((what) => {
    const of = sizes.get(what) ?? [];
    const addedBytes = of.reduce((sum, size) => sum + size.addedBytes, 0);
    return of.length === 0 ? [] : [{ what, snapshots: of.length, addedBytes }];
  });
}

function namesOf(list: PointList, ids: readonly string[]): { points: string[]; continuous: string[] } {
  const names = new Map([...list.points, ...list.moments].map(({ snapshotId, id }) => [snapshotId as string, id]));
  const pieces = new Map(list.continuous.map(({ id, snapshot }) => [id as string, describePiece(snapshot.tags)]));
  return {
    points: ids.flatMap((id) => names.get(id) ?? []),
    continuous: ids.flatMap((id) => pieces.get(id) ?? []),
  };
}

async function measureBeside(repository: Repository, signal: AbortSignal): Promise<StatsSummary["beside"]> {
  const beside = { files: 0, bytes: 0 };
  for (const kind of BESIDE) {
    for await (const { sizeBytes } of repository.store.list(kind, { signal })) {
      beside.files += 1;
      beside.bytes += sizeBytes;
    }
  }
  return beside;
}

function ratio(above: number, below: number): number | null {
  return below === 0 ? null : above / below;
}

function ratiosOf({ snapshots, used }: RepositoryUsage): StatsSummary["ratios"] {
  const restored = snapshots.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    compression: ratio(used.unpackedBytes, used.bytes),
    deduplication: ratio(restored, used.unpackedBytes),
    overall: ratio(restored, used.bytes),
  };
}

/** By storage service and by table, the largest first, as the manifest has them; null when it cannot be read. */
async function describeNewest(repository: Repository, point: Point, signal: AbortSignal): Promise<NewestSize | null> {
  try {
    const { tables, storage } = await new PointReader(repository, point, { signal }).manifest();
    return {
      point: point.id,
      database: {
        rows: tables.reduce((sum, { rows }) => sum + rows, 0),
        bytes: tables.reduce((sum, { bytes }) => sum + bytes, 0),
        tables: tables
          .map(({ schema, name, rows, bytes }) => ({
            name: schema === "public" ? name : `${schema}.${name}`,
            rows,
            bytes,
          }))
          .toSorted((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1)),
      },
      storage: storage.map(({ name, kind, blobs, bytes }) => ({ name, kind, files: blobs, bytes })),
    };
  } catch (error) {
    if (isFailure(error, "point/invalid") || isFailure(error, "repo/damaged") || isFailure(error, "store/not-found"))
      return null;
    throw error;
  }
}
