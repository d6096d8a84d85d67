/**
 * Held points whose own snapshot is not there: it was lost, or restic forgot it, which heeds no hold. What only they
 * need is still stored, until somebody prunes.
 */
import { Failure } from "../base/errors.ts";
import { plural, listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { shellWord } from "../point/restore-script.ts";
import type { PointList } from "./points.ts";
import { describeHold, isHold, isInForce, type PointHold } from "./records.ts";

export interface LostHeldPoint {
  readonly point: string;
  readonly holds: readonly PointHold[];
  readonly message: string;
}

export function lostHeldPoints(
  { points, moments, records, damaged }: Pick<PointList, "points" | "moments" | "records" | "damaged">,
  nowMs: number,
): LostHeldPoint[] {
  const there = new Set([...points, ...moments].map(({ id }) => id));
  const holds = records.filter(isHold).filter((hold) => isInForce(hold, nowMs) && !there.has(hold.point));
  const where =
    damaged.length > 0 ? "not to be seen: it may be in a snapshot file that cannot be read" : "not there any more";
  return [...Map.groupBy(holds, ({ point }) => point)].map(([point, of]) => ({
    point,
    holds: of,
    message: `restore point ${shortId(point)} is held (${of.map(describeHold).join(", ")}) and is ${where}`,
  }));
}

/** @param repository its name in the configuration, or its location. */
function wayOn({ point, holds }: LostHeldPoint, repository: string): string {
  const releases = holds.map(({ name }) => `'chatkeep hold --release ${shortId(point)} ${name}'`).join(" and ");
  return `Bring it back from another repository that has it ('chatkeep copy ${shortId(point)} --repository OTHER --to ${shellWord(repository)}'), or give it up with ${releases}.`;
}

export function heldPointFindings(lost: readonly LostHeldPoint[], repository: string): Finding[] {
  return lost.map((one) => ({
    kind: "held-point-lost",
    level: "alarm",
    message: `in repository '${repository}' ${one.message}`,
    hint: `Do not run 'restic prune' there: it would free what the point needs. ${wayOn(one, repository)}`,
  }));
}

/** @throws Failure `repo/damaged`: what such a point needs would be freed. */
export function refuseLostHeldPoints(lost: readonly LostHeldPoint[], repository: string): void {
  const [first] = lost;
  if (first === undefined) return;
  const others = listSome(lost.slice(1).map(({ point }) => shortId(point)));
  const more =
    lost.length === 1 ? "" : `; so ${lost.length === 2 ? "is" : "are"} ${plural(lost.length - 1, "other")}: ${others}`;
  throw new Failure("repo/damaged", `${first.message}${more}`, {
    hint: `Nothing was removed. ${wayOn(first, repository)}`,
  });
}
