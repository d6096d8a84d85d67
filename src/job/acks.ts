/**
 * What somebody has acknowledged, and what awaits it. That accounts shrank is written on the restore point itself, as a tag, so
 * whoever lists a repository knows it, copies carry it along, and no run that is stopped can leave the one without the other.
 */
import { isFailure } from "../base/errors.ts";
import type { AcknowledgedFall } from "../policy/shrinkage.ts";
import { parseAck, type Ack } from "../point/ack.ts";
import type { Repository } from "../repo/repository.ts";
import { isDamage } from "../repo/chunk.ts";
import type { Point, PointList } from "./points.ts";
import { isAck, type PointAck, readRecord, tagValue } from "./records.ts";

/** The kind of the finding. */
export const SHRUNK = "shrunk";

/** True for a point in which accounts had lost more than they may. */
export function isShrunk({ snapshot }: Pick<Point, "snapshot">): boolean {
  return tagValue(snapshot, SHRUNK) !== undefined;
}

export function acksOf({ records }: Pick<PointList, "records">, installationId: string): PointAck[] {
  return records.filter(isAck).filter(({ snapshot }) => tagValue(snapshot, "installation") === installationId);
}

/** Points in which accounts had shrunk, which nobody has acknowledged: newest first. */
export function awaitingAck(list: Pick<PointList, "points" | "records">, installationId: string): Point[] {
  const acks = acksOf(list, installationId).filter(({ finding }) => finding === SHRUNK);
  const untilMs = acks.reduce((latest, { takenAtMs }) => Math.max(latest, takenAtMs), -Infinity);
  return list.points.filter((point) => {
    return point.installationId === installationId && isShrunk(point) && point.takenAtMs > untilMs;
  });
}

/** True when both say the same of the same. */
export function isSameAck(one: PointAck, other: PointAck): boolean {
  return one.finding === other.finding && one.point === other.point && one.takenAtMs === other.takenAtMs;
}

/**
 * What one repository knows to be acknowledged and another does not, where it matters there.
 * @param coming Names of points that are about to come there.
 */
export function acksLacking(from: PointList, to: PointList, { coming }: { coming: Iterable<string> }): PointAck[] {
  const names = new Set(coming);
  const points = [...to.points, ...from.points.filter(({ id }) => names.has(id))];
  const known = to.records.filter(isAck);
  const all = [...known, ...from.records.filter(isAck)];
  return from.records
    .filter(isAck)
    .filter((ack) => isNeeded(ack, points, all) && !known.some((one) => isSameAck(one, ack)));
}

/** Acknowledgements that no point needs any more. @param left the points that stay. */
export function acksSpent({ records }: Pick<PointList, "records">, left: readonly Point[]): PointAck[] {
  const all = records.filter(isAck);
  return all.filter((ack) => !isNeeded(ack, left, all));
}

/**
 * Of accounts that shrank: the next backup is compared with a point that is no newer, or one of them says so still. Of another
 * finding: it is the newest word on it.
 */
function isNeeded(ack: PointAck, points: readonly Point[], all: readonly PointAck[]): boolean {
  const { snapshot, takenAtMs, finding } = ack;
  const installation = tagValue(snapshot, "installation");
  const mine = points.filter((point) => point.installationId === installation);
  if (finding !== SHRUNK) {
    const later = all.filter((other) => other.finding === finding && other.takenAtMs > takenAtMs);
    return mine.length > 0 && !later.some((other) => tagValue(other.snapshot, "installation") === installation);
  }
  const until = mine.filter((point) => point.takenAtMs <= takenAtMs);
  return until.some(isShrunk) || (until.length > 0 && until.length === mine.length);
}

/** Undefined when it is damaged: what it named is then asked for once more. */
export async function readAck(
  repository: Repository,
  record: PointAck,
  options: { signal: AbortSignal },
): Promise<Ack | undefined> {
  try {
    return parseAck(await readRecord(repository, record, options));
  } catch (error) {
    if (isDamage(error) || isFailure(error, "point/invalid")) return undefined;
    throw error;
  }
}

/** Acknowledgements of one installation in one repository. */
export interface KnownAcks {
  acks: readonly PointAck[];
  /** Undefined when it is damaged. */
  read(record: PointAck): Promise<Ack | undefined>;
}

export interface ListedElsewhere {
  repository: Repository;
  list: PointList;
}

/**
 * What is acknowledged in other repositories and not here, where it matters here: read at once, for such a repository may go away.
 * One that does is passed over.
 */
export async function acksElsewhere(
  others: readonly ListedElsewhere[],
  list: PointList,
  installationId: string,
  options: { signal: AbortSignal },
): Promise<KnownAcks[]> {
  const found: KnownAcks[] = [];
  for (const { repository, list: there } of others) {
    const acks = acksOf({ records: acksLacking(there, list, { coming: [] }) }, installationId);
    if (acks.length === 0) continue;
    try {
      await repository.loadIndex(options);
      const texts = new Map<PointAck, Ack | undefined>();
      for (const record of acks) texts.set(record, await readAck(repository, record, options));
      found.push({ acks, read: async (record) => texts.get(record) });
    } catch (error) {
      if (!isFailure(error) || error.code === "internal/bug" || options.signal.aborted) throw error;
    }
  }
  return found;
}

/** The falls that were acknowledged. */
export async function readAckedFalls(
  { read }: Pick<KnownAcks, "read">,
  acks: readonly PointAck[],
): Promise<AcknowledgedFall[]> {
  const falls: AcknowledgedFall[] = [];
  for (const record of acks.filter(({ finding }) => finding === SHRUNK)) {
    const ack = await read(record);
    for (const { account, kind, to } of ack?.falls ?? []) {
      falls.push({ account, kind, count: to, point: record.point, at: ack?.takenAt ?? "" });
    }
  }
  return falls;
}
