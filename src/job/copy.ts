/**
 * Copies restore points, or any snapshots, from one repository to another. Oldest first, so that a copy that was
 * stopped has no holes; a point that cannot be read whole is told and passed over, and nothing of it becomes visible.
 *
 * Proofs are not copied: a proof counts for the repository that was read.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { shortId, type SnapshotId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { formatGoTime } from "../format/go-time.ts";
import type { Snapshot } from "../format/snapshot-file.ts";
import { continuousPlace } from "../point/continuous.ts";
import { FORGOTTEN, NOT_COPIED, NOT_WHOLE, POINT_TAG, PROOF, RELEASE, withoutTag } from "../point/layout.ts";
import { copiedSnapshot, Copying, isCopyOf } from "../repo/copy.ts";
import type { ListedSnapshot, Repository } from "../repo/repository.ts";
import { readWhileSettling, type RepositoryLock } from "../repo/lock.ts";
import { acksLacking } from "./acks.ts";
import { windowLacking } from "./continuous/copy-window.ts";
import { holdsLacking } from "./holds-between.ts";
import { beginToRead, beginToWrite } from "./lock.ts";
import { listPoints, type Point, type PointList } from "./points.ts";
import { type PointRecord, type PointRelease, recordOf, saveRecord, tagValue } from "./records.ts";
import type { CopySummary } from "./summaries.ts";

/** A repository and its name in the configuration, or its location. */
export interface NamedRepository {
  repository: Repository;
  name: string;
}

/**
 * What a repository has of points, what it had and somebody took out of it by name, and what could not be read whole when
 * it was to come there.
 */
export interface CopiedPoints {
  points: readonly Point[];
  forgotten: ReadonlySet<string>;
  failed: ReadonlySet<string>;
}

export function copiedPoints({ points, records }: PointList): CopiedPoints {
  const named = (wanted: PointRecord["kind"]) =>
    new Set(records.filter(({ kind }) => kind === wanted).map(({ point }) => point));
  return { points, forgotten: named("forgotten"), failed: named("not-copied") };
}

/** Records that count for the repository that they are in. */
const RECORDS_OF_ONE = [PROOF, RELEASE, NOT_WHOLE, FORGOTTEN, NOT_COPIED];

export interface CopyOptions {
  from: NamedRepository;
  to: NamedRepository;
  /** Which snapshots of the source; given all of them, and the points of the target. */
  choose: (source: ListedSnapshot[], points: Point[], copied: CopiedPoints) => ListedSnapshot[];
  /**
   * The holds of these points, and of those that are there already, go along, but for those that were released; and what was
   * acknowledged.
   */
  holds?: { released: readonly PointRelease[] };
  /** What continuous protection needs of this installation for a window of so many microseconds goes along, too. */
  window?: { installationId: string; windowUs: bigint } | undefined;
  /**
   * The target keeps which points could not be read whole, so that {@link pointsLacking} names them again although newer
   * ones went through. Name and version of this program.
   */
  remembered?: string | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure of either repository; points that are damaged in the source are in the summary. */
export async function copy(options: CopyOptions): Promise<CopySummary> {
  const { from, to, clock } = options;
  const startedMs = clock.monotonic();
  if (from.repository.config.id === to.repository.config.id) {
    throw new Failure("usage/invalid", `'${from.name}' and '${to.name}' are one repository: both have the same id`, {
      hint: "Are both entries of one place, or was the folder copied? Give one of them another location; 'chatkeep init --add NAME --location LOCATION' makes a repository there.",
    });
  }
  // Both settle at once, and meanwhile it is read what there is to copy.
  await using source = await beginToRead(from.repository, options);
  await using target = await beginToWrite(to.repository, options);
  const run = { ...options, signal: AbortSignal.any([options.signal, source.signal, target.signal]) };
  const settled = Promise.all([source.settled, target.settled]).then(() => {});
  const { snapshots, damaged, list, there, known } = await readWhileSettling({ settled }, async () => ({
    ...(await from.repository.listSnapshots(run)),
    list: await listPoints(from.repository, run),
    there: await to.repository.listSnapshots(run),
    known: await listPoints(to.repository, run),
  }));
  const chosen = options
    .choose(snapshots, list.points, copiedPoints(known))
    .filter(({ snapshot }) => RECORDS_OF_ONE.every(({ tag }) => snapshot.tags?.includes(tag) !== true));
  const more = await continuousLacking(snapshots, there.snapshots, run);
  const isThere = (wanted: ListedSnapshot) => there.snapshots.some((one) => isCopyOf(one, wanted));
  const left = [...chosen, ...more.filter((one) => !chosen.includes(one))].filter((wanted) => !isThere(wanted));
  const held = heldSnapshots(snapshots, { list, known, left }, run);
  const summary: CopySummary = {
    type: "summary",
    verb: "copy",
    from: from.name,
    to: to.name,
    copied: [],
    holds: 0,
    skipped: chosen.filter(isThere).length,
    failed: damaged.map(({ id, reason }) => ({
      point: id,
      message: `snapshot ${shortId(id)} cannot be read: ${reason}`,
    })),
    added: { bytes: 0, packs: 0 },
    seconds: 0,
  };
  const unread = damaged.filter(({ id }) => !known.points.some((point) => point.id === id || point.snapshotId === id));
  const failing = new Failing(run, known, unread, installationOf(left));
  if (left.length + held.length > 0) {
    const ids = new Set(known.points.map(({ id }) => id));
    await copySnapshots({ ...run, lock: target, failing, there: ids }, [...left, ...held], summary);
  }
  return { ...summary, seconds: (clock.monotonic() - startedMs) / 1000 };
}

async function continuousLacking(
  snapshots: readonly ListedSnapshot[],
  there: readonly ListedSnapshot[],
  { from, window, clock, signal }: CopyOptions,
): Promise<ListedSnapshot[]> {
  if (window === undefined) return [];
  const { installationId: installation, windowUs } = window;
  const rules = { windowUs, nowMs: clock.now(), signal };
  return await windowLacking(from.repository, { installation, snapshots, there }, rules);
}

/** Those of the holds and acknowledgements that go along and were not chosen themselves. */
function heldSnapshots(
  snapshots: readonly ListedSnapshot[],
  { list, known, left }: { list: PointList; known: PointList; left: readonly ListedSnapshot[] },
  { holds, clock }: CopyOptions,
): ListedSnapshot[] {
  if (holds === undefined) return [];
  const coming = left.map(({ id, snapshot }) => snapshot.original ?? id);
  const lacking = holdsLacking(list, known, { coming, released: holds.released, nowMs: clock.now() });
  const names = new Set([...lacking, ...acksLacking(list, known, { coming })].map(({ snapshotId }) => snapshotId));
  return snapshots.filter((one) => names.has(one.id) && !left.includes(one));
}

interface CopyingOptions extends CopyOptions {
  lock: RepositoryLock;
  failing: Failing;
  /** The points of the target; those that come are added. */
  there: Set<string>;
}

async function copySnapshots(
  { from, to, progress, signal, lock, failing, there }: CopyingOptions,
  snapshots: readonly ListedSnapshot[],
  summary: CopySummary,
): Promise<void> {
  progress.stage(`copying to ${to.name}`, { unit: "bytes" });
  let bytes = 0;
  const onBytes = (count: number) => {
    bytes += count;
    progress.advance(count);
  };
  await using copying = await Copying.open(from.repository, to.repository, { signal, lock, onBytes });
  let ready: ListedSnapshot[] = [];
  const write = async () => {
    await copying.finish();
    bytes = 0;
    await lock.confirm({ signal });
    // Before anything newer is there, by which the next run would take it for forgotten.
    await failing.remember();
    for (const one of ready) await saveCopy(to.repository, one, { signal, summary });
    ready = [];
    summary.added = copying.added;
  };
  for (const one of [...snapshots.filter((each) => !isBeside(each)), ...snapshots.filter(isBeside)]) {
    // A hold without its point would keep the target from being pruned.
    if (holdsPoint(one) && !there.has(recordOf(one.id, one.snapshot)?.point ?? "")) continue;
    try {
      await copying.copyTree(one.snapshot.tree);
      ready.push(one);
      there.add(one.snapshot.original ?? one.id);
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      failing.add(one);
      const name = one.snapshot.original ?? one.id;
      summary.failed.push({
        point: name,
        message: `${isContinuous(one) ? "snapshot" : "restore point"} ${shortId(name)} of ${one.snapshot.time} cannot be copied: ${messageOf(error)}`,
      });
    }
    if (bytes >= LIMITS.copyBatchBytes) await write();
  }
  await write();
}

function holdsPoint({ id, snapshot }: ListedSnapshot): boolean {
  return recordOf(id, snapshot)?.kind === "hold";
}

/** True for what comes after the points that it is about. */
function isBeside({ id, snapshot }: ListedSnapshot): boolean {
  const kind = recordOf(id, snapshot)?.kind;
  return kind === "hold" || kind === "ack";
}

function isContinuous({ snapshot }: Pick<ListedSnapshot, "snapshot">): boolean {
  return continuousPlace(snapshot.tags) !== undefined;
}

/** The points of one copying that could not be read whole, and are to be tried again. */
class Failing {
  readonly #options: CopyOptions;
  readonly #known: Set<string>;
  #left: { point: string; installationId: string; snapshot: Snapshot | undefined }[];

  /** @param unread snapshot files of the source that cannot be read: each may be a point. */
  constructor(options: CopyOptions, target: PointList, unread: readonly { id: string }[], installationId: string) {
    this.#options = options;
    this.#known = new Set(copiedPoints(target).failed);
    this.#left = unread.map(({ id }) => ({ point: id, installationId, snapshot: undefined }));
  }

  add({ id, snapshot }: ListedSnapshot): void {
    const installationId = tagValue(snapshot, "installation");
    // A hold is looked for anew each time, and of restic's own snapshots no run asks what is lacking.
    if (installationId === undefined || snapshot.tags?.includes(POINT_TAG) !== true) return;
    this.#left.push({ point: snapshot.original ?? id, installationId, snapshot });
  }

  async remember(): Promise<void> {
    const { to, clock, signal, remembered: program } = this.#options;
    if (program === undefined) return;
    const at = formatGoTime(BigInt(clock.now()) * 1_000_000n);
    for (const { point, installationId, snapshot } of this.#left.splice(0)) {
      if (this.#known.has(point)) continue;
      this.#known.add(point);
      const text = `${JSON.stringify({ schema: 1, program, point, at }, null, 1)}\n`;
      const tags = [NOT_COPIED.tag, `point=${point}`];
      const about = { installationId, snapshot: snapshot ?? {} };
      await saveRecord(to.repository, { place: NOT_COPIED, text, time: at, tags, about, program, signal });
    }
  }
}

/** Whose points these are: what cannot be read does not say it. */
function installationOf(snapshots: readonly ListedSnapshot[]): string {
  return snapshots.map(({ snapshot }) => tagValue(snapshot, "installation")).find((id) => id !== undefined) ?? "";
}

async function saveCopy(
  to: Repository,
  one: ListedSnapshot,
  { signal, summary }: { signal: AbortSignal; summary: CopySummary },
): Promise<SnapshotId> {
  signal.throwIfAborted();
  const snapshot = await to.saveSnapshot(copiedSnapshot(one), { signal });
  if (holdsPoint(one)) summary.holds += 1;
  else if (isContinuous(one)) summary.continuous = (summary.continuous ?? 0) + 1;
  else if (!isBeside(one))
    summary.copied.push({ point: one.snapshot.original ?? one.id, snapshot, takenAt: one.snapshot.time });
  return snapshot;
}

/** What there is to do about points that are damaged in the repository that they are to be copied from. */
export function mendingHint(from: string, [first = ""]: readonly string[]): string {
  return `'chatkeep --repository ${from} repair packs --from NAME' mends it with what another repository has; 'chatkeep --repository ${from} forget ${shortId(first)}' gives it up.`;
}

/** The snapshots of these points. */
export function snapshotsOf(snapshots: readonly ListedSnapshot[], points: readonly Point[]): ListedSnapshot[] {
  const wanted = new Set(points.map(({ snapshotId }) => snapshotId));
  return snapshots.filter(({ id }) => wanted.has(id));
}

/**
 * What a copy must still get of an installation: every point newer than the newest that it has, and those that could not be
 * read whole when they were to come. What else is older and not there was taken out of it by somebody, and does not come
 * back by itself.
 *
 * A point in the future says nothing of that kind: a clock was wrong once, and what is made since must not wait for it.
 */
export function pointsLacking(
  points: readonly Point[],
  copied: CopiedPoints,
  { installationId, nowMs }: { installationId: string; nowMs: number },
): Point[] {
  const mine = (list: readonly Point[]) => list.filter((point) => point.installationId === installationId);
  const there = mine(copied.points);
  const names = new Set(there.map(({ id }) => id));
  const times = there.map(({ takenAtMs }) => takenAtMs).filter((takenAtMs) => takenAtMs <= nowMs);
  const newest = times.reduce((latest, takenAtMs) => Math.max(latest, takenAtMs), -Infinity);
  return mine(points).filter(({ id, takenAtMs }) => {
    return (takenAtMs > newest || copied.failed.has(id)) && !names.has(id) && !copied.forgotten.has(id);
  });
}

/**
 * What a repository still has to get of those points that were made in another because it did not answer. They say so
 * themselves; that nobody has taken them out of it since is known from the other's own list: a point that was copied to
 * there after them, and was not made without it, came when all this had been done. But for those that could not be read
 * whole then: they are tried again.
 * @param points those of the other repository.
 * @param there those of the one that was away.
 * @param name its name in the configuration.
 */
export function pointsOwed(
  points: readonly Point[],
  { points: there, forgotten, failed }: CopiedPoints,
  { installationId, nowMs, name }: { installationId: string; nowMs: number; name: string },
): Point[] {
  const isMine = (point: Point) => point.installationId === installationId && point.takenAtMs <= nowMs;
  const isMadeWithout = ({ snapshot }: Point) => snapshot.tags?.includes(withoutTag(name)) === true;
  const settled = [
    ...points.filter((point) => isMine(point) && point.id !== point.snapshotId && !isMadeWithout(point)),
    // Points come oldest first: what is older than one that has come, and is not there, was taken out of it.
    ...there.filter((point) => isMine(point) && isMadeWithout(point)),
  ];
  const newest = settled.reduce((latest, { takenAtMs }) => Math.max(latest, takenAtMs), -Infinity);
  const names = new Set(there.map(({ id }) => id));
  return points.filter(
    (point) =>
      point.installationId === installationId &&
      ((isMadeWithout(point) && point.takenAtMs > newest) || failed.has(point.id)) &&
      !names.has(point.id) &&
      !forgotten.has(point.id),
  );
}
