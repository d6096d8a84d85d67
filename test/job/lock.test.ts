/** The lock of a verb that only reads, where no lock can be written. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { formatInstant } from "../../src/base/clock.ts";
import { type ErrorCode, Failure, isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { lockAlone, lockToRead, lockToWrite } from "../../src/job/lock.ts";
import { LOCK_TIMES, WATCH_USERNAME } from "../../src/repo/lock.ts";
import { verify } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { backUp, copyStore, hasty, newRepository, reopen, signal } from "../repo/small-backup.ts";

const OPTIONS = { clock: hasty, signal };

let original: Repository;
let store: MemoryStore;

before(async () => {
  store = createMemoryStore();
  original = await newRepository(store);
  await backUp(original, { file: Buffer.from("what is wanted back") });
});

/** A place that takes nothing more. */
function refusing(code: ErrorCode): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  copy.beforeWrite = () => {
    throw new Failure(code, "no");
  };
  return { repository: reopen(original, copy), store: copy };
}

for (const code of ["store/denied", "store/full"] as const) {
  test(`where writing a lock is ${code}, it is read without one, and nothing else is done`, async () => {
    const { repository, store: full } = refusing(code);
    const files = new Map(full.files);
    {
      await using lock = await lockToRead(repository, OPTIONS);
      await lock.confirm({ signal });
      assert.equal(lock.signal.aborted, false);
    }
    const verified = await verify({ ...OPTIONS, repository, readData: "all", progress: silent });
    assert.equal(verified.errors, 0);
    for (const lock of [lockToWrite, lockAlone]) {
      await assert.rejects(lock(repository, OPTIONS), (error) => isFailure(error, code));
    }
    assert.deepEqual(full.files, files);
  });

  test(`where writing a lock is ${code}, whoever holds the repository alone is heeded all the same`, async () => {
    const { repository, store: full } = refusing(code);
    const lock = { time: formatInstant(hasty.now()), exclusive: true, hostname: "elsewhere", username: "you", pid: 1 };
    const { beforeWrite } = full;
    full.beforeWrite = undefined;
    await repository.putUnpacked("locks", encodeLock(lock), { signal });
    full.beforeWrite = beforeWrite;
    await assert.rejects(lockToRead(repository, OPTIONS), (error) => isFailure(error, "repo/locked"));
  });
}

test("a place that does not answer is not read without a lock", async () => {
  const { repository } = refusing("store/unreachable");
  await assert.rejects(lockToRead(repository, OPTIONS), (error) => isFailure(error, "store/unreachable"));
});

test("a watch that is just storing something is waited for by whoever wants the repository alone, and nobody else is", async () => {
  const repository = reopen(original, copyStore(store));
  const waits: number[] = [];
  const watching = await lockToWrite(repository, { ...OPTIONS, lockedAs: WATCH_USERNAME });
  const clock = {
    ...hasty,
    sleep: async (ms: number, stop?: AbortSignal) => {
      if (ms === LOCK_TIMES.brief) {
        waits.push(ms);
        await watching[Symbol.asyncDispose]();
      } else await hasty.sleep(ms, stop);
    },
  };
  {
    await using _alone = await lockAlone(reopen(repository), { clock, signal });
    assert.deepEqual(waits, [LOCK_TIMES.brief]);
  }
  await using _somebody = await lockToWrite(repository, OPTIONS);
  await assert.rejects(lockAlone(reopen(repository), { clock, signal }), { code: "repo/locked" });
  assert.deepEqual(waits, [LOCK_TIMES.brief]);
});

test("a watch that takes a base is waited for, for two hours; what nobody has refreshed for half an hour is no watch any more", async () => {
  for (const isAlive of [true, false]) {
    const repository = reopen(original, copyStore(store));
    const hand = new HandClock({ wakesAtOnce: true });
    const put = async () => {
      const lock = {
        time: formatInstant(hand.now()),
        exclusive: false,
        hostname: "elsewhere",
        username: WATCH_USERNAME,
      };
      return await repository.putUnpacked("locks", encodeLock({ ...lock, pid: 1 }), { signal });
    };
    let last = { name: await put(), atMs: 0 };
    const clock = {
      now: () => hand.now(),
      monotonic: () => hand.monotonic(),
      sleep: async (ms: number) => {
        await hand.sleep(ms);
        if (!isAlive || hand.now() - last.atMs < LOCK_TIMES.refresh) return;
        await repository.store.remove({ kind: "locks", name: last.name }, { signal });
        last = { name: await put(), atMs: hand.now() };
      },
    };
    const failure = await lockAlone(reopen(repository), { clock, signal }).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.ok(isFailure(failure, "repo/locked"));
    assert.equal(failure.retryAfterMs !== undefined, isAlive);
    assert.match(failure.hint ?? "", isAlive ? /^Wait until it is done/ : /not refreshed for half an hour.*unlock/);
    const minutes = Math.floor(hand.now() / 60_000);
    assert.equal(minutes, isAlive ? 120 : 30);
    assert.ok(hand.waits.length < 600, "and it is not asked every second");
  }
});

test("what a dead watch left behind is told with its name, though a live one locks again and again beside it", async () => {
  const copy = copyStore(store);
  const repository = reopen(original, copy);
  const hand = new HandClock({ wakesAtOnce: true });
  const put = async (hostname: string) => {
    const lock = { time: formatInstant(hand.now()), exclusive: false, hostname, username: WATCH_USERNAME, pid: 1 };
    return await repository.putUnpacked("locks", encodeLock(lock), { signal });
  };
  let live = await put("live");
  const dead = `locks/${await put("dead")}`;
  const clock = {
    now: () => hand.now(),
    monotonic: () => hand.monotonic(),
    sleep: async (ms: number) => {
      await hand.sleep(ms);
      await repository.store.remove({ kind: "locks", name: live }, { signal });
      live = await put("live");
      // Listed behind it.
      const bytes = copy.files.get(dead) ?? assert.fail("nobody removed it");
      copy.files.delete(dead);
      copy.files.set(dead, bytes);
    },
  };
  await assert.rejects(lockAlone(reopen(repository), { clock, signal }), (error) => {
    assert.ok(isFailure(error, "repo/locked"));
    assert.equal(error.retryAfterMs, undefined);
    assert.match(error.message, /chatkeep-watch@dead/);
    assert.match(error.hint ?? "", /not refreshed for half an hour.*unlock/);
    return true;
  });
  assert.equal(Math.floor(hand.now() / 60_000), 30);
});

test("who is not waited for is told of, though a watch stores something beside", async () => {
  const repository = reopen(original, copyStore(store));
  await using _before = await lockToWrite(repository, { ...OPTIONS, lockedAs: WATCH_USERNAME });
  await using _somebody = await lockToWrite(repository, OPTIONS);
  await using _after = await lockToWrite(repository, { ...OPTIONS, lockedAs: WATCH_USERNAME });
  await assert.rejects(lockAlone(reopen(repository), OPTIONS), (error) => {
    assert.ok(isFailure(error, "repo/locked"));
    assert.equal(error.retryAfterMs, undefined);
    assert.doesNotMatch(error.message, /chatkeep-watch/);
    return true;
  });
});
