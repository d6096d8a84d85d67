/** The verb that compares two restore points. */
import { assert, Failure } from "../base/errors.ts";
import { PointReader } from "../job/point-reader.ts";
import { listPoints, resolvePoint } from "../job/points.ts";
import type { DiffSummary } from "../job/summaries.ts";
import { readingPoint, settleWord } from "./opened-point.ts";
import { openFor } from "./repository-for.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface DiffFlags {
  points: readonly [string, string];
  table: string | undefined;
}

export async function runDiff(globals: Globals, { points, table }: DiffFlags, s: Surroundings): Promise<DiffSummary> {
  const { signal } = s;
  const opened = await openFor(globals, points, s);
  const { repository, name, config } = opened;
  const words: string[] = [];
  for (const word of points) words.push(await settleWord(opened, word, s));
  const list = await listPoints(repository, { signal });
  const [one, two] = words.map((word) => {
    const point = resolvePoint(list, word, config?.installation.id);
    return { ...opened, list, reader: new PointReader(repository, point, { signal }) };
  });
  assert(one !== undefined && two !== undefined, "two points are compared");
  await repository.loadIndex({ signal });
  const { diff } = await import("../job/diff.ts");
  const options = { repositoryName: name, table, clock: s.clock, progress: s.progress, signal };
  const reading = async <T>(read: () => Promise<T>) =>
    await readingPoint(one, s, async () => await readingPoint(two, s, read));
  const summary = await reading(async () => await diff([one.reader, two.reader], options));
  const [first] = summary.damaged;
  if (first !== undefined) {
    // What somebody forgot or pruned meanwhile is no damage, and is said instead.
    const damage = new Failure("repo/damaged", first.message);
    await reading(async () => await Promise.reject(damage)).catch((error: unknown) => {
      if (error !== damage) throw error;
    });
  }
  return summary;
}
