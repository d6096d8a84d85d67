/** The verbs that the fault sweep tries on days of files in a small repository in memory, and what must hold of them. */
import assert from "node:assert/strict";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { copy } from "../../src/job/copy.ts";
import { lockToRead, lockToWrite } from "../../src/job/lock.ts";
import { prune } from "../../src/job/prune.ts";
import { repairIndexes, repairPacksFrom } from "../../src/job/repair.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import {
  backUp,
  copyStore,
  type Files,
  hasty,
  newRepository,
  readFiles,
  reopen,
  signal as never,
} from "../repo/small-backup.ts";
import type { Outcome, SweptVerb } from "./fault-sweep.ts";

const random = seededRandom("swept");
function filesOf(day: number): Files {
  return {
    shared: SHARED,
    "folder/large": random.bytes(day === 2 ? 400_000 : 20_000),
    "folder/text": Buffer.from(`text ${day}`),
    "folder/deep/er": random.bytes(1000),
  };
}
const SHARED = random.bytes(50_000);
const DAYS: readonly Files[] = [1, 2, 3, 4].map(filesOf);

function dayOf(day: number): string {
  return `2026-01-0${day}T00:00:00Z`;
}

/** Four days of files, and which of them are there. */
interface Base {
  repository: Repository;
  store: MemoryStore;
  days: readonly number[];
}

/** New keys cost a second of scrypt: two repositories are enough for all. */
export const blank = once(async () => await newRepository(createMemoryStore()));
const otherBlank = once(async () => await newRepository(createMemoryStore()));

export async function makeBase(
  days: readonly number[],
  forgotten: readonly number[] = [],
  made: () => Promise<Repository> = blank,
): Promise<Base> {
  const empty = await made();
  const store = copyStore(empty.store as MemoryStore);
  const repository = reopen(empty, store);
  for (const day of days) await backUp(reopen(repository), DAYS[day - 1] ?? {}, dayOf(day));
  const { snapshots } = await repository.listSnapshots({ signal: never });
  for (const day of forgotten) {
    const id = snapshots.find(({ snapshot }) => snapshot.time === dayOf(day))?.id;
    store.files.delete(`snapshots/${id}`);
  }
  return { repository, store, days: days.filter((day) => !forgotten.includes(day)) };
}

export async function problemsOf(repository: Repository): Promise<number> {
  return (await verifyRepository(repository, { readData: "all", signal: never, progress: silent })).problems.length;
}

/** Each of the days is there at least once, and every snapshot is one of them, to the byte. */
export async function assertDays({ repository }: Base, store: MemoryStore, days: readonly number[]): Promise<void> {
  const fresh = reopen(repository, store);
  assert.equal(await problemsOf(fresh), 0);
  const { snapshots, damaged } = await fresh.listSnapshots({ signal: never });
  assert.deepEqual(damaged, []);
  const found = new Set<number>();
  for (const { snapshot } of snapshots) {
    const day = Number(snapshot.time.slice(8, 10));
    found.add(day);
    const content = await readFiles(fresh, snapshot.tree);
    const expected = DAYS[day - 1] ?? {};
    assert.deepEqual(Object.keys(content).toSorted(), Object.keys(expected).toSorted());
    for (const [path, bytes] of Object.entries(expected)) assert.ok(content[path]?.equals(bytes), path);
  }
  for (const day of days) assert.ok(found.has(day), `the files of day ${day} are gone`);
}

function packBytes(store: MemoryStore): number {
  let sum = 0;
  for (const [name, bytes] of store.files) if (name.startsWith("data/")) sum += bytes.length;
  return sum;
}

/** Makes the base of a verb once. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return async () => await (made ??= make());
}

/** What is gone already was the first run's doing. */
export function unlessGone<A extends unknown[]>(
  run: (...args: A) => Promise<Outcome>,
  message: RegExp,
): (...args: A) => Promise<Outcome> {
  return async (...args) => {
    try {
      return await run(...args);
    } catch (error) {
      if (isFailure(error, "usage/invalid") && message.test(error.message)) return "done";
      throw error;
    }
  };
}

interface Round {
  base: Base;
  store: MemoryStore;
}

/** A verb on days of files that are all there before, in the middle and after. */
function onDays(
  name: string,
  base: () => Promise<Base>,
  parts: {
    run: (repository: Repository, signal: AbortSignal, round: Round) => Promise<Outcome>;
    assertDone?: (round: Round) => Promise<void>;
  },
): SweptVerb {
  return {
    name,
    async begin() {
      const made = await base();
      const round = { base: made, store: copyStore(made.store) };
      return {
        store: round.store,
        run: async (store, signal) => await parts.run(reopen(made.repository, store), signal, round),
        assertKept: async () => await assertDays(made, round.store, made.days),
        assertDone: async () => await parts.assertDone?.(round),
      };
    },
  };
}

export const sound = once(async () => await makeBase([1, 3]));

const backup = onDays("backup", sound, {
  async run(repository, signal) {
    await using _lock = await lockToWrite(repository, { clock: hasty, signal });
    await backUp(repository, DAYS[1] ?? {}, dayOf(2), {}, signal);
    return "done";
  },
  assertDone: async ({ base, store }) => await assertDays(base, store, [1, 2, 3]),
});

const verify = onDays("verify --read-data", sound, {
  async run(repository, signal) {
    await using _lock = await lockToRead(repository, { clock: hasty, signal });
    const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    return problems.length === 0 ? "done" : "told";
  },
});

const restore = onDays("reading every file of every point", sound, {
  async run(repository, signal) {
    await using _lock = await lockToRead(repository, { clock: hasty, signal });
    const { snapshots, damaged } = await repository.listSnapshots({ signal });
    for (const { snapshot } of snapshots) {
      const content = await readFiles(repository, snapshot.tree, signal);
      const expected = DAYS[Number(snapshot.time.slice(8, 10)) - 1] ?? {};
      for (const [path, bytes] of Object.entries(expected)) {
        // Not a plain failure: wrong bytes that nobody was told of.
        assert.ok(content[path]?.equals(bytes), path);
      }
    }
    return damaged.length === 0 ? "done" : "told";
  },
});

const littered = once(async () => await makeBase([1, 2, 3, 4], [1, 2]));
/** What one run leaves. */
const pruned = once(async () => {
  const { repository, store } = await littered();
  const copied = copyStore(store);
  await pruneIt(reopen(repository, copied), never);
  return packBytes(copied);
});

async function pruneIt(repository: Repository, signal: AbortSignal): Promise<Outcome> {
  await prune({ repository, maxUnused: { percent: 0 }, dryRun: false, clock: hasty, progress: silent, signal });
  return "done";
}

const pruning = onDays("prune", littered, {
  run: pruneIt,
  async assertDone({ store }) {
    assert.ok(Math.abs(packBytes(store) - (await pruned())) < 1000, "something that nobody needs was left");
  },
});

/** The same days in another repository, with keys of its own. */
const elsewhere = once(async () => await makeBase([1, 3], [], otherBlank));

/** Copying from, or to, a store that goes wrong. */
function copying(side: "source" | "target"): SweptVerb {
  return {
    name: `copy, at its ${side}`,
    async begin() {
      const [source, target] = [await sound(), await emptyTarget()];
      const [from, to] = [copyStore(source.store), copyStore(target.store)];
      return {
        store: side === "source" ? from : to,
        async run(store, signal) {
          const { failed } = await copy({
            from: { repository: reopen(source.repository, side === "source" ? store : from), name: "source" },
            to: { repository: reopen(target.repository, side === "target" ? store : to), name: "target" },
            choose: (snapshots) => snapshots,
            clock: hasty,
            progress: silent,
            signal,
          });
          return failed.length === 0 ? "done" : "told";
        },
        async assertKept() {
          await assertDays(source, from, [1, 3]);
          await assertDays(target, to, []);
        },
        assertDone: async () => await assertDays(target, to, [1, 3]),
      };
    },
  };
}
const emptyTarget = once(async () => await makeBase([], [], otherBlank));

/** A repair on a repository of which something is damaged: not worse in the middle, whole after. */
function repairing(
  name: string,
  damage: (store: MemoryStore) => void,
  repair: (
    repository: Repository,
    signal: AbortSignal,
    source: Store,
  ) => Promise<{ damaged: { mended: boolean }[]; lost: unknown[] }>,
  atSource = false,
): SweptVerb {
  return {
    name,
    async begin() {
      const [base, other] = [await sound(), await elsewhere()];
      const [store, source] = [copyStore(base.store), copyStore(other.store)];
      damage(store);
      const before = await problemsOf(reopen(base.repository, store));
      return {
        store: atSource ? source : store,
        async run(faulty, signal) {
          const own = reopen(base.repository, atSource ? store : faulty);
          const { damaged, lost } = await repair(own, signal, atSource ? faulty : source);
          return lost.length === 0 && damaged.every(({ mended }) => mended) ? "done" : "told";
        },
        assertKept: async () => assert.ok((await problemsOf(reopen(base.repository, store))) <= before, "it is worse"),
        assertDone: async () => await assertDays(base, store, [1, 3]),
      };
    },
  };
}

function flipFirst(kind: string): (store: MemoryStore) => void {
  return (store) => {
    const [name = ""] = [...store.files.keys()].filter((each) => each.startsWith(`${kind}/`)).toSorted();
    const bytes = Buffer.from(store.files.get(name) ?? []);
    // Not where the sweep changes a bit: twice would be none.
    const at = bytes.length >> 2;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    store.files.set(name, bytes);
  };
}

const REPAIR = { repositoryName: "primary", clock: hasty, progress: silent };
const repairIndex = repairing("repair index", flipFirst("index"), async (repository, signal) => {
  return await repairIndexes({ ...REPAIR, repository, signal, readAllPacks: false });
});
async function packsFrom(repository: Repository, signal: AbortSignal, source: Store) {
  const other = reopen((await elsewhere()).repository, source);
  return await repairPacksFrom({ ...REPAIR, program: "test", repository, signal, source: other });
}
const repairPacks = repairing("repair packs", flipFirst("data"), packsFrom);
const repairSource = repairing("repair packs, at its source", flipFirst("data"), packsFrom, true);

export const SWEPT_ON_DAYS: readonly SweptVerb[] = [
  backup,
  verify,
  restore,
  pruning,
  copying("source"),
  copying("target"),
  repairIndex,
  repairPacks,
  repairSource,
];
