/** Holds: restore points that nothing forgets, for whom and until when. */
import { hostname, userInfo } from "node:os";
import type { Clock } from "../base/clock.ts";
import { plural } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { formatGoTime } from "../format/go-time.ts";
import { HOLD, RELEASE } from "../point/layout.ts";
import { formatHold, parseHold, type Hold } from "../point/hold.ts";
import { daysInMonth, Zone } from "../policy/calendar.ts";
import type { Repository } from "../repo/repository.ts";
import { isReleased, releasesIn } from "./holds-between.ts";
import { lockAlone, type LockOptions, lockToWrite } from "./lock.ts";
import { listPoints, resolvePoint, type PointList } from "./points.ts";
import {
  describeHold,
  holdTags,
  isHold,
  isInForce,
  readRecord,
  releaseTags,
  saveRecord,
  type PointHold,
  type PointRecord,
  type PointRelease,
  tagValue,
} from "./records.ts";
import type { HoldLine, HoldSummary } from "./summaries.ts";

export interface HoldOptions {
  repository: Repository;
  repositoryName: string;
  /** For words like `latest`, and for the list; undefined means all. */
  installationId: string | undefined;
  clock: Clock;
  signal: AbortSignal;
}

export interface NewHold {
  /** A word for the point. */
  word: string;
  name: string;
  reason: string | undefined;
  /** A day, which is held to its end, or an instant with its zone. */
  until: string | undefined;
  /** The zone of a day: IANA. */
  timeZone: string;
  /** Releases that are known from other repositories: this hold is newer than they, whatever the clocks say. */
  released?: readonly PointRelease[];
  /** When it was made, where it was made in another repository already: RFC 3339. */
  at?: string | undefined;
  /** Name and version of this program. */
  program: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export async function hold(options: HoldOptions, wanted: NewHold): Promise<HoldSummary> {
  const { repository, clock } = options;
  const { name, program } = wanted;
  if (!NAME.test(name)) {
    throw new Failure("usage/invalid", `'${name}' cannot be the name of a hold`, {
      hint: "Use letters, digits, '.', '_' and '-', at most 63.",
    });
  }
  if (/\p{Cc}/u.test(wanted.reason ?? "")) {
    throw new Failure("usage/invalid", "the reason has a line break or a control character in it", {
      hint: "Give one line.",
    });
  }
  const end = parseEnd(wanted);
  if (end !== undefined && end.atMs <= clock.now()) {
    throw new Failure("usage/invalid", `a hold until '${end.text}' would have ended already`, {
      hint: "Give a day or an instant in the future.",
    });
  }
  await using lock = await lockToWrite(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  const point = resolvePoint(list, wanted.word, options.installationId);
  const released = [...releasesIn(list), ...(wanted.released ?? [])];
  // One that was released somewhere would go with the next backup.
  const known = point.holds.filter((one) => {
    return one.name === name && isInForce(one, clock.now()) && !isReleased(one, released);
  });
  const made: Hold = {
    schema: 1,
    program,
    point: point.id,
    name,
    reason: wanted.reason ?? null,
    until: end?.text ?? null,
    endsAt: end === undefined ? null : formatGoTime(BigInt(end.atMs) * 1_000_000n),
    at: wanted.at ?? timeAfter(releasesOf(released, { point: point.id, name }), 1, clock),
    by: `${userInfo().username}@${hostname()}`,
  };
  const answer = { ...summaryOf(options), action: "held" } as const;
  for (const one of known) {
    const line = await toLine(one, list, options);
    if (line.reason !== made.reason || line.until !== made.until) {
      throw new Failure("usage/invalid", `restore point ${shortId(point.id)} is held already: ${describeHold(one)}`, {
        hint: `Choose another name, or release it first: 'chatkeep hold --release ${shortId(point.id)} ${name}'.`,
      });
    }
    return { ...answer, changed: false, holds: [line] };
  }
  const kept = { place: HOLD, text: formatHold(made), time: made.at, tags: holdTags(made) };
  await lock.confirm({ signal });
  await saveRecord(repository, { ...kept, about: point, program, signal });
  const { reason, until, at, by } = made;
  const line = { point: point.id, takenAt: point.snapshot.time, name, reason, until, inForce: true, at, by };
  return { ...answer, changed: true, holds: [line] };
}

function releasesOf(
  released: readonly PointRelease[],
  { point, name }: { point: string; name: string },
): readonly PointRelease[] {
  return released.filter((one) => one.point === point && one.name === name);
}

/**
 * Now, or so long after the newest of these: a hold and its release are put in order by their times, which may come from
 * clocks that differ, and what a person does now is the newest.
 */
function timeAfter(records: readonly { atMs: number }[], byMs: number, clock: Clock): string {
  const atMs = records.reduce((latest, one) => Math.max(latest, one.atMs + byMs), clock.now());
  return formatGoTime(BigInt(atMs) * 1_000_000n);
}

function summaryOf({
  repositoryName: repository,
}: HoldOptions): Pick<HoldSummary, "type" | "verb" | "repository" | "repositories" | "findings"> {
  return { type: "summary", verb: "hold", repository, repositories: [repository], findings: [] };
}

export interface HoldRelease {
  /** A word for the point. */
  word: string;
  name: string;
  /** Name and version of this program, where a repository may not be reached: then the release is kept in this one. */
  remembered?: string | undefined;
}

export async function releaseHold(options: HoldOptions, { word, name, remembered }: HoldRelease): Promise<HoldSummary> {
  const { repository } = options;
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  const id = heldPoint(list, word, options.installationId);
  const found = list.records.filter(isHold).filter((one) => one.point === id && one.name === name);
  if (found.length === 0) {
    const others = list.records.filter(isHold).filter((one) => one.point === id);
    const [unread] = list.damaged;
    if (unread !== undefined) {
      throw new Failure(
        "repo/damaged",
        `no hold '${name}' of restore point ${shortId(id)} is to be seen, and ${plural(list.damaged.length, "snapshot file")} cannot be read, ${shortId(unread.name)} among them`,
        { hint: "The hold may be in such a file. Run 'chatkeep verify' to see what is damaged." },
      );
    }
    throw new Failure("usage/invalid", `restore point ${shortId(id)} has no hold '${name}'`, {
      hint:
        others.length === 0
          ? "'chatkeep hold' lists those that there are."
          : `It has ${others.map((one) => one.name).join(", ")}.`,
    });
  }
  const lines: HoldLine[] = [];
  const [first] = found;
  const at = timeAfter(found, 0, options.clock);
  if (remembered !== undefined && first !== undefined) {
    await rememberRelease(first, { program: remembered, at }, { ...options, signal });
  }
  for (const one of found) {
    lines.push(await toLine(one, list, options));
    await repository.store.remove({ kind: "snapshots", name: one.snapshotId }, { signal });
  }
  return { ...summaryOf(options), action: "released", changed: true, holds: lines };
}

/** Before the hold goes: whatever happens then, the other repositories hear of it. */
async function rememberRelease(
  { point, name, snapshot }: PointHold,
  { program, at }: { program: string; at: string },
  { repository, signal }: HoldOptions,
): Promise<void> {
  const text = `${JSON.stringify({ schema: 1, program, point, name, at, by: `${userInfo().username}@${hostname()}` }, null, 1)}\n`;
  const kept = { place: RELEASE, text, time: at, tags: releaseTags({ point, name }) };
  const about = { installationId: tagValue(snapshot, "installation") ?? "", snapshot };
  await saveRecord(repository, { ...kept, about, program, signal });
}

/**
 * Removes holds that were released elsewhere, or releases that every repository has heard of.
 * @throws Failure `store/denied` where nothing may be deleted, `repo/locked`.
 */
export async function removeRecords(
  repository: Repository,
  records: readonly PointRecord[],
  options: LockOptions,
): Promise<void> {
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  for (const { snapshotId } of records) {
    signal.throwIfAborted();
    await lock.confirmOld({ signal });
    await repository.store.remove({ kind: "snapshots", name: snapshotId }, { signal });
  }
}

/** A hold may have outlived its point: then its name is found in the hold. */
function heldPoint(list: PointList, word: string, installationId: string | undefined): string {
  try {
    return resolvePoint(list, word, installationId).id;
  } catch (error) {
    const held = new Set(
      list.records
        .filter(isHold)
        .map(({ point }) => point)
        .filter((id) => id.startsWith(word)),
    );
    const [only] = held;
    if (word.length < 4 || held.size !== 1 || only === undefined) throw error;
    return only;
  }
}

export async function listHolds(options: HoldOptions): Promise<HoldSummary> {
  const list = await listPoints(options.repository, options);
  const { installationId } = options;
  const found = list.records
    .filter(isHold)
    .filter(({ snapshot }) => installationId === undefined || tagValue(snapshot, "installation") === installationId);
  const lines: HoldLine[] = [];
  for (const one of found) lines.push(await toLine(one, list, options));
  return { ...summaryOf(options), action: "listed", changed: false, holds: lines };
}

async function toLine(found: PointHold, list: PointList, options: HoldOptions): Promise<HoldLine> {
  const { point, name, until, snapshot } = found;
  const record = await readHold(options.repository, found, options);
  return {
    point,
    takenAt: [...list.points, ...list.moments].find(({ id }) => id === point)?.snapshot.time ?? null,
    name,
    reason: record?.reason ?? null,
    until: until ?? null,
    inForce: isInForce(found, options.clock.now()),
    at: snapshot.time,
    by: record?.by ?? null,
  };
}

/** Undefined when it is damaged: it holds all the same. */
async function readHold(
  repository: Repository,
  found: PointHold,
  { signal }: { signal: AbortSignal },
): Promise<Hold | undefined> {
  try {
    return parseHold(await readRecord(repository, found, { signal }));
  } catch (error) {
    if (isFailure(error, "repo/damaged") || isFailure(error, "store/not-found") || isFailure(error, "point/invalid"))
      return undefined;
    throw error;
  }
}

/** @throws Failure `usage/invalid` when the text is neither a day nor an instant. */
function parseEnd({ until, timeZone }: NewHold): { text: string; atMs: number } | undefined {
  if (until === undefined) return undefined;
  const day = /^(\d{4})-(\d\d)-(\d\d)$/.exec(until);
  const hasZone = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)$/.test(until);
  const [year = 0, month = 0, date = 0] = day?.slice(1).map(Number) ?? [];
  const isDay = month >= 1 && month <= 12 && date >= 1 && date <= daysInMonth(year, month);
  const parsed = !isDay && !hasZone ? NaN : Date.parse(until.replace(" ", "T")); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  if (Number.isNaN(parsed)) {
    throw new Failure("usage/invalid", `'${until}' is no day and no instant`, {
      hint: "Write a day as 2027-01-31, which is held to its end, or an instant with its zone as 2027-01-31T12:00Z.",
    });
  }
  if (day === null) return { text: until, atMs: parsed };
  const next = { year, month, day: date + 1, hour: 0, minute: 0, second: 0 };
  return { text: until, atMs: new Zone(timeZone).instantOf(next) };
}
