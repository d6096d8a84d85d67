/**
 * Sees to it that every repository has a base to which the log that is kept belongs: at once where there is none, and anew by its
 * age, or when replaying what came since would take longer than a restore may. A base is read from the server once, and
 * copied to the other repositories.
 */
import type { Clock } from "../../base/clock.ts";
import { type Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Base, Line } from "../../point/continuous.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import type { LineBegun } from "./follow-log.ts";
import { type ListedBase, listContinuous } from "./list.ts";
import { copySnapshots, shareSpans } from "./share.ts";
import { takeBase } from "./take-base.ts";

export interface BasePlace {
  /** The repository's name. */
  readonly name: string;
  readonly open: () => Promise<Repository>;
}

export interface BaseKeeperOptions {
  readonly places: readonly BasePlace[];
  readonly address: ServerAddress;
  readonly identity: { readonly id: string; readonly name: string };
  readonly program: string;
  /** Bytes a second that are read from the server at most. */
  readonly rate: number | undefined;
  /** Milliseconds after which a base is taken anew; undefined: never for its age. */
  readonly everyMs: number | undefined;
  /** Bytes of the log after which a base is taken anew; undefined: never for that. */
  readonly mostLogBytes: number | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onBegin: (reason: string) => void;
  readonly onBase: (taken: { base: Base; repository: string; seconds: number }) => void;
  /** One could not be taken, and is tried again; undefined: all have what they need. */
  readonly onTrouble: (trouble: Failure | undefined) => void;
  /** A repository has a base behind the last gap in its log. */
  readonly onServed: (repository: string) => void;
}

interface Watched {
  readonly line: Line;
  /** From where on a repository has the log without a gap, where there was one; by its name. */
  readonly since: ReadonlyMap<string, Lsn>;
}

/** A repository, and the newest base in it that serves what is kept now. */
interface Standing {
  readonly place: BasePlace;
  readonly repository: Repository;
  readonly newest: ListedBase | undefined;
}

export class BaseKeeper {
  readonly #o: BaseKeeperOptions;
  #watched: Watched | undefined;
  #position: Lsn = 0n;
  #poked = Promise.withResolvers<void>();

  constructor(options: BaseKeeperOptions) {
    this.#o = options;
  }

  /** A line was taken up: repositories with a gap need a base behind it. */
  lineBegun({ line, start, gapped }: LineBegun): void {
    const isSame = this.#watched?.line.systemId === line.systemId;
    const since = new Map(isSame ? this.#watched?.since : []);
    for (const name of gapped) since.set(name, start);
    this.#watched = { line, since };
    this.#poked.resolve();
  }

  /** How far the log is. */
  position(lsn: Lsn): void {
    this.#position = lsn;
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
    const standings = await this.#standings(watched);
    // What began meanwhile may have a gap of its own.
    if (this.#watched === watched) {
      for (const { place, newest } of standings) if (newest !== undefined) this.#o.onServed(place.name);
    }
    const lacking = standings.flatMap((standing) => {
      const reason = this.#reason(standing.newest?.base);
      return reason === undefined ? [] : [{ ...standing, reason }];
    });
    const [first] = lacking;
    if (first !== undefined) {
      const source = standings.find(({ newest }) => newest !== undefined && this.#reason(newest.base) === undefined);
      if (source?.newest === undefined) await this.#take(first);
      for (const { place, repository } of lacking) {
        if (source === undefined && place === first.place) continue;
        await this.#copy(source ?? (await this.#standingOf(first, watched)), repository);
      }
    }
    await this.#fillGaps(standings, watched);
  }

  async #standings(watched: Watched): Promise<Standing[]> {
    const { places, signal } = this.#o;
    const found: Standing[] = [];
    let failed: unknown;
    for (const place of places) {
      try {
        found.push(await this.#standingOf({ place, repository: await place.open() }, watched));
      } catch (error) {
        signal.throwIfAborted();
        failed ??= error;
      }
    }
    // One that is away is told by who stores the log.
    if (found.length === 0 && failed !== undefined) throw failed;
    return found;
  }

  async #standingOf(
    { place, repository }: Pick<Standing, "place" | "repository">,
    { line, since }: Watched,
  ): Promise<Standing> {
    const { bases } = await listContinuous(repository, line.installation, this.#o);
    const from = since.get(place.name) ?? 0n;
    const serving = bases.filter(({ base }) => {
      return base.systemId === line.systemId && base.timeline <= line.timeline && base.from >= from;
    });
    return { place, repository, newest: serving.toSorted((a, b) => (a.base.from < b.base.from ? -1 : 1)).at(-1) };
  }

  /** Why a base is due; undefined where none is. */
  #reason(newest: Base | undefined): string | undefined {
    const { everyMs, mostLogBytes, clock } = this.#o;
    if (newest === undefined) return "there is none";
    const ageMs = clock.now() - Number(newest.beganUs / 1000n);
    if (everyMs !== undefined && ageMs > everyMs) return "the newest is old";
    const since = Number(this.#position - newest.from);
    return mostLogBytes !== undefined && since > mostLogBytes ? "replaying what came since takes too long" : undefined;
  }

  async #take({ place, repository, newest, reason }: Standing & { reason: string }): Promise<void> {
    const { address, rate, identity, program, clock, signal, onBegin, onBase } = this.#o;
    onBegin(reason);
    const began = clock.monotonic();
    const writer = { repository, identity, program, clock, signal };
    // Somebody without any waits for the first; no other is worth a burst of writing.
    const checkpoint = newest === undefined ? "fast" : "spread";
    const { facts } = await takeBase(writer, { address, rate, checkpoint });
    onBase({ base: facts.base, repository: place.name, seconds: (clock.monotonic() - began) / 1000 });
  }

  async #copy({ newest, repository: from }: Standing, to: Repository): Promise<void> {
    if (newest !== undefined) await copySnapshots(from, to, [newest], this.#o);
  }

  /** What one repository missed while it was away, another has. */
  async #fillGaps(standings: readonly Standing[], { line, since }: Watched): Promise<void> {
    const lacking = standings.filter(({ place }) => since.has(place.name));
    const others = standings.filter(({ place }) => !since.has(place.name));
    for (const { place, repository } of lacking) {
      for (const other of others) await shareSpans(other.repository, repository, line.installation, this.#o);
      if (others.length === 0 || this.#watched === undefined) continue;
      const left = new Map(this.#watched.since);
      left.delete(place.name);
      this.#watched = { ...this.#watched, since: left };
    }
  }
}
