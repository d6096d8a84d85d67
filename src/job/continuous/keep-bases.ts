/**
 * Sees to it that every repository has a base to which the log that is kept belongs: at once where there is none, and anew by its
 * age, or when replaying what came since would take longer than a restore may. A base is read from the server once, and
 * copied to the other repositories.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { parseGoTime } from "../../format/go-time.ts";
import type { BaseFacts } from "../../point/base-facts.ts";
import type { Base, Line } from "../../point/continuous.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import type { Repository } from "../../repo/repository.ts";
import type { WalEvent } from "../../wal/events.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import { answersOf } from "./answers.ts";
import { HoleFiller, type HoleFillerOptions } from "./fill-holes.ts";
import type { LineBegun, PlaceJoined } from "./follow-log.ts";
import { type ListedBase, listContinuous, settleListed } from "./list.ts";
import { helpBy, type KeptLine, type Lists, servingBases } from "./serving-bases.ts";
import { readBaseFacts } from "./read-base.ts";
import type { OwnDatabase } from "../own-database.ts";
import { copySnapshots } from "./share.ts";
import { takeBase } from "./take-base.ts";

export interface BasePlace {
  /** The repository's name. */
  readonly name: string;
  readonly open: () => Promise<Repository>;
}

export interface BaseKeeperOptions {
  readonly places: readonly BasePlace[];
  /** Where the server is, asked for each base. */
  readonly address: () => ServerAddress;
  readonly identity: { readonly id: string; readonly name: string };
  readonly program: string;
  /** Bytes a second that are read from the server at most. */
  readonly rate: number | undefined;
  /** Milliseconds after which a base is taken anew; undefined: never for its age. */
  readonly everyMs: number | undefined;
  /** As of {@link dueBecause}; {@link LIMITS.baseRestTimes} without it. */
  readonly restTimes?: number;
  /** Instead of {@link LIMITS.replacedBaseMs}. */
  readonly replacedMs?: number;
  /** Bytes of the log after which a base is taken anew, asked at each look; undefined: never for that. */
  readonly mostLogBytes: () => Promise<number | undefined>;
  /** Chatwoot's database, asked at each look; undefined where it is not known. A base anew is due when the newest has another one. */
  readonly database?: (() => Promise<OwnDatabase | undefined>) | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onBegin: (reason: string) => void;
  readonly onBase: (taken: BaseNews) => void;
  /** One could not be taken, and is tried again; undefined: all have what they need. */
  readonly onTrouble: (trouble: Failure | undefined) => void;
  /** As of a {@link HoleFiller}. */
  readonly onHoles?: HoleFillerOptions["onHoles"];
  /** A repository has a base behind the last gap in its log; undefined where nobody can tell whether it has damaged pages. */
  readonly onServed: (repository: string, base: Base, hasDamagedPages: boolean | undefined) => void;
}

export interface BaseNews {
  readonly base: Base;
  readonly repository: string;
  readonly seconds: number;
  /** What the server sent of it: less than all where it said what changed since the base before. */
  readonly sentBytes: number;
  /** Why it sent all of it although there is a base before; told once as long as it is the same. */
  readonly whyWhole: string | undefined;
  /** The server found damaged pages, and sent them as they are. */
  readonly hasDamagedPages: boolean;
}

/** A repository, what it has, and the newest base in it that serves what is kept now. */
interface Standing {
  readonly place: BasePlace;
  readonly repository: Repository;
  readonly lists: Lists;
  readonly newest: ListedBase | undefined;
}

interface Watched {
  readonly begun: LineBegun;
  /** Repositories in which something is missing, and where the log goes on in them. */
  readonly gapped: ReadonlyMap<string, Lsn>;
  /** Objects of the journal that cannot be used: they have nothing, whatever they are called. */
  readonly refused: ReadonlySet<string>;
}

const MOST_UNHELPED = 3;

/**
 * Why another base is due after this one; undefined where none is. What was written while it was taken counts as log that is replayed, so where
 * much is written the next one may be due as soon as one is there: the server is read for a part of the time only.
 * @param limits `restTimes`: so many times as long as it took it stays the newest, however much log there is.
 */
export function dueBecause(
  base: Pick<Base, "from" | "beganUs" | "endedUs">,
  { nowMs, position }: { nowMs: number; position: Lsn },
  limits: { everyMs: number | undefined; mostLogBytes: number | undefined; restTimes?: number | undefined },
): string | undefined {
  const { everyMs, mostLogBytes: most, restTimes = LIMITS.baseRestTimes } = limits;
  const ageMs = nowMs - Number(base.beganUs / 1000n);
  // This machine's clock was set back since: how old it is nobody can tell.
  if (everyMs !== undefined && ageMs < -LIMITS.baseAheadMs) return "the newest is dated in the future";
  if (everyMs !== undefined && ageMs > everyMs) return "the newest is old";
  if (most === undefined || Number(position - base.from) <= most) return undefined;
  const tookMs = Number(((base.endedUs ?? base.beganUs) - base.beganUs) / 1000n);
  return ageMs < tookMs * restTimes ? undefined : "replaying what came since takes too long";
}

/**
 * When a base was taken, by the server's clock or by that of who stored it, whichever says earlier: one that was ahead then would let it
 * be the newest for years.
 */
export function takenAt({ base, snapshot }: ListedBase): Pick<Base, "from" | "beganUs" | "endedUs"> {
  const { from, beganUs, endedUs } = base;
  const aheadUs = beganUs - parseGoTime(snapshot.time) / 1000n;
  if (aheadUs <= 0n) return base;
  return { from, beganUs: beganUs - aheadUs, endedUs: endedUs === undefined ? undefined : endedUs - aheadUs };
}

/**
 * Whether a base has another database under that name than there is now: its log can be brought back, but its tables are not known by
 * their names.
 */
export function hasOther(databases: readonly OwnDatabase[], { name, oid }: OwnDatabase): boolean {
  return !databases.some((one) => one.name === name && one.oid === oid);
}

export class BaseKeeper {
  readonly #o: BaseKeeperOptions;
  #watched: Watched | undefined;
  #position: Lsn = 0n;
  #mostLogBytes: number | undefined;
  #poked = Promise.withResolvers<void>();
  #toldWhy: string | undefined;
  /** Questions whose answers nobody has had yet. */
  readonly #asked = new Map<BasePlace, { readonly watched: Watched; readonly answer: Promise<Standing | Failure> }>();
  /** Of bases, by their ids, what they say of themselves; undefined of one that cannot be read. */
  readonly #facts = new Map<string, BaseFacts | undefined>();
  /** How often in a row what another repository has could not be brought there. */
  readonly #unhelped = new Map<BasePlace, number>();
  #database: OwnDatabase | undefined;
  /** Databases, by their oids, for which a base was taken and does not have them. */
  readonly #vain = new Set<number>();
  readonly #holes: HoleFiller;
  /** No base that begins before it serves what is kept now. */
  #servesFrom: { readonly systemId: string; readonly lsn: Lsn } | undefined;

  constructor(options: BaseKeeperOptions) {
    this.#o = options;
    this.#holes = new HoleFiller(options);
  }

  /** A line was taken up: a repository with a gap may need a base behind it. */
  lineBegun(begun: LineBegun): void {
    const refused = new Set(begun.refused.flatMap(({ objects }) => objects.map(({ name }) => name)));
    this.#watched = { begun, gapped: new Map(begun.gapped.map((name) => [name, begun.start])), refused };
    this.#position = begun.start;
    this.#poked.resolve();
  }

  /** A repository took no part for a while: what it lacks others have. */
  joined({ name, start, isGapped, refused }: PlaceJoined): void {
    const watched = this.#watched;
    if (watched === undefined) return;
    const gapped = isGapped ? new Map([...watched.gapped, [name, start]]) : watched.gapped;
    this.#watched = { ...watched, gapped, refused: new Set([...watched.refused, ...refused.map((one) => one.name)]) };
    this.#poked.resolve();
  }

  /** How far the log is. */
  position(lsn: Lsn): void {
    this.#position = lsn;
  }

  /** Where the log says `wal_level = minimal`, a base is due before lists say so, which they do when a span has it. */
  events(events: readonly WalEvent[], { systemId }: Pick<Line, "systemId">): void {
    const last = events.findLast((event) => event.kind === "settings" && event.walLevel === "minimal");
    if (last === undefined) return;
    this.#servesFrom = { systemId, lsn: last.lsn };
    this.#poked.resolve();
  }

  /** Until the signal is aborted. @throws its reason, or a fault of ours. */
  async run(): Promise<never> {
    const { clock, signal, onTrouble } = this.#o;
    for (let wait: number = LIMITS.watchBaseLookMs; ;) {
      try {
        await this.#look();
        onTrouble(undefined);
        wait = LIMITS.watchBaseLookMs;
      } catch (error) {
        signal.throwIfAborted();
        if (!isFailure(error) || error.code === "internal/bug") throw error;
        onTrouble(failureOf(error));
        wait = Math.min(wait * 2, LIMITS.watchBaseRetryMostMs);
      }
      const over = new AbortController();
      const waiting = clock.sleep(wait, AbortSignal.any([signal, over.signal])).catch(() => {});
      await Promise.race([this.#poked.promise, waiting]);
      over.abort();
      this.#poked = Promise.withResolvers();
      signal.throwIfAborted();
    }
  }

  async #look(): Promise<void> {
    const watched = this.#watched;
    if (watched === undefined) return;
    this.#mostLogBytes = await this.#o.mostLogBytes();
    this.#database = await this.#o.database?.();
    const standings = await this.#standings(watched);
    for (const { repository, newest } of standings) if (newest !== undefined) await this.#factsOf(repository, newest);
    for (const standing of standings) await this.#tellServed(standing, watched);
    const failures: Failure[] = [];
    const lacking: number[] = [];
    for (const [at, standing] of standings.entries()) {
      if (this.#reason(standing) === undefined) continue;
      const before = failures.length;
      const help = async () => await this.#help(standing, standings, watched);
      const helped = await this.#unlessFailed(help, failures);
      if (helped === undefined) {
        if (this.#isToTake(standing.place, failures[before])) lacking.push(at);
        continue;
      }
      this.#unhelped.delete(standing.place);
      await this.#tellServed((standings[at] = helped), watched);
    }
    // The server is read once; one that cannot take it, because it is full or somebody prunes, keeps no other from having it.
    let taken: Standing | undefined;
    for (const at of lacking) {
      const standing = standings[at];
      if (standing === undefined) continue;
      const from = taken;
      const get = async () =>
        from === undefined ? await this.#take(standing, watched) : await this.#help(standing, [from], watched);
      const got = await this.#unlessFailed(get, failures);
      if (got === undefined && failures.some(isOfServer)) break;
      if (got !== undefined) await this.#tellServed((standings[at] = taken = got), watched);
    }
    const places = standings.map(({ place, repository, lists }) => ({ name: place.name, repository, lists }));
    await this.#holes.look(places, (failure) => failures.push(failure));
    const [failure] = failures;
    if (failure !== undefined) throw failure;
  }

  /**
   * What another repository has is waited for some looks before the server is asked for all of it, and for longer where there is no
   * room for it.
   */
  #isToTake(place: BasePlace, failure: Failure | undefined): boolean {
    const times = failure === undefined ? 0 : (this.#unhelped.get(place) ?? 0) + 1;
    this.#unhelped.set(place, times);
    return failure === undefined || (times > MOST_UNHELPED && failure.code !== "store/full");
  }

  /** Of one repository's fault no other is to suffer: it is noted. @throws the signal's reason, or a fault of ours. */
  async #unlessFailed<T>(work: () => Promise<T>, failures: Failure[]): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.#o.signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      failures.push(error);
      return undefined;
    }
  }

  /** Not of a line that began meanwhile: it may have a gap of its own. */
  async #tellServed({ place, repository, newest }: Standing, watched: Watched): Promise<void> {
    if (newest === undefined || this.#watched !== watched) return;
    const facts = await this.#factsOf(repository, newest);
    const hasDamagedPages = facts === undefined ? undefined : facts.hasDamagedPages === true;
    if (this.#watched === watched) this.#o.onServed(place.name, newest.base, hasDamagedPages);
  }

  /** All are asked at the same time. One that takes longer than the others wait for it is looked at the next time. */
  async #standings(watched: Watched): Promise<Standing[]> {
    const { places, clock, signal } = this.#o;
    const isAnswer = (answer: Standing | Failure) => !isFailure(answer);
    const ask = async (place: BasePlace) => await this.#ask(place, watched);
    const answers = await answersOf(places, ask, { isAnswer, clock, signal });
    for (const place of answers.keys()) this.#asked.delete(place);
    const found = places.flatMap((place) => answers.get(place) ?? []);
    const standings = found.flatMap((answer) => (isFailure(answer) ? [] : [answer]));
    const [failure] = found.flatMap((answer) => (isFailure(answer) ? [answer] : []));
    // One that is away is told by who stores the log.
    if (standings.length === 0 && failure !== undefined) throw failure;
    return standings;
  }

  /** What is being asked already, or was answered when nobody waited any more, is not asked again. */
  async #ask(place: BasePlace, watched: Watched): Promise<Standing | Failure> {
    const before = this.#asked.get(place);
    if (before?.watched === watched) return await before.answer;
    const asking = async () => await this.#standingOf({ place, repository: await place.open() }, watched);
    const answer = asking().catch(failureOf);
    this.#asked.set(place, { watched, answer });
    return await answer;
  }

  async #standingOf(
    { place, repository }: Pick<Standing, "place" | "repository">,
    watched: Watched,
  ): Promise<Standing> {
    const found = await listContinuous(repository, watched.begun.line.installation, this.#o);
    const objects = found.journal.objects.filter(({ name }) => !watched.refused.has(name));
    const settled = await settleListed(repository, found, this.#o);
    const lists = { ...found, journal: { ...found.journal, objects }, settled };
    const serving = servingBases(lists, this.#kept(watched, place), watched.gapped.has(place.name));
    return { place, repository, lists, newest: serving.at(-1) };
  }

  /** Asked once: a watch that begins goes on telling of the base that an earlier one took. */
  async #factsOf(repository: Repository, listed: ListedBase): Promise<BaseFacts | undefined> {
    if (!this.#facts.has(listed.id)) {
      // A repository that does not let it be read now is asked again, and keeps no other waiting.
      const facts = await this.#unlessFailed(async () => await factsIn(repository, listed, this.#o), []);
      if (facts !== undefined) this.#facts.set(listed.id, facts === "unreadable" ? undefined : facts);
    }
    return this.#facts.get(listed.id);
  }

  #kept({ begun, gapped }: Watched, { name }: BasePlace): KeptLine {
    return { ...begun, start: gapped.get(name) ?? begun.start, position: this.#position };
  }

  /** Why a base is due; undefined where none is. */
  #reason({ lists, newest }: Pick<Standing, "lists" | "newest">): string | undefined {
    if (newest !== undefined) return this.#due(newest);
    return lists.bases.length === 0 ? "there is none" : "none has the log that it needs";
  }

  #isBeforeMinimal({ base: { systemId, from } }: ListedBase): boolean {
    return this.#servesFrom?.systemId === systemId && from < this.#servesFrom.lsn;
  }

  #due(listed: ListedBase): string | undefined {
    if (this.#isBeforeMinimal(listed)) return "the server ran with wal_level = minimal since the newest";
    const base = takenAt(listed);
    const { everyMs, clock } = this.#o;
    const limits = { everyMs, mostLogBytes: this.#mostLogBytes, restTimes: this.#o.restTimes };
    const due = dueBecause(base, { nowMs: clock.now(), position: this.#position }, limits);
    if (due !== undefined) return due;
    const [facts, database] = [this.#facts.get(listed.id), this.#database];
    if (facts === undefined || database === undefined || this.#vain.has(database.oid)) return undefined;
    const isYoung = clock.now() - Number(base.beganUs / 1000n) < (this.#o.replacedMs ?? LIMITS.replacedBaseMs);
    return !isYoung && hasOther(facts.databases, database)
      ? "another database took the place of Chatwoot's"
      : undefined;
  }

  /** Brings a repository what it lacks from another one. Undefined where no other has that, or not in one piece. */
  async #help(standing: Standing, all: readonly Standing[], watched: Watched): Promise<Standing | undefined> {
    const { place, repository, lists } = standing;
    const isGapped = watched.gapped.has(place.name);
    const isDue = (base: ListedBase) => this.#due(base) !== undefined;
    for (const other of all) {
      if (other.place === place) continue;
      const help = helpBy(other.lists, { lists, kept: this.#kept(watched, place), isGapped, isDue });
      if (help === undefined) continue;
      try {
        const snapshots = [...help.spans, ...(help.isCopied ? [help.base] : [])];
        await copySnapshots(other.repository, repository, snapshots, this.#o);
      } catch (error) {
        // Of what cannot be read any more nothing is brought; the next one may have it.
        if (!isFailure(error, "repo/damaged")) throw error;
        continue;
      }
      const helped = await this.#standingOf(standing, watched);
      if (this.#reason(helped) === undefined) return helped;
    }
    return undefined;
  }

  /** @throws Failure also where the base does not serve: another one at once would not, either. */
  async #take(standing: Standing, watched: Watched): Promise<Standing> {
    const { place, repository, newest } = standing;
    const { address, rate, identity, program, clock, signal, onBegin, onBase } = this.#o;
    onBegin(this.#reason(standing) ?? "");
    const began = clock.monotonic();
    const writer = { repository, identity, program, clock, signal };
    // Somebody without any waits for the first; no other is worth a burst of writing.
    const checkpoint = newest === undefined ? "fast" : "spread";
    const { line } = watched.begun;
    const expected = { systemId: line.systemId, timeline: line.timeline, least: this.#position };
    // One that serves has the log from it to now, without a gap: it is of this very history.
    // What changed while it ran with wal_level = minimal no server notes.
    const earlier = newest === undefined || this.#isBeforeMinimal(newest) ? undefined : newest;
    const options = { address: address(), rate, checkpoint, expected, earlier } as const;
    const { facts, sentBytes, whyWhole } = await takeBase(writer, options);
    const database = this.#database;
    if (database !== undefined && hasOther(facts.databases, database)) this.#vain.add(database.oid);
    const seconds = (clock.monotonic() - began) / 1000;
    const isNews = whyWhole !== this.#toldWhy;
    this.#toldWhy = whyWhole;
    onBase({
      base: facts.base,
      repository: place.name,
      seconds,
      sentBytes,
      whyWhole: isNews ? whyWhole : undefined,
      hasDamagedPages: facts.hasDamagedPages === true,
    });
    const taken = await this.#standingOf(standing, this.#watched ?? watched);
    if (taken.newest !== undefined) return taken;
    const at = formatLsn(facts.base.from);
    throw new Failure(
      "database/failed",
      `the base in '${place.name}' begins at ${at}, and the log that is kept later`,
      {
        hint: "A standby begins a base at its last restartpoint: let it have one ('checkpoint'), or name the primary. It is tried again.",
      },
    );
  }
}

/** Another repository would not get it, either. */
function isOfServer({ code }: Failure): boolean {
  return code.startsWith("database/") || code.startsWith("wal/");
}

/** What the base says, where it can be read; that it cannot others tell. */
async function factsIn(
  repository: Repository,
  listed: ListedBase,
  { signal }: { signal: AbortSignal },
): Promise<BaseFacts | "unreadable"> {
  try {
    return await readBaseFacts(repository.anew(), listed, { signal });
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error, "repo/damaged") && !isFailure(error, "point/invalid")) throw error;
    return "unreadable";
  }
}
