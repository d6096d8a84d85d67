/** Holds that were released while some repository was not reached: what is left of them goes with the next backup. */
import { isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { removeRecords } from "../job/hold.ts";
import { holdsToLift, releasesIn } from "../job/holds-between.ts";
import type { PointList } from "../job/points.ts";
import type { PointRecord, PointRelease } from "../job/records.ts";
import type { OpenedRepository } from "./session.ts";
import type { Surroundings } from "./surroundings.ts";

export interface ListedRepository {
  opened: OpenedRepository;
  list: PointList;
}

/**
 * Takes off, in each of these repositories, what was released in any of them.
 * @param options isAll: there are no others, so that nobody needs to be told any more.
 */
export async function settleReleases(
  repositories: readonly ListedRepository[],
  { isAll }: { isAll: boolean },
  s: Surroundings,
): Promise<{ released: PointRelease[]; findings: Finding[] }> {
  const released = repositories.flatMap(({ list }) => releasesIn(list));
  const findings: Finding[] = [];
  for (const { opened, list } of released.length === 0 ? [] : repositories) {
    const held = holdsToLift(list, released);
    if (held.length === 0) continue;
    const finding = await tryRemove(opened, held, s);
    if (finding !== undefined) findings.push(finding);
  }
  if (isAll && findings.length === 0) {
    // Where even that is not allowed it stays, and means nothing.
    for (const { opened, list } of repositories) {
      const known = releasesIn(list);
      if (known.length > 0) await tryRemove(opened, known, s);
    }
  }
  return { released, findings };
}

/**
 * Takes away that points could not be copied once they are there after all, or nowhere any more.
 * @param options isAll: there are no other repositories.
 */
export async function settleNotCopied(
  repositories: readonly ListedRepository[],
  { isAll }: { isAll: boolean },
  s: Surroundings,
): Promise<void> {
  // What cannot be read may be such a point.
  const isSure = isAll && repositories.every(({ list }) => list.damaged.length === 0);
  const anywhere = new Set(repositories.flatMap(({ list }) => [...list.points, ...list.moments].map(({ id }) => id)));
  for (const { opened, list } of repositories) {
    const here = new Set([...list.points, ...list.moments].map(({ id }) => id));
    const settled = list.records.filter(({ kind, point }) => {
      return kind === "not-copied" && (here.has(point) || (isSure && !anywhere.has(point)));
    });
    // Where it is not allowed it stays, and means nothing while the point is there.
    if (settled.length > 0) await tryRemove(opened, settled, s);
  }
}

async function tryRemove(
  { repository, name }: OpenedRepository,
  records: readonly (PointRecord & { name?: string })[],
  s: Surroundings,
): Promise<Finding | undefined> {
  const [first] = records;
  try {
    await removeRecords(repository, records, s);
    return undefined;
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
    const isDenied = error.code === "store/denied";
    const point = shortId(first?.point ?? "");
    return {
      kind: "hold-elsewhere",
      // With credentials that cannot delete it stays so at each backup, and costs no more than room.
      level: isDenied ? "note" : "warning",
      message: `restore point ${point} was released from '${first?.name ?? ""}', and is still held in repository '${name}': ${messageOf(error)}`,
      hint: isDenied
        ? `From a machine, or with credentials, that may delete there: 'chatkeep hold --release ${point} ${first?.name ?? ""}'.`
        : "The next backup tries again.",
    };
  }
}
