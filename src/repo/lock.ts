/**
 * Repository locks, as restic takes them: many may read and add at once, whoever deletes is alone.
 *
 * To lock: look whether others forbid it, write one's own lock file, wait, look again. A lock is refreshed every five
 * minutes by a new file; one of half an hour is stale to everybody, so whoever could not refresh his stops long before.
 * Only locks of this machine are ever removed, and only when their process is gone or they are stale: how long ago
 * another machine wrote something cannot be judged by two clocks. What makes a run's work count, a snapshot or a
 * removal, is done only when the lock was seen to be there a moment ago: a process may have been stopped meanwhile.
 */
import { userInfo } from "node:os";
import { formatInstant, type Clock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { parseFileId, shortId, type FileId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { parseGoTime } from "../format/go-time.ts";
import { decodeLock, encodeLock, type LockFile } from "../format/lock-file.ts";
import { isAlive } from "../system/alive.ts";
import { isDamage } from "./chunk.ts";
import type { Repository } from "./repository.ts";

/** restic's numbers, milliseconds. */
export const LOCK_TIMES = {
  /** Between writing a lock and looking again. */
  settle: 200,
  refresh: 5 * 60_000,
  /** Where the old lock file cannot be removed, so that each refresh leaves one more behind. Ours, not restic's. */
  refreshKept: 15 * 60_000,
  /** After a refresh that failed; also the longest that one may take. Ours, not restic's. */
  retry: 60_000,
  /** Without a refresh for so long, whoever holds the lock stops. */
  giveUp: 22.5 * 60_000,
  stale: 30 * 60_000,
  /** After so long a lock that is held for seconds is most likely gone. Ours, not restic's. */
  brief: 1_000,
} as const;

/** Whoever has this name holds locks for seconds, again and again: whoever wants the repository alone waits for a while. */
export const WATCH_USERNAME = "chatkeep-watch";

export interface LockOptions {
  clock: Clock;
  signal: AbortSignal;
  /** Must differ between machines, and between containers, that use one repository. */
  hostname: string;
  pid: number;
  username?: string;
  /** Called with each lock that is in the way, before that is thrown. */
  onOther?: (id: FileId, locked: Failure) => void;
}

/** Holds a lock until it is disposed of. */
export interface RepositoryLock extends AsyncDisposable {
  /** Aborts with a `Failure` when the lock is lost: whoever works under it must stop. */
  readonly signal: AbortSignal;
  /**
   * Looks whether the lock is still in the store: between two refreshes somebody may have removed it and then pruned. To
   * be asked right before what makes a run's work count, or removes anything.
   * @throws Failure `repo/locked` when it is gone; the signal is aborted then.
   */
  confirm(options: { signal: AbortSignal }): Promise<void>;
}

/** A lock that is written and not yet sure. Nothing may be changed before it has settled; reading does no harm. */
export interface SettlingLock extends RepositoryLock {
  /** Rejects, and the signal aborts, with `repo/locked` when somebody else was there first after all. */
  readonly settled: Promise<void>;
}

declare const exclusive: unique symbol;
/** A lock that nobody shares: what deletes asks for one, so that nothing can be deleted without it. */
export interface ExclusiveLock extends RepositoryLock {
  /** `confirm` where the lock is so old that others may take it for stale: between removals, whatever stood still meanwhile. */
  confirmOld(options: { signal: AbortSignal }): Promise<void>;
  readonly [exclusive]: true;
}

/**
 * Locks the repository for reading and adding.
 * @throws Failure `repo/locked` when somebody holds it alone.
 */
export async function lockShared(repository: Repository, options: LockOptions): Promise<RepositoryLock> {
  return await acquire(repository, { ...options, isExclusive: false });
}

/** {@link lockShared} for whoever has something to read first: comes back before the lock has settled. */
export async function beginShared(repository: Repository, options: LockOptions): Promise<SettlingLock> {
  return await begin(repository, { ...options, isExclusive: false });
}

/**
 * Locks the repository for deleting.
 * @throws Failure `repo/locked` when anybody else uses it, `store/denied` where nothing may be deleted.
 */
export async function lockExclusive(repository: Repository, options: LockOptions): Promise<ExclusiveLock> {
  await refuseUnremovable(repository, options);
  const lock: unknown = await acquire(repository, { ...options, isExclusive: true });
  return lock as ExclusiveLock;
}

type Acquiring = LockOptions & { isExclusive: boolean };

/**
 * Reads while the lock settles, and comes back when both are done. Where reading fails because somebody was deleting
 * just then, it is the lock that says so.
 */
export async function readWhileSettling<T>(
  lock: { readonly settled?: Promise<void> },
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } finally {
    await lock.settled;
  }
}

async function acquire(repository: Repository, options: Acquiring): Promise<RepositoryLock> {
  return await whenSettled(await begin(repository, options));
}

async function whenSettled(held: HeldLock): Promise<HeldLock> {
  try {
    await held.settled;
    return held;
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
}

async function begin(repository: Repository, options: Acquiring): Promise<HeldLock> {
  const { clock } = options;
  const began = { wall: clock.now(), monotonic: clock.monotonic() };
  await refuseConflict(repository, options);
  const held = new HeldLock(repository, options);
  await held.write(options.signal);
  held.settle();
  // Whoever deletes looks twice, so far apart. Between our first look and our lock's arrival there was room for both only
  // if that took as long: then he may be at work without knowing of us, and be gone before we look again.
  const tookMs = Math.max(clock.now() - began.wall, clock.monotonic() - began.monotonic);
  return tookMs < LOCK_TIMES.settle ? held : await whenSettled(held);
}

/**
 * An exclusive lock that could not be removed would keep everybody away for half an hour; so the right to delete is tried
 * on a shared one, which hinders nobody's backup.
 */
async function refuseUnremovable(repository: Repository, options: LockOptions): Promise<void> {
  const trial = new HeldLock(repository, { ...options, isExclusive: false });
  await trial.write(options.signal);
  await trial.letGo(options.signal);
  if (!trial.isKept) return;
  throw new Failure("store/denied", `nothing may be deleted in '${repository.store.location}' with these credentials`, {
    hint: "Backups need no such right and go on. Do this from a machine, or with credentials, that may delete there (for S3 s3:DeleteObject, for rest-server without --append-only).",
  });
}

interface OtherLock {
  id: FileId;
  lock: LockFile;
}

/** @throws Failure `repo/locked` when other locks forbid ours, with one of them. Removes what dead processes of this machine left. */
async function refuseConflict(
  repository: Repository,
  options: Acquiring & { own?: ReadonlySet<FileId> },
): Promise<void> {
  const { signal } = options;
  const inTheWay: Failure[] = [];
  for await (const { name, sizeBytes } of repository.store.list("locks", { signal })) {
    const id = parseFileId(name);
    // An empty one was being written when its machine went down.
    if (options.own?.has(id) === true || sizeBytes === 0) continue;
    const other = await readLock(repository, id, signal);
    if (other === undefined) continue;
    if (isLeftBehind(other.lock, options)) {
      await repository.store.remove({ kind: "locks", name }, { signal }).catch(() => {});
      continue;
    }
    if (!options.isExclusive && !other.lock.exclusive) continue;
    const failure = locked(other, options);
    options.onOther?.(id, failure);
    inTheWay.push(failure);
  }
  // A lock that is held for seconds says least of how long to wait.
  const first = inTheWay.find(({ retryAfterMs }) => retryAfterMs === undefined) ?? inTheWay[0];
  if (first !== undefined) throw first;
}

async function readLock(repository: Repository, id: FileId, signal: AbortSignal): Promise<OtherLock | undefined> {
  try {
    return { id, lock: decodeLock(await repository.getUnpacked("locks", id, { signal })) };
  } catch (error) {
    if (!isDamage(error)) throw error;
    // Gone since it was listed: refreshed or let go.
    if ((await repository.store.stat({ kind: "locks", name: id }, { signal })) === undefined) return undefined;
    throw new Failure("repo/locked", `lock ${shortId(id)} cannot be read: ${messageOf(error)}`, {
      hint: "When nobody uses the repository, remove it with 'chatkeep unlock --remove-all'.",
      cause: error,
    });
  }
}

/** True when the lock is this machine's and nobody's any more. */
function isLeftBehind(lock: LockFile, { hostname, pid, clock }: Acquiring): boolean {
  if (lock.hostname !== hostname) return false;
  if (lock.pid !== pid && !isAlive(lock.pid)) return true;
  return ageMs(lock, clock) > LOCK_TIMES.stale;
}

/** Negative when its clock is ahead of ours. */
function ageMs(lock: LockFile, clock: Clock): number {
  return clock.now() - Number(parseGoTime(lock.time) / 1_000_000n);
}

function locked({ id, lock }: OtherLock, { clock }: Acquiring): Failure {
  const how = lock.exclusive ? "locked for itself alone" : "being used";
  const isOld = ageMs(lock, clock) > LOCK_TIMES.stale;
  const isBrief = !lock.exclusive && lock.username === WATCH_USERNAME;
  return new Failure(
    "repo/locked",
    `the repository is ${how} by process ${lock.pid} of ${lock.username || "unknown"}@${lock.hostname || "unknown"} since ${lock.time} (lock ${shortId(id)})`,
    {
      hint: isOld
        ? "That lock was not refreshed for half an hour: if that process is gone, remove it with 'chatkeep unlock'."
        : "Wait until it is done; if that process is gone, remove its lock with 'chatkeep unlock'.",
      ...(isBrief ? { retryAfterMs: LOCK_TIMES.brief } : {}),
    },
  );
}

const REMOVED = "it was removed by someone else";

class HeldLock implements SettlingLock {
  readonly signal: AbortSignal;
  readonly #repository: Repository;
  readonly #options: Acquiring;
  readonly #lost = new AbortController();
  readonly #ended = new AbortController();
  #refreshing: Promise<void> = Promise.resolve();
  #settled: Promise<void> = Promise.resolve();
  /** Our lock files: one, but for the moment in which it is replaced. */
  readonly #ids = new Set<FileId>();
  /** Those that we let go and may not delete: stale, to everybody, in half an hour. */
  readonly #kept = new Set<FileId>();
  #writtenAt = { wall: 0, monotonic: 0 };

  constructor(repository: Repository, options: Acquiring) {
    this.#repository = repository;
    this.#options = options;
    this.signal = this.#lost.signal;
  }

  get ids(): ReadonlySet<FileId> {
    return this.#ids;
  }

  /** True once the store refused to delete a lock file of ours. */
  get isKept(): boolean {
    return this.#kept.size > 0;
  }

  async write(signal: AbortSignal): Promise<void> {
    const { clock, hostname, pid, isExclusive } = this.#options;
    const writtenAt = { wall: clock.now(), monotonic: clock.monotonic() };
    const user = userInfo();
    const lock: LockFile = {
      time: formatInstant(writtenAt.wall),
      exclusive: isExclusive,
      hostname,
      username: this.#options.username ?? user.username,
      pid,
      ...(user.uid < 0 ? {} : { uid: user.uid, gid: user.gid }),
    };
    this.#ids.add(await this.#repository.putUnpacked("locks", encodeLock(lock), { signal }));
    this.#writtenAt = writtenAt;
  }

  get settled(): Promise<void> {
    return this.#settled;
  }

  /** Waits and looks again; from then on the lock is refreshed until it is disposed of. */
  settle(): void {
    this.#settled = this.#look();
    this.#refreshing = this.#settled.then(
      async () => await this.#refresh(),
      // Whoever waits for the lock is told; whoever does not yet is stopped with the same words.
      (error: unknown) => this.#lost.abort(error),
    );
    this.#refreshing = this.#refreshing.catch((error: unknown) => {
      if (!this.#ended.signal.aborted) this.#lose(error);
    });
  }

  async #look(): Promise<void> {
    const signal = AbortSignal.any([this.#options.signal, this.#ended.signal]);
    await this.#options.clock.sleep(LOCK_TIMES.settle, signal);
    await refuseConflict(this.#repository, { ...this.#options, signal, own: this.#ids });
  }

  async #refresh(): Promise<void> {
    const { clock } = this.#options;
    const signal = this.#ended.signal;
    let wait: number = LOCK_TIMES.refresh;
    for (;;) {
      await clock.sleep(wait, signal);
      try {
        await this.#inTime(async (limit) => await this.#renew(limit));
        wait = this.isKept ? LOCK_TIMES.refreshKept : LOCK_TIMES.refresh;
      } catch (error) {
        signal.throwIfAborted();
        // The store may be away for a while. We may go on only as long as nobody can take our lock for stale.
        if (this.#ageMs() > LOCK_TIMES.giveUp || isFailure(error, "repo/locked")) throw error;
        wait = LOCK_TIMES.retry;
      }
    }
  }

  /** By whichever clock says more: one may be set back, the other stands still while the machine sleeps. */
  #ageMs(): number {
    const { clock } = this.#options;
    return Math.max(clock.now() - this.#writtenAt.wall, clock.monotonic() - this.#writtenAt.monotonic);
  }

  /** A store that never answers must not keep us from noticing that the lock grows old. */
  async #inTime(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const done = new AbortController();
    const signal = AbortSignal.any([this.#ended.signal, done.signal]);
    const late = this.#options.clock.sleep(LOCK_TIMES.retry, signal).then(() => {
      throw new Failure("store/unreachable", "the lock could not be refreshed in time");
    });
    late.catch(() => {});
    try {
      await Promise.race([work(signal), late]);
    } finally {
      done.abort(new Failure("run/cancelled", "the lock was refreshed, or could not be"));
    }
  }

  /** Writes a new lock file in place of the one that we have, which must still be there. */
  async #renew(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const wasAway = this.#ageMs() > LOCK_TIMES.giveUp;
    const old = [...this.#ids];
    await this.#assertThere(old, signal);
    await this.write(signal);
    if (wasAway) {
      // The machine slept: someone may be taking our old lock for stale just now.
      await clock.sleep(LOCK_TIMES.settle, signal);
      await this.#assertThere(old, signal);
      await refuseConflict(this.#repository, { ...this.#options, signal, own: this.#ids.union(this.#kept) });
    }
    for (const id of old) await this.#remove(id, signal);
  }

  async confirm({ signal }: { signal: AbortSignal }): Promise<void> {
    for (;;) {
      this.signal.throwIfAborted();
      const ids = [...this.#ids];
      for (const name of ids) {
        if ((await this.#repository.store.stat({ kind: "locks", name }, { signal })) !== undefined) return;
      }
      // A refresh may have put another one in the place of each meanwhile.
      if (ids.length === this.#ids.size && ids.every((id) => this.#ids.has(id))) break;
    }
    this.#lose(new Failure("repo/locked", REMOVED));
    this.signal.throwIfAborted();
  }

  async confirmOld(options: { signal: AbortSignal }): Promise<void> {
    if (this.#ageMs() > LOCK_TIMES.giveUp) await this.confirm(options);
  }

  async #assertThere(ids: readonly FileId[], signal: AbortSignal): Promise<void> {
    for (const id of ids) {
      if ((await this.#repository.store.stat({ kind: "locks", name: id }, { signal })) !== undefined) continue;
      throw new Failure("repo/locked", REMOVED);
    }
  }

  async #remove(id: FileId, signal: AbortSignal): Promise<void> {
    try {
      await this.#repository.store.remove({ kind: "locks", name: id }, { signal });
    } catch (error) {
      if (!isFailure(error, "store/denied")) throw error;
      this.#kept.add(id);
    }
    this.#ids.delete(id);
  }

  /** Removes our lock files. @throws what the store says, but for a right that is lacking: see {@link isKept}. */
  async letGo(signal: AbortSignal): Promise<void> {
    for (const id of this.#ids) await this.#remove(id, signal);
  }

  #lose(error: unknown): void {
    this.#lost.abort(
      new Failure("repo/locked", `the lock on the repository was lost: ${messageOf(error)}`, {
        hint: "What was saved before is intact; run the command again (did somebody run 'chatkeep unlock --remove-all'?).",
        cause: error,
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Failure("run/cancelled", "the lock was let go"));
    await this.#refreshing;
    // Whatever ended the work, the lock goes; where it cannot (no right to delete, a place that does not answer any
    // more), it is stale in half an hour, and nobody has to wait for that.
    const limit = new AbortController();
    const done = new AbortController();
    const over = new Failure("store/unreachable", "the lock could not be removed in time");
    const late = this.#options.clock.sleep(LIMITS.lastWordsMs, done.signal).then(() => limit.abort(over));
    late.catch(() => {});
    for (const id of this.#ids) await this.#remove(id, limit.signal).catch(() => {});
    done.abort(new Failure("run/cancelled", "the lock was let go"));
  }
}
