/**
 * After a failover: looks in every repository for what the old primary wrote alone, and counts what was committed there. It is looked for
 * when a line begins and when a repository joins again, by what the repositories have: a watch that begins anew finds it again, and
 * one that was ended meanwhile has kept nothing to itself. Nobody waits for it, and nothing that goes wrong here ends a watch.
 */
import type { Clock } from "../../base/clock.ts";
import { type ErrorCode, failureOf } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { formatPosition } from "../../point/moment.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import type { LineBegun, PlaceJoined } from "./follow-log.ts";
import { listContinuous } from "./list.ts";
import { commitsInTail, type OldTail, oldTailsIn, type TailCommits } from "./old-tail.ts";

/** What is told of one failover. */
export interface LeftBehind extends Pick<OldTail, "line" | "from" | "to"> {
  /** Those that have something of it, the one that has most first. */
  readonly repositories: readonly string[];
  /** `unknown`: nobody could count them so far. */
  readonly commits: TailCommits | "counting" | "unknown";
  /** Since when that is known, as far as repositories tell: milliseconds since 1970. */
  readonly sinceMs: number;
}

interface TailPlace {
  /** The repository's name. */
  readonly name: string;
  readonly open: () => Promise<Repository>;
}

export interface OldTailsOptions {
  readonly places: readonly TailPlace[];
  /** The installation's id. */
  readonly installation: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onTail: (left: LeftBehind) => void;
}

interface Known extends Pick<LeftBehind, "line" | "from" | "to" | "commits" | "sinceMs"> {
  readonly tails: ReadonlyMap<TailPlace, OldTail>;
}

/** What stays as it is, however often it is tried. */
const UNREADABLE: readonly ErrorCode[] = ["repo/damaged", "moment/outside", "point/invalid", "internal/bug"];

export class OldTails {
  readonly #o: OldTailsOptions;
  #begun: Pick<LineBegun, "line" | "history"> | undefined;
  /** By the old timeline and where it was left. */
  readonly #known = new Map<string, Known>();
  /** Ends the look at a place, and the counting of a tail, that another one follows. */
  readonly #under = new Map<TailPlace | string, AbortController>();
  readonly #tasks = new Set<Promise<void>>();

  constructor(options: OldTailsOptions) {
    this.#o = options;
  }

  /** Until the signal is aborted. @throws its reason. */
  async run(): Promise<never> {
    const { signal } = this.#o;
    const over = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => over.resolve(), { once: true });
    if (!signal.aborted) await over.promise;
    await Promise.all(this.#tasks);
    throw signal.reason;
  }

  lineBegun({ line, history }: Pick<LineBegun, "line" | "history">): void {
    this.#begun = { line, history };
    for (const place of this.#o.places) this.#lookAt(place, false);
  }

  /** What it has was not seen when the line began. */
  joined({ name }: Pick<PlaceJoined, "name">): void {
    for (const place of this.#o.places) if (place.name === name) this.#lookAt(place, true);
  }

  #lookAt(place: TailPlace, hasJoined: boolean): void {
    const begun = this.#begun;
    // Most servers never had a failover.
    if (begun === undefined || begun.history.parents.length === 0) return;
    this.#begin(place, async (signal) => {
      const { installation } = this.#o;
      const look = async () => {
        const found = await this.#trying(signal, async () => {
          return await listContinuous(await openAnew(place, signal), installation, { signal });
        });
        for (const tail of oldTailsIn(found, begun)) this.#found(tail, place, hasJoined);
      };
      await look();
      // The last of the old line may have been stored beside the new one, where a place was slow.
      await this.#o.clock.sleep(LIMITS.oldTailAgainMs, signal);
      await look();
    });
  }

  /** In place of what is under way of the same. */
  #begin(key: TailPlace | string, work: (signal: AbortSignal) => Promise<void>): void {
    this.#under.get(key)?.abort();
    const stop = new AbortController();
    this.#under.set(key, stop);
    const task = work(AbortSignal.any([this.#o.signal, stop.signal])).catch(() => {});
    this.#tasks.add(task);
    void task.finally(() => this.#tasks.delete(task));
  }

  /** @throws the signal's reason alone. */
  async #trying<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    let wait: number = LIMITS.oldTailRetryMs;
    for (;;) {
      try {
        return await attempt();
      } catch {
        signal.throwIfAborted();
      }
      await this.#o.clock.sleep(wait, signal);
      wait = Math.min(wait * 2, LIMITS.oldTailRetryMostMs);
    }
  }

  /** @param hasJoined How long what it has lay there says nothing of since when that can be known. */
  #found(tail: OldTail, place: TailPlace, hasJoined: boolean): void {
    const { line, from, to } = tail;
    const key = `${line.systemId} ${formatPosition({ lsn: from, timeline: line.timeline })}`;
    const known = this.#known.get(key);
    const isMore = known === undefined || to > known.to;
    const now = this.#o.clock.now();
    const sinceMs = isMore && hasJoined ? now : Math.min(known?.sinceMs ?? now, tail.leftMs ?? now);
    this.#set(key, {
      line,
      from,
      to: isMore ? to : known.to,
      commits: isMore ? "counting" : known.commits,
      sinceMs,
      tails: new Map([...(known?.tails ?? []), [place, tail]]),
    });
    if (isMore && now - sinceMs < LIMITS.watchEventMs)
      this.#begin(key, async (signal) => await this.#count(key, signal));
  }

  #set(key: string, known: Known): void {
    this.#known.set(key, known);
    const { tails, ...left } = known;
    const repositories = [...tails].toSorted(([, a], [, b]) => compare(b.to, a.to)).map(([{ name }]) => name);
    this.#o.onTail({ ...left, repositories });
  }

  #counted(key: string, commits: LeftBehind["commits"]): void {
    const known = this.#known.get(key);
    if (known !== undefined) this.#set(key, { ...known, commits });
  }

  /** A failover that was planned leaves some records behind and no commit: nobody is told before that is known, or patience is over. */
  async #count(key: string, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const patience = this.#o.clock
      .sleep(LIMITS.oldTailPatienceMs, AbortSignal.any([signal, over.signal]))
      .then(() => this.#counted(key, "unknown"))
      .catch(() => {});
    try {
      const commits = await this.#trying(signal, async () => await this.#countOnce(key, signal));
      signal.throwIfAborted();
      this.#counted(key, commits);
    } finally {
      over.abort();
      await patience;
    }
  }

  /** In one repository after another of those that have all of it. @throws what trying again may help. */
  async #countOnce(key: string, signal: AbortSignal): Promise<TailCommits | "unknown"> {
    const known = this.#known.get(key);
    let mayHelp: unknown;
    for (const [place, tail] of known?.tails ?? []) {
      if (tail.to !== known?.to) continue;
      try {
        const commits = await commitsInTail(await openAnew(place, signal), tail, { signal });
        if (commits !== undefined) return commits;
      } catch (error) {
        signal.throwIfAborted();
        if (!UNREADABLE.includes(failureOf(error).code)) mayHelp = error;
      }
    }
    if (mayHelp !== undefined) throw mayHelp;
    return "unknown";
  }
}

/** One that does not answer holds up no end. */
async function openAnew({ open }: TailPlace, signal: AbortSignal): Promise<Repository> {
  signal.throwIfAborted();
  const ended = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => ended.reject(signal.reason), { once: true });
  return (await Promise.race([open(), ended.promise])).anew();
}

function compare(a: Lsn, b: Lsn): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
