/** Sizes: what lies in the store, what each point restores to, and what each run added. Reads trees, and no data. */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { FileKind } from "../store/store.ts";
import type { Repository } from "../repo/repository.ts";
import { measureUsage, type RepositoryUsage } from "../repo/usage.ts";
import { lockToRead } from "./lock.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point } from "./points.ts";
import type { NewestSize, PointSize, StatsSummary } from "./summaries.ts";

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
    newest: newest === undefined ? null : await describeNewest(repository, newest, signal),
    damaged: [...unreadable.map(({ id, reason }) => ({ name: id, message: reason })), ...usage.damaged],
    seconds: (clock.monotonic() - started) / 1000,
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
