/** The restore point that a word means, in the repository that has most of it; and reading it while others forget and prune. */
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { PointReader } from "../job/point-reader.ts";
import { listPoints, type Point, type PointList, pointOfSnapshot, resolvePoint } from "../job/points.ts";
import { isDamage } from "../repo/chunk.ts";
import { Repository } from "../repo/repository.ts";
import { openFor } from "./repository-for.ts";
import { askedOf, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface OpenedPoint extends OpenedRepository {
  reader: PointReader;
  list: PointList;
}

/**
 * Reads from a point that was opened without a lock: what somebody forgot or pruned meanwhile is no damage.
 * @throws Failure `point/not-found` when the point is gone, `repo/locked` when the repository was pruned, and else what
 * the reading threw.
 */
export async function readingPoint<T>(opened: OpenedPoint, s: Surroundings, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (!isDamage(cause) || s.signal.aborted) throw cause;
    const { store, keys, config, keyId } = opened.repository;
    const { id, snapshotId } = opened.reader.point;
    if ((await store.stat({ kind: "snapshots", name: snapshotId }, s)) === undefined) {
      throw new Failure("point/not-found", `restore point ${shortId(id)} was forgotten while it was read`, {
        hint: "'chatkeep list' shows those that are there.",
        cause,
      });
    }
    const now = await new Repository({ store, keys, config, keyId }).loadIndex(s);
    const packs = new Set([...now.packSizes()].map((pack) => pack.id));
    const before = await opened.repository.loadIndex(s);
    if ([...before.packSizes()].every((pack) => packs.has(pack.id))) throw cause;
    throw new Failure("repo/locked", `the repository was pruned while restore point ${shortId(id)} was read`, {
      hint: "Nothing is lost: run the command again.",
      cause,
    });
  }
}

/** A word that means a moment becomes the name of a point that is made of it; every other stays as it is. */
export async function settleWord(opened: OpenedRepository, word: string, s: Surroundings): Promise<string> {
  if (askedOf(opened, word, s) === undefined) return word;
  return await (await import("./moments.ts")).settleMoment(opened, word, s);
}

/** Opens the repository that has most of what a word means, and its point; of a moment, one is made. */
export async function openPoint(globals: Globals, given: string, s: Surroundings): Promise<OpenedPoint> {
  const opened = await openFor(globals, [given], s);
  const word = await settleWord(opened, given, s);
  const list = await listPoints(opened.repository, { signal: s.signal });
  const point = resolvePoint(list, word, opened.config?.installation.id);
  await opened.repository.loadIndex({ signal: s.signal });
  return { ...opened, list, reader: new PointReader(opened.repository, point, { signal: s.signal }) };
}

/** What was shown, and where it was read: another repository may not have it, or not yet. */
export interface ChosenPoint {
  snapshot: string;
  /** As `--repository` takes it; undefined for the first that answers. */
  repository?: string | undefined;
  /** Of the plan that was shown. */
  findings?: readonly Finding[];
}

export type ChosenPlan<T> = T & {
  repository: string;
  /** Why it is that one, where it is not the first of the configuration. */
  repositoryWhy?: string;
};

export function chosenPlan<T>(plan: T, { name, why }: OpenedRepository): ChosenPlan<T> {
  return { ...plan, repository: name, ...(why === undefined ? {} : { repositoryWhy: why }) };
}

/** Names the repository of what was shown. */
export function whereChosen(globals: Globals, { repository }: ChosenPoint): Globals {
  return { ...globals, repository: globals.repository ?? repository };
}

/** The point of this very snapshot. @throws Failure `point/not-found`. */
export function findSnapshot(list: PointList, snapshot: string): Point {
  const found = pointOfSnapshot(list, snapshot);
  if (found !== undefined) return found;
  throw new Failure(
    "point/not-found",
    `the restore point that was shown (${snapshot.slice(0, 8)}) is no longer there`,
    {
      hint: "Somebody removed or changed it meanwhile, or another repository answered. Look at the plan again.",
    },
  );
}
