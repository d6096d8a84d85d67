/** What can happen to a server whose log is followed, and to those who follow it: no gap goes unnoticed, and none is made that need not be. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { listContinuous } from "../../src/job/continuous/list.ts";
import { slotName } from "../../src/postgres/replication-slots.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { copyData } from "../harness/cluster.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { startStandby } from "../harness/standby.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { ask, assertSameAsServer, follow, type Gate, write } from "../job/continuous/following.ts";
import { IDENTITY } from "../job/memory-desk.ts";
import { newRepository } from "../repo/small-backup.ts";

const SETTINGS = ["max_slot_wal_keep_size=1GB"];
/** What is compared with the server's own files in the end must still be there, however often it was stopped. */
const KEPT = [...SETTINGS, "wal_keep_size=1GB"];
const SLOT = slotName(IDENTITY.id);
const MIB = 1024 * 1024;
const { signal } = new AbortController();

async function startServer(settings: readonly string[] = []): Promise<TestServer> {
  const server = await startPostgres({ settings: [...SETTINGS, ...settings] });
  await makeTable(server.address);
  return server;
}

async function makeTable(address: TestServer["address"]): Promise<void> {
  await ask(address, "create table rows (id bigint generated always as identity, body text)");
}

test("a server that is killed, stopped or crashes, and comes up again, is followed on without a gap", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await StoppedPostgres.make();
  await server.start(KEPT);
  await makeTable(server.address);
  await using following = follow(server.address, { primary: repository });
  await write(server.address, 30_000);
  await following.caughtUp();
  for (const end of ["kill", "stop", "crash", "kill", "stop"] as const) {
    await write(server.address, 2_000);
    await server[end]();
    await following.until("the loss is noticed", () => following.troubles.at(-1) !== undefined);
    await server.start(KEPT);
    await write(server.address, 2_000);
    const to = await following.caughtUp();
    assert.ok((await assertSameAsServer(server.address, repository)) >= to, end);
  }
  assert.equal(following.begun.length, 1, "it is one line");
});

test("after a failover the old timeline's end is kept, and the new one goes on from where it was left", async () => {
  const repository = await newRepository(createMemoryStore());
  await using primary = await startServer();
  await using standby = await startStandby(primary, SETTINGS);
  const address = { ...primary.address };
  await using following = follow(address, { primary: repository });
  await write(address, 20_000);
  await following.caughtUp();
  await standby.caughtUp();
  await primary.stop();
  await following.until("the loss is noticed", () => following.troubles.at(-1) !== undefined);
  await standby.promote();
  address.port = standby.address.port;
  await write(address, 20_000);
  await following.until("the next timeline is followed", () => following.state()?.line.timeline === 2);
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(address, repository, 2)) >= end);
  assert.deepEqual(
    following.begun.map(({ line, gapped }) => [line.timeline, gapped]),
    [
      [1, []],
      [2, []],
    ],
  );
  const { spans, journal } = await listContinuous(repository, IDENTITY.id, { signal });
  const pieces = [...spans.map(({ span }) => span), ...journal.objects];
  const first = pieces.filter(({ timeline }) => timeline === 1).reduce((most, { to }) => (to > most ? to : most), 0n);
  const begin = following.begun[1]?.start ?? 0n;
  assert.ok(first >= begin, "the old timeline reaches to where the new one begins");
});

const CUT = "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'chatkeep'";

test("an old primary that comes back after a failover is refused, and the promoted one is followed on", async () => {
  const repository = await newRepository(createMemoryStore());
  await using primary = await startServer();
  await using standby = await startStandby(primary, SETTINGS);
  const address = { ...primary.address };
  await using following = follow(address, { primary: repository });
  await write(address, 5_000);
  await following.caughtUp();
  await standby.caughtUp();
  await standby.promote();
  address.port = standby.address.port;
  await primary.query(CUT);
  await write(address, 5_000);
  await following.until("the next timeline is followed", () => following.state()?.line.timeline === 2);
  await following.caughtUp();
  // It knows nothing of its successor, and goes on writing.
  address.port = primary.address.port;
  await standby.query(CUT);
  await write(address, 5_000);
  await following.until("it is refused", () => following.troubles.includes("wal/other-cluster"));
  address.port = standby.address.port;
  await write(address, 5_000);
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(address, repository, 2)) >= end);
  assert.deepEqual(
    following.begun.map(({ line, gapped }) => [line.timeline, gapped]),
    [
      [1, []],
      [2, []],
    ],
  );
});

test("a server that is back on a disk from before is refused, and the right one is followed on without a gap", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await StoppedPostgres.make();
  await server.start(KEPT);
  await makeTable(server.address);
  await server.stop();
  const before = await server.remember();
  await server.start(KEPT);
  await using following = follow(server.address, { primary: repository });
  await write(server.address, 20_000);
  await following.caughtUp();
  await server.stop();
  await using folder = await temporaryFolder();
  await copyData(server.data, folder.at("now"));
  await before();
  await server.start(KEPT);
  await following.until("it is refused", () => following.troubles.includes("wal/other-cluster"));
  await server.stop();
  await rm(server.data, { recursive: true });
  await copyData(folder.at("now"), server.data);
  await server.start(KEPT);
  await write(server.address, 5_000);
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
  assert.equal(following.begun.length, 1, "it is one line");
});

test("a promoted server that lacks the end of the old timeline is followed all the same, and the gap is told", async () => {
  const repository = await newRepository(createMemoryStore());
  const small = ["min_wal_size=32MB", "max_wal_size=32MB", "wal_keep_size=0"];
  await using primary = await startServer(small);
  await using standby = await startStandby(primary, [...SETTINGS, ...small]);
  const first = follow(primary.address, { primary: repository });
  await write(primary.address, 5_000);
  await first.caughtUp();
  await first.stop();
  await write(primary.address, 5_000);
  await standby.caughtUp();
  await primary.stop();
  await standby.promote();
  for (let round = 0; round < 6; round += 1) {
    await write(standby.address, 20_000);
    await standby.query("select pg_switch_wal()");
    await standby.query("checkpoint");
  }
  await using second = follow(standby.address, { primary: repository });
  await second.until("the new timeline is followed", () => second.state()?.line.timeline === 2);
  await second.until("the gap is told", () => second.begun.some(({ gapped }) => gapped.includes("primary")));
  await write(standby.address, 5_000);
  await second.caughtUp();
});

test("a slot that somebody dropped is made again, and what the server still has is no gap", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await startServer();
  const first = follow(server.address, { primary: repository });
  await write(server.address, 5_000);
  await first.caughtUp();
  await first.stop();
  await server.query(`select pg_drop_replication_slot('${SLOT}')`);
  await write(server.address, 5_000);
  await using second = follow(server.address, { primary: repository });
  const end = await second.caughtUp();
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[]],
  );
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
});

test("what the server does not have any more is a gap that is told, and it goes on behind it", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await startServer(["min_wal_size=32MB", "max_wal_size=32MB", "wal_keep_size=0"]);
  const first = follow(server.address, { primary: repository });
  await write(server.address, 5_000);
  await first.caughtUp();
  await first.stop();
  await server.query(`select pg_drop_replication_slot('${SLOT}')`);
  for (let round = 0; round < 6; round += 1) {
    await write(server.address, 20_000);
    await server.query("select pg_switch_wal()");
    await server.query("checkpoint");
  }
  await using second = follow(server.address, { primary: repository });
  await write(server.address, 5_000);
  await second.until("a gap is told", () => second.begun.some(({ gapped }) => gapped.includes("primary")));
  await second.caughtUp();
});

test("a repository that refuses for a while misses nothing, and the server lets go of nothing meanwhile", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await startServer();
  const gate: Gate = { refusal: undefined };
  await using following = follow(server.address, { primary: repository }, { gate });
  await write(server.address, 5_000);
  const before = await following.caughtUp();
  gate.refusal = new Failure("store/unreachable", "no answer");
  await write(server.address, 40_000);
  await following.until("the tail is full or the server is ahead", () => {
    return (following.state()?.received ?? 0n) > before + BigInt(8 * MIB);
  });
  const [slot] = await server.query("select restart_lsn::text as kept from pg_replication_slots");
  assert.ok(parseLsn(String(slot?.["kept"])) <= (following.state()?.durableTo ?? 0n), "what is not durable is kept");
  assert.ok((following.state()?.durableTo ?? 0n) < (following.state()?.received ?? 0n));
  gate.refusal = undefined;
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
});

test("a slot for which the server keeps too much is given up, and that is told", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await startServer();
  const gate: Gate = { refusal: new Failure("store/unreachable", "no answer") };
  await using following = follow(
    server.address,
    { primary: repository },
    { gate, maxBytes: 16 * MIB, maxRetainedBytes: 64 * MIB },
  );
  await following.until("it began", () => following.begun.length > 0);
  await write(server.address, 120_000);
  // What came since the last one the server needs itself.
  await ask(server.address, "checkpoint");
  await following.until("it is given up", () => following.troubles.includes("wal/given-up"));
  gate.refusal = undefined;
  const end = await following.caughtUp();
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
});

test("of two who follow into one slot one waits, and goes on without a gap when the other has ended", async () => {
  const repository = await newRepository(createMemoryStore());
  await using server = await startServer();
  const first = follow(server.address, { primary: repository });
  await write(server.address, 5_000);
  await first.caughtUp();
  await using second = follow(server.address, { primary: repository });
  await second.until("the second is refused", () => second.troubles.includes("wal/slot-in-use"));
  await write(server.address, 5_000);
  await first.caughtUp();
  assert.equal(second.state(), undefined);
  await first.stop();
  await write(server.address, 5_000);
  const end = await second.caughtUp();
  assert.deepEqual(
    second.begun.map(({ gapped }) => gapped),
    [[]],
  );
  assert.ok((await assertSameAsServer(server.address, repository)) >= end);
});
