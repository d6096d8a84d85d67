/** Holds in several repositories: which one lacks what another has, and which were released where one was not reached. */
import type { PointList } from "./points.ts";
import { isHold, isInForce, isRelease, type PointHold, type PointRelease } from "./records.ts";

export function releasesIn({ records }: PointList): PointRelease[] {
  return records.filter(isRelease);
}

/** True for a hold that was released after it was made, wherever that is known. */
export function isReleased(hold: PointHold, released: readonly PointRelease[]): boolean {
  return released.some(({ point, name, atMs }) => point === hold.point && name === hold.name && hold.atMs <= atMs);
}

/** Holds that were released elsewhere and are still there. */
export function holdsToLift({ records }: PointList, released: readonly PointRelease[]): PointHold[] {
  return records.filter(isHold).filter((hold) => isReleased(hold, released));
}

export interface HoldsLackingOptions {
  /** Names of points that are about to come there. */
  coming: Iterable<string>;
  /** Those of every repository that is known. */
  released: readonly PointRelease[];
  nowMs: number;
}

/** What makes two holds the same. */
function termsOf({ point, name, endsAtMs }: PointHold): string {
  return `${point} ${name} ${endsAtMs ?? ""}`;
}

/** Holds in force of points that are, or will be, in the other repository, and that it does not have. */
export function holdsLacking(
  from: PointList,
  to: PointList,
  { coming, released, nowMs }: HoldsLackingOptions,
): PointHold[] {
  const names = new Set([...to.points.map(({ id }) => id), ...coming]);
  const known = new Set(to.records.filter(isHold).map(termsOf));
  return from.records
    .filter(isHold)
    .filter((hold) => isInForce(hold, nowMs) && names.has(hold.point) && !known.has(termsOf(hold)))
    .filter((hold) => !isReleased(hold, released));
}
