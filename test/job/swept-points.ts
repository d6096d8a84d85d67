/** Forgetting and holding under the fault sweep: points of one installation in memory, and which of them must stay. */
import assert from "node:assert/strict";
import type { SnapshotId } from "../../src/base/ids.ts";
import { forget } from "../../src/job/forget.ts";
import { hold, listHolds, releaseHold } from "../../src/job/hold.ts";
import { listPoints } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import { copyStore, reopen, signal as never } from "../repo/small-backup.ts";
import type { Attempt, Outcome, SweptVerb } from "./fault-sweep.ts";
import { addPoint, DAY, forgetting, holding, HOUR, NOW, ONE } from "./kept-points.ts";
import { blank, once, problemsOf, unlessGone } from "./swept-days.ts";

/** Five days of one installation, the newest first; the fourth is proven, the newest held. */
const kept = once(async () => {
  const empty = await blank();
  const store = copyStore(empty.store as MemoryStore);
  const repository = reopen(empty, store);
  const days: SnapshotId[] = [];
  for (let at = 0; at < 5; at += 1) {
    days.push(await addPoint(repository, NOW - HOUR - at * DAY, at === 3 ? { proven: true } : {}));
  }
  const request = { ...WANTED, word: days[0] ?? "", name: "court" };
  await hold({ ...holding(reopen(repository)), signal: never }, request);
  return { repository, store, days };
});

const WANTED = { reason: "for the auditors", until: undefined, timeZone: "UTC", program: "test" } as const;

interface Seen {
  points: string[];
  proven: string[];
  holds: string[];
}

/** A verb on restore points; `must` are those that it may not touch. */
function onPoints(
  name: string,
  run: (repository: Repository, signal: AbortSignal, days: readonly SnapshotId[]) => Promise<Outcome>,
  expected: { kept: readonly number[]; done: (seen: Seen, days: readonly SnapshotId[]) => void },
  finish?: (repository: Repository, signal: AbortSignal, days: readonly SnapshotId[]) => Promise<Outcome>,
): SweptVerb {
  return {
    name,
    async begin() {
      const { repository, store: original, days } = await kept();
      const store = copyStore(original);
      const look = async (): Promise<Seen> => {
        const { points, damaged } = await listPoints(reopen(repository, store), { signal: never });
        assert.deepEqual(damaged, []);
        const { holds } = await listHolds(holding(reopen(repository, store)));
        return {
          points: points.map(({ id }) => id),
          proven: points.filter(({ proof }) => proof?.proven === true).map(({ id }) => id),
          holds: holds.map((line) => line.name).toSorted(),
        };
      };
      const attempt: Attempt = {
        store,
        run: async (faulty, signal) => await run(reopen(repository, faulty), signal, days),
        async assertKept() {
          assert.equal(await problemsOf(reopen(repository, store)), 0);
          const seen = await look();
          for (const at of expected.kept) assert.ok(seen.points.includes(days[at] ?? ""), `point ${at} is gone`);
          assert.deepEqual(seen.proven, [days[3]]);
        },
        assertDone: async () => expected.done(await look(), days),
      };
      if (finish === undefined) return attempt;
      return { ...attempt, finish: async (faulty, signal) => await finish(reopen(repository, faulty), signal, days) };
    },
  };
}

const forgetPoints = onPoints(
  "forget",
  async (repository, signal) => {
    const request = { by: "policy", policy: { last: 2 }, timeZone: "UTC", installation: { id: ONE } } as const;
    const { findings } = await forget({ ...forgetting(repository, request), signal });
    return findings.length === 0 ? "done" : "told";
  },
  {
    kept: [0, 1, 3],
    done: ({ points, holds }, days) => {
      assert.deepEqual(points, [days[0], days[1], days[3]]);
      assert.deepEqual(holds, ["court"]);
    },
  },
);

const holdPoint = onPoints(
  "hold",
  async (repository, signal, days) => {
    await hold({ ...holding(repository), signal }, { ...WANTED, word: days[2] ?? "", name: "audit" });
    return "done";
  },
  { kept: [0, 1, 2, 3, 4], done: ({ holds }) => assert.deepEqual(holds, ["audit", "court"]) },
);

const release = async (repository: Repository, signal: AbortSignal, days: readonly SnapshotId[]): Promise<Outcome> => {
  await releaseHold({ ...holding(repository), signal }, { word: days[0] ?? "", name: "court" });
  return "done";
};

const again = unlessGone(release, /has no hold/);
const releasing = onPoints(
  "hold --release",
  // A run after one that did it finds nothing to do.
  async (repository, signal, days) => await again(repository, signal, days),
  { kept: [0, 1, 2, 3, 4], done: ({ holds }) => assert.deepEqual(holds, []) },
);

export const SWEPT_ON_POINTS: readonly SweptVerb[] = [forgetPoints, holdPoint, releasing];
