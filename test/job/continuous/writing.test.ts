import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure, isFailure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { listIds } from "../../../src/job/continuous/pieces.ts";
import { type Build, Writing } from "../../../src/job/continuous/writing.ts";
import { WAL } from "../../../src/point/continuous.ts";
import { LOCK_TIMES, lockExclusive } from "../../../src/repo/lock.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { openStore } from "../../../src/store/open-store.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { hasty, newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { writerOf } from "./spans.ts";

const always = () => true;
const OPTIONS = { place: WAL, expectedChunks: 100, signal };

function shared(bytes: Buffer): Buffer {
  const copy = Buffer.from(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/** Stores some bytes in threads, as a span does, and nothing else. */
function storing(parts: readonly Buffer[], onStored: (ids: Uint8Array, sha256: string) => void): Build {
  return async (sealing) => {
    const { ids, sha256 } = await sealing.storeShared(parts, { chunkBytes: 1000, lanes: 2 });
    onStored(ids, sha256);
    return { tree: await sealing.storeTree(Buffer.from('{"nodes":[]}\n')), tags: [] };
  };
}

async function world() {
  const folder = await temporaryFolder();
  const repository = await newRepository(await openStore(join(folder.path, "repository")));
  const locks = () => readdirSync(join(folder.path, "repository", "locks"));
  return { folder, repository, locks };
}

async function readAll(repository: Repository, ids: Uint8Array): Promise<Buffer> {
  const again = reopen(repository);
  return Buffer.concat(
    await Promise.all(listIds(ids).map(async (id) => await again.readChunk("data", id, { signal }))),
  );
}

test("bytes in parts of any length are cut from their beginning, and summed up as a whole, by threads that go on from one snapshot to the next", async () => {
  const { folder, repository, locks } = await world();
  await using _ = folder;
  const bytes = Buffer.alloc(4_300, "abcdefghijk");
  const more = Buffer.concat([bytes, Buffer.alloc(2_500, "xyz")]);
  const added: number[] = [];
  {
    await using writing = new Writing({ ...writerOf(repository), clock: hasty }, { startsLate: true });
    for (const [whole, cuts] of [
      [bytes, [0, 300, 2_000, 2_001, 4_300]],
      [more, [0, 1_000, 6_800]],
    ] as const) {
      const parts = cuts.slice(1).map((end, at) => shared(whole.subarray(cuts[at], end)));
      let stored: Uint8Array = Buffer.alloc(0);
      const build = storing(parts, (ids, sha256) => {
        stored = ids;
        assert.equal(sha256, createHash("sha256").update(whole).digest("hex"));
      });
      added.push((await writing.write(OPTIONS, build)).addedBytes);
      assert.equal(stored.length, 32 * Math.ceil(whole.length / 1000));
      assert.deepEqual(await readAll(repository, stored), whole);
      assert.deepEqual(locks(), []);
    }
  }
  // Five chunks and the tree; of the second file the first four were there.
  const index = await reopen(repository).loadIndex({ signal });
  assert.equal(index.size, 5 + 1 + 3);
  assert.ok(added.every((bytes) => bytes > 0));
});

test("the lock is kept while the next snapshot follows at once, and let go of when it does not come, or after a time", async () => {
  const { folder, repository, locks } = await world();
  await using _ = folder;
  const clock = new HandClock();
  const settlesAtOnce = {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: async (ms: number, aborted?: AbortSignal) =>
      ms === LOCK_TIMES.settle ? undefined : await clock.sleep(ms, aborted),
  };
  await using writing = new Writing({ ...writerOf(repository), clock: settlesAtOnce });
  const build = storing([shared(Buffer.from("some of the log"))], () => {});
  await writing.write({ ...OPTIONS, goesOn: always }, build);
  const first = locks();
  assert.equal(first.length, 1);
  await writing.write({ ...OPTIONS, goesOn: always }, build);
  assert.deepEqual(locks(), first);
  await clock.advance(LIMITS.writingPauseMs);
  await writing.write({ ...OPTIONS, goesOn: always }, async (sealing, inner, locked) => {
    const [second, ...others] = locks();
    assert.ok(second !== undefined && !first.includes(second));
    assert.deepEqual(others, []);
    await clock.advance(LIMITS.writingLockMs);
    return await build(sealing, inner, locked);
  });
  assert.deepEqual(locks(), []);
});

test("what is begun early is locked then and used by the next snapshot; what cannot be begun is tried again, and left it leaves nothing", async () => {
  const { folder, repository, locks } = await world();
  await using _ = folder;
  const build = storing([shared(Buffer.from("some of the log"))], () => {});
  {
    await using writing = new Writing({ ...writerOf(repository), clock: hasty });
    writing.begin(signal);
    while (locks().length === 0) await new Promise(setImmediate);
    const early = locks();
    await writing.write(OPTIONS, async (sealing, inner, locked) => {
      assert.deepEqual(locks(), early);
      return await build(sealing, inner, locked);
    });
    assert.deepEqual(locks(), []);
  }
  {
    await using writing = new Writing({ ...writerOf(repository), clock: hasty });
    writing.begin(signal);
  }
  assert.deepEqual(locks(), []);
  const alone = await lockExclusive(repository, { clock: hasty, signal, hostname: "elsewhere", pid: 1 });
  await using writing = new Writing({ ...writerOf(repository), clock: hasty });
  writing.begin(signal);
  await assert.rejects(writing.write(OPTIONS, build), (error) => isFailure(error, "repo/locked"));
  writing.begin(signal);
  await alone[Symbol.asyncDispose]();
  await writing.write(OPTIONS, build);
  assert.deepEqual(locks(), []);
});

test("after a failure the lock is gone, and the next snapshot is written by other threads", async () => {
  const { folder, repository, locks } = await world();
  await using _ = folder;
  await using writing = new Writing({ ...writerOf(repository), clock: hasty });
  const build = storing([shared(Buffer.from("some of the log"))], () => {});
  await writing.write({ ...OPTIONS, goesOn: always }, build);
  const failing = writing.write(OPTIONS, async (sealing, inner, locked) => {
    await build(sealing, inner, locked);
    throw new Failure("store/unreachable", "no answer");
  });
  await assert.rejects(failing, /no answer/);
  assert.deepEqual(locks(), []);
  const stop = new AbortController();
  const stopped = writing.write({ ...OPTIONS, signal: stop.signal }, async (sealing, _, locked) => {
    stop.abort(new Failure("run/cancelled", "the test ends it"));
    return await build(sealing, stop.signal, locked);
  });
  await assert.rejects(stopped, /the test ends it/);
  assert.deepEqual(locks(), []);
  await writing.write(OPTIONS, build);
  assert.equal((await reopen(repository).listSnapshots({ signal })).snapshots.length, 2);
});
