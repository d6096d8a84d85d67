/** The restore point of a moment: the one that was made of it already, or one that is made now. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { shortId, type SnapshotId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import type { AskedMoment } from "../point/moment.ts";
import { randomMoment } from "../policy/random-moment.ts";
import type { Repository } from "../repo/repository.ts";
import { findMoment, makeMoment, type MomentOptions, type MomentProving } from "./continuous/moment.ts";
import { type Continuous, lookAtWindow, sortContinuous } from "./continuous/list.ts";
import { findServingBases, openMomentSource, type ServingBase, withServingBase } from "./continuous/moment-source.ts";
import { passageOf } from "./continuous/set-back.ts";
import { positionIn } from "./moment-position.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList } from "./points.ts";

export type { MomentProving } from "./continuous/moment.ts";

/** Where a moment is brought back, and where its files may be read. */
export type MomentPlace = Pick<MomentOptions, "installation" | "database" | "scratch" | "backup" | "onMade"> & {
  /** Roles that may be in the cluster, the likeliest first. */
  roles: readonly string[];
};

export interface MomentPointOptions {
  repository: Repository;
  asked: AskedMoment;
  identity: { id: string; name: string };
  /** For a drill: told what is proven of the recovered cluster. Stays empty where the point was made earlier. */
  proving?: MomentProving | undefined;
  /** Asked for when a point has to be made. @throws Failure where none may be made. */
  place: () => Promise<MomentPlace>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure `moment/outside`, and as a recovery and a backup. */
export async function momentPoint(options: MomentPointOptions): Promise<SnapshotId> {
  const { repository, asked, identity, clock, progress, signal } = options;
  await repository.loadIndex({ signal });
  const list = await listPoints(repository, { signal });
  const search = { repository, installationId: identity.id, asked, signal };
  const { serving, continuous } = await findServingBases(search);
  const find = async (served: ServingBase): Promise<SnapshotId> => {
    const { systemId } = served.base.base;
    const passage = await passageOf(served, continuous, { repository, clock, progress, signal });
    for (const { message } of passage?.findings ?? []) progress.say(message);
    const reach = passage?.lsn ?? served.lastCommit;
    const line = { systemId, timeline: served.timeline, installationId: identity.id, reach };
    const known = findMoment(list, served.asked, line);
    if (known !== undefined) {
      progress.say(`the moment was brought back before: ${await describe(repository, known, { continuous, signal })}`);
      return known.snapshotId;
    }
    const { roles, ...place } = await options.place();
    const { database } = place;
    const opening = { repository, database, roles, passage, progress, signal };
    await using source = await openMomentSource(served, continuous, opening);
    // Of a base that did not serve nothing is proven.
    if (options.proving !== undefined) options.proving.checks.length = 0;
    const made = {
      ...place,
      proving: options.proving,
      repository,
      asked: served.asked,
      source,
      identity,
      clock,
      progress,
      signal,
    };
    const { point } = await makeMoment(made);
    const { moments } = await listPoints(repository, { signal });
    const found = moments.find(({ id }) => id === point);
    if (found === undefined) {
      throw new Failure("moment/outside", "the restore point of that moment was forgotten while it was made", {
        hint: "Ask for it again.",
      });
    }
    progress.say(`the moment is ${await describe(repository, found, { continuous, signal })}`);
    return found.snapshotId;
  };
  return await withServingBase(serving, find, { progress, isProof: options.proving !== undefined });
}

/** With the last commit that is in it: whoever looks for a time before something went wrong sees whether it is. */
async function describe(
  repository: Repository,
  point: Point,
  { continuous, signal }: { continuous: Continuous; signal: AbortSignal },
): Promise<string> {
  const { moment } = await new PointReader(repository, point, { signal }).manifest();
  const name = `restore point ${shortId(point.id)}`;
  if (moment === undefined) return name;
  const { lastCommitAt } = moment;
  return lastCommitAt === null
    ? `${name}; nothing was committed between the base and it`
    : `${name}; the last commit in it is of ${lastCommitAt}, ${positionIn(continuous, moment)}`;
}

/** True where a repository has a base of an installation: then there may be moments that can be had. */
export function isFollowed({ continuous }: Pick<PointList, "continuous">, installationId: string): boolean {
  return sortContinuous(continuous, installationId).bases.length > 0;
}

/** Any moment of the window, by chance: microseconds since 1970; `now` where nothing was committed in it; undefined where there is none. */
export async function momentByChance(
  repository: Repository,
  installationId: string,
  { signal }: { signal: AbortSignal },
): Promise<bigint | "now" | undefined> {
  const { window } = await lookAtWindow(repository, installationId, { signal });
  const us = randomMoment(window, (end) => BigInt(`0x${randomBytes(16).toString("hex")}`) % end);
  return us ?? (window.ranges.length > 0 ? "now" : undefined);
}
