/** Holds and locks, on a repository in memory. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { hostname } from "node:os";
import { before, test } from "node:test";
import { formatInstant } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { shortId, type SnapshotId } from "../../src/base/ids.ts";
import { encodeLock, type LockFile } from "../../src/format/lock-file.ts";
import { hold, listHolds, type NewHold, releaseHold } from "../../src/job/hold.ts";
import { listVerb } from "../../src/job/look.ts";
import { listPoints } from "../../src/job/points.ts";
import { listLocks, unlock } from "../../src/job/unlock.ts";
import { LOCK_TIMES } from "../../src/repo/lock.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { copyStore, newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, DAY, denyRemovals, holding, NOW, ONE, TWO } from "./kept-points.ts";

let original: Repository;
let store: MemoryStore;
let newest: SnapshotId;
let older: SnapshotId;
let foreign: SnapshotId;

before(async () => {
  store = createMemoryStore();
  original = await newRepository(store);
  newest = await addPoint(original, NOW - DAY);
  older = await addPoint(original, NOW - 2 * DAY);
  foreign = await addPoint(original, NOW - 3 * DAY, { installation: TWO });
});

function fresh(): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  return { repository: reopen(original, copy), store: copy };
}

function audit(rest: Partial<NewHold> = {}): NewHold {
  const wanted = { word: "latest", name: "audit", reason: "for the auditors", until: "2027-01-31" };
  return { ...wanted, timeZone: "UTC", program: "test", ...rest };
}

const isUsage = (error: unknown) => isFailure(error, "usage/invalid") && error.hint !== undefined;

test("a reason is one line, that no list is broken by", async () => {
  const { repository, store } = fresh();
  const files = new Map(store.files);
  for (const reason of ["two\nlines", "\u001B[31mred"]) {
    await assert.rejects(hold(holding(repository), audit({ reason })), isUsage);
  }
  assert.deepEqual(
    [...store.files.keys()].filter((name) => !files.has(name)),
    [],
  );
});

test("a hold is kept in the repository, listed with its reason, and is no snapshot of anybody else's", async () => {
  const { repository, store } = fresh();
  const made = await hold(holding(repository), audit());
  assert.deepEqual([made.action, made.changed], ["held", true]);
  const again = reopen(original, store);
  const { holds } = await listHolds(holding(again));
  assert.equal(holds.length, 1);
  assert.deepEqual(holds[0], made.holds[0]);
  assert.deepEqual(
    [holds[0]?.point, holds[0]?.name, holds[0]?.reason, holds[0]?.until, holds[0]?.inForce],
    [newest, "audit", "for the auditors", "2027-01-31", true],
  );
  assert.equal((await listPoints(again, { signal })).others, 0);
  const listed = await listVerb(again, "primary", ONE, { clock: clockAt(), signal });
  assert.deepEqual(
    listed.points.map((line) => line.holds),
    [["audit until 2027-01-31"], []],
  );
});

test("the very same hold again changes no byte, another under its name is refused", async () => {
  const { repository, store } = fresh();
  await hold(holding(repository), audit());
  const files = new Map(store.files);
  assert.equal((await hold(holding(reopen(original, store)), audit())).changed, false);
  for (const other of [{ until: "2028-01-01" }, { until: undefined }, { reason: "another" }]) {
    await assert.rejects(hold(holding(reopen(original, store)), audit(other)), isUsage);
  }
  assert.deepEqual(store.files, files);
  await hold(holding(reopen(original, store)), audit({ name: "court", until: undefined, word: shortId(newest) }));
  assert.equal((await listHolds(holding(reopen(original, store)))).holds.length, 2);
});

test("a hold that is released is gone; one that is not there is refused", async () => {
  const { repository, store } = fresh();
  await hold(holding(repository), audit());
  await hold(holding(reopen(original, store)), audit({ name: "court" }));
  await assert.rejects(
    releaseHold(holding(reopen(original, store)), { word: "latest", name: "nobody" }),
    (error) => isUsage(error) && /audit, court|court, audit/.test(isFailure(error) ? (error.hint ?? "") : ""),
  );
  await assert.rejects(releaseHold(holding(reopen(original, store)), { word: shortId(older), name: "audit" }), isUsage);
  const { holds } = await releaseHold(holding(reopen(original, store)), { word: "latest", name: "audit" });
  assert.equal(holds[0]?.reason, "for the auditors");
  assert.deepEqual(
    (await listHolds(holding(reopen(original, store)))).holds.map(({ name }) => name),
    ["court"],
  );
});

for (const [zone, until, last, ended] of [
  ["UTC", "2027-01-31", "2027-01-31T23:59:59Z", "2027-02-01T00:00:00Z"],
  ["Europe/Berlin", "2027-01-31", "2027-01-31T22:59:59Z", "2027-01-31T23:00:00Z"],
  ["America/New_York", "2026-12-31", "2027-01-01T04:59:59Z", "2027-01-01T05:00:00Z"],
  ["UTC", "2027-01-31T12:00+02:00", "2027-01-31T09:59:59Z", "2027-01-31T10:00:00Z"],
] as const) {
  test(`a hold until ${until} in ${zone} lasts to ${last}`, async () => {
    const { repository, store } = fresh();
    await hold(holding(repository), audit({ until, timeZone: zone }));
    for (const [time, inForce] of [
      [last, true],
      [ended, false],
    ] as const) {
      const { holds } = await listHolds(holding(reopen(original, store), Date.parse(time)));
      assert.equal(holds[0]?.inForce, inForce, time);
    }
  });
}

test("a name, an end or a point that makes no sense is refused, and nothing is written", async () => {
  const { repository, store } = fresh();
  const files = new Map(store.files);
  for (const wrong of [
    { name: "" },
    { name: "two words" },
    { name: "a=b" },
    { until: "soon" },
    { until: "2027-02-29" },
    { until: "2027-01-31T12:00" },
    { until: "2026-11-23" },
  ]) {
    await assert.rejects(hold(holding(repository), audit(wrong)), isUsage, JSON.stringify(wrong));
  }
  await assert.rejects(hold(holding(repository), audit({ word: "ffff" })), (error) =>
    isFailure(error, "point/not-found"),
  );
  assert.deepEqual(store.files, files);
});

test("holds are listed for one installation, or for all, and outlive a point that restic forgot", async () => {
  const { repository, store } = fresh();
  await hold(holding(repository), audit());
  await hold(holding(reopen(original, store)), audit({ word: foreign }));
  store.files.delete(`snapshots/${newest}`);
  const mine = await listHolds(holding(reopen(original, store)));
  assert.deepEqual(
    mine.holds.map(({ point, takenAt }) => [point, takenAt]),
    [[newest, null]],
  );
  const all = await listHolds({ ...holding(reopen(original, store)), installationId: undefined });
  assert.equal(all.holds.length, 2);
  await releaseHold(holding(reopen(original, store)), { word: shortId(newest), name: "audit" });
  assert.equal((await listHolds(holding(reopen(original, store)))).holds.length, 0);
});

test("a hold can be made where nothing may be deleted, and released only where it may", async () => {
  const { repository, store } = fresh();
  denyRemovals(store);
  await hold(holding(repository), audit());
  await assert.rejects(releaseHold(holding(reopen(original, store)), { word: "latest", name: "audit" }), (error) =>
    isFailure(error, "store/denied"),
  );
  assert.equal((await listHolds(holding(reopen(original, store)))).holds.length, 1);
});

async function putLock(repository: Repository, rest: Partial<LockFile>): Promise<string> {
  const lock = { time: formatInstant(NOW), exclusive: false, hostname: "elsewhere", username: "you", pid: 1 };
  return await repository.putUnpacked("locks", encodeLock({ ...lock, ...rest }), { signal });
}

test("unlock removes what is half an hour old or a dead process's of this machine, and nothing else", async () => {
  const { repository, store } = fresh();
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const stale = [
    await putLock(repository, { time: formatInstant(NOW - LOCK_TIMES.stale - 1) }),
    await putLock(repository, { hostname: hostname(), pid: dead, exclusive: true }),
  ];
  const used = [
    await putLock(repository, { time: formatInstant(NOW - LOCK_TIMES.stale) }),
    await putLock(repository, { hostname: hostname(), pid: process.ppid }),
    await putLock(repository, { time: formatInstant(NOW + DAY), pid: dead }),
  ];
  const unreadable = "ab".repeat(32);
  store.files.set(`locks/${unreadable}`, Buffer.from("what is this"));
  const options = { repository, repositoryName: "primary", clock: clockAt(), signal } as const;
  const first = await unlock({ ...options, which: "stale" });
  assert.deepEqual(first.removed.map(({ lock }) => lock).toSorted(), stale.toSorted());
  assert.deepEqual(first.left.map(({ lock }) => lock).toSorted(), [...used, unreadable].toSorted());
  const second = await unlock({ ...options, which: "stale" });
  assert.deepEqual(second.removed, []);
  const seen = await listLocks(repository, { clock: clockAt(), signal });
  const late = await putLock(repository, { pid: 2 });
  const all = await unlock({ ...options, which: new Set(seen.map(({ lock }) => lock)) });
  assert.equal(all.removed.length, 4);
  assert.deepEqual(
    all.left.map(({ lock }) => lock),
    [late],
    "a lock that nobody has seen is somebody's",
  );
});

test("where locks may not be deleted, unlock says so", async () => {
  const { repository, store } = fresh();
  await putLock(repository, { time: formatInstant(NOW - DAY) });
  denyRemovals(store);
  const options = { repository, repositoryName: "primary", which: "stale", clock: clockAt(), signal } as const;
  await assert.rejects(
    unlock(options),
    (error) => isFailure(error, "store/denied") && /half an hour/.test(error.hint ?? ""),
  );
});
