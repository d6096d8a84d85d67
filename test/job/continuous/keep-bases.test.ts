/** A real server's bases go to repositories: one that is there first, one that comes later; and none of a server that is not the one. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure, type ErrorCode } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { BaseKeeper, type BaseKeeperOptions, dueBecause, takenAt } from "../../../src/job/continuous/keep-bases.ts";
import { listContinuous, lookAtWindow } from "../../../src/job/continuous/list.ts";
import { readBaseFacts } from "../../../src/job/continuous/read-base.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { firstTimeline } from "../../../src/wal/history.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { longTest } from "../../harness/whole.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";
import { turnBit } from "../damaged-page.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT as OWN_SEGMENT, START } from "./spans.ts";
import { ask, follow, type Following, SEGMENT, write } from "./following.ts";

const PATIENCE_MS = 120_000;
/** Nobody waits a minute here, but for who is slow to answer. */
const quick = {
  ...systemClock,
  sleep: async (ms: number, end?: AbortSignal) => await systemClock.sleep(ms === LIMITS.placeAnswerMs ? ms : 50, end),
};

let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await server.query("create table rows (id bigint generated always as identity, body text)");
  await server.query("create database late oid 3000000000");
});
after(async () => {
  await server.stop();
});

interface Watching extends AsyncDisposable {
  readonly following: Following;
  /** Repositories into which a base was taken from the server. */
  readonly taken: string[];
  /** What it told, in order. */
  readonly order: string[];
  readonly troubles: (ErrorCode | undefined)[];
  /** What was said of the pages of each that was taken, and of those that were there. */
  readonly damaged: { readonly taken: boolean[]; readonly there: (boolean | undefined)[] };
  until(what: string, holds: () => Promise<boolean> | boolean): Promise<void>;
}

interface WatchingOptions {
  /** Whose log is followed. */
  of?: TestServer;
  address?: TestServer["address"];
  mostLogBytes?: () => Promise<number | undefined>;
  database?: BaseKeeperOptions["database"];
}

function watch(
  repositories: Readonly<Record<string, Repository>>,
  { of = server, address = of.address, mostLogBytes = async () => undefined, database }: WatchingOptions = {},
): Watching {
  const damaged: Watching["damaged"] = { taken: [], there: [] };
  const stop = new AbortController();
  const [taken, order]: [string[], string[]] = [[], []];
  const troubles: (ErrorCode | undefined)[] = [];
  const keeper = new BaseKeeper({
    places: Object.entries(repositories).map(([name, one]) => ({ name, open: async () => reopen(one) })),
    address: () => address,
    identity: IDENTITY,
    program: "chatkeep test",
    rate: undefined,
    everyMs: undefined,
    // Here they come as soon as they are due.
    restTimes: 0,
    replacedMs: 0,
    mostLogBytes,
    database,
    clock: quick,
    signal: stop.signal,
    onBegin() {},
    onBase: ({ repository, hasDamagedPages }) => {
      damaged.taken.push(hasDamagedPages);
      taken.push(repository);
      order.push("a base is stored");
    },
    onServed: (_name, _base, hasDamagedPages) => {
      damaged.there.push(hasDamagedPages);
      order.push("it serves");
    },
    onTrouble: (trouble) => {
      troubles.push(trouble?.code);
      order.push("the look is over");
    },
  });
  const following = follow(of.address, repositories, {
    onLine: (begun) => keeper.lineBegun(begun),
    onState: ({ durableTo }) => keeper.position(durableTo),
  });
  const running = keeper.run();
  running.catch(() => {});
  return {
    following,
    taken,
    order,
    troubles,
    damaged,
    async until(what, holds) {
      const end = performance.now() + PATIENCE_MS;
      while (!(await holds())) {
        assert.ok(performance.now() < end, `${what}; ${[...new Set(troubles)].join(" ")}`);
        await sleep(50);
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Failure("run/cancelled", "the test is over"));
      await assert.rejects(running, /the test is over/);
      await following[Symbol.asyncDispose]();
    },
  };
}

async function windowOf(repository: Repository) {
  return await lookAtWindow(reopen(repository), IDENTITY.id, { signal });
}

test("one base serves a repository and one that is added later, to which the log since is brought, too", async () => {
  const [one, other] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  {
    await using first = watch({ one });
    await first.until("a base is there", () => first.taken.length > 0);
    await write(server.address, 60_000);
    await first.following.caughtUp();
    const { window, bases } = await windowOf(one);
    assert.equal(window.ranges.length, 1);
    const { order } = first;
    assert.equal(order[order.indexOf("a base is stored") + 1], "it serves", "it is told at once");
    const [base] = bases;
    assert.ok(base);
    const { databases } = await readBaseFacts(one, base, { signal });
    assert.equal(databases.find(({ name }) => name === "late")?.oid, 3_000_000_000);
  }
  await using both = watch({ one, other });
  await both.until("any moment can be had of the other", async () => (await windowOf(other)).window.ranges.length > 0);
  await write(server.address, 2_000);
  const end = await both.following.caughtUp();
  const looks = both.troubles.length;
  await both.until("it was looked at again", () => both.troubles.length > looks + 1);
  for (const repository of [one, other]) {
    const { window, bases } = await windowOf(repository);
    assert.deepEqual([window.ranges.length, window.gaps, bases.length], [1, [], 1]);
    assert.ok((window.ranges[0]?.to ?? 0n) >= end);
  }
  assert.deepEqual(both.taken, []);
});

test("a repository that is full or locked keeps no other from getting a base, and gets it from there when it can", async () => {
  const store = createMemoryStore();
  const [full, other] = [await newRepository(store), await newRepository(createMemoryStore())];
  let isFull = true;
  const begin = store.begin.bind(store);
  store.begin = async (kind, options) => {
    if (isFull && kind === "data") throw new Failure("store/full", "no room");
    return await begin(kind, options);
  };
  await using watching = watch({ full, other });
  await watching.until("the other has a base", () => watching.taken.includes("other"));
  await watching.until("it is told", () => watching.troubles.includes("store/full"));
  isFull = false;
  await watching.until("the first has it", async () => (await windowOf(full)).bases.length > 0);
  assert.deepEqual(watching.taken, ["other"]);
});

test("what another repository has is read from the server when it cannot be read there for long", async () => {
  const store = createMemoryStore();
  const [one, other] = [await newRepository(store), await newRepository(createMemoryStore())];
  {
    await using first = watch({ one });
    await first.until("a base is there", () => first.taken.length > 0);
  }
  const get = store.get.bind(store);
  store.get = async (ref, options) => {
    if (ref.kind === "data") throw new Failure("store/unreachable", "no answer");
    return await get(ref, options);
  };
  await using both = watch({ one, other });
  await both.until("a base is taken", () => both.taken.length > 0);
  assert.deepEqual(both.taken, ["other"]);
  assert.equal((await windowOf(other)).bases.length, 1);
  assert.ok(both.troubles.filter((code) => code === "store/unreachable").length >= 3);
});

/** Nobody is there: no base can be taken. */
function withoutServer() {
  return {
    address: () => ({ ...server.address, port: 1 }),
    identity: { id: LINE.installation, name: "desk" },
    program: "chatkeep test",
    rate: undefined,
    everyMs: undefined,
    mostLogBytes: async () => undefined,
  };
}

test("a repository that does not answer holds up no other, is asked once meanwhile, and gets the base when it answers", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("PG_VERSION"), "15\n");
  const [one, other] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  await putBase(one, folder.path, { facts: factsOf({ from: START, to: START + 1000n }) });
  for (const repository of [one, other]) await putSpan(repository, { at: 0, bytes: Buffer.alloc(OWN_SEGMENT) });
  const answers = Promise.withResolvers<void>();
  const [asked, served, stop] = [{ one: 0, other: 0 }, new Set<string>(), new AbortController()];
  const silent = async () => {
    asked.other += 1;
    await answers.promise;
    return reopen(other);
  };
  const keeper = new BaseKeeper({
    places: [
      { name: "other", open: silent },
      { name: "one", open: async () => ((asked.one += 1), reopen(one)) },
    ],
    ...withoutServer(),
    clock: { ...systemClock, sleep: async (_: number, end?: AbortSignal) => await systemClock.sleep(20, end) },
    signal: stop.signal,
    onBegin() {},
    onBase() {},
    onTrouble() {},
    onServed: (name) => served.add(name),
  });
  const start = START + BigInt(OWN_SEGMENT);
  keeper.lineBegun({ line: LINE, history: firstTimeline(), start, gapped: [], away: [], refused: [] });
  const running = keeper.run();
  running.catch(() => {});
  const end = performance.now() + PATIENCE_MS;
  while (asked.one < 3 && performance.now() < end) await sleep(10);
  assert.deepEqual([asked.other, [...served]], [1, ["one"]]);
  answers.resolve();
  while (!served.has("other") && performance.now() < end) await sleep(10);
  assert.equal((await listContinuous(reopen(other), LINE.installation, { signal })).bases.length, 1);
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(running, /the test is over/);
});

test("a base is due when another database took the place of Chatwoot's, and not at once after the one before", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("PG_VERSION"), "15\n");
  const repository = await newRepository(createMemoryStore());
  // It has chatwoot as 16384.
  await putBase(repository, folder.path, { facts: factsOf({ from: START, to: START + 1000n }) });
  await putSpan(repository, { at: 0, bytes: Buffer.alloc(OWN_SEGMENT) });
  const [reasons, stop] = [[] as string[], new AbortController()];
  const beganMs = Number(factsOf().base.beganUs / 1000n);
  let [oid, nowMs] = [16384, beganMs + 2 * LIMITS.replacedBaseMs];
  const told = { looks: 0 };
  const keeper = new BaseKeeper({
    places: [{ name: "one", open: async () => reopen(repository) }],
    ...withoutServer(),
    database: async () => ({ name: "chatwoot", oid }),
    clock: {
      ...systemClock,
      now: () => nowMs,
      sleep: async (_: number, end?: AbortSignal) => await systemClock.sleep(20, end),
    },
    signal: stop.signal,
    onBegin: (reason) => reasons.push(reason),
    onBase() {},
    onTrouble: () => (told.looks += 1),
    onServed() {},
  });
  const start = START + BigInt(OWN_SEGMENT);
  keeper.lineBegun({ line: LINE, history: firstTimeline(), start, gapped: [], away: [], refused: [] });
  const running = keeper.run();
  running.catch(() => {});
  const looked = async () => {
    const end = performance.now() + PATIENCE_MS;
    const enough = told.looks + 2;
    while (told.looks < enough && performance.now() < end) await sleep(10);
    return reasons.length > 0;
  };
  assert.equal(await looked(), false, "it is the same one");
  [oid, nowMs] = [20_000, beganMs + 1000];
  assert.equal(await looked(), false, "the newest base is young");
  nowMs = beganMs + LIMITS.replacedBaseMs;
  assert.equal(await looked(), true);
  assert.deepEqual([...new Set(reasons)], ["another database took the place of Chatwoot's"]);
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(running, /the test is over/);
});

longTest("of a server whose database was replaced one base is taken, which has it", async () => {
  const repository = await newRepository(createMemoryStore());
  const oidOf = async () => {
    const [row] = await server.query("select oid::text as oid from pg_database where datname = 'desk'");
    return row === undefined ? undefined : { name: "desk", oid: Number(row["oid"]) };
  };
  await server.query("create database desk");
  await using watching = watch({ primary: repository }, { database: oidOf });
  await watching.until("a base is there", () => watching.taken.length === 1);
  await server.query("create database fresh");
  await server.query("drop database desk");
  await server.query("alter database fresh rename to desk");
  const database = await oidOf();
  await watching.until("another is there", async () => {
    await server.query("checkpoint");
    return watching.taken.length === 2;
  });
  const looks = watching.troubles.length;
  await watching.until("it was looked at again", () => watching.troubles.length > looks + 1);
  assert.equal(watching.taken.length, 2);
  const base = (await windowOf(repository)).bases.at(-1);
  assert.ok(base !== undefined);
  const { databases } = await readBaseFacts(repository, base, { signal });
  assert.equal(databases.find(({ name }) => name === "desk")?.oid, database?.oid);
});

test("a base that much log makes due is taken a part of the time only, one that is old at once", () => {
  const base = { from: 0x100n, beganUs: 1_000_000_000n, endedUs: 1_060_000_000n };
  const at = (
    minutes: number,
    position: bigint,
    limits: { everyMs?: number; mostLogBytes?: number; restTimes?: number },
  ) => {
    const now = { nowMs: 1_000_000 + minutes * 60_000, position };
    return dueBecause(base, now, { everyMs: undefined, mostLogBytes: undefined, ...limits });
  };
  const most = { mostLogBytes: 1000 };
  assert.equal(at(2, 0x100000n, most), undefined, "it took a minute");
  assert.equal(at(10, 0x100000n, most), "replaying what came since takes too long");
  assert.equal(at(2, 0x100000n, { ...most, restTimes: 1 }), "replaying what came since takes too long");
  assert.equal(at(10, 0x200n, most), undefined);
  assert.equal(at(2, 0x200n, { ...most, everyMs: 60_000 }), "the newest is old");
});

test("a base that was taken while the server's clock was years ahead grows old all the same", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("PG_VERSION"), "15\n");
  const repository = await newRepository(createMemoryStore());
  const ahead = BigInt(Date.now() + 10 * 365 * 86_400_000) * 1000n; // oxlint-disable-line no-restricted-globals -- the store's own clock
  const times = { beganUs: ahead, endedUs: ahead + 60_000_000n };
  await putBase(repository, folder.path, { facts: factsOf({ from: START, to: START + 1000n, ...times }) });
  const [listed] = (await listContinuous(reopen(repository), LINE.installation, { signal })).bases;
  assert.ok(listed !== undefined);
  const taken = takenAt(listed);
  const later = { nowMs: Number(taken.beganUs / 1000n) + 8 * 86_400_000, position: START + 10_000_000n };
  const limits = { everyMs: 7 * 86_400_000, mostLogBytes: undefined };
  assert.equal(dueBecause(taken, later, limits), "the newest is old");
  assert.match(dueBecause(taken, later, { everyMs: undefined, mostLogBytes: 1 }) ?? "", /takes too long/);
  // Where this machine's clock was ahead as well, nobody knows how old it is.
  assert.equal(dueBecause(listed.base, later, limits), "the newest is dated in the future");
  assert.equal(dueBecause(listed.base, { ...later, nowMs: Number(ahead / 1000n) - 3_600_000 }, limits), undefined);
});

test("a base is taken anew when replaying what came since would take too long, by what is known then", async () => {
  const repository = await newRepository(createMemoryStore());
  let most = Infinity;
  await using watching = watch({ primary: repository }, { mostLogBytes: async () => most });
  await watching.until("a base is there", () => watching.taken.length === 1);
  await write(server.address, 50_000);
  await watching.following.caughtUp();
  const looks = watching.troubles.length;
  await watching.until("it was looked at again", () => watching.troubles.length > looks + 1);
  assert.equal(watching.taken.length, 1);
  // A base ends with the rest of a file of the log, which nobody wrote.
  most = 2 * SEGMENT;
  await watching.until("another is there", async () => {
    // Else the one that it waits for takes minutes, so that nobody notices it.
    await server.query("checkpoint");
    return watching.taken.length === 2;
  });
  const taken = watching.troubles.length;
  await watching.until("it was looked at once more", () => watching.troubles.length > taken + 1);
  assert.equal(watching.taken.length, 2, "which has all of it");
});

test("no base is taken of a server that is another one, or has less than was followed", async () => {
  const repository = await newRepository(createMemoryStore());
  await using stranger = await startPostgres();
  await using watching = watch({ primary: repository }, { address: stranger.address });
  await watching.until("it is refused", () => watching.troubles.includes("wal/other-cluster"));
  assert.equal((await ask(stranger.address, "select 1 as one")).length, 1);
  assert.deepEqual((await windowOf(repository)).bases, []);
});

test("of a server with a damaged page there is a base that says so, after another start too, until one without is there", async () => {
  await using worn = await startPostgres({ hasChecksums: true });
  const { database } = worn.address;
  await worn.query("create table rows (id bigint generated always as identity, body text)");
  await write(worn.address, 1_000);
  const mend = await turnBit(worn, database, "rows", 3);
  const repository = await newRepository(createMemoryStore());
  {
    await using first = watch({ one: repository }, { of: worn });
    await first.until("a base is there", () => first.taken.length > 0);
    assert.deepEqual(first.damaged.taken, [true]);
    await write(worn.address, 100);
    await first.following.caughtUp();
    const { window, bases } = await windowOf(repository);
    assert.deepEqual([window.ranges.length, bases.length], [1, 1], "any moment can be had of it");
  }
  let most = Infinity;
  await using second = watch({ one: repository }, { of: worn, mostLogBytes: async () => most });
  await second.until("it is said again", () => second.damaged.there.includes(true));
  assert.deepEqual(second.taken, []);
  await mend();
  most = 0;
  await second.until("another is there", async () => {
    await worn.query("checkpoint");
    return second.taken.length > 0;
  });
  most = Infinity;
  await second.until("its pages are as they should be", () => second.damaged.there.at(-1) === false);
  assert.equal(second.damaged.taken[0], false);
});
