/** How limits and subsets are written; what a repair needs of the repository that it takes from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseBytes } from "../../src/base/bytes.ts";
import { formatInstant } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { encodeLock } from "../../src/format/lock-file.ts";
import { parseMaxRepack, parseMaxUnused, prune } from "../../src/job/prune.ts";
import { repairPacksFrom } from "../../src/job/repair.ts";
import { parseSubset } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, NOW } from "./kept-points.ts";

const NONSENSE = ["", "x", "-1", "5 %%", "1e9", "2X", "G", "1.2.3G", "99999999999P"];

test("sizes are read as restic writes them", () => {
  const expected = { "0": 0, "1024": 1024, "500k": 512_000, "2G": 2 ** 31, "1.5 MiB": 1_572_864, "3tb": 3 * 2 ** 40 };
  for (const [text, bytes] of Object.entries(expected)) assert.equal(parseBytes(text), bytes, text);
  for (const text of NONSENSE) assert.equal(parseBytes(text), undefined, text);
});

test("what may stay unused is a share, a size or unlimited", () => {
  assert.deepEqual(parseMaxUnused("5%"), { percent: 5 });
  assert.deepEqual(parseMaxUnused("0"), { bytes: 0 });
  assert.equal(parseMaxUnused("unlimited"), "unlimited");
  assert.equal(parseMaxRepack("2G"), 2 ** 31);
  for (const text of [...NONSENSE, "101%"]) {
    assert.throws(() => parseMaxUnused(text), /is no limit/);
    assert.throws(() => parseMaxRepack(text), /is no size/);
  }
});

test("a subset is all, a part of no more than 256, a share or a size", () => {
  assert.equal(parseSubset("all"), "all");
  assert.deepEqual(parseSubset("7/256"), { part: 7, of: 256 });
  assert.deepEqual(parseSubset("2.5%"), { percent: 2.5 });
  assert.deepEqual(parseSubset("2G"), { bytes: 2 ** 31 });
  for (const text of [...NONSENSE, "0", "0%", "101%", "0/3", "4/3", "1/257"]) {
    assert.throws(() => parseSubset(text), /is no subset/, text);
  }
});

async function repairFrom(repository: Repository, source: Repository): Promise<number> {
  const options = { repositoryName: "primary", program: "test", clock: clockAt(), progress: silent, signal };
  return (await repairPacksFrom({ ...options, repository, source })).lost.length;
}

test("a repair waits for nobody who prunes what it takes from", async () => {
  const store = createMemoryStore();
  const source = await newRepository(store);
  const repository = await newRepository(createMemoryStore());
  await addPoint(repository, NOW);
  const pruning = { time: formatInstant(NOW), exclusive: true, hostname: "elsewhere", username: "you", pid: 1 };
  const lock = await source.putUnpacked("locks", encodeLock(pruning), { signal });
  await assert.rejects(repairFrom(repository, source), (error) => isFailure(error, "repo/locked"));
  await store.remove({ kind: "locks", name: lock }, { signal });
  assert.equal(await repairFrom(repository, source), 0);
});

test("where only proofs are left the points are lost, not unwanted: prune removes nothing", async () => {
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const point = await addPoint(repository, NOW, { proven: true });
  const run = async (dryRun: boolean) =>
    await prune({
      repository: reopen(repository),
      maxUnused: { bytes: 0 },
      dryRun,
      clock: clockAt(),
      progress: silent,
      signal,
    });
  const snapshot = store.files.get(`snapshots/${point}`);
  assert.ok(snapshot);
  store.files.delete(`snapshots/${point}`);
  assert.ok(
    [...store.files.keys()].some((name) => name.startsWith("snapshots/")),
    "the proof is there",
  );
  const files = new Map(store.files);
  for (const dryRun of [true, false]) {
    await assert.rejects(run(dryRun), (error) => {
      assert.ok(isFailure(error, "repo/damaged") && error.hint !== undefined);
      return /no snapshot but of proofs and holds, so all of the repository would go/.test(error.message);
    });
  }
  assert.deepEqual(store.files, files);
  store.files.set(`snapshots/${point}`, snapshot);
  await run(false);
});
