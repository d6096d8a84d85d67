/** Of several repositories one takes nothing for a while: the others go on, and it gets what it lacks. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { BaseKeeper } from "../../../src/job/continuous/keep-bases.ts";
import { listContinuous, lookAtWindow } from "../../../src/job/continuous/list.ts";
import { slotName } from "../../../src/postgres/replication-slots.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { parseLsn } from "../../../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { hasty, newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";
import {
  ask,
  assertSameAsServer,
  flushed,
  follow,
  type Following,
  type Gate,
  grow,
  TIMES,
  write,
} from "./following.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres({ segmentMib: 1, settings: ["max_slot_wal_keep_size=1GB", "wal_keep_size=1GB"] });
  await server.query("create table rows (id bigint generated always as identity, body text)");
});
after(async () => {
  await server.stop();
});

const SHORTENED: ReadonlySet<number> = new Set([
  LIMITS.watchLookMs,
  LIMITS.placeAnswerMs,
  LIMITS.watchBaseLookMs,
  2 * LIMITS.watchBaseLookMs,
]);
/** Looks are taken at once. */
const eager = {
  ...hasty,
  sleep: async (ms: number, end?: AbortSignal) => await hasty.sleep(SHORTENED.has(ms) ? 50 : ms, end),
};
const SEGMENT = 1024 * 1024;
const MORE = { clock: eager, maxBytes: 3 * SEGMENT, times: { ...TIMES, spanBytes: 2 * SEGMENT } };
const AWAY = new Failure("store/unreachable", "no answer");

async function twoRepositories(): Promise<{ primary: Repository; offsite: Repository }> {
  return {
    primary: await newRepository(createMemoryStore()),
    offsite: await newRepository(createMemoryStore()),
  };
}

const placeIn = (following: Following, name: string) => following.state()?.places.find((one) => one.name === name);

/** Waits until a repository has everything that was written so far. */
async function has(following: Following, name: string): Promise<bigint> {
  const to = await flushed(server.address);
  await following.until(`'${name}' has everything`, () => (placeIn(following, name)?.durableTo ?? 0n) >= to);
  return to;
}

async function assertWhole(repository: Repository, to: bigint): Promise<void> {
  assert.ok((await assertSameAsServer(server.address, repository, 1, 0, SEGMENT)) >= to);
}

async function lastKept(): Promise<bigint> {
  const slot = slotName(IDENTITY.id);
  const [row] = await ask(
    server.address,
    `select restart_lsn::text as lsn from pg_replication_slots where slot_name = '${slot}'`,
  );
  const lsn = row?.["lsn"];
  return parseLsn(typeof lsn === "string" ? lsn : "0/0");
}

test("while one repository does not answer the other has everything, and it gets what it lacks from that one without a new base", async () => {
  const repositories = await twoRepositories();
  const { primary, offsite } = repositories;
  const answer = Promise.withResolvers<void>();
  const gates: Record<string, Gate> = { offsite: { refusal: undefined } };
  const stop = new AbortController();
  const [taken, served]: [string[], string[]] = [[], []];
  const bases = new BaseKeeper({
    places: Object.entries(repositories).map(([name, one]) => ({ name, open: async () => reopen(one) })),
    address: () => server.address,
    identity: IDENTITY,
    program: "chatkeep test",
    rate: undefined,
    everyMs: undefined,
    mostLogBytes: async () => undefined,
    // Where one is slow, and not away, it is waited for.
    clock: { ...eager, sleep: async (ms, end) => await (ms === LIMITS.placeAnswerMs ? hasty : eager).sleep(ms, end) },
    signal: stop.signal,
    onBegin() {},
    onBase: ({ repository }) => taken.push(repository),
    onServed: (name) => served.push(name),
    onTrouble() {},
  });
  const keeping = bases.run();
  keeping.catch(() => {});
  await using following = follow(server.address, repositories, {
    ...MORE,
    gates,
    onLine: (line) => bases.lineBegun(line),
    onJoined: (joined) => bases.joined(joined),
    onState: ({ durableTo }) => bases.position(durableTo),
  });
  await following.until("both have a base", () => served.includes("primary") && served.includes("offsite"));
  await write(server.address, 100);
  await following.caughtUp();
  const had = placeIn(following, "offsite")?.durableTo ?? 0n;

  gates["offsite"] = Object.assign(gates["offsite"] ?? {}, { refusal: undefined, silence: answer.promise });
  await grow(server.address, 8);
  const end = await has(following, "primary");
  await assertWhole(primary, end);
  assert.deepEqual([placeIn(following, "offsite")?.isLeft, placeIn(following, "primary")?.isLeft], [true, false]);
  assert.ok((placeIn(following, "offsite")?.durableTo ?? end) < end);
  while ((await lastKept()) < end - BigInt(2 * SEGMENT)) await sleep(50);

  served.length = 0;
  answer.resolve();
  await following.until("it takes part again", () => following.joined.length > 0);
  const [joined] = following.joined;
  assert.deepEqual([joined?.name, joined?.isGapped, joined?.lacksFrom], ["offsite", true, had]);
  await write(server.address, 100);
  await has(following, "offsite");
  await following.until("what it lacked is there", () => served.includes("offsite"));
  const { window } = await lookAtWindow(reopen(offsite), IDENTITY.id, { signal });
  assert.deepEqual([window.ranges.length, window.gaps], [1, []]);
  await assertWhole(offsite, end);
  assert.deepEqual(taken, ["primary"], "the base is the one that was there");
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(keeping, /the test is over/);
});

test("a repository that refuses is told of, joins when it answers, and is left for longer where it refuses again", async () => {
  const { primary, offsite } = await twoRepositories();
  const gate: Gate = { refusal: new Failure("store/full", "no room"), isAway: false };
  const told: (string | undefined)[] = [];
  const onTrouble = (name: string, trouble: Failure | undefined) => {
    if (name === "offsite") told.push(trouble?.code);
  };
  await using following = follow(
    server.address,
    { primary, offsite },
    { ...MORE, gates: { offsite: gate }, onTrouble },
  );
  await grow(server.address, 6);
  await has(following, "primary");
  await following.until("it joined", () => following.joined.length > 0);
  await grow(server.address, 6);
  const end = await has(following, "primary");
  assert.ok(told.includes("store/full") && !told.includes(undefined));
  await assertWhole(primary, end);
  assert.equal(following.begun.length, 1, "the line goes on");
});

for (const names of [["primary"], ["primary", "offsite"]]) {
  test(`while somebody prunes in one of ${names.length}, all goes to the journal, and spans are made of it afterwards`, async () => {
    const repositories: Record<string, Repository> = {};
    for (const name of names) repositories[name] = await newRepository(createMemoryStore());
    const gate: Gate = { refusal: undefined, spanRefusal: new Failure("repo/locked", "somebody prunes") };
    const troubles: (string | undefined)[] = [];
    const gates = { primary: gate };
    const onTrouble = (name: string, trouble: Failure | undefined) => troubles.push(`${name} ${trouble?.code}`);
    await using following = follow(server.address, repositories, { ...MORE, gates, onTrouble });
    await grow(server.address, 8);
    const end = await following.caughtUp();
    const { savedTo = end, isLeft } = placeIn(following, "primary") ?? {};
    assert.ok(savedTo < end - BigInt(MORE.maxBytes));
    assert.deepEqual([isLeft, troubles], [false, []]);
    for (const one of Object.values(repositories)) {
      await assertWhole(one, end);
    }
    gate.spanRefusal = undefined;
    await following.until(
      "spans have it",
      // What is less than a span waits for more.
      () => (placeIn(following, "primary")?.savedTo ?? 0n) > end - BigInt(MORE.times.spanBytes),
    );
    const { primary } = repositories;
    assert.ok(primary !== undefined);
    const { spans, journal } = await listContinuous(reopen(primary), IDENTITY.id, { signal });
    const saved = spans.reduce((most, { span }) => (span.to > most ? span.to : most), 0n);
    assert.ok(journal.objects.every(({ to }) => to > saved));
    assert.ok(spans.every(({ span }) => span.lastCommitUs !== undefined));
    await assertWhole(primary, end);
  });
}

test("one that does not answer when a watch begins keeps nobody from beginning, and joins without a gap where it has enough", async () => {
  const { primary, offsite } = await twoRepositories();
  const first = follow(server.address, { primary, offsite }, MORE);
  await write(server.address, 200);
  await first.caughtUp();
  await first.stop();
  const answer = Promise.withResolvers<void>();
  const gates: Record<string, Gate> = { offsite: { refusal: undefined, silence: answer.promise } };
  await using second = follow(server.address, { primary, offsite }, { ...MORE, gates });
  await second.until("it begins", () => second.begun.length > 0);
  assert.deepEqual(
    second.begun[0]?.away.map(({ name }) => name),
    ["offsite"],
  );
  await write(server.address, 200);
  await has(second, "primary");
  answer.resolve();
  const end = await has(second, "offsite");
  assert.deepEqual(
    second.joined.map(({ name, isGapped }) => [name, isGapped]),
    [["offsite", false]],
  );
  assert.equal(second.begun.length, 1, "the line goes on");
  await assertWhole(offsite, end);
});

test("what a repository lacks that no other has is fetched from the server", async () => {
  const { primary, offsite } = await twoRepositories();
  const first = follow(server.address, { offsite }, MORE);
  await write(server.address, 200);
  await first.caughtUp();
  await first.stop();
  await grow(server.address, 2);
  // A new slot keeps what follows the last checkpoint.
  await ask(server.address, "checkpoint");
  await ask(server.address, `select pg_drop_replication_slot('${slotName(IDENTITY.id)}')`);
  const gate: Gate = { refusal: AWAY, isAway: true };
  await using second = follow(server.address, { primary, offsite }, { ...MORE, gates: { offsite: gate } });
  await write(server.address, 200);
  await has(second, "primary");
  gate.refusal = undefined;
  gate.isAway = false;
  const end = await has(second, "offsite");
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[], []],
  );
  await assertWhole(offsite, end);
  await assertWhole(primary, end);
});
