/** Held points that are not there any more: told by those who look, and not freed by those who tidy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { shortId, type SnapshotId } from "../../src/base/ids.ts";
import { copy, snapshotsOf } from "../../src/job/copy.ts";
import { doctor } from "../../src/job/doctor.ts";
import { hold, listHolds, releaseHold } from "../../src/job/hold.ts";
import { listPoints } from "../../src/job/points.ts";
import { prune } from "../../src/job/prune.ts";
import { verify } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { ListedSnapshot } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, readFiles, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, DAY, holding, NOW, ONE } from "./kept-points.ts";

const TOOLS = { clock: clockAt(), progress: silent, signal };
const UNTIL = { reason: undefined, timeZone: "UTC", program: "test" };
const CONTENT = { "files/one": Buffer.alloc(3000, "what the held point alone has ") };

interface Held {
  repository: Repository;
  store: MemoryStore;
  /** The held point, and the other one. */
  held: SnapshotId;
  other: SnapshotId;
}

async function withHeld(until?: string): Promise<Held> {
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const held = await addPoint(repository, NOW - 2 * DAY, { files: CONTENT });
  const other = await addPoint(repository, NOW - DAY);
  await hold(holding(reopen(repository)), { word: held, name: "audit", until, ...UNTIL });
  return { repository, store, held, other };
}

async function pruned(repository: Repository, dryRun = false, nowMs = NOW) {
  const limits = { maxUnused: { bytes: 0 }, maxRepackBytes: undefined, dryRun };
  return await prune({
    ...TOOLS,
    ...limits,
    repository: reopen(repository),
    repositoryName: "primary",
    clock: clockAt(nowMs),
  });
}

async function problemsOf(repository: Repository, nowMs = NOW) {
  const options = { ...TOOLS, repository: reopen(repository), readData: "all", clock: clockAt(nowMs) };
  return (await verify(options)).problems.map(({ kind, name, points }) => ({ kind, name, points }));
}

async function alarmsOf(repository: Repository) {
  const config = { installation: { id: ONE, name: "desk" }, repositories: [{ name: "primary", location: "memory:" }] };
  const { findings } = await doctor({
    ...TOOLS,
    config: { path: "/nowhere/chatkeep.yaml", config },
    ownFolders: async () => [],
    otherFindings: async () => [],
    openInstallation: () => Promise.reject(new Failure("installation/not-found", "none here")),
    openRepository: async () => ({ repository: reopen(repository) }),
    readPassword: async () => "a password",
  });
  return findings.filter(({ kind }) => kind === "held-point-lost");
}

async function copies(
  from: Repository,
  to: Repository,
  choose: (snapshots: ListedSnapshot[], held: ListedSnapshot[]) => ListedSnapshot[],
  word: string,
) {
  return await copy({
    ...TOOLS,
    from: { repository: reopen(from), name: "offsite" },
    to: { repository: reopen(to), name: "primary" },
    choose: (snapshots, points) =>
      choose(
        snapshots,
        snapshotsOf(
          snapshots,
          points.filter(({ id }) => id === word),
        ),
      ),
    holds: { released: [] },
  });
}

test("a held point whose snapshot is gone is an alarm of verify and doctor, and prune frees nothing of it", async () => {
  const { repository, store, held } = await withHeld();
  assert.deepEqual(await problemsOf(repository), []);
  assert.deepEqual(await alarmsOf(repository), []);
  const kept = store.files.get(`snapshots/${held}`);
  assert.ok(kept !== undefined);
  store.files.delete(`snapshots/${held}`);

  assert.deepEqual(await problemsOf(repository), [{ kind: "held-point-lost", name: held, points: [held] }]);
  const [alarm, ...more] = await alarmsOf(repository);
  assert.deepEqual([alarm?.level, more.length], ["alarm", 0]);
  assert.match(alarm?.message ?? "", new RegExp(`'primary' restore point ${shortId(held)} is held \\(audit\\)`));
  const before = new Map(store.files);
  for (const dryRun of [false, true]) {
    await assert.rejects(pruned(repository, dryRun), (error) => {
      assert.ok(isFailure(error, "repo/damaged"), String(error));
      assert.match(error.message, /is held \(audit\) and is not there any more/);
      assert.match(error.hint ?? "", /chatkeep copy .* --repository OTHER --to primary/);
      assert.match(error.hint ?? "", new RegExp(`chatkeep hold --release ${shortId(held)} audit`));
      return true;
    });
  }
  for (const name of before.keys()) assert.ok(!name.startsWith("data/") || store.files.has(name), name);
  // So it is whole as soon as its file is back.
  store.files.set(`snapshots/${held}`, kept);
  await pruned(repository);
  assert.deepEqual(await problemsOf(repository), []);
});

test("a hold that is released, or has ended, keeps prune from nothing", async () => {
  const { repository, store, held } = await withHeld("2026-12-01");
  store.files.delete(`snapshots/${held}`);
  await assert.rejects(pruned(repository), (error) => isFailure(error, "repo/damaged"));
  const later = NOW + 20 * DAY;
  assert.deepEqual(await problemsOf(repository, later), []);
  await pruned(repository, true, later);
  await releaseHold(holding(reopen(repository)), { word: shortId(held), name: "audit" });
  assert.deepEqual(await problemsOf(repository), []);
  assert.ok((await pruned(repository)).bytes.freed > 0);
});

test("what another repository has is brought back under its name, and is held as before", async () => {
  const { repository, store, held } = await withHeld();
  const offsite = await newRepository(createMemoryStore());
  await copies(repository, offsite, (all) => all, held);
  store.files.delete(`snapshots/${held}`);
  await assert.rejects(pruned(repository), (error) => isFailure(error, "repo/damaged"));
  const { copied } = await copies(offsite, repository, (_snapshots, points) => points, held);
  assert.deepEqual(
    copied.map(({ point }) => point),
    [held],
  );
  assert.deepEqual(await problemsOf(repository), []);
  await pruned(repository);
  const back = (await listPoints(reopen(repository), { signal })).points.find(({ id }) => id === held);
  assert.equal(back?.holds[0]?.name, "audit");
  const files = await readFiles(reopen(repository), back.snapshot.tree);
  assert.ok(files["files/one"]?.equals(CONTENT["files/one"]));
});

for (const [what, isAll] of [
  ["with the points that are lacking", false],
  ["with every snapshot", true],
] as const) {
  test(`a hold comes ${what} only where its point does, so it keeps no copy from being pruned`, async () => {
    const { repository, store, held, other } = await withHeld();
    const { snapshots } = await reopen(repository).listSnapshots({ signal });
    const tree = snapshots.find(({ id }) => id === held)?.snapshot.tree;
    assert.ok(tree !== undefined);
    // The point cannot be read: the pack with its first tree is nonsense.
    const index = await reopen(repository).loadIndex({ signal });
    const [row] = index.find("tree", tree);
    const name = [...store.files.keys()].find((key) => key === `data/${row?.pack}`) ?? "";
    const pack = store.files.get(name);
    assert.ok(pack !== undefined, [...store.files.keys()].join(" "));
    store.files.set(name, Buffer.alloc(pack.length));
    const target = await newRepository(createMemoryStore());
    const choose = (all: ListedSnapshot[]) => (isAll ? all : all.filter(({ id }) => id === held || id === other));
    const { copied, failed } = await copies(repository, target, choose, held);
    assert.deepEqual([copied.map(({ point }) => point), failed.map(({ point }) => point)], [[other], [held]]);
    assert.deepEqual(await problemsOf(target), []);
    await pruned(target);
    // As soon as it can be read the point comes, and its hold.
    store.files.set(name, pack);
    await copies(repository, target, choose, held);
    const { holds } = await listHolds(holding(reopen(target)));
    assert.deepEqual(
      holds.map(({ point, name: called, takenAt }) => [point, called, takenAt !== null]),
      [[held, "audit", true]],
    );
    await pruned(target);
  });
}
