/** Several repositories: which is copied into which, after a backup and by `copy`, and which is drilled next. */
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { plural } from "../base/bytes.ts";
import { acksLacking, type ListedElsewhere } from "../job/acks.ts";
import {
  copiedPoints,
  copy,
  type CopyOptions,
  mendingHint,
  pointsLacking,
  pointsOwed,
  snapshotsOf,
} from "../job/copy.ts";
import { holdsLacking, releasesIn } from "../job/holds-between.ts";
import { isFollowed } from "../job/moment-point.ts";
import { isOther, listPoints, onlyOthers, type Point, type PointList, resolveSnapshot } from "../job/points.ts";
import type { PointRelease } from "../job/records.ts";
import { assertRetention, extendRetention } from "../job/retention.ts";
import type { BackupSummary, CopyOutcome, CopySummary } from "../job/summaries.ts";
import { DEFAULT_WINDOW, parseWindow } from "../policy/keep-window.ts";
import type { ListedSnapshot } from "../repo/repository.ts";
import { loadConfig } from "./config.ts";
import { PROGRAM } from "./program.ts";
import { type ListedRepository, settleNotCopied, settleReleases } from "./releases.ts";
import { keepLocked } from "./retention.ts";
import { isAway, openChosenRepository, type OpenedRepository, type PassedOver } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface CopyFlags {
  /** A configured repository, or a location. */
  to: string;
  points: readonly string[];
  /** Every snapshot, those of restic and of other programs too. */
  all: boolean;
}

export async function runCopy(globals: Globals, flags: CopyFlags, s: Surroundings): Promise<CopySummary> {
  if (flags.all && flags.points.length > 0) {
    throw new Failure("usage/invalid", "--all copies every snapshot, so it takes no POINT", {
      hint: "Leave out --all, or the points.",
    });
  }
  const [from, to] = await Promise.all([
    openChosenRepository(globals, s),
    // What is read may be as of a moment; what is written is now.
    openChosenRepository({ ...globals, repository: flags.to }, { ...s, atMs: undefined }),
  ]);
  const id = from.config?.installation.id;
  await assertRetention(to.repository, s);
  const summary = await copy({
    from,
    to,
    choose: (snapshots, points) => chooseSnapshots(snapshots, points, flags, { name: from.name, installationId: id }),
    holds: { released: await releasedIn([from, to], s) },
    window: windowOf(flags, from),
    remembered: PROGRAM,
    ...tools(s),
  });
  await extendRetention(to.repository, s);
  return summary;
}

/** Where points are not named one by one, what brings back the moments between them goes along. */
function windowOf({ all, points }: CopyFlags, { config }: OpenedRepository): CopyOptions["window"] {
  if (all || points.length > 0 || config === undefined) return undefined;
  const windowUs = parseWindow(config.retention?.window ?? DEFAULT_WINDOW);
  return { installationId: config.installation.id, windowUs };
}

function chooseSnapshots(
  snapshots: ListedSnapshot[],
  points: Point[],
  { all, points: words }: CopyFlags,
  { name, installationId }: { name: string; installationId: string | undefined },
): ListedSnapshot[] {
  if (all) return snapshots;
  if (words.length > 0) {
    const list = { points, moments: [], continuous: [], records: [], others: 0, damaged: [] };
    const wanted = new Set(words.map((word) => resolveSnapshot(snapshots, list, { word, installationId })));
    return snapshots.filter(({ id }) => wanted.has(id));
  }
  const others = snapshots.filter(isOther).length;
  if (points.length === 0 && others > 0) throw onlyOthers(`nothing in '${name}' is copied without being named`, others);
  return snapshotsOf(
    snapshots,
    points.filter((point) => installationId === undefined || point.installationId === installationId),
  );
}

/**
 * After a backup: what was made in another repository while the one that was written did not answer is brought to it, and
 * every other gets this installation's points that it lacks. A copy that fails is an alarm in the backup's summary, and
 * the next run catches up; the backup itself was made.
 * @param away names of repositories that were found not to answer a moment ago.
 */
export async function copyToOthers(
  summary: BackupSummary,
  { written, away }: { written: OpenedRepository; away: ReadonlySet<string> },
  globals: Globals,
  s: Surroundings,
): Promise<BackupSummary> {
  const names = (written.config?.repositories ?? []).map(({ name }) => name).filter((name) => name !== written.name);
  const others: Other[] = [];
  for (const name of names) if (!away.has(name)) others.push(await openOther(name, globals, s));
  if (others.length === 0) return summary;
  const list = await listWritten(written, others, s);
  const reached = others.flatMap(({ there }) => there ?? []);
  const isAll = reached.length === names.length;
  const listed = [{ opened: written, list }, ...reached];
  const { released, findings } = await settleReleases(listed, { isAll }, s);
  await settleNotCopied(listed, { isAll }, s);
  // All of it first, so that each of the others gets it too.
  for (const other of others) findings.push(...(await bringBack(other, { opened: written, list, released }, s)));
  if (others.some(({ outcome }) => outcome.brought > 0)) {
    findings.push(...(await keepLocked(written.repository, written.name, s)).findings);
  }
  const copies: CopyOutcome[] = [];
  for (const other of others) {
    const copied = await copyTo(other, { from: written, made: summary.point, released }, s);
    copies.push(copied.outcome);
    findings.push(...copied.findings);
    if (copied.outcome.message !== undefined && !other.isBehind) findings.push(notCopied(copied, written.name));
  }
  return { ...summary, copies, findings: sortFindings([...summary.findings, ...findings]) };
}

interface Copied {
  outcome: CopyOutcome;
  findings: Finding[];
  /** Points that are damaged where they were copied from. */
  unread?: readonly string[] | undefined;
}

function notCopied({ outcome: { repository: name, message }, unread = [] }: Copied, written: string): Finding {
  return {
    kind: "copy-failed",
    level: "alarm",
    message: `repository '${name}' did not get ${unread.length === 0 ? "its copy" : "all of its copy"}: ${message ?? ""}`,
    hint:
      unread.length === 0
        ? `The restore point is in '${written}'; the next backup catches up, or 'chatkeep copy --to ${name}' does now.`
        : `Every backup tries it again until it comes through: ${mendingHint(written, unread)}`,
  };
}

/** Where it cannot be listed nothing can be copied either: that is told of each of the others. */
async function listWritten({ repository }: OpenedRepository, others: Other[], s: Surroundings): Promise<PointList> {
  try {
    return await listPoints(repository, { signal: s.signal });
  } catch (error) {
    const message = told(error, s);
    for (const other of others) {
      other.outcome = { ...other.outcome, ok: false, message: other.outcome.message ?? message };
      other.there = undefined;
    }
    return { points: [], moments: [], continuous: [], records: [], others: 0, damaged: [] };
  }
}

/** One of the other repositories, and what became of it so far. */
interface Other {
  name: string;
  /** Undefined when it cannot be had. */
  there: ListedRepository | undefined;
  outcome: CopyOutcome;
  /** What it has for the one that was written could not be brought. */
  isBehind: boolean;
}

/** The other repositories, as far as they answer. */
export async function listOthers(
  { config, name, passedOver }: OpenedRepository & { passedOver: readonly PassedOver[] },
  globals: Globals,
  s: Surroundings,
): Promise<ListedElsewhere[]> {
  const away = new Set([name, ...passedOver.map((passed) => passed.name)]);
  const found: ListedElsewhere[] = [];
  for (const other of config?.repositories ?? []) {
    const { there } = away.has(other.name) ? {} : await openOther(other.name, globals, s);
    if (there !== undefined) found.push({ repository: there.opened.repository, list: there.list });
  }
  return found;
}

async function openOther(name: string, globals: Globals, s: Surroundings): Promise<Other> {
  const outcome: CopyOutcome = { repository: name, points: 0, bytes: 0, brought: 0, ok: true };
  const other: Other = { name, there: undefined, outcome, isBehind: false };
  try {
    const opened = await openChosenRepository({ ...globals, repository: name }, s);
    const list = await listPoints(opened.repository, { signal: s.signal });
    return { ...other, there: { opened, list } };
  } catch (error) {
    return { ...other, outcome: { ...outcome, ok: false, message: told(error, s) } };
  }
}

/** Brings to the repository that was written what another has of the time when it did not answer: points, holds, acknowledgements. */
async function bringBack(
  other: Other,
  { opened: to, list, released }: ListedRepository & { released: PointRelease[] },
  s: Surroundings,
): Promise<Finding[]> {
  const { name, there } = other;
  if (there === undefined) return [];
  const whose = { installationId: to.config?.installation.id ?? "", nowMs: s.clock.now(), name: to.name };
  const held = holdsLacking(there.list, list, { coming: [], released, nowMs: s.clock.now() });
  // Nearly always there is nothing to bring, and then nothing is locked for it.
  const acked = acksLacking(there.list, list, { coming: [] });
  if (held.length === 0 && acked.length === 0 && pointsOwed(there.list.points, copiedPoints(list), whose).length === 0)
    return [];
  try {
    const { copied, failed } = await copy({
      from: there.opened,
      to,
      choose: (snapshots, points, known) => snapshotsOf(snapshots, pointsOwed(points, known, whose)),
      holds: { released },
      remembered: PROGRAM,
      ...tools(s),
    });
    other.outcome.brought = copied.length;
    return failed.length === 0 ? [] : [notBroughtBack(name, to.name, describeFailed(failed))];
  } catch (error) {
    // Nothing is copied there either: what comes from here says that all was brought.
    other.isBehind = true;
    other.outcome = { ...other.outcome, ok: false, message: told(error, s) };
    return [notBroughtBack(name, to.name, told(error, s))];
  }
}

async function releasedIn(
  repositories: readonly OpenedRepository[],
  { signal }: Surroundings,
): Promise<PointRelease[]> {
  const lists = await Promise.all(repositories.map(({ repository }) => listPoints(repository, { signal })));
  return lists.flatMap(releasesIn);
}

function notBroughtBack(from: string, to: string, why: string): Finding {
  return {
    kind: "copy-failed",
    level: "alarm",
    message: `repository '${to}' did not get from '${from}' what was made while it did not answer: ${why}`,
    hint: `The restore points are in '${from}'. The next backup tries again what did not come through; 'chatkeep copy --repository ${from} --to ${to}' does now.`,
  };
}

function describeFailed(failed: CopySummary["failed"]): string {
  const [first] = failed;
  const more = failed.length > 1 ? `; and ${plural(failed.length - 1, "more restore point")}` : "";
  return `${first?.message ?? ""}${more}`;
}

/** What is to be told of a copy that failed. @throws the error itself when it is a bug, or the run was stopped. */
function told(error: unknown, { signal }: Surroundings): string {
  if (!isFailure(error) || error.code === "internal/bug" || signal.aborted) throw error;
  return messageOf(error);
}

function tools({ clock, progress, signal }: Surroundings) {
  return { clock, progress, signal };
}

/** @param made The point that is copied in any case, whatever its clock said. */
async function copyTo(
  { there, outcome, isBehind }: Other,
  { from, made, released }: { from: OpenedRepository; made: string | null; released: PointRelease[] },
  s: Surroundings,
): Promise<Copied> {
  if (there === undefined || isBehind) return { outcome, findings: [] };
  const { opened: to } = there;
  const installationId = from.config?.installation.id ?? "";
  try {
    await assertRetention(to.repository, s);
    const { copied, added, failed } = await copy({
      from,
      to,
      choose(snapshots, points, known) {
        const lacking = pointsLacking(points, known, { installationId, nowMs: s.clock.now() });
        return snapshotsOf(snapshots, [...lacking, ...points.filter(({ id }) => id === made)]);
      },
      holds: { released },
      remembered: PROGRAM,
      ...tools(s),
    });
    const done = { ...outcome, points: copied.length, bytes: added.bytes };
    const { findings } = await keepLocked(to.repository, to.name, s);
    if (failed.length === 0) return { outcome: done, findings };
    const unread = failed.map(({ point }) => point);
    return { outcome: { ...done, ok: false, message: describeFailed(failed) }, findings, unread };
  } catch (error) {
    return { outcome: { ...outcome, ok: false, message: told(error, s) }, findings: [] };
  }
}

/** A fault of one of several, which somebody must look at. */
function named(error: unknown, name: string): unknown {
  if (!isFailure(error) || error.code === "internal/bug") return error;
  const { code, message, hint = "See why." } = error;
  return new Failure(code, `repository '${name}': ${message}`, {
    hint: `${hint} Another one is drilled with '--repository NAME'.`,
    cause: error,
  });
}

/**
 * The repository whose turn it is to be drilled: of those that answer and hold a point of this installation, the one
 * whose newest proof is oldest, or that has none.
 * @param options `isMoment`: a moment by chance is drilled. Then those count that have a base, and proofs of moments.
 * @throws what the first one answered, when none can be drilled.
 */
export async function openNextToDrill(
  globals: Globals,
  s: Surroundings,
  { isMoment = false } = {},
): Promise<OpenedRepository> {
  if (globals.repository !== undefined) return await openChosenRepository(globals, s);
  const { config } = await loadConfig(globals, s);
  const { id } = config.installation;
  let next: { opened: OpenedRepository; provenAt: string } | undefined;
  for (const { name } of config.repositories.length > 1 ? config.repositories : []) {
    try {
      const opened = await openChosenRepository({ ...globals, repository: name }, s);
      const list = await listPoints(opened.repository, { signal: s.signal });
      const mine = (isMoment ? list.moments : list.points).filter(({ installationId }) => installationId === id);
      if (isMoment ? !isFollowed(list, id) : mine.length === 0) continue;
      const provenAt = mine.reduce(
        (newest, { proof }) => (proof !== undefined && proof.at > newest ? proof.at : newest),
        "",
      );
      if (next === undefined || provenAt < next.provenAt) next = { opened, provenAt };
    } catch (error) {
      if (!isAway(error)) throw named(error, name);
      s.progress.say(`repository '${name}' does not answer (${error.message}), so it is not drilled`);
    }
  }
  return next?.opened ?? (await openChosenRepository(globals, s));
}
