/** Mends a repository, and names the restore points that cannot be made whole. */
import { plural } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { repairIndex } from "../repo/repair-index.ts";
import { repairPacks } from "../repo/repair-packs.ts";
import type { Repository } from "../repo/repository.ts";
import { lockAlone, lockToRead } from "./lock.ts";
import { settleLostRecords } from "./lost-records.ts";
import { markNotWhole } from "./not-whole.ts";
import { listPoints } from "./points.ts";
import type { RepairSummary } from "./summaries.ts";

interface RepairOptions {
  repository: Repository;
  repositoryName: string;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** Makes the index anew from the packs. @throws Failure `repo/locked`, of the store. */
export async function repairIndexes(options: RepairOptions & { readAllPacks: boolean }): Promise<RepairSummary> {
  const { repository, clock, progress, readAllPacks } = options;
  const started = clock.monotonic();
  await using lock = await lockAlone(options.repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const result = await repairIndex(repository, { readAllPacks, lock, progress, signal });
  const damaged: RepairSummary["damaged"] = [
    ...result.damagedIndexes.map(({ id, reason }) => {
      return { name: id, message: `index file ${shortId(id)} could not be read: ${reason}`, mended: true };
    }),
    ...result.gone.map((id) => ({ name: id, message: `pack ${shortId(id)} is gone, and was taken out`, mended: true })),
    ...result.unusable.map(({ id, reason }) => {
      return { name: id, message: `pack ${shortId(id)} gives no list of what it holds: ${reason}`, mended: false };
    }),
  ];
  if (result.found > 0) {
    const message = `${plural(result.found, "pack")} were in no index file, or wrongly`.replace(
      /^1 pack were/,
      "1 pack was",
    );
    damaged.push({ name: "index", message, mended: true });
  }
  return {
    type: "summary",
    verb: "repair",
    what: "index",
    repository: options.repositoryName,
    packs: result.packs,
    damaged,
    fromOther: 0,
    lost: [],
    seconds: (clock.monotonic() - started) / 1000,
  };
}

/** @throws Failure `repo/damaged` while an index file is damaged, `repo/locked`, of either store. */
export async function repairPacksFrom(
  options: RepairOptions & {
    source: Repository | undefined;
    /** Name and version of this program. */
    program: string;
  },
): Promise<RepairSummary> {
  const { repository, clock, progress, source } = options;
  const started = clock.monotonic();
  await using sourceLock = source === undefined ? undefined : await lockToRead(source, options);
  await using lock = await lockAlone(options.repository, options);
  const signal = AbortSignal.any([
    options.signal,
    lock.signal,
    ...(sourceLock === undefined ? [] : [sourceLock.signal]),
  ]);
  const result = await repairPacks(repository, { source, lock, progress, signal });
  await lock.confirm({ signal });
  const { program } = options;
  await markNotWhole(repository, { lost: result.lost, program, clock, signal });
  const { lost, told } = await settleLostRecords(repository, { lost: result.lost, program, signal });
  const isSettled = told.length > 0 && lost.length === 0;
  const { points } = await listPoints(repository, { signal });
  const names = new Map(points.map((point) => [point.snapshotId as string, point.id]));
  return {
    type: "summary",
    verb: "repair",
    what: "packs",
    repository: options.repositoryName,
    packs: result.packs,
    damaged: [
      ...result.damaged.map(({ id, reason, isReplaced }) => {
        return { name: id, message: `pack ${shortId(id)}: ${reason}`, mended: isReplaced || isSettled };
      }),
      ...told.map(({ name, message }) => ({ name, message, mended: true })),
    ],
    fromOther: result.fromSource,
    lost: lost.map(({ kind, name, message, snapshots }) => {
      return { kind, name, message, points: snapshots.map((id) => names.get(id) ?? id) };
    }),
    seconds: (clock.monotonic() - started) / 1000,
  };
}
