/**
 * One timeline of one cluster while it is followed: what comes is checked, kept in memory and stored in every repository, and it
 * is known up to where all of them have it. Sessions come and go meanwhile; the line goes on where it is.
 */
import type { Clock } from "../../base/clock.ts";
import { assert, Failure, isFailure } from "../../base/errors.ts";
import type { Line } from "../../point/continuous.ts";
import type { Commit } from "../../point/wal-facts.ts";
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
  /** What ended in the log, in order. */
  readonly onEvents?: (events: readonly WalEvent[]) => void;
}

/** How a line stands. */
export interface LineState {
  readonly received: Lsn;
  /** Up to where every repository has everything. */
  readonly durableTo: Lsn;
  /** Of the last commit that every repository has; microseconds since 1970 by the server's clock. */
  readonly durableCommitUs: bigint | undefined;
  /** Of the last commit that came. */
  readonly receivedCommitUs: bigint | undefined;
  readonly places: readonly { name: string; savedTo: Lsn; durableTo: Lsn; failingSinceMs: number | undefined }[];
}

export class LogLine {
  readonly line: Line;
  readonly tail: WalTail;
  readonly #reader: WalReader;
  /** Those that store, or can again. */
  #keepers: readonly Keeper[];
  readonly #o: LogLineOptions;
  #durableCommitUs: bigint | undefined;
  #receivedCommitUs: bigint | undefined;

  constructor(options: LogLineOptions) {
    const { line, history, major, segmentBytes, pageBytes, start, places, maxBytes } = options;
    assert(places.length > 0, "a line of the log is followed into no repository");
    this.#o = options;
    this.line = line;
    this.tail = new WalTail({ start, segmentBytes, maxBytes });
    this.#reader = createWalReader({
      from: start,
      major,
      systemId: line.systemId,
      timeline: history,
      segmentBytes,
      pageBytes,
    });
    this.#keepers = places.map((each) => this.#keeper(each));
  }

  #keeper({ place, savedTo, durableTo }: PlaceStart): Keeper {
    const { line, times, clock, onTrouble } = this.#o;
    const { tail } = this;
    return new Keeper({
      place,
      tail,
      line,
      savedTo,
      durableTo,
      times,
      clock,
      onProgress: () => this.#progressed(),
      onTrouble: (trouble) => onTrouble(place.name, trouble),
    });
  }

  #progressed(): void {
    const last = this.tail.commits(this.tail.start, this.durableTo).at(-1);
    if (last !== undefined) this.#durableCommitUs = last.timeUs;
    this.tail.letGo(this.#keepers.reduce((least, { savedTo }) => (savedTo < least ? savedTo : least), this.tail.end));
    this.#o.onDurable();
  }

  /** Up to where every repository has everything. */
  get durableTo(): Lsn {
    return this.#keepers.reduce((least, { durableTo }) => (durableTo < least ? durableTo : least), this.#most());
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
      places: this.#keepers.map(({ name, savedTo, durableTo, failingSinceMs }) => {
        return { name, savedTo, durableTo, failingSinceMs };
      }),
    };
  }

  /**
   * Takes the next bytes, and waits while too much of what came is not stored.
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
    this.#receivedCommitUs = commits.at(-1)?.timeUs ?? this.#receivedCommitUs;
    if (events.length > 0) this.#o.onEvents?.(events);
    await this.tail.add({ start: this.tail.end, bytes, commits, cameMs: this.#o.clock.monotonic() }, { signal });
  }

  /**
   * Stores what comes until the signal is aborted, or until no more comes and everything is durable. A repository that cannot go
   * on, because it is damaged, leaves the others alone: nothing waits for it any more.
   * @throws Failure why the last one cannot go on.
   */
  async store({ signal }: { signal: AbortSignal }): Promise<void> {
    const run = async (keeper: Keeper) => {
      try {
        await keeper.run({ signal });
      } catch (error) {
        const others = this.#keepers.filter((other) => other !== keeper);
        if (signal.aborted || others.length === 0 || !isFailure(error) || error.code === "internal/bug") throw error;
        this.#keepers = others;
        this.tail.useNoneAgain();
        this.#o.onTrouble(keeper.name, error);
        this.#progressed();
      }
    };
    try {
      await Promise.all(this.#keepers.map(run));
    } catch (error) {
      this.tail.fail(error);
      throw error;
    }
  }
}
