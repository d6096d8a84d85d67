/**
 * Which restore points a repository holds, which of them are proven, and which one a word means: an id or its
 * beginning, `latest`, `proven`, or a time with a clear zone.
 */
import { plural } from "../base/bytes.ts";
import { lacksZone, parseZonedInstant, withZones } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { SnapshotId } from "../base/ids.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Snapshot } from "../format/snapshot-file.ts";
import { continuousPlace } from "../point/continuous.ts";
import { POINT_TAG } from "../point/layout.ts";
import { isMomentAlone, momentOf, parseMoment } from "../point/moment.ts";
import type { ListedSnapshot, Repository } from "../repo/repository.ts";
import { awaitingAck, isShrunk } from "./acks.ts";
import { isHold, recordOf, tagValue, type PointHold, type PointRecord } from "./records.ts";

export interface Point {
  /** The point's name: the id of its first snapshot, which copies and re-tagged snapshots keep. */
  id: string;
  /** The file that holds it now. */
  snapshotId: SnapshotId;
  snapshot: Snapshot;
  installationId: string;
  takenAtMs: number;
  /** The newest proof of this point in this repository. */
  proof: PointProof | undefined;
  /** The newest mark that it lacks something in this repository. */
  notWhole: PointRecord | undefined;
  /** All of them, those that have ended too. */
  holds: readonly PointHold[];
  /** Set where accounts had shrunk in it. */
  shrunk: "awaiting" | "acknowledged" | undefined;
}

export interface PointProof {
  snapshotId: SnapshotId;
  snapshot: Snapshot;
  proven: boolean;
  at: string;
}

export interface PointList {
  /** Newest first. */
  points: Point[];
  /** Those that were made of a moment, newest first: they are no backups, and are meant only where one is named. */
  moments: Point[];
  /** Proofs and holds, whether or not their point is here. */
  records: PointRecord[];
  /** Bases, spans of the log and followed files: continuous protection's own, of every installation. */
  continuous: ListedSnapshot[];
  /** Snapshots that are neither points nor records about them: restic's own, or another program's. */
  others: number;
  damaged: { name: string; message: string }[];
}

export async function listPoints(repository: Repository, { signal }: { signal: AbortSignal }): Promise<PointList> {
  return pointListOf(repository, await repository.listSnapshots({ signal }));
}

/** @param listed every snapshot of the repository, as it lists them. */
export function pointListOf(
  repository: Repository,
  { snapshots, damaged }: Awaited<ReturnType<Repository["listSnapshots"]>>,
): PointList {
  const points: Point[] = [];
  const moments: Point[] = [];
  const continuous: ListedSnapshot[] = [];
  const records: PointRecord[] = [];
  const proofs = new Map<string, PointProof>();
  let others = 0;
  for (const { id, snapshot } of snapshots) {
    const record = recordOf(id, snapshot);
    const installationId = tagValue(snapshot, "installation");
    if (record !== undefined) {
      records.push(record);
      if (record.kind === "proof") addProof(proofs, record, repository);
    } else if (snapshot.tags?.includes(POINT_TAG) && installationId !== undefined) {
      (isMoment({ snapshot }) ? moments : points).push({
        id: snapshot.original ?? id,
        snapshotId: id,
        snapshot,
        installationId,
        takenAtMs: Date.parse(snapshot.time), // oxlint-disable-line no-restricted-globals -- parses, reads no clock
        proof: undefined,
        notWhole: undefined,
        holds: [],
        shrunk: undefined,
      });
    } else if (continuousPlace(snapshot.tags) !== undefined && installationId !== undefined)
      continuous.push({ id, snapshot });
    else others += 1;
  }
  const holds = Map.groupBy(records.filter(isHold), ({ point }) => point);
  const awaiting = new Set(
    [...new Set(points.map((point) => point.installationId))].flatMap((id) => awaitingAck({ points, records }, id)),
  );
  const marks = records.filter(({ kind, snapshot }) => kind === "not-whole" && isOf(snapshot, repository));
  for (const point of [...points, ...moments]) {
    const { id, snapshot } = point;
    point.notWhole = marks.findLast((mark) => mark.point === id && tagValue(mark.snapshot, "tree") === snapshot.tree);
    point.proof = proofs.get(proofKey(point.id, point.snapshot.tree));
    point.holds = holds.get(point.id) ?? [];
    if (isShrunk(point)) point.shrunk = awaiting.has(point) ? "awaiting" : "acknowledged";
  }
  // What restic makes of a point keeps its time too: then the point as it was made comes first.
  const isFirst = (point: Point) => Number(point.id === point.snapshotId);
  for (const list of [points, moments]) list.sort((a, b) => b.takenAtMs - a.takenAtMs || isFirst(b) - isFirst(a));
  return {
    points,
    moments,
    continuous,
    records,
    others,
    damaged: damaged.map(({ id, reason }) => ({ name: id, message: reason })),
  };
}

/**
 * Points that lie in the future by more than two machines' clocks differ, newest first. One of them is `latest` to
 * everybody until its time has come, so whoever meets them says so.
 */
export function pointsAhead(points: readonly Point[], nowMs: number): Point[] {
  return points.filter(({ takenAtMs }) => takenAtMs > nowMs + LIMITS.clockDifferenceMs);
}

/**
 * When it was proven, in milliseconds since 1970; undefined where it was not, or by a clock that was ahead: what is proven in years would hide
 * that nothing is now.
 */
export function provenMs({ proof }: Pick<Point, "proof">, nowMs: number): number | undefined {
  const ms = proof?.proven === true ? (parseZonedInstant(proof.at) ?? 0) : undefined;
  return ms === undefined || ms > nowMs + LIMITS.clockDifferenceMs ? undefined : ms;
}

/** True for a point that lacks rows because the server could not read them. */
export function isTorn({ snapshot }: Pick<Point, "snapshot">): boolean {
  return tagValue(snapshot, "torn") !== undefined;
}

/** True for a point that was made of a dump by 'chatkeep import'. */
export function isImported({ snapshot }: Pick<Point, "snapshot">): boolean {
  return tagValue(snapshot, "imported") !== undefined;
}

/** True for a point that was made of a moment of continuous protection. */
export function isMoment({ snapshot }: Pick<Point, "snapshot">): boolean {
  return momentOf(snapshot.tags) !== undefined;
}

/** Seconds that bringing it back took in its last drill, if that proved it and could tell. */
export function recoverSeconds({ proof }: Point): number | null {
  const told = proof?.proven === true ? Number(tagValue(proof.snapshot, "recover") ?? "?") : Number.NaN;
  return Number.isNaN(told) ? null : told;
}

/** The tags that a person gave, without our own. */
export function userTags({ snapshot }: Point): string[] {
  const own =
    /^(chatkeep$|installation=|at=|chatwoot=|without=|shrunk=|torn=|moment=|up-to=|system=|timeline=|lsn=|made=)/;
  return (snapshot.tags ?? []).filter((tag) => !own.test(tag));
}

/** The key under which a proof is found: it counts for this very tree, which `restic rewrite` and `repair` change. */
function proofKey(point: string, tree: string): string {
  return `${point} ${tree}`;
}

/** What is proven or lacking counts for the repository that was read, and for no copy of it. */
function isOf(snapshot: Snapshot, { config }: Repository): boolean {
  return tagValue(snapshot, "repository") === config.id;
}

function addProof(
  proofs: Map<string, PointProof>,
  { point, snapshotId, snapshot }: PointRecord,
  repository: Repository,
): void {
  if (!isOf(snapshot, repository)) return;
  const proof = { snapshotId, snapshot, proven: snapshot.tags?.includes("outcome=proven") === true, at: snapshot.time };
  const key = proofKey(point, tagValue(snapshot, "tree") ?? "");
  const known = proofs.get(key);
  if (known === undefined || known.at < proof.at) proofs.set(key, proof);
}

/**
 * The point that a word means.
 * @param installationId limits `latest`, `proven` and times to one installation.
 * @throws Failure `point/not-found` or `usage/invalid`.
 */
export function resolvePoint(list: PointList, word: string, installationId: string | undefined): Point {
  const mine = list.points.filter((point) => installationId === undefined || point.installationId === installationId);
  const all = [...list.points, ...list.moments];
  if (all.length === 0) {
    throw new Failure("point/not-found", "the repository holds no restore point", {
      hint: "Make one with 'chatkeep backup'.",
    });
  }
  if (word === "latest" || word === "proven") return newest(mine, word);
  if (/^[0-9a-f]{4,64}$/.test(word)) {
    const exact = all.find((point) => point.snapshotId === word);
    if (exact !== undefined) return exact;
    // Where restic left two snapshots of one name, the newest of them is meant.
    const named = all.filter((point) => point.id.startsWith(word) || point.snapshotId.startsWith(word));
    const found = named.filter((point, at) => named.findIndex((other) => other.id === point.id) === at);
    if (found.length === 1 && found[0] !== undefined) return found[0];
    if (found.length > 1) {
      throw new Failure("usage/invalid", `'${word}' begins the names of ${found.length} restore points`, {
        hint: `Give more digits: ${tellApart(found.map(({ id, snapshotId }) => (id.startsWith(word) ? id : snapshotId))).join(", ")}.`,
      });
    }
  }
  return atTime(mine, word);
}

/** The point that a snapshot file holds, whether a backup made it or it was made of a moment. */
export function pointOfSnapshot({ points, moments }: PointList, snapshot: string): Point | undefined {
  return [...points, ...moments].find(({ snapshotId }) => snapshotId === snapshot);
}

/** True for a snapshot that is neither a point nor a record about one: restic's own, or another program's. */
export function isOther({ id, snapshot }: ListedSnapshot): boolean {
  if (recordOf(id, snapshot) !== undefined || continuousPlace(snapshot.tags) !== undefined) return false;
  return snapshot.tags?.includes(POINT_TAG) !== true || tagValue(snapshot, "installation") === undefined;
}

/**
 * The snapshot that a word means, where others than points may be meant: those only by their id or its beginning.
 * @param list the points; of what was copied, the name counts too.
 * @throws Failure `point/not-found` or `usage/invalid`.
 */
export function resolveSnapshot(
  snapshots: readonly ListedSnapshot[],
  list: PointList,
  { word, installationId }: { word: string; installationId: string | undefined },
): SnapshotId {
  const others = snapshots.filter((one) => isOther(one) || continuousPlace(one.snapshot.tags) !== undefined);
  const nameOf = ({ id, snapshot }: ListedSnapshot) => (id.startsWith(word) ? id : (snapshot.original ?? id));
  const named = /^[0-9a-f]{4,64}$/.test(word) ? others.filter((one) => nameOf(one).startsWith(word)) : [];
  const exact = named.find(({ id }) => id === word);
  if (exact !== undefined) return exact.id;
  const points =
    named.length === 0 ? [] : [...list.points, ...list.moments].filter((point) => beginOf(point, word) !== undefined);
  // Several snapshots of one name are one thing to a person: the newest of them is meant, as with points.
  const found = [...new Set([...named.map(nameOf), ...points.map((point) => beginOf(point, word) ?? point.id)])];
  const newest = named.toSorted((a, b) => Date.parse(b.snapshot.time) - Date.parse(a.snapshot.time)).at(0); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  if (newest !== undefined && found.length === 1) return newest.id;
  if (named.length > 0) {
    throw new Failure("usage/invalid", `'${word}' begins the names of ${found.length} snapshots`, {
      hint: `Give more digits: ${tellApart(found).join(", ")}.`,
    });
  }
  if (list.points.length === 0 && others.length > 0) throw onlyOthers(`there is no snapshot '${word}'`, others.length);
  return resolvePoint(list, word, installationId).snapshotId;
}

/** The id of a point that begins so: its name before that of its file. */
function beginOf({ id, snapshotId }: Point, word: string): string | undefined {
  return [id, snapshotId].find((name) => name.startsWith(word));
}

/** For a repository that others made: what it is asked for is not there, and it is not empty either. */
export function onlyOthers(what: string, count: number): Failure {
  return new Failure(
    "point/not-found",
    `${what}: the repository holds no restore point, but ${plural(count, "snapshot")} of restic or another program`,
    { hint: "Name snapshots by the ids that 'restic snapshots' shows, or copy every one with --all." },
  );
}

/** As many digits as it takes. */
function tellApart(ids: readonly string[]): string[] {
  let digits = shortId(ids[0] ?? "").length;
  while (digits < 64 && new Set(ids.map((id) => id.slice(0, digits))).size < ids.length) digits += 4;
  return ids.map((id) => id.slice(0, digits));
}

function newest(points: readonly Point[], word: "latest" | "proven"): Point {
  const installations = new Set(points.map((point) => point.installationId));
  if (installations.size > 1) {
    throw new Failure(
      "usage/invalid",
      `'${word}' is not clear: the repository holds ${installations.size} installations`,
      {
        hint: "Name the point by its id; 'chatkeep list --all' shows them.",
      },
    );
  }
  const found = points.find((point) => word === "latest" || point.proof?.proven === true);
  if (found !== undefined) return found;
  throw new Failure(
    "point/not-found",
    word === "proven" ? "no restore point is proven yet" : "this installation has no restore point in the repository",
    {
      hint:
        word === "proven"
          ? "Prove one with 'chatkeep drill'."
          : "'chatkeep list --all' shows the points of every installation.",
    },
  );
}

const WORDS =
  "'chatkeep list' shows the points; a time needs its zone, as in 2026-11-23T16:58:50Z or +01:00. A moment that is no time is written now, -90s, -5m, -2h, -1d or lsn:0/16B3748.";

/** In the night in which the clocks go back an hour comes twice: with its offset it is one of them. */
const NEEDS_ZONE =
  "Write the day and the time with its offset, as 2026-11-23T16:58:50+01:00, or in UTC, as 2026-11-23T15:58:50Z ('date -u' says what it is now); or so long before now, as -5m.";

/** What to write in place of a time that lacks its zone. */
export function zoneHint(word: string): string {
  const [utc, own] = withZones(word);
  if (utc === undefined) return NEEDS_ZONE;
  return own === undefined
    ? `If it was read from a clock in UTC, as this machine's is, say ${utc}. ${NEEDS_ZONE}`
    : `If it was read from this machine's clock, say ${own}; from one in UTC, ${utc}. ${NEEDS_ZONE}`;
}

const MADE_FIRST = (word: string) =>
  `'chatkeep show ${word}' makes a restore point of the moment, and says its name: give that here.`;

function atTime(points: readonly Point[], word: string): Point {
  const instant = parseZonedInstant(word);
  if (instant === undefined) {
    if (lacksZone(word)) {
      throw new Failure("usage/invalid", `the time '${word}' does not say its zone`, { hint: zoneHint(word) });
    }
    throw new Failure("point/not-found", `there is no restore point '${word}'`, {
      // Whoever takes a moment has made a point of it before the word comes here.
      hint: isMomentAlone(word) && parseMoment(word, 0) !== undefined ? MADE_FIRST(word) : WORDS,
    });
  }
  const found = points.find((point) => point.takenAtMs <= instant);
  if (found !== undefined) return found;
  const oldest = points.at(-1);
  throw new Failure("point/not-found", `no restore point is as old as ${word}`, {
    hint:
      oldest === undefined
        ? "There is none at all."
        : `The oldest is ${shortId(oldest.id)} of ${oldest.snapshot.time}.`,
  });
}
