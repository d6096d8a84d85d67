/**
 * One timeline of one cluster while it is followed: what comes is checked, kept in memory and stored in every repository, and it
 * is known up to where all of them have it. Sessions come and go meanwhile; the line goes on where it is.
 *
 * No repository holds up another: where memory is full because one takes nothing, or less than comes, and another one waits for
 * more, that one is left behind, and joins again when it answers. What it lacks by then the others have.
 */
import type { Clock } from "../../base/clock.ts";
import { assert, Failure, isFailure } from "../../base/errors.ts";
import type { Line } from "../../point/continuous.ts";
import type { Commit, MinimalRecord } from "../../point/wal-facts.ts";
import type { WalEvent } from "../../wal/events.ts";
import type { TimelineHistory } from "../../wal/history.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import { describeWalProblem } from "../../wal/problem.ts";
import { createWalReader, type WalReader } from "../../wal/reader.ts";
import { Keeper, type KeeperTimes, type SpanPlace } from "./keeper.ts";
import { WalTail } from "./wal-tail.ts";

/** Where one repository stands when a line is taken up. */
export interface PlaceStart {
  readonly place: SpanPlace;
  /** Up to where spans have everything without a gap; a segment's beginning. */
  readonly savedTo: Lsn;
  /** Up to where spans and journal have everything. */
  readonly durableTo: Lsn;
  /** From where on they have everything without a gap, as far as is known. */
  readonly since: Lsn;
}

/** Where one joins a line that goes on. */
export interface Joined {
  /** From there on it has everything. */
  readonly start: Lsn;
  /** Up to where it had everything, where it lacks what lies between; undefined where it never had anything of the line. */
  readonly lacksFrom: Lsn | undefined;
  readonly isGapped: boolean;
}

export interface LogLineOptions {
  readonly line: Line;
  readonly history: TimelineHistory;
  /** The server's major version. */
  readonly major: number;
  readonly segmentBytes: number;
  /** The server's `wal_block_size`. */
  readonly pageBytes: number;
  /** Where it begins: the beginning of a segment, not after any repository's `savedTo`. */
  readonly start: Lsn;
  readonly places: readonly PlaceStart[];
  readonly times: KeeperTimes;
  /** So much of the log lies in memory before the server has to wait. */
  readonly maxBytes: number;
  readonly clock: Clock;
  /** Something became durable. */
  readonly onDurable: () => void;
  /** A repository refused and is tried again, or took something after that (undefined). */
  readonly onTrouble: (name: string, trouble: Failure | undefined) => void;
  /** A repository held up the others, and is left behind: it may join again. Since when it failed is on the monotonic clock. */
  readonly onLeft: (name: string, why: Failure, failingSinceMs: number | undefined) => void;
  /** What ended in the log, in order. */
  readonly onEvents?: (events: readonly WalEvent[], line: Line) => void;
}

/** How a line stands. */
export interface LineState {
  readonly received: Lsn;
  /** Up to where every repository that takes part has everything. */
  readonly durableTo: Lsn;
  /** Of the last commit that each of those has; microseconds since 1970 by the server's clock. */
  readonly durableCommitUs: bigint | undefined;
  /** Of the last commit that came. */
  readonly receivedCommitUs: bigint | undefined;
  /** Of those that were left behind, too. */
  readonly places: readonly PlaceState[];
}

export interface PlaceState {
  readonly name: string;
  readonly savedTo: Lsn;
  readonly durableTo: Lsn;
  readonly failingSinceMs: number | undefined;
  /** It takes no part at present. */
  readonly isLeft: boolean;
}

/** One that stores. */
interface Storing {
  readonly keeper: Keeper;
  readonly since: Lsn;
  /** Ends it alone. */
  readonly stop: AbortController;
}

const LEFT = new Failure("run/cancelled", "the repository was left behind");

export class LogLine {
  readonly line: Line;
  readonly tail: WalTail;
  readonly #reader: WalReader;
  readonly #o: LogLineOptions;
  /** Those that take part. */
  #storing: readonly Storing[] = [];
  /** Those that were left behind. */
  #left: readonly (PlaceState & Pick<PlaceStart, "since">)[] = [];
  #durableCommitUs: bigint | undefined;
  #receivedCommitUs: bigint | undefined;
  #acknowledged: Lsn;
  /** For so long a repository has held up another, since all that the server had was here last. */
  #heldMs = 0;
  /** Resolved when a repository has come further, or one more or less takes part. */
  #moved = Promise.withResolvers<void>();
  /** Ends all; there once it stores. */
  #signal: AbortSignal | undefined;
  readonly #over = Promise.withResolvers<void>();
  /** Those that have everything, when no more comes. */
  readonly #stored = new Set<Storing>();

  constructor(options: LogLineOptions) {
    const { line, history, major, segmentBytes, pageBytes, start, places, maxBytes } = options;
    assert(places.length > 0, "a line of the log is followed into no repository");
    this.#o = options;
    this.line = line;
    this.tail = new WalTail({ start, segmentBytes, maxBytes });
    this.#acknowledged = start;
    this.#reader = createWalReader({
      from: start,
      major,
      systemId: line.systemId,
      timeline: history,
      segmentBytes,
      pageBytes,
    });
    this.#over.promise.catch(() => {});
    for (const place of places) this.#begin(place);
  }

  #begin(start: PlaceStart, failingSinceMs?: number): void {
    const { line, times, clock, onTrouble } = this.#o;
    const { tail } = this;
    const { place, savedTo, durableTo, since } = start;
    const keeper = new Keeper({
      place,
      tail,
      line,
      savedTo,
      durableTo,
      times,
      clock,
      failingSinceMs,
      onProgress: () => this.#progressed(),
      onTrouble: (trouble) => onTrouble(place.name, trouble),
    });
    const storing = { keeper, since, stop: new AbortController() };
    this.#storing = [...this.#storing, storing];
    if (this.#signal !== undefined) void this.#run(storing, this.#signal);
  }

  #progressed(): void {
    const last = this.tail.commits(this.tail.start, this.durableTo).at(-1);
    if (last !== undefined) this.#durableCommitUs = last.timeUs;
    this.#letGo();
    this.#move();
    this.#o.onDurable();
  }

  #move(): void {
    this.#moved.resolve();
    this.#moved = Promise.withResolvers();
  }

  #letGo(): void {
    const before = this.#keepers.reduce(
      (least, { neededFrom }) => (neededFrom < least ? neededFrom : least),
      this.tail.end,
    );
    for (const keeper of this.#keepers) keeper.noteBefore(before);
    this.tail.letGo(before);
  }

  get #keepers(): readonly Keeper[] {
    return this.#storing.map(({ keeper }) => keeper);
  }

  /** Up to where every repository that takes part has everything. */
  get durableTo(): Lsn {
    return this.#keepers.reduce((least, { durableTo }) => (durableTo < least ? durableTo : least), this.#most());
  }

  /** What the server need not keep for us: never less than it was told before, whoever joins since. */
  get acknowledged(): Lsn {
    const { durableTo } = this;
    if (durableTo > this.#acknowledged) this.#acknowledged = durableTo;
    return this.#acknowledged;
  }

  /** The end of the last record that came whole; behind it lies half a one at most. */
  get validTo(): Lsn {
    return this.#reader.validTo;
  }

  #most(): Lsn {
    return this.#keepers.reduce((most, { durableTo }) => (durableTo > most ? durableTo : most), this.tail.start);
  }

  get state(): LineState {
    return {
      received: this.tail.end,
      durableTo: this.durableTo,
      durableCommitUs: this.#durableCommitUs,
      receivedCommitUs: this.#receivedCommitUs,
      places: [...this.#keepers.map((keeper) => stateOf(keeper, false)), ...this.#left],
    };
  }

  /**
   * Takes the next bytes, and waits while too much of what came is not stored by all that take part.
   * @throws Failure `wal/damaged` where they are not the log that must follow: nothing of them is kept then; what storing threw;
   * the signal's reason.
   */
  async add(bytes: Buffer, { signal }: { signal: AbortSignal }): Promise<void> {
    const { events, problem } = this.#reader.push(bytes);
    if (problem !== undefined) {
      throw new Failure("wal/damaged", `the server's log does not fit at ${describeWalProblem(problem)}`, {
        hint: `What came before is intact. Look at the server's own log: 'pg_waldump' on its pg_wal at ${formatLsn(problem.lsn)} says whether its files are damaged.`,
      });
    }
    const commits = events.flatMap((event): Commit[] => {
      return event.kind === "commit" || event.kind === "abort" ? [{ lsn: event.lsn, timeUs: event.timeUs }] : [];
    });
    const minimal = events.flatMap((event): MinimalRecord[] => {
      const isMinimal = event.kind === "settings" && event.walLevel === "minimal";
      return isMinimal ? [{ from: event.startLsn, to: event.lsn }] : [];
    });
    this.#receivedCommitUs = commits.at(-1)?.timeUs ?? this.#receivedCommitUs;
    if (events.length > 0) this.#o.onEvents?.(events, this.line);
    const came = { start: this.tail.end, bytes, commits, minimal, cameMs: this.#o.clock.monotonic() };
    const adding = this.tail.add(came, { signal });
    if (this.tail.isFull) await this.#untilRoom(adding);
    await adding;
    if (this.tail.end >= this.tail.serverEnd) this.#heldMs = 0;
  }

  /** Waits until there is room; a repository that keeps another from going on is not waited for longer than it may. */
  async #untilRoom(adding: Promise<void>): Promise<void> {
    const { clock, times } = this.#o;
    const over = new AbortController();
    const room = adding.then(
      () => over.abort(LEFT),
      () => over.abort(LEFT),
    );
    while (!over.signal.aborted) {
      this.#letGo();
      const holding = this.#holding();
      if (holding !== undefined && this.#heldMs >= times.patienceMs) {
        this.#leaveBehind(holding);
        continue;
      }
      const before = clock.monotonic();
      const waits = [room, this.#moved.promise];
      if (holding !== undefined) waits.push(clock.sleep(times.patienceMs - this.#heldMs, over.signal).catch(() => {}));
      await Promise.race(waits);
      if (holding !== undefined) this.#heldMs += clock.monotonic() - before;
    }
  }

  /** The one that is furthest behind, where memory is full for its sake while another waits for more. */
  #holding(): Storing | undefined {
    if (!this.tail.isFull) return undefined;
    const [last, ...others] = this.#storing.toSorted((a, b) => (a.keeper.neededFrom < b.keeper.neededFrom ? -1 : 1));
    const isHeld = others.some(({ keeper }) => keeper.isHungry && keeper.neededFrom > (last?.keeper.neededFrom ?? 0n));
    return isHeld ? last : undefined;
  }

  #leaveBehind(storing: Storing): void {
    const { keeper, stop } = storing;
    this.#take(storing);
    this.#left = [...this.#left, { ...stateOf(keeper, true), since: storing.since }];
    stop.abort(LEFT);
    this.#o.onLeft(keeper.name, keeper.trouble ?? tooSlow(keeper.name), keeper.failingSinceMs);
    this.#progressed();
  }

  /** Away: it takes no part any more. */
  #take(storing: Storing): void {
    this.#storing = this.#storing.filter((other) => other !== storing);
    // Its threads may still look at what they were given.
    this.tail.leaveBlocks();
  }

  /**
   * A repository that took no part joins, where memory begins, or where its own log ends if that is later.
   * @param found what it has of this line; undefined where it has nothing of it.
   * @param failingSinceMs Since when it has taken nothing, on the monotonic clock.
   * @returns undefined where it would lack what none of the others has, and the server may have.
   */
  join(place: SpanPlace, found: Omit<PlaceStart, "place"> | undefined, failingSinceMs?: number): Joined | undefined {
    const { start } = this.tail;
    const standing = found ?? this.#left.find(({ name }) => name === place.name);
    const isGapped = standing === undefined || standing.durableTo < start;
    const lacksFrom = isGapped ? standing?.durableTo : undefined;
    if (lacksFrom !== undefined && !this.#storing.some(({ since }) => since <= lacksFrom)) return undefined;
    this.#left = this.#left.filter(({ name }) => name !== place.name);
    const own = isGapped ? { savedTo: start, durableTo: start, since: start } : standing;
    const savedTo = own.savedTo > start ? own.savedTo : start;
    this.#begin({ ...own, place, savedTo }, failingSinceMs);
    this.#move();
    return { start: isGapped ? start : own.durableTo, lacksFrom, isGapped };
  }

  /**
   * Stores what comes until the signal is aborted, or until no more comes and everything is durable. A repository that cannot go
   * on, because it is damaged, leaves the others alone: nothing waits for it any more.
   * @throws Failure why the last one cannot go on.
   */
  async store({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#signal = signal;
    for (const storing of this.#storing) void this.#run(storing, signal);
    await this.#over.promise;
  }

  async #run(storing: Storing, signal: AbortSignal): Promise<void> {
    const { keeper, stop } = storing;
    try {
      await keeper.run({ signal: AbortSignal.any([signal, stop.signal]) });
      // Only those that have everything end by themselves.
      this.#stored.add(storing);
      if (this.#storing.every((one) => this.#stored.has(one))) this.#over.resolve();
    } catch (error) {
      if (stop.signal.aborted && !signal.aborted) return;
      const isLast = this.#storing.every((other) => other === storing);
      if (signal.aborted || isLast || !isFailure(error) || error.code === "internal/bug") {
        this.tail.fail(error);
        this.#over.reject(error);
        return;
      }
      this.#take(storing);
      this.#o.onTrouble(keeper.name, error);
      this.#progressed();
      if (this.#storing.every((one) => this.#stored.has(one))) this.#over.resolve();
    }
  }
}

function stateOf({ name, savedTo, durableTo, failingSinceMs }: Keeper, isLeft: boolean): PlaceState {
  return { name, savedTo, durableTo, failingSinceMs, isLeft };
}

function tooSlow(name: string): Failure {
  return new Failure("store/unreachable", `'${name}' takes the log more slowly than it comes`, {
    hint: "Is the line to its place too slow for what Chatwoot writes, or does the place answer slowly?",
  });
}
