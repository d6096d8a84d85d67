/** A real server's log goes to a repository, over sessions that are cut, watches that end, and a place that refuses. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../../../src/base/errors.ts";
import { clockOffFindings } from "../../../src/job/clock-off.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { openReplication } from "../../../src/postgres/replication.ts";
import { createSlot, slotName } from "../../../src/postgres/replication-slots.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { hasty, newRepository } from "../../repo/small-backup.ts";
import { IDENTITY } from "../memory-desk.ts";
import { assertSameAsServer, follow, type Gate, write } from "./following.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await server.query("create table rows (id bigint generated always as identity, body text)");
});
after(async () => {
  await server.stop();
});

test("what a server writes is in the journal, and in spans when segments are whole, byte for byte", async () => {
  const repository = await newRepository(createMemoryStore());
  await using following = follow(server.address, { primary: repository });
  await write(server.address, 1_000);
  const first = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= first);
  await write(server.address, 60_000);
  const second = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= second);
  const { spans, journal } = await listContinuous(repository, IDENTITY.id, new AbortController());
  assert.ok(spans.length > 0);
  const saved = spans.reduce((most, { span }) => (span.to > most ? span.to : most), 0n);
  assert.ok(
    journal.objects.every(({ to }) => to > saved),
    "what spans hold is gone from the journal",
  );
  assert.deepEqual(
    following.begun.map(({ gapped, away }) => ({ gapped, away })),
    [{ gapped: [], away: [] }],
  );
});

test("a machine whose clock is an hour behind the server's knows it", async () => {
  const behind = { ...hasty, now: () => hasty.now() - 3_600_000 };
  const repository = await newRepository(createMemoryStore());
  await using following = follow(server.address, { primary: repository }, { clock: behind });
  await following.until("the server was asked", () => following.state()?.clockAheadMs !== undefined);
  const [finding] = clockOffFindings("the database's server", following.state()?.clockAheadMs ?? 0);
  assert.match(finding?.message ?? "", /clock is .* behind that of the database's server/);
});

test("a session that is cut is followed by another, and a watch by the next one, without a gap", async () => {
  const repository = await newRepository(createMemoryStore());
  const first = follow(server.address, { primary: repository });
  await write(server.address, 20_000);
  await first.caughtUp();
  const sessions =
    "select pid from pg_stat_activity where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')";
  const cut = await server.query(sessions);
  assert.equal(cut.length, 2, "the one that the log comes by, and the one that asks");
  await server.query(`select pg_terminate_backend(pid) from (${sessions}) s`);
  await write(server.address, 20_000);
  await first.caughtUp();
  assert.deepEqual(
    first.troubles.filter((code) => code !== undefined),
    [],
    "nobody is told of a session that another follows at once",
  );
  await write(server.address, 3_000);
  await first.stop();
  await write(server.address, 20_000);
  await using second = follow(server.address, { primary: repository });
  const end = await second.caughtUp();
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[]],
  );
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
});

/** Up to where pieces of the log lie one after the other. */
function reachedFrom(start: bigint, pieces: readonly { from: bigint; to: bigint }[]): bigint {
  const inOrder = pieces.toSorted((one, other) => Number(one.from - other.from));
  return inOrder.reduce((at, { from, to }) => (from <= at && to > at ? to : at), start);
}

test("while the server has neither a walsender nor a slot left, that is said, and nothing lacks when there is one again", async () => {
  const { signal } = new AbortController();
  const repository = await newRepository(createMemoryStore());
  await using small = await startPostgres({
    settings: ["max_slot_wal_keep_size=1GB", "max_wal_senders=2", "max_replication_slots=1"],
  });
  await small.query("create table rows (id bigint generated always as identity, body text)");
  const first = follow(small.address, { primary: repository });
  await write(small.address, 1_000);
  await first.caughtUp();
  await first.stop();
  const taken = [await openReplication(small.address, { signal }), await openReplication(small.address, { signal })];
  await using second = follow(small.address, { primary: repository });
  await second.until("no walsender is left", () => second.troubles.includes("database/full"));
  assert.deepEqual(second.begun, []);
  // Somebody drops our slot and takes the last place.
  const [thief, other] = taken;
  await small.query(`select pg_drop_replication_slot('${slotName(IDENTITY.id)}')`);
  if (thief !== undefined) await createSlot(thief, "somebody_elses", { isTemporary: true });
  await other?.[Symbol.asyncDispose]();
  await write(small.address, 1_000);
  const told = second.troubles.length;
  await second.until(
    "no slot is left",
    () => second.troubles.length > told && second.troubles.at(-1) === "database/full",
  );
  assert.deepEqual(second.begun, []);
  await thief?.[Symbol.asyncDispose]();
  const end = await second.caughtUp();
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[]],
  );
  assert.ok((await assertSameAsServer(small.address, repository)) >= end);
});

test("a slot that somebody drops while it is read from is made again without a gap", async () => {
  const repository = await newRepository(createMemoryStore());
  await using following = follow(server.address, { primary: repository });
  await write(server.address, 1_000);
  await following.caughtUp();
  const name = slotName(IDENTITY.id);
  for (let round = 0; round < 3; round += 1) {
    await write(server.address, 1_000);
    // Whoever reads from it is ended first; it may come back before the slot is dropped.
    await server.query(`do $$ begin loop
      perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${name}';
      begin perform pg_drop_replication_slot('${name}'); exit; exception when object_in_use or undefined_object then perform pg_sleep(0.01); end;
    end loop; end $$`);
    await write(server.address, 1_000);
    await following.caughtUp();
  }
  assert.equal(following.begun.length, 1, "it is one line");
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
  const [slot] = await server.query(`select count(*)::int as n from pg_replication_slots where slot_name = '${name}'`);
  assert.deepEqual(slot, { n: 1 });
});

test("a slot of which the server let go, while nobody read or while somebody did, is made anew, and the gap is told", async () => {
  const repository = await newRepository(createMemoryStore());
  const small = ["max_slot_wal_keep_size=4MB", "wal_keep_size=0", "min_wal_size=2MB", "max_wal_size=4MB"];
  await using own = await startPostgres({ settings: small, segmentMib: 1 });
  await own.query("create table rows (id bigint generated always as identity, body text)");
  const goOnUntil = async (what: string, holds: () => Promise<boolean> | boolean) => {
    for (let round = 0; !(await holds()); round += 1) {
      assert.ok(round < 200, what);
      await own.query("select pg_logical_emit_message(false, 'test', repeat('x', 1000)), pg_switch_wal()");
      await own.query("checkpoint");
    }
  };
  const isLost = async () => (await own.query("select from pg_replication_slots where wal_status = 'lost'")).length > 0;
  const first = follow(own.address, { primary: repository });
  await write(own.address, 100);
  await first.caughtUp();
  await first.stop();
  await goOnUntil("the slot is lost", isLost);
  // Later its repository refuses, so that what was received is not confirmed, and the server ends the session itself.
  const gate: Gate = { refusal: undefined };
  await using second = follow(own.address, { primary: repository }, { gate });
  await second.until("the gap is told", () => second.begun.some(({ gapped }) => gapped.includes("primary")));
  await write(own.address, 100);
  await second.caughtUp();
  gate.refusal = new Failure("store/unreachable", "no answer");
  const [reader] = await own.query("select active_pid as pid from pg_replication_slots");
  const reading = `select from pg_replication_slots where active_pid = ${String(reader?.["pid"])}`;
  await goOnUntil("the session is ended", async () => (await own.query(reading)).length === 0);
  gate.refusal = undefined;
  const end = await second.caughtUp();
  const { spans, journal } = await listContinuous(repository, IDENTITY.id, new AbortController());
  const last = second.begun.at(-1);
  assert.deepEqual(last?.gapped, ["primary"], "the second gap is told, too");
  const pieces = [...spans.map(({ span }) => span), ...journal.objects];
  assert.ok(reachedFrom(last.start, pieces) >= end, "behind the gap there is none");
});

test("a watch that begins anew soon after a gap makes no second one, where the server keeps what came since", async () => {
  const repository = await newRepository(createMemoryStore());
  // Without a bound the slot is temporary, and begins where the server's last checkpoint did.
  await using own = await startPostgres({ settings: ["min_wal_size=2MB", "max_wal_size=4MB"], segmentMib: 1 });
  await own.query("create table rows (id bigint generated always as identity, body text)");
  const goOn = async () => {
    for (let round = 0; round < 8; round += 1) {
      await own.query("select pg_logical_emit_message(false, 'test', repeat('x', 1000)), pg_switch_wal()");
      await own.query("checkpoint");
    }
  };
  const first = follow(own.address, { primary: repository });
  await write(own.address, 100);
  await first.caughtUp();
  await first.stop();
  await goOn();
  const second = follow(own.address, { primary: repository });
  await second.until("the gap is told", () => second.begun.some(({ gapped }) => gapped.includes("primary")));
  const start = second.begun.at(-1)?.start ?? 0n;
  await own.query("alter system set wal_keep_size = '64MB'");
  await own.query("select pg_reload_conf()");
  await write(own.address, 100);
  await second.caughtUp();
  await second.stop();
  await goOn();
  await using third = follow(own.address, { primary: repository });
  const end = await third.caughtUp();
  assert.equal(third.begun.at(-1)?.start, start, "it goes on with the line behind the gap");
  assert.deepEqual(third.begun.at(-1)?.gapped, ["primary"], "the gap is told by whoever begins");
  const { spans, journal } = await listContinuous(repository, IDENTITY.id, new AbortController());
  assert.ok(
    reachedFrom(start, [...spans.map(({ span }) => span), ...journal.objects]) >= end,
    "behind it there is none",
  );
});

test("a second repository that comes later has everything from then on, and the first goes on", async () => {
  const [one, other] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  const first = follow(server.address, { one });
  await write(server.address, 5_000);
  await first.caughtUp();
  await first.stop();
  await using both = follow(server.address, { one, other });
  await write(server.address, 5_000);
  const end = await both.caughtUp();
  assert.ok((await assertSameAsServer(server.address, one)) >= end);
  assert.ok((await assertSameAsServer(server.address, other)) >= end);
});

test("another server behind the same address is refused, and nothing of it is mixed in, until somebody says that it is the new one", async () => {
  const repository = await newRepository(createMemoryStore());
  await using stranger = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await stranger.query("create table rows (id bigint generated always as identity, body text)");
  const address = { ...server.address };
  const accepted = new Set<string>();
  const isAccepted = async (systemId: string) => accepted.has(systemId);
  await using following = follow(address, { primary: repository }, { isAccepted });
  await write(server.address, 1_000);
  await following.caughtUp();
  address.port = stranger.address.port;
  await server.query("select pg_terminate_backend(pid) from pg_stat_replication");
  const refusals = () => following.troubles.filter((code) => code === "wal/other-cluster").length;
  await following.until("it is refused", () => refusals() > 0);
  const heardMs = following.state()?.heardMs;
  await following.until("it is refused again", () => refusals() > 1);
  assert.ok(heardMs !== undefined);
  assert.equal(following.state()?.heardMs, heardMs, "what it says is nothing of the one that is followed");
  address.port = server.address.port;
  await write(server.address, 1_000);
  const end = await following.caughtUp();
  assert.ok((following.state()?.heardMs ?? 0) > heardMs);
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
  assert.equal(following.begun.length, 1);

  // Somebody says that it took the place of the other: the one that runs goes on with it by itself.
  const [row] = await stranger.query("select system_identifier::text as id from pg_control_system()");
  accepted.add(String(row?.["id"]));
  address.port = stranger.address.port;
  await server.query("select pg_terminate_backend(pid) from pg_stat_replication");
  await following.until("it begins", () => following.begun.length === 2);
  assert.equal(following.begun[1]?.line.systemId, String(row?.["id"]));
  await write(stranger.address, 1_000);
  await following.caughtUp();
  assert.equal(following.state()?.line.systemId, String(row?.["id"]));
});

test("a watch that begins anew refuses a server that the repositories do not know, until somebody says that it is the new one", async () => {
  const repository = await newRepository(createMemoryStore());
  const first = follow(server.address, { primary: repository });
  await write(server.address, 1_000);
  await first.caughtUp();
  await first.stop();
  await using stranger = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await stranger.query("create table rows (id bigint generated always as identity, body text)");
  const accepted = new Set<string>();
  const isAccepted = async (systemId: string) => accepted.has(systemId);
  await using second = follow(stranger.address, { primary: repository }, { isAccepted });
  await second.until("it is refused", () => second.troubles.includes("wal/other-cluster"));
  assert.equal(second.begun.length, 0);
  assert.deepEqual(await stranger.query("select slot_name from pg_replication_slots"), []);
  const [row] = await stranger.query("select system_identifier::text as id from pg_control_system()");
  accepted.add(String(row?.["id"]));
  await write(stranger.address, 1_000);
  await second.until("it begins", () => second.begun.length === 1);
  await second.caughtUp();
  assert.equal(second.begun[0]?.line.systemId, String(row?.["id"]));
});

test("a slot that goes with the session becomes one that stays when the server gets a bound, and nobody is told of trouble", async () => {
  await using own = await startPostgres({});
  await own.query("create table rows (id bigint generated always as identity, body text)");
  await using following = follow(own.address, { primary: await newRepository(createMemoryStore()) });
  await write(own.address, 10);
  await following.caughtUp();
  const slots = async () => await own.query("select slot_name as name, temporary from pg_replication_slots");
  assert.deepEqual(
    (await slots()).map(({ temporary }) => temporary),
    [true],
  );
  await own.query("alter system set max_slot_wal_keep_size = '1GB'");
  await own.query("select pg_reload_conf()");
  const name = slotName(IDENTITY.id);
  const stays = async () => (await slots()).some((slot) => slot["name"] === name && slot["temporary"] === false);
  for (let looks = 0; !(await stays()); looks += 1) {
    assert.ok(looks < 600, "the slot is made anew");
    await sleep(100);
  }
  await write(own.address, 10);
  await following.caughtUp();
  assert.equal((await slots()).length, 1);
  assert.deepEqual(
    following.troubles.filter((code) => code !== undefined),
    [],
  );
  assert.equal(following.begun.length, 1, "the line goes on");
});

test("a server that another watch of the installation reads from is left alone until that one ends, whatever its slot is called", async () => {
  const { signal } = new AbortController();
  await using unbounded = await startPostgres({});
  await unbounded.query("create table rows (id bigint generated always as identity, body text)");
  for (const { on, isTemporary, suffix } of [
    { on: unbounded, isTemporary: true, suffix: "_1" },
    { on: unbounded, isTemporary: true, suffix: `_${process.pid}` },
    { on: server, isTemporary: true, suffix: "_1" },
  ]) {
    const other = await openReplication(on.address, { signal });
    await createSlot(other, `${slotName(IDENTITY.id)}${suffix}`, { isTemporary });
    const stranger = await openReplication(on.address, { signal });
    await createSlot(stranger, `${slotName(IDENTITY.id)}_of_another`, { isTemporary });
    await using following = follow(on.address, { primary: await newRepository(createMemoryStore()) });
    await following.until("it is refused", () => following.troubles.includes("wal/slot-in-use"));
    assert.deepEqual(following.begun, []);
    await other[Symbol.asyncDispose]();
    await write(on.address, 100);
    await following.until("it begins", () => following.begun.length === 1);
    await following.caughtUp();
    await stranger[Symbol.asyncDispose]();
  }
});
