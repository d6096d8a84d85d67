import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { before, test } from "node:test";
import { formatInstant, systemClock, type Clock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { encodeLock, type LockFile, decodeLock } from "../../src/format/lock-file.ts";
import { parseFileId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import {
  beginShared,
  LOCK_TIMES,
  lockExclusive,
  lockShared,
  readWhileSettling,
  type LockOptions,
} from "../../src/repo/lock.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { FaultyStore } from "../harness/faulty-store.ts";
import { resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { copyStore, newRepository, PASSWORD, reopen, signal } from "./small-backup.ts";

let original: Repository;
let store: MemoryStore;

before(async () => {
  store = createMemoryStore();
  original = await newRepository(store);
});

function fresh(): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  return { repository: reopen(original, copy), store: copy };
}

/** A clock that stands still until it is told; sleepers wake in their order. */
class FakeClock implements Clock {
  time = 1_800_000_000_000;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();
  now(): number {
    return this.time;
  }
  monotonic(): number {
    return this.time;
  }
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    // The pause between writing a lock and looking again is no one's business here.
    if (ms === LOCK_TIMES.settle) return;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { at: this.time + ms, wake: resolve };
    this.#sleepers.add(sleeper);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    try {
      await promise;
    } finally {
      this.#sleepers.delete(sleeper);
    }
  }
  /** Moves the time on, and lets everything that then happens happen. */
  async advance(ms: number): Promise<void> {
    this.time += ms;
    for (const sleeper of this.#sleepers) if (sleeper.at <= this.time) sleeper.wake();
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

function by(rest: Partial<LockOptions> = {}): LockOptions {
  return { clock: new FakeClock(), signal, hostname: "here", pid: process.pid, username: "me", ...rest };
}

function lockNames(of: MemoryStore): string[] {
  return [...of.files.keys()].filter((name) => name.startsWith("locks/"));
}

async function putLock(repository: Repository, rest: Partial<LockFile>): Promise<void> {
  const lock = {
    time: formatInstant(1_800_000_000_000),
    exclusive: true,
    hostname: "elsewhere",
    username: "you",
    pid: 1,
  };
  await repository.putUnpacked("locks", encodeLock({ ...lock, ...rest }), { signal });
}

const isLocked = (error: unknown) => isFailure(error, "repo/locked");

test("many share a repository, and whoever wants it alone waits for all of them", async () => {
  const { repository, store } = fresh();
  const one = await lockShared(repository, by());
  const two = await lockShared(repository, by());
  assert.equal(lockNames(store).length, 2);
  await assert.rejects(lockExclusive(repository, by()), isLocked);
  assert.equal(lockNames(store).length, 2);
  await one[Symbol.asyncDispose]();
  await assert.rejects(lockExclusive(repository, by()), isLocked);
  await two[Symbol.asyncDispose]();
  const alone = await lockExclusive(repository, by());
  await assert.rejects(lockShared(repository, by()), isLocked);
  await alone[Symbol.asyncDispose]();
  assert.deepEqual(lockNames(store), []);
});

test("a refusal says who holds the lock, since when, and what to do", async () => {
  const { repository } = fresh();
  await putLock(repository, { hostname: "db-1", username: "anna", pid: 4711 });
  await assert.rejects(lockShared(repository, by()), (error) => {
    assert.ok(isLocked(error) && error instanceof Failure);
    assert.match(error.message, /process 4711 of anna@db-1 since 2027-01-15T08:00:00\.000Z/);
    assert.match(error.hint ?? "", /chatkeep unlock/);
    return true;
  });
});

test("two who want it alone at the same moment never both get it", async () => {
  for (let round = 0; round < 20; round += 1) {
    const { repository, store } = fresh();
    const attempts = await Promise.allSettled([lockExclusive(repository, by()), lockExclusive(repository, by())]);
    const got = attempts.filter((attempt) => attempt.status === "fulfilled");
    assert.ok(got.length <= 1);
    for (const { value } of got) await value[Symbol.asyncDispose]();
    assert.deepEqual(lockNames(store), []);
  }
});

test("who took long to lock reads nothing before it has settled: somebody may be deleting who did not see it", async () => {
  const copy = fresh().store;
  class SlowClock extends FakeClock {
    readonly looked = Promise.withResolvers<void>();
    override async sleep(ms: number, stop?: AbortSignal): Promise<void> {
      if (ms === LOCK_TIMES.settle) await this.looked.promise;
      else await super.sleep(ms, stop);
    }
  }
  for (const [tookMs, isEarly] of [
    [LOCK_TIMES.settle - 1, true],
    [LOCK_TIMES.settle, false],
  ] as const) {
    const clock = new SlowClock();
    const slow = new FaultyStore(copy, ({ verb }) => {
      if (verb === "put") clock.time += tookMs;
      return undefined;
    });
    const locking = beginShared(reopen(original, slow), by({ clock }));
    let isBack = false;
    void locking.then(() => (isBack = true));
    await clock.advance(0);
    assert.equal(isBack, isEarly);
    clock.looked.resolve();
    await (await locking)[Symbol.asyncDispose]();
  }
});

test("whoever reads before the lock has settled is stopped when another was first, and leaves no lock", async () => {
  const { repository, store } = fresh();
  const looked = Promise.withResolvers<void>();
  class SlowClock extends FakeClock {
    override async sleep(ms: number, stop?: AbortSignal): Promise<void> {
      if (ms === LOCK_TIMES.settle) await looked.promise;
      else await super.sleep(ms, stop);
    }
  }
  const lock = await beginShared(repository, by({ clock: new SlowClock() }));
  assert.equal(lockNames(store).length, 1);
  assert.equal(lock.signal.aborted, false);
  await putLock(repository, { hostname: "db-1", username: "anna", pid: 4711 });
  looked.resolve();
  await assert.rejects(lock.settled, isLocked);
  await assert.rejects(
    readWhileSettling(lock, async () => {
      throw new Failure("repo/damaged", "what was read is gone");
    }),
    isLocked,
  );
  assert.ok(isLocked(lock.signal.reason));
  await lock[Symbol.asyncDispose]();
  assert.equal(lockNames(store).length, 1);
});

test("a lock of a dead process of this machine is removed, one of a living process or another machine is not", async () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const { repository, store } = fresh();
  await putLock(repository, { hostname: "here", pid: dead });
  await using _lock = await lockShared(repository, by());
  assert.equal(lockNames(store).length, 1);

  for (const rest of [
    { hostname: "here", pid: process.ppid },
    { hostname: "elsewhere", pid: dead },
  ]) {
    const other = fresh();
    await putLock(other.repository, rest);
    await assert.rejects(lockShared(other.repository, by()), isLocked);
    assert.equal(lockNames(other.store).length, 1);
  }
});

test("a lock that was not refreshed for half an hour goes when it is this machine's, and is said to be old otherwise", async () => {
  const clock = new FakeClock();
  clock.time += LOCK_TIMES.stale + 1;
  const own = fresh();
  await putLock(own.repository, { hostname: "here", pid: process.ppid });
  await using _lock = await lockShared(own.repository, by({ clock }));
  const other = fresh();
  await putLock(other.repository, {});
  await assert.rejects(
    lockShared(other.repository, by({ clock })),
    (error) => isLocked(error) && error instanceof Failure && /half an hour/.test(error.hint ?? ""),
  );
});

test("a lock from a clock that differs is a lock", async () => {
  for (const difference of [-LOCK_TIMES.giveUp, -60_000, 60_000, LOCK_TIMES.stale * 4]) {
    const { repository } = fresh();
    await putLock(repository, {
      hostname: "here",
      pid: process.ppid,
      time: formatInstant(1_800_000_000_000 + difference),
    });
    await assert.rejects(lockShared(repository, by()), isLocked);
  }
});

test("a lock file that is empty is passed over, one that is damaged forbids and is named", async () => {
  const { repository, store } = fresh();
  store.files.set(`locks/${"0".repeat(64)}`, Buffer.alloc(0));
  await using _lock = await lockShared(repository, by());
  store.files.set(`locks/${"ab".repeat(32)}`, Buffer.from("what is this"));
  await assert.rejects(lockShared(repository, by()), (error) => isLocked(error) && /abababab/.test(String(error)));
});

test("a lock is refreshed by a new file in place of the old one", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  const lock = await lockShared(repository, by({ clock }));
  const [before] = lockNames(store);
  await clock.advance(LOCK_TIMES.refresh);
  const [after, ...more] = lockNames(store);
  assert.deepEqual(more, []);
  assert.notEqual(after, before);
  const id = parseFileId(after?.slice("locks/".length) ?? "");
  assert.equal(decodeLock(await repository.getUnpacked("locks", id, { signal })).time, formatInstant(clock.time));
  await lock[Symbol.asyncDispose]();
  assert.deepEqual(lockNames(store), []);
});

test("a lock that cannot be refreshed is given up long before it is stale to others", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  await using lock = await lockShared(repository, by({ clock }));
  const since = clock.time;
  store.beforeWrite = () => {
    throw new Failure("store/unreachable", "gone for now");
  };
  await clock.advance(LOCK_TIMES.refresh);
  while (!lock.signal.aborted && clock.time - since < LOCK_TIMES.stale) {
    assert.ok(clock.time - since < LOCK_TIMES.stale - 2 * LOCK_TIMES.retry);
    await clock.advance(LOCK_TIMES.retry);
  }
  assert.ok(lock.signal.aborted && isLocked(lock.signal.reason));
  store.beforeWrite = undefined;
});

test("a store that is away for ten minutes costs no lock", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  await using lock = await lockShared(repository, by({ clock }));
  store.beforeWrite = () => {
    throw new Failure("store/unreachable", "gone for now");
  };
  await clock.advance(LOCK_TIMES.refresh);
  for (let minute = 0; minute < 10; minute += 1) await clock.advance(LOCK_TIMES.retry);
  store.beforeWrite = undefined;
  await clock.advance(LOCK_TIMES.retry);
  assert.equal(lock.signal.aborted, false);
  assert.equal(lockNames(store).length, 1);
});

/** Takes every file and gives none back, as append-only credentials do. */
function denyRemovals(store: MemoryStore): void {
  store.beforeWrite = ({ action }) => {
    if (action === "remove") throw new Failure("store/denied", "deleting is not allowed");
  };
}

test("where nothing may be deleted, a lock is refreshed before it is stale, and seldom", async () => {
  const { repository, store } = fresh();
  denyRemovals(store);
  const clock = new FakeClock();
  const lock = await lockShared(repository, by({ clock }));
  for (let minute = 0; minute < 240; minute += 1) {
    await clock.advance(60_000);
    const times: number[] = [];
    for (const name of lockNames(store)) {
      const id = parseFileId(name.slice("locks/".length));
      times.push(Date.parse(decodeLock(await repository.getUnpacked("locks", id, { signal })).time));
    }
    assert.ok(clock.time - Math.max(...times) < LOCK_TIMES.giveUp, `after ${minute} minutes`);
  }
  assert.equal(lock.signal.aborted, false);
  // At the start, after five minutes, and then four an hour: restic's own way would leave 49.
  assert.equal(lockNames(store).length, 17);
  await lock[Symbol.asyncDispose]();
  // Left behind, they hinder nobody who adds.
  await using _other = await lockShared(repository, by({ clock }));
});

test("where nothing may be deleted, nobody gets the repository alone, and no exclusive lock is left", async () => {
  const { repository, store } = fresh();
  denyRemovals(store);
  await assert.rejects(lockExclusive(repository, by()), (error) => {
    assert.ok(isFailure(error, "store/denied"));
    assert.match(error.hint ?? "", /may delete there/);
    return true;
  });
  await using _shared = await lockShared(repository, by({ hostname: "elsewhere" }));
});

test("a place that does not answer any more keeps nobody waiting for its lock to go", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  const lock = await lockShared(repository, by({ clock }));
  let isGivenUp = false;
  store.remove = async (_ref, options) => {
    await once(options.signal, "abort");
    isGivenUp = true;
    throw options.signal.reason;
  };
  const letGo = lock[Symbol.asyncDispose]();
  await clock.advance(0);
  await clock.advance(LIMITS.lastWordsMs - 1);
  assert.equal(isGivenUp, false);
  await clock.advance(1);
  assert.equal(isGivenUp, true);
  await letGo;
  assert.equal(lockNames(store).length, 1);
});

test("a lock that someone else removed is lost", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  await using lock = await lockShared(repository, by({ clock }));
  for (const name of lockNames(store)) store.files.delete(name);
  await clock.advance(LOCK_TIMES.refresh);
  assert.ok(lock.signal.aborted && isLocked(lock.signal.reason));
  assert.match(String(lock.signal.reason), /removed by someone else/);
});

test("whoever is about to make its work count looks whether the lock is there, whatever is refreshed meanwhile", async () => {
  const { repository, store } = fresh();
  const clock = new FakeClock();
  await using lock = await lockShared(repository, by({ clock }));
  await lock.confirm({ signal });
  await clock.advance(LOCK_TIMES.refresh);
  await lock.confirm({ signal });
  // The old file goes while it is being looked for.
  const stat = store.stat.bind(store);
  store.stat = async (ref, options) => {
    store.stat = stat;
    await clock.advance(LOCK_TIMES.refresh);
    return await stat(ref, options);
  };
  await lock.confirm({ signal });
  for (const name of lockNames(store)) store.files.delete(name);
  await assert.rejects(lock.confirm({ signal }), isLocked);
  assert.ok(lock.signal.aborted && isLocked(lock.signal.reason));
  assert.match(String(lock.signal.reason), /removed by someone else/);
});

test("after a long sleep of the machine a lock that is still there is taken up again, unless someone is alone now", async () => {
  for (const isTaken of [false, true]) {
    const { repository, store } = fresh();
    const clock = new FakeClock();
    await using lock = await lockShared(repository, by({ clock }));
    if (isTaken) await putLock(repository, { time: formatInstant(clock.time + 2 * LOCK_TIMES.stale) });
    await clock.advance(2 * LOCK_TIMES.stale);
    assert.equal(lock.signal.aborted, isTaken);
    assert.equal(lockNames(store).length > 0, true);
  }
});

for (const { path: restic, version } of resticPaths()) {
  test(`restic ${version} respects our locks, and we respect its`, async () => {
    await using folder = await temporaryFolder();
    const repo = folder.at("repository");
    const options = { repo, password: PASSWORD, restic, status: "any" } as const;
    const repository = await newRepository(openLocalStore(repo));
    const mine = { ...by(), clock: systemClock };
    const shared = await lockShared(repository, mine);
    const listed = await runRestic(["list", "locks"], options);
    assert.equal(listed.status, 0);
    assert.match(listed.stdout, /[0-9a-f]{64}/);
    const pruned = await runRestic(["prune"], options);
    assert.notEqual(pruned.status, 0);
    assert.match(pruned.stderr, /locked/);
    await shared[Symbol.asyncDispose]();

    // A backup that waits for its input holds restic's shared lock.
    const backup = spawn(restic, ["--no-cache", "backup", "--stdin"], {
      env: { ...process.env, RESTIC_REPOSITORY: repo, RESTIC_PASSWORD: PASSWORD },
      stdio: ["pipe", "ignore", "ignore"],
    });
    const ended = once(backup, "exit");
    try {
      const store = openLocalStore(repo);
      const isLockedNow = async () => (await Array.fromAsync(store.list("locks", { signal }))).length > 0;
      while (!(await isLockedNow())) await systemClock.sleep(20, signal);
      await assert.rejects(lockExclusive(repository, mine), isLocked);
      await using _both = await lockShared(repository, mine);
    } finally {
      backup.stdin.end();
      await ended;
    }
    await using _alone = await lockExclusive(
      await openRepository(openLocalStore(repo), { password: PASSWORD, signal }),
      mine,
    );
    const refused = await runRestic(["backup", folder.path], options);
    assert.match(refused.stderr, /locked/);
  });
}
