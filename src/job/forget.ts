/**
 * Forgets restore points: those that a policy keeps no longer, or those that are named. First a plan, a value that says of
 * each point why it stays; then, under a lock that nobody shares, their snapshot files go, and after them the proofs and
 * holds that were about them. Space comes back when the repository is pruned.
 *
 * Points go first and the oldest of them first, their records last: wherever it stops, what is left is a repository that a
 * policy keeps the same points of, and a record without its point is harmless; the next run removes it.
 */
import { type Clock, parseZonedInstant } from "../base/clock.ts";
import { listSome, plural } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId, type SnapshotId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { formatGoTime } from "../format/go-time.ts";
import { FORGOTTEN, INTERVAL_TAG } from "../point/layout.ts";
import { momentOf } from "../point/moment.ts";
import { pastMoments, planRetention, type RetentionPoint, type RetentionPolicy } from "../policy/retention.ts";
import type { Repository } from "../repo/repository.ts";
import { acksSpent, awaitingAck } from "./acks.ts";
import {
  forgetJournal,
  planForgetWindows,
  type WindowForgetting,
  windowLine,
  windowRules,
} from "./continuous/forget-window.ts";
import { lockAlone, lockToRead } from "./lock.ts";
import { isMoment, isTorn, listPoints, resolvePoint, userTags, type Point, type PointList } from "./points.ts";
import {
  describeHold,
  isAck,
  isHold,
  isInForce,
  isRelease,
  saveRecord,
  tagValue,
  type PointRecord,
} from "./records.ts";
import { awaitingFinding } from "./shrinkage.ts";
import type { ForgetLine, ForgetSummary } from "./summaries.ts";

/** What is to be forgotten. */
export type ForgetRequest =
  | {
      by: "policy";
      policy: RetentionPolicy;
      /** IANA. */
      timeZone: string;
      /** For how long any moment can be brought back, in microseconds: what continuous protection keeps. Default: a week. */
      windowUs?: bigint;
      /** For which installation that is known, by its id; null for none: of others all stays. Without it for all that are meant. */
      windowOf?: string | null;
      /** Whose points: an installation's id, what a person calls it, or each of them, by itself. */
      installation: { id: string } | { called: string } | "all";
    }
  | {
      by: "name";
      /** Words for points. */
      words: readonly string[];
      /** For words like `latest`. */
      installationId: string | undefined;
    };

export interface ForgetOptions {
  repository: Repository;
  repositoryName: string;
  request: ForgetRequest;
  /** Name and version of this program. */
  program: string;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

export interface ForgetPlan {
  /** Newest first. */
  keep: { point: Point; reasons: readonly string[] }[];
  /** Oldest first. */
  remove: Point[];
  /** Proofs and holds that go after them. */
  records: PointRecord[];
  findings: Finding[];
}

/** A plan, and what of each installation's continuous protection is older than its window. */
type WholePlan = ForgetPlan & { windows: WindowForgetting[] };

/** Shows what would be forgotten, and changes nothing. */
export async function planForget(options: ForgetOptions): Promise<ForgetSummary> {
  const started = options.clock.monotonic();
  await using lock = await lockToRead(options.repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(options.repository, { signal });
  const plan = await withWindows(makeForgetPlan(list, options), list, { ...options, signal });
  return summarize(options, plan, { type: "plan", started });
}

/**
 * @throws Failure `store/denied` where nothing may be deleted, `usage/invalid` when the request would go too far,
 * `repo/damaged` when a snapshot file cannot be read that may be what keeps a point.
 */
export async function forget(options: ForgetOptions): Promise<ForgetSummary> {
  const { repository, progress } = options;
  const started = options.clock.monotonic();
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  const plan = await withWindows(makeForgetPlan(list, options), list, { ...options, signal });
  const going = [...inOrder(plan).map(({ snapshotId }) => snapshotId), ...plan.windows.flatMap((one) => one.snapshots)];
  if (options.request.by === "policy" && going.length > plan.records.length) refuseUnread(list);
  await lock.confirm({ signal });
  progress.stage("forgetting", { total: going.length });
  if (options.request.by === "name") await rememberForgotten(list, plan.remove, { ...options, signal });
  for (const snapshotId of going) {
    signal.throwIfAborted();
    await lock.confirmOld({ signal });
    await removeSnapshot(repository, snapshotId, signal);
    progress.advance(1);
  }
  for (const window of plan.windows) await forgetJournal(repository, window, { signal });
  return summarize(options, plan, { type: "summary", started });
}

async function withWindows(plan: ForgetPlan, list: PointList, options: ForgetOptions): Promise<WholePlan> {
  const { repository, request, clock, signal } = options;
  if (request.by !== "policy") return { ...plan, windows: [] };
  const { installation, windowUs, windowOf } = request;
  const scope = idOf(list, installation) ?? "all";
  const { findings, ...rules } = windowRules(list.continuous, { scope, windowUs, windowOf });
  const kept = plan.keep.map(({ point }) => point);
  const windows = await planForgetWindows(repository, rules.listed, { ...rules, kept, nowMs: clock.now(), signal });
  return { ...plan, windows, findings: plan.findings.concat(findings) };
}

/** First what would bring a point back that has gone already, should this be stopped. */
function inOrder({ remove, records }: ForgetPlan): { snapshotId: SnapshotId }[] {
  return [...records.filter(isNotCopied), ...remove, ...records.filter((record) => !isNotCopied(record))];
}

function isNotCopied({ kind }: PointRecord): boolean {
  return kind === "not-copied";
}

/**
 * A copy gets whatever is newer than all that it has. So where the newest points are taken out of it by name, it is kept
 * which they were, or the next backup would bring them back; as soon as a newer one is there its time says it.
 */
async function rememberForgotten(
  list: PointList,
  remove: readonly Point[],
  { repository, program, clock, signal }: ForgetOptions,
): Promise<void> {
  const left = list.points.filter((point) => !remove.includes(point));
  const known = new Set(list.records.filter(({ kind }) => kind === "forgotten").map(({ point }) => point));
  const at = formatGoTime(BigInt(clock.now()) * 1_000_000n);
  for (const point of remove.filter((one) => !isMoment(one))) {
    const isThere = left.some(({ id }) => id === point.id);
    if (isThere || known.has(point.id) || isOlder(point, left, clock.now())) continue;
    known.add(point.id);
    const text = `${JSON.stringify({ schema: 1, program, point: point.id, at }, null, 1)}\n`;
    const tags = [FORGOTTEN.tag, `point=${point.id}`, `taken=${point.snapshot.time}`];
    await saveRecord(repository, { place: FORGOTTEN, text, time: at, tags, about: point, program, signal });
  }
}

/** True when a newer point of the same installation, whose time has come, is among these. */
function isOlder(
  { installationId, takenAtMs }: Pick<Point, "installationId" | "takenAtMs">,
  points: readonly Point[],
  nowMs: number,
): boolean {
  return points.some((other) => {
    return other.installationId === installationId && other.takenAtMs > takenAtMs && other.takenAtMs <= nowMs;
  });
}

/** A hold or a proof that cannot be read keeps no point: so a rule may not go by what is left of them. */
function refuseUnread({ damaged }: PointList): void {
  const [first] = damaged;
  if (first === undefined) return;
  const named = listSome(damaged.map(({ name }) => shortId(name)));
  throw new Failure(
    "repo/damaged",
    `${plural(damaged.length, "snapshot file")} cannot be read, and may be what holds or proves a point: ${named}`,
    {
      hint: `Nothing was removed. Put the file back from a copy of the repository's folder, or delete snapshots/${first.name} yourself if it is lost; single points can be forgotten by their name.`,
    },
  );
}

/** A store may let locks be deleted, and nothing else. */
async function removeSnapshot(repository: Repository, name: SnapshotId, signal: AbortSignal): Promise<void> {
  try {
    await repository.store.remove({ kind: "snapshots", name }, { signal });
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    throw new Failure(
      "store/denied",
      `snapshots may not be deleted in '${repository.store.location}' with these credentials`,
      {
        hint: "Backups need no such right and go on. Forget from a machine, or with credentials, that may delete there (for S3 s3:DeleteObject, for rest-server without --append-only).",
        cause: error,
      },
    );
  }
}

type PlanOptions = Pick<ForgetOptions, "request" | "clock">;

/** @throws Failure `usage/invalid` when the request would go too far. */
function makeForgetPlan(list: PointList, { request, clock }: PlanOptions): ForgetPlan {
  return request.by === "policy" ? planByPolicy(list, request, clock.now()) : planByName(list, request, clock.now());
}

type Candidate = RetentionPoint & { found: Point };

function toCandidate(point: Point, nowMs: number): Candidate {
  return {
    found: point,
    id: point.snapshotId,
    timeMs: point.takenAtMs,
    tags: userTags(point),
    isProven: isProven(point),
    isNotWhole: isMarked(point),
    isInterval: point.snapshot.tags?.includes(INTERVAL_TAG) === true,
    holds: point.holds.filter((hold) => isInForce(hold, nowMs)).map(describeHold),
  };
}

function toMoment(found: Point, nowMs: number) {
  const holds = found.holds.filter((hold) => isInForce(hold, nowMs));
  const { proof } = found;
  const provenMs = proof?.proven === true ? parseZonedInstant(proof.at) : undefined;
  return { found, holds, provenMs, madeMs: momentOf(found.snapshot.tags)?.madeMs ?? nowMs };
}

function planByPolicy(
  list: PointList,
  { policy, timeZone, installation }: Extract<ForgetRequest, { by: "policy" }>,
  nowMs: number,
): ForgetPlan {
  const installationId = idOf(list, installation);
  const isMeant = (id: string | undefined) => installationId === undefined || id === installationId;
  const groups = Map.groupBy(list.points, (point) => point.installationId);
  const keep: ForgetPlan["keep"] = [];
  const remove: Point[] = [];
  const shrunk: Point[] = [];
  for (const [id, points] of groups) {
    if (!isMeant(id)) continue;
    const candidates = points.map((point) => toCandidate(point, nowMs));
    const plan = planRetention(candidates, policy, { timeZone, nowMs });
    const [awaiting] = awaitingAck(list, id);
    keep.push(...plan.keep.map(({ point, reasons }) => ({ point: point.found, reasons })));
    if (awaiting === undefined) remove.push(...plan.remove.map(({ found }) => found));
    else {
      shrunk.push(awaiting);
      keep.push(...plan.remove.map(({ found }) => ({ point: found, reasons: [HELD_BACK] })));
    }
  }
  const ofMoments = list.moments.filter((point) => isMeant(point.installationId));
  for (const own of Map.groupBy(ofMoments, (point) => point.installationId).values()) {
    const moments = own.map((point) => toMoment(point, nowMs));
    remove.push(...pastMoments(moments, { nowMs, keepMs: LIMITS.momentKeptMs }).map(({ found }) => found));
  }
  const records = new Set([
    ...recordsOf(list, remove),
    // A snapshot that cannot be read may be the point that a record seems to lack.
    ...(list.damaged.length > 0
      ? []
      : leftBehind(list, nowMs).filter(({ snapshot }) => isMeant(tagValue(snapshot, "installation")))),
  ]);
  keep.sort((a, b) => b.point.takenAtMs - a.point.takenAtMs);
  remove.sort((a, b) => a.takenAtMs - b.takenAtMs);
  return { keep, remove, records: [...records], findings: findingsOf(list, { keep, shrunk }, nowMs) };
}

/** Why a point stays that no rule keeps. */
const HELD_BACK = "shrinkage not acknowledged";

/** Undefined for all of them. @throws as {@link findId}. */
function idOf(list: PointList, whose: Extract<ForgetRequest, { by: "policy" }>["installation"]): string | undefined {
  return whose === "all" ? undefined : "id" in whose ? whose.id : findId(list, whose.called);
}

/** @throws Failure `usage/invalid` when no installation, or several, are called so. */
function findId(list: PointList, called: string): string {
  const names = new Map(list.points.map(({ installationId, snapshot }) => [installationId, snapshot.hostname ?? ""]));
  if (names.has(called)) return called;
  const found = [...names].filter(([, name]) => name === called).map(([id]) => id);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw new Failure(
    "usage/invalid",
    found.length === 0
      ? `no restore point is of an installation '${called}'`
      : `${found.length} installations are called '${called}'`,
    {
      hint: `Name it by its id; there are ${[...names].map(([id, name]) => `${name} (${id})`).join(", ") || "none"}.`,
    },
  );
}

function planByName(
  list: PointList,
  { words, installationId }: Extract<ForgetRequest, { by: "name" }>,
  nowMs: number,
): ForgetPlan {
  const named = new Set<Point>();
  for (const word of words) {
    const found = resolvePoint(list, word, installationId);
    // restic may have left several snapshots of one name: by the name all are meant, by a snapshot's id that one.
    const isExact = word === found.snapshotId;
    for (const point of allPoints(list)) if (point === found || (!isExact && point.id === found.id)) named.add(point);
  }
  const remove = [...named].toSorted((a, b) => a.takenAtMs - b.takenAtMs);
  const left = allPoints(list).filter((point) => !named.has(point));
  for (const point of remove) refuseNeeded(point, { list, remove, left }, nowMs);
  return { keep: [], remove, records: recordsOf(list, remove), findings: [] };
}

/** @throws Failure `usage/invalid` for a point that must stay. */
function refuseNeeded(
  point: Point,
  { list, remove, left }: { list: PointList; remove: readonly Point[]; left: readonly Point[] },
  nowMs: number,
): void {
  const shown = shortId(point.id);
  const [awaiting] = awaitingAck(list, point.installationId);
  if (awaiting !== undefined && !left.some(({ id }) => id === point.id)) {
    const { message, hint } = awaitingFinding(awaiting);
    throw new Failure("usage/invalid", `nothing of this installation is forgotten now: ${message}`, { hint });
  }
  const hold = point.holds.find((one) => isInForce(one, nowMs));
  if (hold !== undefined && !left.some(({ id }) => id === point.id)) {
    throw new Failure("usage/invalid", `restore point ${shown} is held: ${describeHold(hold)}`, {
      hint: `If it may go, release it first: 'chatkeep hold --release ${shown} ${hold.name}'.`,
    });
  }
  // Without a moment, nothing is lacking: it stands in for no backup.
  if (isMoment(point)) return;
  const isSame = (other: Point) => other.installationId === point.installationId && !isMoment(other);
  if (!left.some(isSame)) {
    const count = remove.filter(isSame).length;
    throw new Failure(
      "usage/invalid",
      `nothing would be left: ${count === 1 ? "that is the only restore point" : `those are all ${count} restore points`} of this installation`,
      {
        hint: "Leave at least one, or make a new one first.",
      },
    );
  }
  const proven = left.filter((other) => isSame(other) && isProven(other));
  if (isProven(point) && !proven.some((other) => isMarked(point) || !isMarked(other))) {
    const what = proven.length === 0 ? "proven" : "proven and whole";
    throw new Failure("usage/invalid", `restore point ${shown} is the last that is ${what}`, {
      hint: "Prove another with 'chatkeep drill', then forget this one.",
    });
  }
}

function isProven({ proof }: Point): boolean {
  return proof?.proven === true;
}

/**
 * True where rows are lacking since it was made, or a repair found something lacking after it was proven. What came back since is not looked for: a point
 * that is whole again costs another one its place for nothing, and no more.
 */
function isMarked(point: Point): boolean {
  const { proof, notWhole } = point;
  if (isTorn(point)) return true;
  return notWhole !== undefined && !(proof?.proven === true && proof.at > notWhole.snapshot.time);
}

/**
 * Proofs and holds about points that go, unless the same name, or for a proof the same tree, stays. Acknowledgements go with
 * the last point that needs them.
 */
function recordsOf(list: PointList, remove: readonly Point[]): PointRecord[] {
  const going = new Set(remove);
  const left = allPoints(list).filter((point) => !going.has(point));
  const [goingNames, goingTrees] = [namesOf(remove), treesOf(remove)];
  const [leftNames, leftTrees] = [namesOf(left), treesOf(left)];
  const spent =
    list.damaged.length > 0 || remove.length === 0
      ? []
      : acksSpent(
          list,
          left.filter((point) => !isMoment(point)),
        );
  const about = list.records.filter((record) => {
    // Another repository may still have the hold, or the point.
    if (isRelease(record) || isAck(record) || record.kind === "forgotten") return false;
    if (!leftNames.has(record.point)) return goingNames.has(record.point);
    const tree = `${record.point} ${tagValue(record.snapshot, "tree") ?? ""}`;
    return !isHold(record) && goingTrees.has(tree) && !leftTrees.has(tree);
  });
  return [...about, ...spent];
}

function allPoints({ points, moments }: PointList): Point[] {
  return [...points, ...moments];
}

function namesOf(points: readonly Point[]): Set<string> {
  return new Set(points.map(({ id }) => id));
}

function treesOf(points: readonly Point[]): Set<string> {
  return new Set(points.map(({ id, snapshot }) => `${id} ${snapshot.tree}`));
}

/** Records whose point is gone: an earlier run was stopped, or restic forgot it. A hold in force is left to a person. */
function leftBehind(list: PointList, nowMs: number): PointRecord[] {
  const names = namesOf(allPoints(list));
  return list.records.filter((record) => {
    if (names.has(record.point) || isRelease(record) || isAck(record) || isNotCopied(record)) return false;
    if (record.kind === "forgotten") return isSaid(record, list.points, nowMs);
    return !(isHold(record) && isInForce(record, nowMs));
  });
}

/** True when a newer point says as much as the record that a point was forgotten. */
function isSaid({ snapshot }: PointRecord, points: readonly Point[], nowMs: number): boolean {
  const takenAtMs = Date.parse(tagValue(snapshot, "taken") ?? ""); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  return isOlder({ installationId: tagValue(snapshot, "installation") ?? "", takenAtMs }, points, nowMs);
}

function findingsOf(
  list: PointList,
  { keep, shrunk }: { keep: ForgetPlan["keep"]; shrunk: readonly Point[] },
  nowMs: number,
): Finding[] {
  const findings = shrunk.map((point) => awaitingFinding(point));
  const ahead = keep.filter(({ point }) => point.takenAtMs > nowMs);
  const [first] = ahead;
  if (first !== undefined) {
    findings.push({
      kind: "points-in-the-future",
      level: "warning",
      message: `${plural(ahead.length, "restore point lies", "restore points lie")} in the future, the newest of ${first.point.snapshot.time}`,
      hint: `They were kept, and take no other's place. Is a clock wrong, here or where they were made? A wrong one is removed by its name: 'chatkeep forget ${shortId(first.point.id)}'.`,
    });
  }
  if (list.damaged.length > 0) {
    findings.push({
      kind: "snapshots-damaged",
      level: "warning",
      message: `${plural(list.damaged.length, "snapshot file")} cannot be read and ${list.damaged.length === 1 ? "was" : "were"} left alone`,
      hint: "Run 'chatkeep verify' to see what else is damaged.",
    });
  }
  return findings;
}

function summarize(
  { repositoryName, clock }: ForgetOptions,
  plan: WholePlan,
  { type, started }: { type: ForgetSummary["type"]; started: number },
): ForgetSummary {
  return {
    type,
    verb: "forget",
    repository: repositoryName,
    dryRun: type === "plan",
    kept: plan.keep.map(({ point, reasons }) => toLine(point, reasons)),
    forgotten: plan.remove.map((point) => toLine(point, [])),
    records: plan.records.length,
    ...(plan.windows.length === 0 ? {} : { continuous: plan.windows.map(windowLine) }),
    seconds: (clock.monotonic() - started) / 1000,
    findings: plan.findings,
  };
}

function toLine(point: Point, reasons: readonly string[]): ForgetLine {
  return {
    point: point.id,
    snapshot: point.snapshotId,
    takenAt: point.snapshot.time,
    installation: { id: point.installationId, name: point.snapshot.hostname ?? "" },
    tags: userTags(point),
    reasons: [...reasons],
  };
}
