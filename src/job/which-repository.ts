/**
 * Of several repositories of one installation, which one has most of what a word means: one of them may have been left behind for
 * hours, and would bring back less than there is.
 */
import type { Clock } from "../base/clock.ts";
import { type Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { AskedMoment } from "../point/moment.ts";
import { isMomentAlone } from "../point/moment.ts";
import type { Repository } from "../repo/repository.ts";
import type { Lsn } from "../wal/lsn.ts";
import { answersOf } from "./continuous/answers.ts";
import { findServingBases } from "./continuous/moment-source.ts";
import { lookBefore } from "./last-commit.ts";
import { listPoints, type Point, type PointList, resolvePoint } from "./points.ts";

/** What a repository has of what is asked for. */
export interface Standing {
  /** False for what is not asked for, but the nearest before it. */
  readonly isExact: boolean;
  /** How new it is: microseconds since 1970. Undefined where any that has it is as good. */
  readonly us: bigint | undefined;
  /** Of `now`: how far the log goes. */
  readonly log?: LogEnd;
  /** Of `now`: when the newest restore point was taken, microseconds since 1970. Files and configuration come from those. */
  readonly newestPointUs?: bigint | undefined;
  /** The name of the restore point that is meant. */
  readonly point?: string;
}

export interface LogEnd {
  readonly systemId: string;
  readonly timeline: number;
  /** The end of the newest that was committed: a repository whose log goes so far has it, too. */
  readonly mark: Lsn;
  readonly to: Lsn;
  /** From when on it goes to there without a gap: microseconds since 1970. */
  readonly sinceUs: bigint;
}

export interface AskedWord {
  readonly word: string;
  /** Undefined where it means a restore point, and no moment. */
  readonly asked: AskedMoment | undefined;
}

/**
 * True where one has more of what is asked for than another that stands before it.
 * @param slackUs so much newer is no more, where the log begins later.
 */
export function hasMore(
  one: Standing | undefined,
  { than, slackUs = 0n }: { than: Standing | undefined; slackUs?: bigint },
): boolean {
  if (one === undefined || than === undefined) return one !== undefined;
  if (one.isExact !== than.isExact) return one.isExact;
  const isNewer = (one.us ?? 0n) > (than.us ?? 0n) + slackUs;
  if (one.log === undefined || than.log === undefined || one.log.systemId !== than.log.systemId) return isNewer;
  if (one.log.timeline !== than.log.timeline) return one.log.timeline > than.log.timeline;
  if (!goesFurther(one, { than })) return false;
  if (slackUs > 0n && !isNewer && one.log.sinceUs > than.log.sinceUs) return false;
  return !isLittleFor(one, than);
}

/** True where the log of one goes further than that of another on the same timeline. */
export function goesFurther(one: Standing | undefined, { than }: { than: Standing | undefined }): boolean {
  const [log, other] = [one?.log, than?.log];
  if (log === undefined || other === undefined) return false;
  // By positions, for a clock that was set back gives older times to what came later.
  return log.systemId === other.systemId && log.timeline === other.timeline && log.mark > other.to;
}

/** The last moments of a log are worth less than the files and the configuration of newer restore points. */
function isLittleFor(one: Standing, than: Standing): boolean {
  const aheadUs = (one.us ?? 0n) - (than.us ?? 0n);
  if (aheadUs < 0n || aheadUs > BigInt(LIMITS.likeLogMs) * 1000n) return false;
  return (one.newestPointUs ?? 0n) < (than.newestPointUs ?? 0n);
}

export interface Looked {
  /** Of each word; undefined where it has nothing of it. */
  readonly standings: readonly (Standing | undefined)[];
  /** Restore points that somebody took out of it by name. */
  readonly forgotten: ReadonlySet<string>;
  /** When the newest restore point was taken: microseconds since 1970. Undefined where there is none. */
  readonly newestPointUs?: bigint | undefined;
}

/** The first that has most of all that is asked for; the first of all where none has any of it. */
export function mostOf<T extends Looked>(looked: readonly T[], { slackUs = 0n } = {}): T | undefined {
  return looked.reduce<T | undefined>((best, one) => {
    if (best === undefined) return one;
    const [all, allOfBest] = [one, best].map(({ standings }) => standings.every((standing) => standing !== undefined));
    if (all !== allOfBest) return all === true ? one : best;
    for (const [at, standing] of one.standings.entries()) {
      const than = best.standings[at];
      // What was forgotten there is not newer here.
      if (standing?.point !== undefined && best.forgotten.has(standing.point)) return best;
      if (hasMore(standing, { than, slackUs })) return one;
      if (hasMore(than, { than: standing, slackUs })) return best;
    }
    return best;
  }, undefined);
}

export interface LookedAt<O> extends Looked {
  readonly opened: O;
}

export interface LookOptions<P, O> {
  readonly open: (place: P, signal: AbortSignal) => Promise<O>;
  readonly words: readonly AskedWord[];
  readonly installationId: string;
  /** As {@link answersOf} takes it. */
  readonly typing?: (() => Promise<void> | undefined) | undefined;
  /** Told of one that was opened, and takes long to say what it has. */
  readonly onSlow?: ((place: P) => void) | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Opens several repositories at the same time, and looks what each has. Only the opening must be in time: the one with most of the log
 * has most to read. One that was opened is waited for until it has told, or its store gives up.
 * @returns what each that was opened in time has, or why it cannot be told.
 * @throws the signal's reason.
 */
export async function lookAtEach<P, O extends { readonly repository: Repository }>(
  places: readonly P[],
  { open, words, installationId, typing, onSlow, clock, signal: whole }: LookOptions<P, O>,
): Promise<ReadonlyMap<P, LookedAt<O> | Failure>> {
  const trying = async <T>(attempt: () => Promise<T>): Promise<T | Failure> => {
    try {
      return await attempt();
    } catch (error) {
      whole.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      return error;
    }
  };
  const begin = async (place: P, signal: AbortSignal) =>
    await trying(async () => {
      const opened = await open(place, signal);
      signal.throwIfAborted();
      const look = trying(async () => await lookAt(opened, { words, installationId, signal: whole }));
      look.catch(() => {}); // Thrown where it is waited for.
      return { look };
    });
  const begun = await answersOf(places, begin, {
    isAnswer: (answer) => !isFailure(answer),
    isFromFirst: true,
    typing,
    clock,
    signal: whole,
  });
  const told = new Map<P, LookedAt<O> | Failure>();
  const looking = [...begun].map(async ([place, answer]) => {
    told.set(place, isFailure(answer) ? answer : await answer.look);
  });
  const over = new AbortController();
  const slow = Promise.any(looking).then(async () => {
    await clock.sleep(LIMITS.placeAnswerMs, over.signal);
    for (const place of begun.keys()) if (!told.has(place)) onSlow?.(place);
  });
  slow.catch(() => {}); // Nobody was slow.
  try {
    await Promise.all(looking);
  } finally {
    over.abort();
  }
  return told;
}

async function lookAt<O extends { readonly repository: Repository }>(
  opened: O,
  { words, installationId, signal }: Pick<LookOptions<unknown, O>, "words" | "installationId" | "signal">,
): Promise<LookedAt<O>> {
  const { repository } = opened;
  const list = await listPoints(repository, { signal });
  const newest = list.points.find((point) => point.installationId === installationId);
  const newestPointUs = newest && usOf(newest);
  const standings: (Standing | undefined)[] = [];
  for (const word of words) {
    const standing = await standingOf(word, { repository, list, installationId, signal });
    standings.push(standing?.log === undefined ? standing : { ...standing, newestPointUs });
  }
  const forgotten = new Set(list.records.filter(({ kind }) => kind === "forgotten").map(({ point }) => point));
  return { opened, standings, forgotten, newestPointUs };
}

function usOf({ takenAtMs }: Pick<Point, "takenAtMs">): bigint {
  return BigInt(Math.trunc(takenAtMs)) * 1000n;
}

interface Where {
  readonly repository: Repository;
  readonly list: PointList;
  readonly installationId: string;
  readonly signal: AbortSignal;
}

async function standingOf({ word, asked }: AskedWord, where: Where): Promise<Standing | undefined> {
  if (asked === undefined) return pointStanding(word, where);
  const { repository, installationId, signal } = where;
  await repository.loadIndex({ signal });
  try {
    const { serving } = await findServingBases({ repository, installationId, asked, signal });
    const [served] = serving;
    if (served === undefined) return undefined;
    if (asked.kind !== "now" || served.asked.kind !== "time") return { isExact: true, us: undefined };
    const { base } = served.base;
    const to = served.legs.at(-1)?.to ?? base.to;
    const mark = served.lastCommit ?? base.to;
    const { sinceUs } = served;
    return {
      isExact: true,
      us: served.asked.us,
      log: { systemId: base.systemId, timeline: served.timeline, mark, to, sinceUs },
    };
  } catch (error) {
    if (!isFailure(error, "moment/outside")) throw error;
    return asked.kind === "time" ? await nearestBefore(word, asked.us, where) : undefined;
  }
}

/** Of a time that the log does not have: the last that it has before, or the restore point before. */
async function nearestBefore(word: string, us: bigint, where: Where): Promise<Standing | undefined> {
  const { repository, installationId: installation, signal } = where;
  const { beforeUs } = await lookBefore(repository, { us, installation, report: undefined }, { signal });
  const { us: pointUs } = (isMomentAlone(word) ? undefined : pointStanding(word, where)) ?? {};
  const newest = pointUs !== undefined && pointUs > (beforeUs ?? 0n) ? pointUs : beforeUs;
  return newest === undefined ? undefined : { isExact: false, us: newest };
}

function pointStanding(word: string, { list, installationId }: Where): Standing | undefined {
  try {
    const point = resolvePoint(list, word, installationId);
    return { isExact: true, us: usOf(point), point: point.id };
  } catch (error) {
    // Told by the repository that is read in the end.
    if (!isFailure(error)) throw error;
    return undefined;
  }
}
