/**
 * Follows uploaded files: those that came since the newest restore point are kept within seconds, so that a moment has its files
 * and not only their rows. Ids are given in order and committed in another one, and a row is committed before its file is there
 * (Active Storage writes the file after the transaction), so the newest ten thousand ids are asked for each time, and a file that
 * is not there is looked for again for a quarter of an hour. A restore into the own place brings back a database that gives ids
 * again which it gave before, to other files: a file is known by its key, too.
 */
import type { Clock } from "../../base/clock.ts";
import { LIMITS } from "../../base/limits.ts";
import { type Fetched, problemOf } from "../fetch-blobs.ts";
import { type FollowedBlob, listFrom, newestId, type Queries, stillThere } from "../list-storage.ts";

/** Where followed files are kept: one repository. */
export interface FollowPlace {
  /** Ids below have their files in a restore point there, or are nobody's concern. */
  readonly firstId: bigint;
  /** True where the repository has the file of this row: in its newest point, or followed before. */
  has(blob: FollowedBlob): Promise<boolean>;
  /**
   * Reads files and keeps those that are as their rows say; what is answered as stored and right is durable. Where it rejects,
   * it is as if it had not been called.
   */
  keep(blobs: readonly FollowedBlob[], options: { signal: AbortSignal }): Promise<Fetched<FollowedBlob>[]>;
}

type Problem = NonNullable<ReturnType<typeof problemOf>>;

/** A file that a row asks for and that did not come. */
export interface NotFollowed {
  readonly blob: FollowedBlob;
  /** `purged`: its row went before its file was copied. */
  readonly reason: Problem | "purged";
}

export interface FollowLook {
  /** Files and bytes that this look kept. */
  readonly files: number;
  readonly bytes: number;
  /** Rows whose files are still waited for. */
  readonly waiting: number;
  /** What is given up, or went: each is told once. */
  readonly lost: readonly NotFollowed[];
  /** Of some the storage is not known, does not answer, or lets nobody read them. */
  readonly isRefused: boolean;
}

interface Waiting {
  readonly blob: FollowedBlob;
  /** Milliseconds on the monotonic clock. */
  readonly sinceMs: number;
}

export class Follower {
  readonly #place: FollowPlace;
  readonly #clock: Clock;
  /** Keys of the files that are kept, or given up, by their ids; of the newest only. */
  readonly #settled = new Map<bigint, string>();
  readonly #waiting = new Map<bigint, Waiting>();
  #newest = 0n;
  #first: bigint;

  constructor({ place, clock }: { place: FollowPlace; clock: Clock }) {
    this.#place = place;
    this.#first = place.firstId;
    this.#clock = clock;
  }

  /**
   * One look: what is new is kept.
   * @throws Failure of the database, the store or the repository: the next look tries the same again.
   */
  async look(database: Queries, { signal }: { signal: AbortSignal }): Promise<FollowLook> {
    const rows = await this.#list(database);
    const listed = new Map(rows.map(({ id, key }) => [id, key]));
    const lost = await this.#takePurged(database, listed);
    // What is waited for may be older by now than what is asked for.
    const older = [...this.#waiting.values()].map(({ blob }) => blob).filter(({ id }) => !listed.has(id));
    const wanted = [...older, ...(await this.#wanted(rows))];
    const kept = wanted.length === 0 ? [] : await this.#place.keep(wanted, { signal });
    // Not before: where the repository did not take them for long, more may have come than the newest that are asked for.
    this.#goOn(rows);
    let [files, bytes] = [0, 0];
    for (const { blob, file } of kept) {
      const problem = problemOf(blob, file);
      if (problem === undefined) {
        this.#settle(blob);
        files += 1;
        bytes += blob.bytes;
      } else if (this.#isGivenUp(blob)) lost.push({ blob, reason: problem });
    }
    const isRefused = kept.some(({ file: { kind } }) => kind === "unavailable" || kind === "unreadable");
    return { files, bytes, waiting: this.#waiting.size, lost, isRefused };
  }

  async #list(database: Queries): Promise<FollowedBlob[]> {
    let rows = await listAll(database, this.#from());
    if (rows.length === 0) {
      // A database that was brought back from long ago has no ids as high as these yet.
      this.#newest = await newestId(database);
      const behind = this.#newest - BigInt(LIMITS.followedIds);
      if (behind < this.#first) this.#first = behind > 0n ? behind : 0n;
      rows = await listAll(database, this.#from());
    }
    return rows;
  }

  #goOn(rows: readonly FollowedBlob[]): void {
    this.#newest = rows.reduce((most, { id }) => (id > most ? id : most), this.#newest);
    const from = this.#from();
    for (const id of this.#settled.keys()) if (id < from) this.#settled.delete(id);
  }

  #from(): bigint {
    const behind = this.#newest - BigInt(LIMITS.followedIds);
    return behind > this.#first ? behind : this.#first;
  }

  async #wanted(rows: readonly FollowedBlob[]): Promise<FollowedBlob[]> {
    const wanted: FollowedBlob[] = [];
    for (const blob of rows) {
      if (this.#settled.get(blob.id) === blob.key) continue;
      if (!this.#waiting.has(blob.id) && (await this.#place.has(blob))) this.#settle(blob);
      else wanted.push(blob);
    }
    return wanted;
  }

  #settle({ id, key }: FollowedBlob): void {
    this.#waiting.delete(id);
    this.#settled.set(id, key);
  }

  /** Those that were waited for and whose rows are gone: nothing will come any more. */
  async #takePurged(database: Queries, listed: ReadonlyMap<bigint, string>): Promise<NotFollowed[]> {
    const unlisted = [...this.#waiting.keys()].filter((id) => !listed.has(id));
    const there = unlisted.length === 0 ? new Set<bigint>() : await stillThere(database, unlisted);
    const purged = [...this.#waiting.values()].filter(({ blob: { id, key } }) => {
      return listed.get(id) !== key && !there.has(id);
    });
    for (const { blob } of purged) this.#settle(blob);
    return purged.map(({ blob }) => ({ blob, reason: "purged" }));
  }

  /** True when it has been waited for long enough; it is not asked for again then. */
  #isGivenUp(blob: FollowedBlob): boolean {
    const now = this.#clock.monotonic();
    const waiting = this.#waiting.get(blob.id) ?? { blob, sinceMs: now };
    this.#waiting.set(blob.id, waiting);
    if (now - waiting.sinceMs < LIMITS.followedLateMs) return false;
    this.#settle(blob);
    return true;
  }
}

async function listAll(database: Queries, first: bigint): Promise<FollowedBlob[]> {
  const rows: FollowedBlob[] = [];
  for (let from = first; ;) {
    const page = await listFrom(database, { from, most: LIMITS.followedPage });
    rows.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < LIMITS.followedPage) return rows;
    from = last.id + 1n;
  }
}
