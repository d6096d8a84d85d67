/** Records about points that have lost their own file, which no backup and no copy brings back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { forget } from "../../src/job/forget.ts";
import { hold, listHolds, releaseHold } from "../../src/job/hold.ts";
import { listPoints } from "../../src/job/points.ts";
import { prune } from "../../src/job/prune.ts";
import { repairPacksFrom } from "../../src/job/repair.ts";
import { verify } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, addProof, clockAt, DAY, forgetting, holding, HOUR, NOW, ONE } from "./kept-points.ts";

const TOOLS = { clock: clockAt(), progress: silent, signal };

async function repaired(repository: Repository) {
  const options = { repository: reopen(repository), repositoryName: "primary", source: undefined, program: "test" };
  return await repairPacksFrom({ ...options, ...TOOLS });
}

async function pruned(repository: Repository) {
  const limits = { maxUnused: { bytes: 0 }, maxRepackBytes: undefined, dryRun: false };
  return await prune({ repository: reopen(repository), repositoryName: "primary", ...limits, ...TOOLS });
}

/** Loses every pack that is written meanwhile. */
async function losing(store: MemoryStore, act: () => Promise<unknown>): Promise<void> {
  const before = new Set(store.files.keys());
  await act();
  const packs = [...store.files.keys()].filter((name) => name.startsWith("data/") && !before.has(name));
  assert.ok(packs.length > 0, [...store.files.keys()].join(" "));
  for (const name of packs) store.files.delete(name);
}

test("a hold, a release, a proof and a note without their file are settled by a repair, and prune goes on", async () => {
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const held = await addPoint(repository, NOW - 3 * DAY);
  const proven = await addPoint(repository, NOW - 2 * DAY);
  const forgotten = await addPoint(repository, NOW - DAY);
  const { points } = await listPoints(repository, { signal });
  const tree = points.find(({ id }) => id === proven)?.snapshot.tree ?? "";
  const wanted = { until: undefined, timeZone: "UTC", program: "test" };
  const release = { word: held, name: "gone", remembered: "test" };
  await hold(holding(reopen(repository)), { word: held, name: "gone", reason: undefined, ...wanted });
  await losing(store, async () => {
    await hold(holding(reopen(repository)), { word: held, name: "audit", reason: "a court", ...wanted });
    await releaseHold(holding(reopen(repository)), release);
    await addProof(reopen(repository), { point: proven, tree, proven: true, timeMs: NOW - 3 * HOUR });
    await forget(forgetting(reopen(repository), { by: "name", words: [forgotten], installationId: ONE }));
  });
  await assert.rejects(pruned(repository), /lacking|gone/);

  const first = await repaired(repository);
  assert.deepEqual(first.lost, []);
  assert.ok(
    first.damaged.every(({ mended }) => mended),
    JSON.stringify(first.damaged),
  );
  const told = first.damaged.map(({ message }) => message).filter((message) => message.includes("lacked its file"));
  assert.equal(told.length, 4, told.join("\n"));
  const { records } = await listPoints(repository, { signal });
  assert.deepEqual(records.map(({ kind, point }) => `${kind} ${point}`).toSorted(), [
    `forgotten ${forgotten}`,
    `hold ${held}`,
    `release ${held}`,
  ]);
  const { holds } = await listHolds(holding(reopen(repository)));
  assert.deepEqual(
    holds.map(({ name, inForce, reason }) => ({ name, inForce, reason })),
    [{ name: "audit", inForce: true, reason: null }],
  );
  const files = [...store.files.keys()];
  assert.deepEqual((await repaired(repository)).damaged, []);
  assert.deepEqual([...store.files.keys()], files, "the second time changes nothing");
  const verified = await verify({ repository: reopen(repository), readData: "all", ...TOOLS });
  assert.deepEqual(verified.problems, []);
  await pruned(repository);
});

test("a point that lacks something keeps its proof, and stays among what is lost", async () => {
  const store = createMemoryStore();
  const repository = await newRepository(store);
  await addPoint(repository, NOW - 2 * DAY);
  await losing(store, async () => await addPoint(reopen(repository), NOW - DAY));
  const { points } = await listPoints(repository, { signal });
  const newest = points[0];
  assert.ok(newest);
  const about = { point: newest.snapshotId, tree: newest.snapshot.tree, proven: true, timeMs: NOW };
  // Written where the index still has what the packs lack.
  await addProof(reopen(repository), about);
  const { lost, damaged } = await repaired(repository);
  assert.ok(lost.length > 0 && lost.every(({ points: touched }) => touched.includes(newest.id)), JSON.stringify(lost));
  assert.ok(!damaged.every(({ mended }) => mended));
  const kinds = (await listPoints(repository, { signal })).records.map(({ kind }) => kind);
  assert.deepEqual(kinds.toSorted(), ["not-whole", "proof"]);
});
