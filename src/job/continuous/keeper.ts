/**
 * One repository's part of continuous protection: takes what lies in the tail of the log, to the journal within seconds and as
 * spans when whole segments have come together, and says up to where everything is durable there. Each repository has a
 * keeper of its own. Where spans cannot be stored just now, as while somebody prunes, and the tail is full, what the journal has
 * is needed in memory no more: the spans are made of it later. A keeper to which nothing at all can be given holds up whoever
 * receives; of several, the line leaves that one behind.
 */
import type { Clock } from "../../base/clock.ts";
import { assert, Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { WalSpan } from "../../point/continuous.ts";
import {
  type Commit,
  type CommitSummary,
  joinCommits,
  type MinimalRecord,
  summarizeCommits,
  timesOf,
} from "../../point/wal-facts.ts";
import { formatLsn, type Lsn, segmentStart } from "../../wal/lsn.ts";
import { TAIL_ENDED, type WalTail } from "./wal-tail.ts";

type KeptLine = Pick<WalSpan, "installation" | "systemId" | "timeline">;

/** Bytes of the log that are to be stored, and what they are. */
export interface SpanBytes<C = readonly Commit[]> {
  readonly span: WalSpan;
  /** Of all of it together: what was committed, in order. */
  readonly commits: C;
  /** Records that say that the server writes too little to be replayed, in order. */
  readonly minimal?: readonly MinimalRecord[];
  readonly bytes: readonly Buffer[];
}

/** What becomes a span. */
export interface SpanToStore extends Omit<SpanBytes<CommitSummary>, "bytes" | "minimal"> {
  /** Or what gives them when the repository is locked. */
  readonly bytes: readonly Buffer[] | (() => Promise<readonly Buffer[]>);
}

/** Where a keeper stores. What resolves is durable; what rejects may be tried again. */
export interface SpanPlace {
  /** The repository's name. */
  readonly name: string;
  /** False where only restic's own names can be written: spans are stored more often then. */
  readonly hasJournal: boolean;
  /** What comes is stored no more often. */
  readonly leastFlushMs?: number;
  /** `onStored` is told up to where it is durable, whatever becomes of the rest. */
  putJournal(entry: SpanBytes, options: { signal: AbortSignal; onStored: (to: Lsn) => void }): Promise<void>;
  /**
   * Whole segments, and at times the beginning of one more: the next span has that segment whole. `goesOn` says, when the span is
   * stored, whether the next one comes at once.
   */
  saveSpan(entry: SpanToStore, options: { signal: AbortSignal; goesOn: () => boolean }): Promise<void>;
  /** What the journal has between two positions, from the first one on; fewer bytes where it has no more. */
  readJournal(line: KeptLine, within: Pick<WalSpan, "from" | "to">, options: { signal: AbortSignal }): Promise<Buffer>;
  /** Removes from the journal what spans hold up to there. What cannot be removed stays, and does no harm. */
  sweepJournal(savedTo: Lsn, options: { signal: AbortSignal }): Promise<void>;
  /** Nothing is stored there any more by this keeper. */
  close?(): Promise<void>;
}

export interface KeeperTimes {
  /** What came is durable after so long, where the place takes it. */
  readonly flushMs: number;
  /** A span is stored when it has so many bytes of whole segments … */
  readonly spanBytes: number;
  /** … or when so long has passed since its first byte came, and a whole segment is there. */
  readonly spanMs: number;
  /** Waits between tries at a place that refuses: the first, and the longest. */
  readonly retryMs: number;
  readonly retryMostMs: number;
  /** One that holds up another for so long altogether is left behind. */
  readonly patienceMs: number;
}

export interface KeeperOptions {
  readonly place: SpanPlace;
  readonly tail: WalTail;
  readonly line: KeptLine;
  /** Up to where spans have everything there; a segment's beginning. */
  readonly savedTo: Lsn;
  /** Up to where spans and journal together have everything; not less. */
  readonly durableTo: Lsn;
  readonly times: KeeperTimes;
  readonly clock: Clock;
  /** Since when the place has taken nothing, milliseconds on the monotonic clock: the first thing that it takes is told. */
  readonly failingSinceMs?: number | undefined;
  /** Something became durable, or is not needed here any more. */
  readonly onProgress: () => void;
  /** The place refused, and is tried again; or took something after that (undefined). */
  readonly onTrouble: (trouble: Failure | undefined) => void;
}

type Step = { kind: "span"; to: Lsn } | { kind: "journal"; to: Lsn } | { kind: "wait"; ms: number | undefined };

export class Keeper {
  readonly #o: KeeperOptions;
  #savedTo: Lsn;
  #durableTo: Lsn;
  /** Since when nothing was taken, milliseconds on the monotonic clock. */
  #failingSinceMs: number | undefined;
  /** Not before then, on the monotonic clock, is it tried again; and how long is waited after the next refusal. */
  readonly #retries: Record<"span" | "journal", { atMs: number; waitMs: number }>;
  /** What the place said last. */
  #trouble: Failure | undefined;
  /** In the journal since the last span. */
  #objects = 0;
  /** The last span could not be stored. */
  #isSpanRefused = false;
  /** The first byte in memory of what is being stored. */
  readonly #storingFrom = new Map<"span" | "journal", Lsn>();
  /** Of segments that are in the journal alone, by their beginnings. */
  readonly #letGo = new Map<Lsn, CommitSummary>();

  constructor(options: KeeperOptions) {
    this.#o = options;
    this.#savedTo = options.savedTo;
    this.#durableTo = options.durableTo;
    this.#failingSinceMs = options.failingSinceMs;
    const waitMs = options.times.retryMs;
    this.#retries = { span: { atMs: 0, waitMs }, journal: { atMs: 0, waitMs } };
  }

  get name(): string {
    return this.#o.place.name;
  }

  /** Up to where the repository has everything, whatever happens here. */
  get durableTo(): Lsn {
    return this.#durableTo;
  }

  /** Up to where spans have everything. */
  get savedTo(): Lsn {
    return this.#savedTo;
  }

  /**
   * What lies before is needed in memory no more: it is in spans. While none can be stored, or those that are missing are made of the
   * journal, and the tail is full, what is in the journal.
   */
  get neededFrom(): Lsn {
    const { tail, place } = this.#o;
    const isInArrears = this.#isSpanRefused || this.#isReadingBack;
    if (!place.hasJournal || !tail.isFull || !isInArrears) return this.#savedTo;
    const durable = segmentStart(this.#durableTo < tail.end ? this.#durableTo : tail.end, tail.segmentBytes);
    const from = durable > this.#savedTo ? durable : this.#savedTo;
    const used = [...this.#storingFrom.values()].reduce((least, each) => (each < least ? each : least), from);
    return used < from ? segmentStart(used, tail.segmentBytes) : from;
  }

  /** True where all that it could store is stored, but for less than a span: it waits for more. */
  get isHungry(): boolean {
    const { tail, times } = this.#o;
    return Number(tail.closed - this.neededFrom) < times.spanBytes;
  }

  /** To be told before the tail lets go of what lies before a position. */
  noteBefore(before: Lsn): void {
    const { tail } = this.#o;
    const first = this.#savedTo > tail.start ? this.#savedTo : tail.start;
    for (let start = first; start < before; start += BigInt(tail.segmentBytes)) {
      this.#letGo.set(start, this.#summary(start, start + BigInt(tail.segmentBytes)));
    }
  }

  get failingSinceMs(): number | undefined {
    return this.#failingSinceMs;
  }

  /** Why nothing was taken since {@link failingSinceMs}. */
  get trouble(): Failure | undefined {
    return this.#trouble;
  }

  /** Spans are made of the journal: memory has not all that they lack. */
  get #isReadingBack(): boolean {
    return this.#savedTo < this.#o.tail.start;
  }

  /**
   * Stores until the signal is aborted or, when no more comes, everything is durable.
   * @throws Failure what trying again does not help: a repository that is damaged, whose password changed; the signal's reason.
   */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    try {
      for (;;) {
        signal.throwIfAborted();
        const step = this.#next();
        if (step.kind === "wait") {
          if (this.#o.tail.isFinished && this.#durableTo >= this.#o.tail.end) return;
          await this.#wait(step.ms, signal);
        } else await this.#store(step, signal);
      }
    } finally {
      await this.#o.place.close?.();
    }
  }

  #next(): Step {
    const { tail, place, clock } = this.#o;
    const now = clock.monotonic();
    const spanInMs = later(this.#spanInMs(now), this.#retries.span.atMs - now);
    const flushInMs = later(
      this.#flushInMs(this.#savedTo, now),
      this.#retries[place.hasJournal ? "journal" : "span"].atMs - now,
    );
    // What is read back is durable: what came since goes first. And where there is a journal, a span that cannot be stored just
    // now keeps nothing from being durable.
    const isFlushFirst = this.#isReadingBack && flushInMs === 0;
    if (spanInMs === 0 && !isFlushFirst) return { kind: "span", to: this.#spanEnd() };
    if (flushInMs === 0) return { kind: place.hasJournal ? "journal" : "span", to: tail.end };
    const waits = [flushInMs, spanInMs].filter((ms) => ms !== undefined);
    return { kind: "wait", ms: waits.length === 0 ? undefined : Math.min(...waits) };
  }

  /** Milliseconds until a span is due; undefined while nothing is there that could be one. */
  #spanInMs(now: number): number | undefined {
    const { tail, times } = this.#o;
    if (this.#isReadingBack) return 0;
    const unsaved = Number(tail.closed - this.#savedTo);
    if (unsaved >= times.spanBytes) return 0;
    // A segment that fills slowly would leave thousands of objects behind it.
    const isLong = this.#objects >= LIMITS.journalObjects;
    return unsaved > 0 || isLong ? this.#dueMs(this.#savedTo, times.spanMs, now) : undefined;
  }

  /** Milliseconds until what came is to be durable; undefined where all of it is. @param spanFrom Where the next span begins. */
  #flushInMs(spanFrom: Lsn, now: number): number | undefined {
    const { tail, times, place } = this.#o;
    if (tail.isFinished && tail.end > this.#durableTo) return 0;
    const isWithoutSpans = this.#isSpanRefused || this.#isReadingBack;
    if (isWithoutSpans && place.hasJournal && tail.isFull && tail.end > this.#durableTo) return 0;
    // In arrears everything would be stored twice: the server has it until it is in a span.
    const isSpanComing = !isWithoutSpans && this.#isMoreToCome(spanFrom) && this.#retries.span.atMs <= now;
    const spanMs = isSpanComing ? LIMITS.spanComingMs : 0;
    return this.#dueMs(this.#durableTo, Math.max(times.flushMs, place.leastFlushMs ?? 0, spanMs), now);
  }

  /** Whether the server has a whole span from there on, or it is here already. */
  #isMoreToCome(from: Lsn): boolean {
    const { tail, times } = this.#o;
    return !tail.isFinished && Number(tail.serverEnd - from) >= times.spanBytes;
  }

  /**
   * Whole segments, and no more of them than a span has to have, whatever has come together while the place did not answer. Without
   * any, the beginning of one.
   */
  #spanEnd(): Lsn {
    const { tail, times } = this.#o;
    const end = this.#isReadingBack ? tail.start : tail.closed;
    if (end === this.#savedTo) return tail.end;
    const most = this.#savedTo + BigInt(times.spanBytes);
    return end < most ? end : most;
  }

  /** Milliseconds until the byte at a position has been here for so long; 0 when it has; undefined where nothing is there. */
  #dueMs(lsn: Lsn, afterMs: number, now: number): number | undefined {
    const came = this.#o.tail.cameAt(lsn);
    return came === undefined ? undefined : Math.max(0, came + afterMs - now);
  }

  async #wait(ms: number | undefined, signal: AbortSignal): Promise<void> {
    const { tail, clock } = this.#o;
    const over = new AbortController();
    const inner = AbortSignal.any([signal, over.signal]);
    const waits = [tail.changed({ signal: inner }), ...(ms === undefined ? [] : [clock.sleep(ms, inner)])];
    try {
      await Promise.race(waits);
    } finally {
      over.abort(TAIL_ENDED);
      await Promise.allSettled(waits);
    }
  }

  async #store({ kind, to }: Exclude<Step, { kind: "wait" }>, signal: AbortSignal): Promise<void> {
    const { times, onProgress, onTrouble } = this.#o;
    const retry = this.#retries[kind];
    if (kind === "journal") this.#storingFrom.set(kind, this.#durableTo);
    else if (!this.#isReadingBack) this.#storingFrom.set(kind, this.#savedTo);
    try {
      await this.#tellingWhenSlow(
        kind === "span" ? this.#withJournal(this.#saveSpan(to, signal), to, signal) : this.#putJournal(to, signal),
      );
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!mayPass(error)) throw error;
      this.#storingFrom.delete(kind);
      this.#refused(kind, failureOf(error));
      onProgress();
      return;
    }
    this.#storingFrom.delete(kind);
    retry.waitMs = times.retryMs;
    if (this.#failingSinceMs !== undefined) onTrouble(undefined);
    this.#failingSinceMs = undefined;
    this.#trouble = undefined;
    if (to > this.#durableTo) this.#durableTo = to;
    if (kind === "span") {
      this.#objects = 0;
      this.#isSpanRefused = false;
      await this.#saved(to, signal);
    }
    onProgress();
  }

  #refused(kind: "span" | "journal", failure: Failure): void {
    const { place, times, clock, onTrouble } = this.#o;
    const retry = this.#retries[kind];
    retry.atMs = clock.monotonic() + retry.waitMs;
    retry.waitMs = Math.min(retry.waitMs * 2, times.retryMostMs);
    if (kind === "span") this.#isSpanRefused = true;
    // Somebody who prunes holds up spans alone: what comes is durable all the same.
    if (kind === "span" && place.hasJournal && failure.code === "repo/locked") return;
    this.#failingSinceMs ??= clock.monotonic();
    this.#trouble = failure;
    onTrouble(failure);
  }

  async #putJournal(to: Lsn, signal: AbortSignal): Promise<void> {
    const { tail, line, place, onProgress } = this.#o;
    const from = this.#durableTo;
    const entry = {
      span: { ...line, from, to, ...timesOf(this.#summary(from, to)) },
      commits: tail.commits(from, to),
      minimal: tail.minimal(from, to),
      bytes: tail.read(from, to),
    };
    const onStored = (stored: Lsn) => {
      this.#objects += 1;
      if (stored > this.#durableTo) this.#durableTo = stored;
      onProgress();
    };
    await place.putJournal(entry, { signal, onStored });
  }

  async #saveSpan(to: Lsn, signal: AbortSignal): Promise<void> {
    const { tail, line, place } = this.#o;
    const from = this.#savedTo;
    const { commits, bytes } = this.#isReadingBack
      ? { commits: this.#letGoCommits(from, to), bytes: async () => [await this.#readBack(from, to, signal)] }
      : { commits: this.#summary(from, to), bytes: tail.read(from, to) };
    const goesOn = () => this.#isMoreToCome(segmentStart(to, tail.segmentBytes));
    await place.saveSpan({ span: { ...line, from, to, ...timesOf(commits) }, commits, bytes }, { signal, goesOn });
  }

  #summary(from: Lsn, to: Lsn): CommitSummary {
    const { tail } = this.#o;
    return summarizeCommits(tail.commits(from, to), tail.minimal(from, to));
  }

  #letGoCommits(from: Lsn, to: Lsn): CommitSummary {
    const summaries: CommitSummary[] = [];
    for (let start = from; start < to; start += BigInt(this.#o.tail.segmentBytes)) {
      const summary = this.#letGo.get(start);
      assert(summary !== undefined, `what was committed from ${formatLsn(start)} on was not noted`);
      summaries.push(summary);
    }
    return joinCommits(summaries);
  }

  /** @throws Failure `repo/damaged` where the journal does not have any more what was stored in it. */
  async #readBack(from: Lsn, to: Lsn, signal: AbortSignal): Promise<Buffer> {
    const { line, place } = this.#o;
    const bytes = await place.readJournal(line, { from, to }, { signal });
    if (bytes.length === Number(to - from)) return bytes;
    const at = formatLsn(from + BigInt(bytes.length));
    throw new Failure("repo/damaged", `the journal of '${place.name}' cannot be read at ${at} any more`, {
      hint: "Something changed or removed what was stored there. Look at the disk or the service that holds the repository, and run 'chatkeep verify --read-data'.",
    });
  }

  /**
   * While a span is stored, what comes behind it goes to the journal as ever: a place that is far away or busy may take the span for
   * longer than what comes may wait. Resolves when both are over.
   */
  async #withJournal(storing: Promise<void>, to: Lsn, signal: AbortSignal): Promise<void> {
    if (!this.#o.place.hasJournal) return await storing;
    const over = new AbortController();
    const flushing = this.#flushBehind(to, signal, over.signal);
    flushing.catch(() => {});
    try {
      await storing;
    } finally {
      over.abort(TAIL_ENDED);
      // With the span its bytes are let go of, and used again.
      await flushing;
    }
  }

  /** @param to The end of the span. @param over What is being stored then is stored to its end. */
  async #flushBehind(to: Lsn, signal: AbortSignal, over: AbortSignal): Promise<void> {
    const { tail, clock } = this.#o;
    const inner = AbortSignal.any([signal, over]);
    while (!inner.aborted) {
      const now = clock.monotonic();
      // Where a whole span more waits, or no more comes, storing this twice would only make it later.
      const isSoon = tail.isFinished || (!this.#isReadingBack && this.#isMoreToCome(to));
      const flushInMs = isSoon ? undefined : this.#flushInMs(to, now);
      const inMs = later(flushInMs, this.#retries.journal.atMs - now);
      if (inMs === 0) {
        await this.#store({ kind: "journal", to: tail.end }, signal);
        continue;
      }
      try {
        await this.#wait(inMs, inner);
      } catch {
        // It is over, or no more comes, which whoever stores next is told.
        return;
      }
    }
  }

  /** A place tries by itself for a long time what does not answer: whoever waits for it is told before. */
  async #tellingWhenSlow(storing: Promise<void>): Promise<void> {
    const { clock, onTrouble, place } = this.#o;
    const hint = "It is still being tried. Can its place be reached, and does it take anything?";
    const over = new AbortController();
    const waiting = clock.sleep(LIMITS.watchSlowMs, over.signal).then(
      () => {
        this.#failingSinceMs ??= clock.monotonic();
        this.#trouble = new Failure("store/unreachable", `'${place.name}' has not answered for a while`, { hint });
        onTrouble(this.#trouble);
      },
      () => {},
    );
    try {
      await storing;
    } finally {
      over.abort(TAIL_ENDED);
      await waiting;
    }
  }

  /** Where a span ends inside a segment, the next one has that segment whole: its bytes stay here. */
  async #saved(to: Lsn, signal: AbortSignal): Promise<void> {
    const { place, tail } = this.#o;
    // Not by what is closed now: a segment that was not when the span was begun may be whole by now.
    const whole = segmentStart(to, tail.segmentBytes);
    if (whole > this.#savedTo) this.#savedTo = whole;
    for (const start of this.#letGo.keys()) if (start < whole) this.#letGo.delete(start);
    if (!place.hasJournal) return;
    // What stays in the journal is there twice, and goes with the next sweep.
    await place.sweepJournal(to, { signal }).catch((error: unknown) => {
      if (signal.aborted) throw signal.reason;
      if (!isFailure(error)) throw error;
    });
  }
}

/** The later of two times from now, in milliseconds; undefined where the first is. */
function later(inMs: number | undefined, otherMs: number): number | undefined {
  return inMs === undefined ? undefined : Math.max(inMs, otherMs);
}

/**
 * What a place says that was away, full, locked or refused for a while: it is tried for as long as the watch goes on, because
 * somebody may mend it meanwhile, and the server keeps the log. Not damage, and not what is wrong with us.
 */
function mayPass(error: unknown): boolean {
  if (!isFailure(error)) return false;
  return ["store/unreachable", "store/denied", "store/full", "repo/locked", "repo/missing"].includes(error.code);
}
