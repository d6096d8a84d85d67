/**
 * Points that cannot be made whole: `repair packs` keeps beside each what it lacks, so that nobody finds out only when he
 * restores it. Nothing of the point is changed. What it lacks may come back, by a backup or from a copy: then the mark
 * means nothing any more, and the next repair takes it away.
 */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { parseChunkId, shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { formatGoTime } from "../format/go-time.ts";
import { NOT_WHOLE } from "../point/layout.ts";
import { formatShortcoming, parseShortcoming, type Shortcoming } from "../point/shortcoming.ts";
import type { LostChunk } from "../repo/repair-packs.ts";
import type { Repository } from "../repo/repository.ts";
import { listPoints, type Point } from "./points.ts";
import { readRecord, saveRecord } from "./records.ts";

interface MarkOptions {
  lost: readonly LostChunk[];
  /** Name and version of this program. */
  program: string;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * Makes the marks of a repository say what a repair has found. To be called under its lock. A second time it changes
 * nothing.
 */
export async function markNotWhole(repository: Repository, options: MarkOptions): Promise<void> {
  const { lost, program, clock, signal } = options;
  const at = formatGoTime(BigInt(clock.now()) * 1_000_000n);
  for (const point of (await listPoints(repository, { signal })).points) {
    const touching = lost.filter(({ snapshots }) => snapshots.includes(point.snapshotId));
    const known = point.notWhole === undefined ? undefined : await readShortcoming(repository, point, { signal });
    const lacks = touching.map(({ kind, name }) => ({ kind: LACKS[kind], id: name })).slice(0, LIMITS.shortcomings);
    const count = touching.length;
    if (count === (known?.count ?? 0) && JSON.stringify(lacks) === JSON.stringify(known?.lacks ?? [])) continue;
    if (count > 0) {
      const made: Shortcoming = {
        schema: 1,
        program,
        point: point.id,
        tree: point.snapshot.tree,
        at,
        host: hostname(),
        count,
        lacks,
      };
      const kept = { place: NOT_WHOLE, text: formatShortcoming(made), time: at, tags: tagsOf(repository, point) };
      await saveRecord(repository, { ...kept, about: point, program, signal });
    }
    const old = point.notWhole?.snapshotId;
    if (old !== undefined) await repository.store.remove({ kind: "snapshots", name: old }, { signal });
  }
}

const LACKS = {
  "chunk-missing": "chunk",
  "tree-missing": "tree",
  "tree-damaged": "damage",
  "snapshot-damaged": "damage",
} as const;

function tagsOf({ config }: Repository, { id, snapshot }: Point): string[] {
  return [NOT_WHOLE.tag, `point=${id}`, `repository=${config.id}`, `tree=${snapshot.tree}`];
}

/** Undefined when it cannot be read: then the point is not whole all the same. */
async function readShortcoming(
  repository: Repository,
  { id, notWhole }: Point,
  { signal }: { signal: AbortSignal },
): Promise<Shortcoming | undefined> {
  if (notWhole === undefined) return undefined;
  try {
    return parseShortcoming(await readRecord(repository, { ...notWhole, point: id }, { signal }));
  } catch (error) {
    if (isFailure(error, "repo/damaged") || isFailure(error, "store/not-found") || isFailure(error, "point/invalid"))
      return undefined;
    throw error;
  }
}

/** True for a point of which a repair said that something is lacking, which has not come back since. */
export async function isNotWhole(
  repository: Repository,
  point: Point,
  { signal }: { signal: AbortSignal },
): Promise<boolean> {
  if (point.notWhole === undefined) return false;
  // Whoever has restored all of it after that knows better.
  if (point.proof?.proven === true && point.proof.at > point.notWhole.snapshot.time) return false;
  const found = await readShortcoming(repository, point, { signal });
  if (found === undefined || found.lacks.length < found.count) return true;
  const index = await repository.loadIndex({ signal });
  return found.lacks.some(
    ({ kind, id }) => kind === "damage" || !index.has(kind === "tree" ? "tree" : "data", parseChunkId(id)),
  );
}

/** For whoever is about to rely on it. */
export function notWholeFinding({ id, notWhole }: Point): Finding {
  return {
    kind: "point-not-whole",
    level: "alarm",
    message: `restore point ${shortId(id)} is not whole: 'repair packs' of ${notWhole?.snapshot.time ?? ""} found something lacking that no pack has`,
    hint: "Take another point if you can; 'chatkeep repair packs' says what is lacking, and with --from takes it from another repository.",
  };
}
