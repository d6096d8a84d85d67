/**
 * Follows the write-ahead log of a server for as long as it is asked to, over sessions that come and go, over restarts and
 * failovers: everything that can be had without a gap is had without one, and where there is a gap it is told, and a new line
 * begins. A server that is not the one that was followed is never mixed with it.
 */
import { type Clock, systemClock } from "../../base/clock.ts";
import { ERRORS, Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line } from "../../point/continuous.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import {
  openReplication,
  refuseOtherCluster,
  type ReplicationSession,
  type SystemIdentity,
} from "../../postgres/replication.ts";
import { dropSlot, readSlot, redoPosition, type Slot, slotName } from "../../postgres/replication-slots.ts";
import type { WalEvent } from "../../wal/events.ts";
import { isAncestor, type TimelineHistory } from "../../wal/history.ts";
import { type Lsn, segmentStart } from "../../wal/lsn.ts";
import { AwayPlaces } from "./away.ts";
import { EndedSessions } from "./ended-sessions.ts";
import { Endings } from "./endings.ts";
import type { RefusedObject } from "./journal.ts";
import { JournalBounds, Takings, takeUpJournals } from "./journal-bounds.ts";
import type { KeeperTimes } from "./keeper.ts";
import {
  chooseLine,
  endIfBounded,
  findLine,
  historyOf,
  oldestOf,
  openSlot,
  refuseBehind,
  refusedIn,
  serverPosition,
} from "./line-start.ts";
import { type Joined, type LineState, LogLine, type LogLineOptions } from "./line.ts";
import { Parting } from "./parting.ts";
import { receive } from "./receive.ts";
import { refuseStrangers } from "./newest-line.ts";
import { type MostRetained, Retained } from "./retained.ts";
import { planTakeUp } from "./take-up.ts";
import type { WatchedPlace } from "./watched-place.ts";

/** How the server's log is followed now. */
export interface LogState extends LineState {
  readonly line: Line;
  /** How far the server is, as it said last. */
  readonly serverEnd: Lsn;
  readonly serverTimeUs: bigint;
  /** When it said that, by our clock: milliseconds since 1970; undefined where it has said nothing yet. */
  readonly heardMs?: number;
  /** The server's clock less ours; undefined before it was asked. */
  readonly clockAheadMs?: number;
  readonly slot: Slot;
}

/** What begins where nothing goes on from what was there. */
export interface LineBegun {
  readonly line: Line;
  readonly history: TimelineHistory;
  readonly start: Lsn;
  /** Repositories in which something is missing before. */
  readonly gapped: readonly string[];
  /** Repositories that do not answer, and take no part until they do. */
  readonly away: readonly { name: string; failure: Failure }[];
  /** What of repositories' journals cannot be used. */
  readonly refused: readonly { name: string; objects: readonly RefusedObject[] }[];
  /** Up to where the server's log was the one that repositories have, where it is another one now: see `parting.ts`. */
  readonly partedAt?: Lsn;
}

/** A repository that took no part for a while takes part again in a line that went on. */
export interface PlaceJoined extends Joined {
  readonly name: string;
  readonly line: Line;
  readonly refused: readonly RefusedObject[];
}

export interface FollowLogOptions {
  /** Where the server is, asked for each session. */
  readonly address: () => ServerAddress;
  /** The installation's id. */
  readonly installation: string;
  /** Whether somebody said that a cluster takes the place of the one that the repositories have. Without it none does. */
  readonly isAccepted?: (systemId: string) => Promise<boolean>;
  readonly places: readonly WatchedPlace[];
  readonly times: KeeperTimes;
  /** So much of the log lies in memory at most before the server has to wait. */
  readonly maxBytes: number;
  /** So much of the log the server may keep for us: beyond, the slot is given up. */
  readonly maxRetainedBytes: MostRetained;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onLine: (begun: LineBegun) => void;
  readonly onState: (state: LogState) => void;
  readonly onEvents?: (events: readonly WalEvent[], line: Line) => void;
  /** A session could not begin, or ended; `inMs`: until the next is tried. Undefined: one goes on well. */
  readonly onSession: (trouble: { failure: Failure; inMs: number } | undefined) => void;
  readonly onTrouble: (repository: string, trouble: Failure | undefined) => void;
  readonly onJoined: (joined: PlaceJoined) => void;
}

interface Followed {
  readonly log: LogLine;
  readonly segmentBytes: number;
  readonly histories: ReadonlyMap<number, string>;
  /** What lies before came from journals. */
  readonly takenUpTo: Lsn;
  readonly takings: Takings;
  /** Ends its keepers. */
  readonly stop: AbortController;
  /** Never rejects: what ended it is {@link failed}. */
  readonly storing: Promise<void>;
  readonly failed: AbortController;
}

/** What a session knows of its server. */
interface Server {
  readonly session: ReplicationSession;
  readonly identity: SystemIdentity;
  readonly address: ServerAddress;
  readonly major: number;
  readonly segmentBytes: number;
  readonly pageBytes: number;
  readonly slot: Slot;
}

const FIRST_WAIT_MS = 500;
const NOTHING_HEARD = { serverEnd: 0n, serverTimeUs: 0n };

export class LogFollower {
  readonly #o: FollowLogOptions;
  readonly #slotName: string;
  #now: Followed | undefined;
  readonly #endings = new Endings();
  readonly #away: AwayPlaces;
  /** Ends the present session. */
  #over: AbortController | undefined;
  #server: Pick<LogState, "serverEnd" | "serverTimeUs" | "heardMs" | "clockAheadMs"> = NOTHING_HEARD;
  #slot: Slot | undefined;
  #wasFollowing = false;
  /** Tells the server of the present session what is durable. */
  #confirm: (() => void) | undefined;
  /** The server keeps too much for us. */
  #isGivingUp = false;
  readonly #bounds = new JournalBounds();
  readonly #retained: Retained;
  readonly #parting: Parting;
  /** How often the server has said that what was asked for is gone, since something came. */
  #timesGone = 0;

  constructor(options: FollowLogOptions) {
    this.#o = options;
    this.#slotName = slotName(options.installation);
    this.#retained = new Retained(options.maxRetainedBytes);
    this.#parting = new Parting(options.clock);
    this.#away = new AwayPlaces(options);
  }

  /**
   * Until the signal is aborted; what came by then is stored first, as far as that is possible within bounds.
   * @throws the signal's reason; before anything was followed, what trying again does not help (a role that may not
   * replicate); later, a repository that is damaged.
   */
  async run(): Promise<never> {
    const { signal, clock, onSession } = this.#o;
    const ended = new EndedSessions(clock);
    try {
      for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LIMITS.watchRetryMostMs)) {
        const before = clock.monotonic();
        const failure = await this.#session().then(
          () => undefined,
          (error: unknown) => failureOf(error),
        );
        signal.throwIfAborted();
        // One that lasted begins the waits anew.
        const lastedMs = clock.monotonic() - before;
        if (failure === undefined || lastedMs > LIMITS.watchRetryMostMs) wait = FIRST_WAIT_MS;
        if (failure === undefined) continue;
        this.#afterFailure(failure);
        if (ended.isQuiet(failure, lastedMs)) wait = FIRST_WAIT_MS;
        else onSession({ failure, inMs: wait });
        await clock.sleep(wait, signal);
      }
    } finally {
      await this.#storeRest();
    }
  }

  #afterFailure(failure: Failure): void {
    const { code } = failure;
    const isOurs = code === "internal/bug" || code === "repo/damaged" || code === "repo/wrong-password";
    // The address may lead to the right server again, or somebody says that this one is.
    const mayPass = ERRORS[code].retry || code === "wal/gone" || code === "wal/other-cluster";
    if (isOurs || (!this.#wasFollowing && !mayPass)) throw failure;
    // What is gone does not come back, and what was refused is asked for anew from where everything is durable.
    const isOver = code === "wal/gone" || code === "wal/damaged" || this.#now?.failed.signal.aborted === true;
    if (code === "wal/damaged") this.#doesNotFit();
    if (isOver) this.#endLine();
    // What the server has no more, a journal may have that was left out.
    if (code === "wal/gone" && !this.#bounds.leaveOutAnother()) this.#timesGone += 1;
    if (code === "wal/given-up") this.#isGivingUp = true;
  }

  async #session(): Promise<void> {
    const { signal } = this.#o;
    const address = this.#o.address();
    await using session = await openReplication(address, { signal });
    await using connection = await connect(address, { signal });
    const identity = await session.identifySystem();
    const segmentBytes = await session.segmentBytes();
    const pageBytes = Number(await session.showSetting("wal_block_size"));
    const major = await session.major();
    // No slot is made at a server that is not to be followed.
    await this.#refuseOther(identity, address);
    const slot = await this.#openSlot(session, connection);
    await this.#retained.begins(slot, { end: identity.flushed, redo: await redoPosition(connection) });
    const followed = await this.#lineFor({ session, identity, address, major, segmentBytes, pageBytes, slot });
    const over = new AbortController();
    this.#over = over;
    const inner = AbortSignal.any([signal, over.signal, followed.failed.signal]);
    const looking = this.#look(connection, over, inner);
    try {
      const next = await receive({
        session,
        line: followed.log,
        slot: slot.name,
        keptFrom: slot.restart,
        onServer: (at) => this.#onServer(at),
        onConfirm: (confirm) => (this.#confirm = confirm),
        signal: inner,
      });
      if (next !== undefined) this.#endLine();
    } catch (error) {
      throw followed.failed.signal.aborted || over.signal.aborted ? inner.reason : error;
    } finally {
      this.#confirm = undefined;
      over.abort(new Failure("run/cancelled", "the session has ended"));
      // A question that nobody answers any more would hold up the next session.
      connection.destroy();
      await looking;
    }
  }

  #onServer(server: { serverEnd: Lsn; serverTimeUs: bigint }): void {
    this.#server = { ...this.#server, ...server, heardMs: this.#o.clock.now() };
    this.#wasFollowing = true;
    this.#timesGone = 0;
    if (this.#now !== undefined && this.#now.log.validTo > this.#now.takenUpTo) this.#bounds.clear();
    this.#o.onSession(undefined);
    this.#tell();
  }

  #tell(): void {
    if (this.#now === undefined || this.#slot === undefined) return;
    const { log } = this.#now;
    this.#o.onState({ ...log.state, ...this.#server, line: log.line, slot: this.#slot });
  }

  async #openSlot(session: ReplicationSession, connection: Connection): Promise<Slot> {
    if (this.#isGivingUp) {
      await dropSlot(session, connection, this.#slotName);
      this.#retained.renewed();
    }
    this.#isGivingUp = false;
    const { slot, wasLost } = await openSlot(session, connection, this.#slotName);
    if (wasLost) this.#endLine();
    this.#slot = slot;
    return slot;
  }

  /** Watches how much the server keeps for us, and whether a repository that was away answers again. */
  async #look(connection: Connection, over: AbortController, signal: AbortSignal): Promise<void> {
    const { clock } = this.#o;
    try {
      for (;;) {
        await clock.sleep(LIMITS.watchLookMs, signal);
        const name = this.#slot?.name;
        this.#slot = name === undefined ? undefined : ((await readSlot(connection, name)) ?? this.#slot);
        await endIfBounded(this.#slot, connection);
        const heardMs = clock.now();
        const { serverEnd, clockAheadMs } = await serverPosition(connection, clock);
        this.#server = { ...this.#server, clockAheadMs };
        if (serverEnd >= this.#server.serverEnd) this.#server = { ...this.#server, serverEnd, heardMs };
        this.#tell();
        if (this.#slot !== undefined) {
          await this.#retained.look(this.#slot, { end: serverEnd, redo: await redoPosition(connection) });
        }
        this.#askAway();
      }
    } catch (error) {
      if (!signal.aborted) over.abort(error);
    }
  }

  #askAway(): void {
    const now = this.#now;
    if (now === undefined || this.#away.all.length === 0) return;
    const { log, segmentBytes, histories } = now;
    const places = this.#o.places.map((place) => this.#bounds.within(this.#parting.within(place)));
    this.#away.ask(places, {
      log,
      segmentBytes,
      histories,
      isOver: () => this.#now !== now,
      onJoined: (name, joined, refused) => {
        this.#o.onJoined({ ...joined, name, line: log.line, refused });
        this.#tell();
      },
      onLacking: () => {
        this.#endLine();
        this.#over?.abort(new Failure("run/cancelled", "a repository answers again"));
      },
      onFault: (error) => now.failed.abort(error),
    });
  }

  /** Another cluster than was followed ends its line where somebody said that it takes its place. @throws Failure `wal/other-cluster`. */
  async #refuseOther(identity: SystemIdentity, address: ServerAddress): Promise<void> {
    const now = this.#now;
    const isOther = now !== undefined && now.log.line.systemId !== identity.systemId;
    if (now === undefined || (isOther && (await this.#o.isAccepted?.(identity.systemId)) === true)) {
      await refuseStrangers(identity, { ...this.#o, address });
      this.#endLine();
      // Of another cluster's log a position says nothing.
      if (isOther) this.#server = NOTHING_HEARD;
      return;
    }
    const { line, tail } = now.log;
    refuseOtherCluster(identity, line.systemId, address);
    refuseBehind(identity, { timeline: line.timeline, end: tail.end }, address);
  }

  /** The line that goes on with this server, or a new one. */
  async #lineFor(server: Server): Promise<Followed> {
    const { identity, session } = server;
    const now = this.#now;
    if (now !== undefined) {
      const { timeline } = now.log.line;
      if (identity.timeline === timeline) return now;
      const { history } = await historyOf(session, identity.timeline);
      // The server goes on with the rest of the timeline that was followed, unless more of it came to us than to it.
      if (isAncestor(history, { timeline, lsn: now.log.tail.end })) return now;
      this.#endLine();
    }
    await this.#untilStored();
    return await this.#begin(server);
  }

  async #begin(server: Server): Promise<Followed> {
    const { clock, signal, installation } = this.#o;
    const { segmentBytes } = server;
    const places = this.#o.places.map((place) => this.#bounds.within(this.#parting.within(place)));
    const asking = { ...server, timesGone: this.#timesGone };
    const search = { ...asking, places, installation, clock, signal };
    const { found, lacking } = chooseLine(await findLine(search), asking);
    const { line, history, histories, standings } = found;
    const answering = standings.filter((one) => !isFailure(one.standing));
    const away = standings.flatMap(({ place: { name }, standing }) => {
      return isFailure(standing) ? [{ name, failure: standing }] : [];
    });
    const [first] = away;
    if (answering.length === 0 && first !== undefined) throw first.failure;
    this.#away.begin(away);
    const known = answering.map(({ standing }) => (isFailure(standing) ? undefined : standing));
    const oldest = segmentStart(oldestOf(found, asking), segmentBytes);
    const beginning = this.#parting.beginning(found, { ...server, oldest });
    const plan = planTakeUp(known, beginning.oldest);
    const spanPlaces = await Promise.all(
      answering.map(async ({ place }) => await place.spanPlace({ segmentBytes, histories })),
    );
    const failed = new AbortController();
    const stop = new AbortController();
    const log = new LogLine({
      line,
      history,
      segmentBytes,
      pageBytes: server.pageBytes,
      clock,
      major: server.major,
      start: plan.start,
      places: spanPlaces.map((place, at) => {
        const { start } = plan;
        const { savedTo, durableTo, since } = plan.places[at] ?? { savedTo: start, durableTo: start, since: start };
        return { place, savedTo, durableTo, since };
      }),
      ...this.#sizes(segmentBytes),
      ...this.#tellings(),
    });
    const storing = log.store({ signal: stop.signal }).catch((error: unknown) => {
      if (!stop.signal.aborted) failed.abort(error);
    });
    const takings = new Takings();
    const followed: Followed = { log, segmentBytes, histories, takenUpTo: plan.to, takings, stop, storing, failed };
    this.#now = followed;
    const from = plan.from.flatMap((at) => answering[at]?.place ?? []);
    const taking = { to: plan.to, takings, signal: AbortSignal.any([signal, failed.signal]) };
    if (!(await takeUpJournals(from, log, taking))) {
      this.#doesNotFit();
      this.#endLine();
      await this.#untilStored();
      return await this.#begin(server);
    }
    const lacks = new Set([...lacking, ...beginning.lacking]);
    const gapped = answering
      .filter(({ place }, at) => plan.places[at]?.isGapped === true || lacks.has(place.name))
      .map(({ place }) => place.name);
    const begun = { line, history, start: plan.start, gapped, away: this.#away.all, refused: refusedIn(answering) };
    this.#o.onLine({ ...begun, ...(beginning.partedAt === undefined ? {} : { partedAt: beginning.partedAt }) });
    return followed;
  }

  /**
   * What came does not fit behind the last whole record. Where that is what journals had, one of them or all are left out from there on;
   * else it is the server's.
   */
  #doesNotFit(): void {
    if (this.#now === undefined) return;
    const { log, takenUpTo, takings } = this.#now;
    if (log.validTo >= takenUpTo) {
      if (this.#parting.misfit(log.line, log.validTo)) this.#bounds.clear();
      return;
    }
    const all = this.#o.places.map(({ name }) => name);
    this.#bounds.blame(log.line, log.validTo, { givers: takings.givers(log.validTo), all });
  }

  /** What a line has to say. */
  #tellings(): Pick<LogLineOptions, "onDurable" | "onTrouble" | "onLeft" | "onEvents"> {
    return {
      onDurable: () => {
        this.#confirm?.();
        this.#tell();
      },
      onTrouble: this.#o.onTrouble,
      onLeft: (name, why, failingSinceMs) => {
        this.#away.leave(name, why, failingSinceMs);
        this.#o.onTrouble(name, why);
      },
      ...(this.#o.onEvents === undefined ? {} : { onEvents: this.#o.onEvents }),
    };
  }

  /** Segments that are larger than usual need more room: a span has one at least, and the next one comes meanwhile. */
  #sizes(segmentBytes: number): Pick<LogLineOptions, "times" | "maxBytes"> {
    const { times, maxBytes } = this.#o;
    const spanBytes = Math.max(times.spanBytes, segmentBytes);
    return { times: { ...times, spanBytes }, maxBytes: Math.max(maxBytes, spanBytes + segmentBytes) };
  }

  /** No more comes of the line: what is there is stored, beside whatever begins next. */
  #endLine(): void {
    const now = this.#now;
    if (now === undefined) return;
    this.#now = undefined;
    now.log.tail.finish();
    this.#endings.add({ stop: now.stop, done: now.storing });
  }

  /** What comes next is taken up where everything before it is stored; a repository that takes nothing is not waited for. */
  async #untilStored(): Promise<void> {
    const { clock, signal } = this.#o;
    await this.#endings.stored(clock, signal);
    signal.throwIfAborted();
  }

  async #storeRest(): Promise<void> {
    this.#endLine();
    await this.#endings.stored(systemClock);
    this.#endings.stop();
  }
}
