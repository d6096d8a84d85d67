/** Acknowledges that accounts have shrunk: somebody has looked, and it is as it should be. */
import { hostname, userInfo } from "node:os";
import { type AccountCounts, type Peak } from "../base/account-counts.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { formatGoTime } from "../format/go-time.ts";
import { type Ack, type AckedFall, formatAck } from "../point/ack.ts";
import { ACK } from "../point/layout.ts";
import type { Manifest } from "../point/manifest.ts";
import { isShrinkage } from "../policy/shrinkage.ts";
import { isDamage } from "../repo/chunk.ts";
import type { Repository } from "../repo/repository.ts";
import type { AckLine, AckSummary } from "./ack-summary.ts";
import { acksOf, awaitingAck, isShrunk, readAck, SHRUNK } from "./acks.ts";
import { lockToWrite } from "./lock.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList, resolvePoint } from "./points.ts";
import { hasFormOfKind, notAckable } from "./not-ackable.ts";
import { isAckable, subjectOf } from "./quiet.ts";
import { ackTags, isAck, saveRecord } from "./records.ts";

export interface AckOptions {
  repository: Repository;
  repositoryName: string;
  /** Undefined where no configuration says it. */
  installationId: string | undefined;
  clock: Clock;
  signal: AbortSignal;
}

export interface NewAck {
  /** The kind of the finding, for the newest point that reports it; or a word for a point. */
  word: string;
  reason: string | undefined;
  /** What `doctor` finds now, where only that tells findings of the kind. */
  found?: readonly Finding[] | undefined;
  /** Name and version of this program. */
  program: string;
}

/** What was acknowledged, and whose it is. */
export interface Acknowledged {
  summary: AckSummary;
  ack: Ack;
  about: Pick<Point, "installationId" | "snapshot">;
}

/** @throws Failure `usage/invalid` when there is nothing of that kind to acknowledge. */
export async function acknowledge(options: AckOptions, wanted: NewAck): Promise<Acknowledged> {
  if (/\p{Cc}/u.test(wanted.reason ?? "")) {
    throw new Failure("usage/invalid", "the reason has a line break or a control character in it", {
      hint: "Give one line.",
    });
  }
  const { repository, repositoryName, clock } = options;
  await using lock = await lockToWrite(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  const { point, ...said } = await whatIsSaid(list, wanted, { ...options, signal });
  const ack: Ack = {
    schema: 1,
    program: wanted.program,
    point: point.id,
    takenAt: point.snapshot.time,
    ...said,
    reason: wanted.reason ?? null,
    at: formatGoTime(BigInt(clock.now()) * 1_000_000n),
    by: `${userInfo().username}@${hostname()}`,
  };
  await lock.confirm({ signal });
  const changed = await saveAck(repository, list, { ack, about: point, signal });
  const summary: AckSummary = {
    ...emptySummary(repositoryName),
    action: "acknowledged",
    changed,
    point: point.id,
    takenAt: ack.takenAt,
    falls: ack.falls,
    acks: [lineOf(ack)],
  };
  return { summary, ack, about: point };
}

type Said = Pick<Ack, "finding" | "falls" | "subjects"> & { point: Point };

async function whatIsSaid(
  list: PointList,
  { word, found }: Pick<NewAck, "word" | "found">,
  options: AckOptions,
): Promise<Said> {
  const { repository, repositoryName, installationId } = options;
  if (isAckable(word)) {
    const point = resolvePoint(list, "latest", installationId);
    const all = found ?? (await readFindings(repository, point, options));
    const said = all.filter(({ kind }) => kind === word);
    if (said.length === 0) {
      const who = found === undefined ? `the newest restore point in '${repositoryName}' has` : "'chatkeep doctor' has";
      throw new Failure("usage/invalid", `${who} no finding '${word}'`, {
        hint: "'chatkeep ack' and 'chatkeep doctor' tell what can be acknowledged; a new backup shows what is so now.",
      });
    }
    return { point, finding: word, falls: [], subjects: said.map(subjectOf) };
  }
  const refusal = notAckable(word, hasFormOfKind(word) ? await newestFindings(list, options) : []);
  if (refusal !== undefined) throw refusal;
  const point = word === SHRUNK ? newestShrunk(list, options) : namedPoint(list, word, options);
  return { point, finding: SHRUNK, falls: await readFalls(repository, point, options) };
}

/** Writes the same into another repository. @returns false when it is there already. */
export async function acknowledgeThere(
  { repository, ...options }: Pick<AckOptions, "repository" | "clock" | "signal">,
  { ack, about }: Pick<Acknowledged, "ack" | "about">,
): Promise<boolean> {
  await using lock = await lockToWrite(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  await lock.confirm({ signal });
  return await saveAck(repository, list, { ack, about, signal });
}

async function saveAck(
  repository: Repository,
  list: PointList,
  { ack, about, signal }: Pick<Acknowledged, "ack" | "about"> & { signal: AbortSignal },
): Promise<boolean> {
  const known = list.records.filter(isAck);
  if (known.some(({ point, finding }) => point === ack.point && finding === ack.finding)) return false;
  const kept = { place: ACK, text: formatAck(ack), time: ack.at, tags: ackTags(ack) };
  await saveRecord(repository, { ...kept, about, program: ack.program, signal });
  return true;
}

function newestShrunk(list: PointList, { repositoryName, installationId }: AckOptions): Point {
  const ids =
    installationId === undefined ? new Set(list.points.map((point) => point.installationId)) : [installationId];
  const awaiting = [...ids].flatMap((id) => awaitingAck(list, id).slice(0, 1));
  const [point] = awaiting;
  if (point !== undefined && awaiting.length === 1) return point;
  if (awaiting.length > 1) {
    throw new Failure("usage/invalid", `in '${repositoryName}' that awaits it of ${awaiting.length} installations`, {
      hint: `Name the restore point: ${awaiting.map(({ id }) => shortId(id)).join(", ")}.`,
    });
  }
  throw new Failure("usage/invalid", `no restore point in '${repositoryName}' awaits that somebody acknowledges it`, {
    hint: "'chatkeep ack' lists what does, and what was acknowledged.",
  });
}

function namedPoint(list: PointList, word: string, { installationId }: AckOptions): Point {
  const point = resolvePoint(list, word, installationId);
  if (isShrunk(point)) return point;
  throw new Failure("usage/invalid", `restore point ${shortId(point.id)} does not say that any account shrank`, {
    hint: "'chatkeep ack' lists those that do.",
  });
}

/** Undefined where the point is damaged. */
async function readManifest(
  repository: Repository,
  point: Point,
  options: { signal: AbortSignal },
): Promise<Manifest | undefined> {
  try {
    return await new PointReader(repository, point, options).manifest();
  } catch (error) {
    if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
    return undefined;
  }
}

async function readFindings(
  repository: Repository,
  point: Point,
  options: { signal: AbortSignal },
): Promise<Finding[]> {
  return (await readManifest(repository, point, options))?.findings ?? [];
}

/** What the newest point of the installation tells; nothing where there is none. */
async function newestFindings(list: PointList, { repository, installationId, signal }: AckOptions): Promise<Finding[]> {
  const newest = list.points.find((one) => installationId === undefined || one.installationId === installationId);
  return newest === undefined ? [] : await readFindings(repository, newest, { signal });
}

/** What a point says that accounts have: of each one that shrank too much, all that fell. None where it is damaged. */
async function readFalls(repository: Repository, point: Point, options: { signal: AbortSignal }): Promise<AckedFall[]> {
  const { accounts = [], peaks = [] } = (await readManifest(repository, point, options)) ?? {};
  const shrunk = new Set(peaks.filter(isShrinkage).map(({ account }) => account));
  return peaks.filter(({ account }) => shrunk.has(account)).map((peak) => toFall(peak, accounts));
}

function toFall({ account, name, kind, count }: Peak, accounts: readonly AccountCounts[]): AckedFall {
  const now = accounts.find((one) => one.account === account);
  const to = kind === "account" ? Number(now?.name != null) : (now?.counts[kind] ?? 0);
  return { account, name, kind, from: count, to };
}

/** What awaits it, and what was acknowledged before; newest first. */
export async function listAcks(options: AckOptions): Promise<AckSummary> {
  const { repository, repositoryName, installationId, signal } = options;
  const list = await listPoints(repository, { signal });
  const ids = new Set(list.points.map((point) => point.installationId));
  const mine = [...ids].filter((id) => installationId === undefined || id === installationId);
  const [point] = mine.flatMap((id) => awaitingAck(list, id));
  const acks: AckLine[] = [];
  for (const record of mine.flatMap((id) => acksOf(list, id)).toSorted((a, b) => b.takenAtMs - a.takenAtMs)) {
    const ack = await readAck(repository, record, { signal });
    const { point: about, finding, snapshot } = record;
    acks.push(
      ack === undefined
        ? { point: about, takenAt: "", finding, reason: null, at: snapshot.time, by: null }
        : lineOf(ack),
    );
  }
  const falls = point === undefined ? [] : await readFalls(repository, point, { signal });
  const { id = null, takenAt = null } = point === undefined ? {} : { id: point.id, takenAt: point.snapshot.time };
  const newest = list.points.find((one) => mine.includes(one.installationId));
  const said = newest === undefined ? [] : await readFindings(repository, newest, { signal });
  const awaiting = said.filter(({ kind, level }) => level !== "note" && isAckable(kind));
  return { ...emptySummary(repositoryName), point: id, takenAt, falls, awaiting, acks };
}

function lineOf({ point, takenAt, finding, reason, at, by }: Ack): AckLine {
  return { point, takenAt, finding, reason, at, by };
}

function emptySummary(repository: string): AckSummary {
  return {
    type: "summary",
    verb: "ack",
    action: "listed",
    repository,
    repositories: [repository],
    changed: false,
    point: null,
    takenAt: null,
    falls: [],
    awaiting: [],
    acks: [],
    findings: [],
  };
}
