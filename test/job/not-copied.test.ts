/** Points that were damaged when they were to be copied: the target keeps which they were, for as long as they are wanted. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { copiedPoints, copy, pointsLacking, snapshotsOf } from "../../src/job/copy.ts";
import { forget } from "../../src/job/forget.ts";
import { listPoints } from "../../src/job/points.ts";
import type { CopySummary } from "../../src/job/summaries.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, DAY, forgetting, NOW, ONE } from "./kept-points.ts";

let source: { repository: Repository; store: MemoryStore };
let emptyTarget: Repository;
/** Oldest first; each has a pack that no other needs. */
let days: SnapshotId[];
/** Of the packs that the oldest point alone needs, as they were. */
let whole: Map<string, Buffer>;

before(async () => {
  const store = createMemoryStore();
  source = { repository: await newRepository(store), store };
  emptyTarget = await newRepository(createMemoryStore());
  days = [];
  whole = new Map();
  for (const day of [3, 2, 1]) {
    const known = new Set(store.files.keys());
    days.push(await addPoint(reopen(source.repository), NOW - day * DAY, { files: { a: randomBytes(2000) } }));
    if (day < 3) continue;
    for (const [name, bytes] of store.files) if (name.startsWith("data/") && !known.has(name)) whole.set(name, bytes);
  }
});

function damage(): void {
  for (const [name, bytes] of whole) source.store.files.set(name, Buffer.alloc(bytes.length));
}

function mend(): void {
  for (const [name, bytes] of whole) source.store.files.set(name, bytes);
}

/** What a backup does for one of the others. */
async function run(target: Repository): Promise<CopySummary> {
  return await copy({
    from: { repository: reopen(source.repository), name: "primary" },
    to: { repository: reopen(target), name: "offsite" },
    choose: (snapshots, points, known) =>
      snapshotsOf(snapshots, pointsLacking(points, known, { installationId: ONE, nowMs: NOW })),
    remembered: "test",
    clock: clockAt(),
    progress: silent,
    signal,
  });
}

async function seen(target: Repository): Promise<{ points: string[]; failed: string[]; records: number }> {
  const list = await listPoints(reopen(target), { signal });
  const { failed } = copiedPoints(list);
  return { points: list.points.map(({ id }) => id), failed: [...failed], records: list.records.length };
}

function newTarget(): Repository {
  const store = createMemoryStore();
  for (const [name, bytes] of (emptyTarget.store as MemoryStore).files) store.files.set(name, bytes);
  return reopen(emptyTarget, store);
}

test("what was damaged comes when it is whole again, is noted once, and goes for good when the copy forgets it", async () => {
  const [first = "", second = "", third = ""] = days;
  const target = newTarget();
  damage();
  for (const copied of [2, 0]) {
    const summary = await run(target);
    assert.deepEqual([summary.copied.length, summary.failed.map(({ point }) => point)], [copied, [first]]);
    assert.deepEqual(await seen(target), { points: [third, second], failed: [first], records: 1 });
  }
  // A rule of the copy's own does not make it forget what never came.
  const everything = { by: "policy", timeZone: "UTC", installation: "all" } as const;
  await forget(forgetting(reopen(target), { ...everything, policy: { last: 2 } }));
  assert.deepEqual((await seen(target)).failed, [first]);
  mend();
  const caughtUp = await run(target);
  assert.deepEqual([caughtUp.copied.map(({ point }) => point), caughtUp.failed], [[first], []]);
  await forget(forgetting(reopen(target), { ...everything, policy: { last: 2 } }));
  assert.deepEqual(await seen(target), { points: [third, second], failed: [], records: 0 });
  assert.deepEqual((await run(target)).copied, []);
});

test("stopped at any of its writes, forgetting what came late does not bring it back", async () => {
  const [first = ""] = days;
  const target = newTarget();
  damage();
  await run(target);
  mend();
  await run(target);
  const policy = { by: "policy", timeZone: "UTC", installation: "all", policy: { last: 2 } } as const;
  let isStopped = true;
  for (let writes = 1; isStopped; writes += 1) {
    const store = createMemoryStore();
    for (const [name, bytes] of (target.store as MemoryStore).files) store.files.set(name, bytes);
    store.beforeWrite = ({ count }) => {
      if (count >= writes) throw new Failure("store/unreachable", "stopped");
    };
    isStopped = await forget(forgetting(reopen(target, store), policy)).then(
      () => false,
      () => true,
    );
    const { points, failed } = await seen(reopen(target, store));
    assert.ok(points.includes(first) || failed.length === 0, `after ${writes} writes it would come back`);
  }
});

test("a snapshot file that cannot be read is tried again too, when it is put back", async () => {
  const [first = ""] = days;
  const target = newTarget();
  const name = `snapshots/${first}`;
  const bytes = source.store.files.get(name);
  assert.ok(bytes);
  source.store.files.set(name, bytes.subarray(1));
  const summary = await run(target);
  assert.deepEqual([summary.copied.length, summary.failed.map(({ point }) => point)], [2, [first]]);
  source.store.files.set(name, bytes);
  assert.deepEqual(
    (await run(target)).copied.map(({ point }) => point),
    [first],
  );
});
