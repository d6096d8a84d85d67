import assert from "node:assert/strict";
import { appendFile, open, readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { chooseMode } from "../../src/app/watch-mode.ts";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { takeBase } from "../../src/job/continuous/take-base.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { lookAtReplication, type ReplicationLook } from "../../src/postgres/replication-look.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { createSlot } from "../../src/postgres/replication-slots.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { startPgbouncer } from "../harness/pgbouncer.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { ask } from "../job/continuous/following.ts";
import { IDENTITY } from "../job/memory-desk.ts";
import { newRepository } from "../repo/small-backup.ts";

const { signal } = new AbortController();
let server: TestServer;
let plain: ServerAddress;

before(async () => {
  server = await startPostgres({ auth: "scram", settings: ["max_wal_senders=2", "max_replication_slots=1"] });
  await server.query(`create role "Plain one" login password 'plain-secret'`);
  plain = { ...server.address, user: "Plain one", password: "plain-secret" };
});
after(async () => {
  await server.stop();
});

const look = async (address: ServerAddress) => await lookAtReplication(address, { signal });
const kinds = (told: readonly { kind: string }[]) => told.map(({ kind }) => kind);
const lineOf = (seen: ReplicationLook, kind: string) =>
  [...seen.obstacles, ...seen.remarks].find((told) => told.kind === kind)?.line ?? "";

/** A line that was reloaded counts for whoever comes after the postmaster has read it. */
async function untilLook(address: ServerAddress, fits: (seen: ReplicationLook) => boolean): Promise<ReplicationLook> {
  for (;;) {
    const seen = await look(address);
    if (fits(seen)) return seen;
    await sleep(50);
  }
}

test("where the log can be streamed it is said by whom, and with which slot", async () => {
  const seen = await look(server.address);
  assert.equal(seen.mode, "stream");
  assert.deepEqual(seen.obstacles, []);
  assert.match(seen.system?.systemId ?? "", /^\d{10,}$/);
  assert.equal(seen.slot, "temporary");
  assert.deepEqual(kinds(seen.remarks), ["slot-unbounded"]);
  const { facts } = seen;
  assert.deepEqual(
    [facts.major, facts.isStandby, facts.walLevel, facts.segmentBytes, facts.senders, facts.slots],
    [server.major, false, "replica", 16 * 1024 ** 2, { most: 2, used: 0 }, { most: 1, used: 0 }],
  );
  assert.deepEqual([facts.slotKeepBytes, facts.keepBytes, facts.senderTimeoutSeconds], [undefined, 0, 60]);
  assert(facts.hbaFile?.endsWith("/pg_hba.conf"));
  assert(facts.databases.some(({ name, encoding }) => name === "postgres" && encoding === "UTF8"));
  // The line does what it says.
  await server.query(lineOf(seen, "slot-unbounded"));
  await server.query("select pg_reload_conf()");
  const bounded = await untilLook(server.address, ({ facts: { slotKeepBytes } }) => slotKeepBytes !== undefined);
  assert.deepEqual(
    [bounded.slot, bounded.facts.slotKeepBytes, kinds(bounded.remarks)],
    ["permanent", 10 * 1024 ** 3, []],
  );
});

test("each thing in the way is told with the line that changes it, and the lines do", async () => {
  const hbaFile = (await look(server.address)).facts.hbaFile ?? "";
  const before = await readFile(hbaFile, "utf8");
  await writeFile(hbaFile, before.replaceAll(/^.* replication .*$/gm, ""));
  await server.query("select pg_reload_conf()");
  const shut = await untilLook(plain, ({ obstacles }) => kinds(obstacles).includes("pg-hba"));
  assert.equal(shut.mode, "none");
  assert.equal(shut.system, undefined);
  assert.deepEqual(kinds(shut.obstacles), ["pg-hba", "role"]);
  const line = lineOf(shut, "pg-hba");
  assert.equal(line, `host replication "Plain one" 127.0.0.1/32 scram-sha-256`);
  assert.equal(shut.facts.hbaFile, undefined);
  const [told] = shut.obstacles;
  assert.match(told?.hint ?? "", /^It goes into pg_hba\.conf \(SHOW hba_file says a superuser where\)/);
  assert(!JSON.stringify(shut.obstacles).includes("plain-secret"));
  const superusers = await look(server.address);
  assert(superusers.obstacles[0]?.hint.includes(hbaFile));

  await appendFile(hbaFile, `${line}\n`);
  await server.query("select pg_reload_conf()");
  const mayNot = await untilLook(plain, ({ obstacles }) => !kinds(obstacles).includes("pg-hba"));
  assert.deepEqual(kinds(mayNot.obstacles), ["role"]);
  assert.equal(lineOf(mayNot, "role"), `ALTER ROLE "Plain one" REPLICATION;`);
  await server.query(lineOf(mayNot, "role"));
  assert.equal((await look(plain)).mode, "stream");

  // What a service's server has that nobody else has.
  await server.query("create role rds_superuser");
  const managed = await untilLook(server.address, ({ mode }) => mode === "none");
  assert.deepEqual(kinds(managed.obstacles), ["managed"]);
  assert.match(managed.obstacles[0]?.message ?? "", /Amazon RDS/);
  await server.query("drop role rds_superuser");
  await writeFile(hbaFile, before);
  await server.query("select pg_reload_conf()");
  await untilLook(server.address, ({ mode }) => mode === "stream");
});

test("walsenders and slots that are taken are counted", async () => {
  await using first = await openReplication(server.address, { signal });
  await createSlot(first, "somebody_elses", { isTemporary: true });
  const one = await look(server.address);
  assert.deepEqual([one.mode, one.slot, kinds(one.remarks)], ["stream", "none", ["slots-full", "walsender-single"]]);
  assert.match(one.remarks[0]?.message ?? "", /^1 of 1 replication slots/);
  assert.equal(lineOf(one, "slots-full"), "ALTER SYSTEM SET max_replication_slots = 10;");
  await using second = await openReplication(server.address, { signal });
  const none = await look(server.address);
  assert.deepEqual([none.mode, kinds(none.obstacles)], ["none", ["walsenders"]]);
  assert.equal(lineOf(none, "walsenders"), "ALTER SYSTEM SET max_wal_senders = 10;");
  await assert.rejects(openReplication(server.address, { signal }), (error) => isFailure(error, "database/full"));
  await assert.rejects(createSlot(second, "one_more", { isTemporary: true }), (error) =>
    isFailure(error, "database/full"),
  );
});

test("a pooler in between is told, whether it refuses replication or takes it for something else", async () => {
  const { user, password = "" } = server.address;
  const users = [{ name: user, password }];
  for (const settings of [[], ["ignore_startup_parameters = replication"]]) {
    await using pooler = await startPgbouncer(server.address, { mode: "session", users, settings });
    const seen = await look({ ...server.address, port: pooler.port });
    assert.deepEqual([seen.mode, kinds(seen.obstacles)], ["none", ["pooler"]]);
  }
});

test("a server whose log has too little, and that sends it to nobody, is told in one look, with lines that belong together", async () => {
  await using stopped = await StoppedPostgres.make();
  await stopped.start();
  await ask(stopped.address, "alter system set wal_level = minimal");
  await ask(stopped.address, "alter system set max_wal_senders = 0");
  await ask(stopped.address, "alter system set max_replication_slots = 0");
  await stopped.stop();
  await stopped.start();
  const seen = await look(stopped.address);
  assert.equal(seen.mode, "none");
  assert.deepEqual(kinds(seen.obstacles), ["wal-level", "slots"]);
  const lines = lineOf(seen, "wal-level");
  assert.equal(lines, "ALTER SYSTEM SET wal_level = 'replica'; ALTER SYSTEM SET max_wal_senders = 10;");
  for (const line of [...lines.split("; "), lineOf(seen, "slots")]) await ask(stopped.address, line);
  await stopped.stop();
  await stopped.start();
  assert.deepEqual((await look(stopped.address)).obstacles, []);
});

test("what the installation itself has at the server is not in its own way", async () => {
  const own = "chatkeep_desk";
  // Sessions of the tests before may still be ending.
  await untilLook(server.address, ({ facts }) => facts.senders.used + facts.slots.used === 0);
  await using first = await openReplication(server.address, { signal });
  await createSlot(first, `${own}_${process.pid}`, { isTemporary: true });
  const mine = await lookAtReplication(server.address, { signal, own });
  assert.deepEqual([mine.facts.slots.used, mine.facts.senders.used, mine.facts.isFollowed], [0, 0, true]);
  assert(!kinds(mine.remarks).some((kind) => kind === "slots-full" || kind === "walsender-single"));
  const theirs = await lookAtReplication(server.address, { signal, own: "chatkeep_another" });
  assert.deepEqual([theirs.facts.slots.used, theirs.facts.senders.used, theirs.facts.isFollowed], [1, 1, false]);
  // The last walsender is a base of ours, or whoever came for a moment.
  await using second = await openReplication(server.address, { signal });
  assert.deepEqual(
    [await lookAtReplication(server.address, { signal, own }), await look(server.address)].map(({ mode }) => mode),
    ["stream", "none"],
  );
  await second.identifySystem();
});

test("a server that nobody answers at is a failure, and no look", async () => {
  await assert.rejects(look({ ...server.address, port: 1 }), (error) => isFailure(error, "database/unreachable"));
});

test("a database whose base could not be read back is in the way, and is refused before a base is begun", async () => {
  await using vast = await startPostgres();
  const [row] = await vast.query(
    "select current_setting('data_directory') as data, oid from pg_database where datname = 'postgres'",
  );
  // Nothing is written: the file has a length, and no blocks.
  const file = await open(`${String(row?.["data"])}/base/${String(row?.["oid"])}/4000000000`, "wx");
  await file.truncate(LIMITS.baseDatabaseBytes);
  await file.close();
  const seen = await look(vast.address);
  assert.equal(seen.mode, "none");
  const [told] = seen.obstacles.filter(({ kind }) => kind === "too-large");
  assert.match(told?.message ?? "", /^the database 'postgres' has 480 GiB of files, and a base of more than 480 GiB /);
  const repository = await newRepository(createMemoryStore());
  const writer = { repository, identity: IDENTITY, program: "chatkeep test", clock: systemClock, signal };
  const expected = { systemId: seen.system?.systemId ?? "", timeline: 1, least: 0n };
  await assert.rejects(
    takeBase(writer, { address: vast.address, rate: undefined, checkpoint: "fast", expected }),
    (error) => isFailure(error, "database/unsuitable") && error.message === told?.message,
  );
  const s = { signal } as Surroundings;
  const way = { address: vast.address, network: undefined };
  const { mode, why } = await chooseMode("auto", way, s);
  assert.deepEqual([mode, why], ["interval", told?.message]);
  await assert.rejects(chooseMode("stream", way, s), (error) => isFailure(error, "database/unsuitable"));
});
