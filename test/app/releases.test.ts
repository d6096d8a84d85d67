/** Holds that were released elsewhere, where nothing may be deleted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ListedRepository, settleReleases } from "../../src/app/releases.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { silent } from "../../src/base/progress.ts";
import { hold, releaseHold } from "../../src/job/hold.ts";
import { holdsLacking, holdsToLift, releasesIn } from "../../src/job/holds-between.ts";
import { listPoints } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { addPoint, clockAt, denyRemovals, holding, NOW } from "../job/kept-points.ts";
import { newRepository, reopen, signal } from "../repo/small-backup.ts";

const HOUR = 3_600_000;
const SURROUNDINGS: Surroundings = {
  signal,
  progress: silent,
  env: {},
  cwd: "/",
  clock: clockAt(NOW + HOUR),
  person: undefined,
  hide: () => {},
  redact: (value) => value,
};

async function listed(repository: Repository, name: string): Promise<ListedRepository> {
  const opened = { repository: reopen(repository), name, config: undefined, configPath: undefined };
  return { opened, list: await listPoints(repository, { signal }) };
}

test("a hold that cannot be removed with these credentials is a note, comes back to nobody, and goes once it may", async () => {
  const [first, second] = [createMemoryStore(), createMemoryStore()];
  const primary = await newRepository(first);
  const offsite = await newRepository(second);
  const point = await addPoint(primary, NOW);
  await addPoint(offsite, NOW, { original: point });
  const wanted = { word: point, name: "audit", reason: undefined, until: undefined, timeZone: "UTC", program: "test" };
  for (const each of [primary, offsite]) await hold(holding(reopen(each)), wanted);
  await releaseHold(holding(reopen(primary)), { word: point, name: "audit", remembered: "test" });
  denyRemovals(second);
  const settle = async () => {
    const both = [await listed(primary, "primary"), await listed(offsite, "offsite")];
    return { both, ...(await settleReleases(both, { isAll: true }, SURROUNDINGS)) };
  };
  const { both, released, findings } = await settle();
  assert.deepEqual(
    findings.map(({ kind, level }) => [kind, level]),
    [["hold-elsewhere", "note"]],
  );
  const [{ list: here }, { list: there }] = both as [ListedRepository, ListedRepository];
  assert.equal(holdsToLift(there, released).length, 1);
  assert.deepEqual(holdsLacking(there, here, { coming: [], released, nowMs: NOW }), []);
  // What is held anew under that name is another hold.
  await hold(holding(reopen(primary), NOW + 2 * HOUR), wanted);
  const again = await listPoints(primary, { signal });
  assert.equal(holdsToLift(again, released).length, 0);

  second.beforeWrite = undefined;
  // Nor could the lock be removed, which is what 'unlock' is for.
  for (const name of second.files.keys()) if (name.startsWith("locks/")) second.files.delete(name);
  assert.deepEqual((await settle()).findings, []);
  assert.equal((await listed(offsite, "offsite")).list.records.length, 0);
  assert.deepEqual(releasesIn(await listPoints(primary, { signal })), []);
});

test("what was done last counts, though the clock of whoever did it was behind: holding anew, and releasing", async () => {
  const [primary, offsite] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  const point = await addPoint(primary, NOW);
  await addPoint(offsite, NOW, { original: point });
  const wanted = { word: point, name: "audit", reason: undefined, until: undefined, timeZone: "UTC", program: "test" };
  for (const each of [primary, offsite]) await hold(holding(reopen(each), NOW + 2 * HOUR), wanted);
  const release = { word: point, name: "audit", remembered: "test" };
  const lists = async () => [await listPoints(primary, { signal }), await listPoints(offsite, { signal })] as const;

  // By a clock that is hours behind the one that the hold was made with.
  await releaseHold(holding(reopen(primary), NOW), release);
  const [afterRelease, left] = await lists();
  assert.equal(holdsToLift(left, releasesIn(afterRelease)).length, 1);

  // And held anew by it: where the release is kept, and where it is only told of.
  await hold(holding(reopen(primary), NOW), wanted);
  const released = releasesIn(afterRelease);
  await hold(holding(reopen(offsite), NOW), { ...wanted, released });
  const [here, there] = await lists();
  assert.deepEqual(holdsToLift(here, released), []);
  assert.equal(holdsToLift(there, released).length, 1, "the old one goes, the new one stays");
  assert.equal(there.records.filter(({ kind }) => kind === "hold").length, 2);

  // The very same once more changes nothing.
  const again = await hold(holding(reopen(primary), NOW), wanted);
  assert.equal(again.changed, false);
});
