/** One database in the place of another, under clients that do not wait to be told. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { systemClock } from "../../src/base/clock.ts";
import { listDiscardable, liveBlockers } from "../../src/job/restore-live.ts";
import { planRollback, rollback } from "../../src/job/rollback.ts";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { copyDatabaseEntry } from "../../src/postgres/database-entry.ts";
import { keptName, type KeptNote, listKept, noteDatabase, readDatabase } from "../../src/postgres/kept-databases.ts";
import { dropDatabase, type Swap, swapDatabases, swapRights } from "../../src/postgres/swap.ts";
import { connectBeside } from "../../src/postgres/target.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
const clock = systemClock;
const AT = "2026-03-01T02:03:04Z";
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["wal_level=logical", "max_prepared_transactions=4"] });
});
after(async () => {
  await server.stop();
});

/** As a restore asks for it. */
function swapOf(live: string, fresh: string): Swap {
  return { live, fresh, why: "before", point: "0123456789abcdef" };
}

function noteOf(live: string): KeptNote {
  return { chatkeep: "before", of: live, point: "0123456789abcdef", at: AT };
}

/** Two databases that say which one they are. */
async function makePair(live: string, owner?: string): Promise<{ address: ServerAddress; fresh: string }> {
  const fresh = `${live}_fresh`;
  const address = await server.createDatabase(live, owner);
  await server.createDatabase(fresh, owner);
  await server.query("create table here as select 'old' as word", live);
  await server.query("create table here as select 'new' as word", fresh);
  await server.query("grant select on here to public", live);
  await server.query("grant select on here to public", fresh);
  return { address, fresh };
}

async function wordIn(database: string): Promise<unknown> {
  return (await server.query("select word from here", database))[0]?.["word"];
}

async function names(like: string): Promise<string[]> {
  const rows = await server.query(`select datname from pg_database where datname like '${like}%' order by 1`);
  return rows.map((row) => String(row["datname"]));
}

/** A program that connects again at once whenever it is thrown out, as a superuser, and tells what it read. */
function insist(database: string, stop: AbortSignal): Promise<unknown[]> {
  const read: unknown[] = [];
  return (async () => {
    while (!stop.aborted) {
      const client = new Client({ ...server.address, database });
      client.on("error", () => {});
      try {
        await client.connect();
        while (!stop.aborted) {
          const { rows } = await client.query<{ word: string }>("select word from here");
          if (read.at(-1) !== rows[0]?.word) read.push(rows[0]?.word);
        }
      } catch {
        // Thrown out: once more.
      } finally {
        await client.end().catch(() => {});
      }
    }
    return read;
  })();
}

test("a database is swapped under superusers that connect again at once, who read the old one and then the new one", async () => {
  const { address, fresh } = await makePair("busy");
  const stop = new AbortController();
  const clients = Array.from({ length: 6 }, () => insist("busy", stop.signal));
  await sleep(200);
  const kept = await swapDatabases(address, swapOf("busy", fresh), { clock, signal });
  // Each must come to read the new one.
  while (
    (await server.query("select count(*)::int as n from pg_stat_activity where datname = 'busy'"))[0]?.["n"] !== 6
  ) {
    await sleep(20);
  }
  await sleep(100);
  stop.abort();
  for (const read of await Promise.all(clients)) assert.deepEqual(read, ["old", "new"]);
  assert.deepEqual([await wordIn("busy"), await wordIn(kept)], ["new", "old"]);
  assert.deepEqual(await names("busy"), ["busy", kept]);
  const [found] = await listKept(address, { signal });
  assert.deepEqual([found?.name, found?.chatkeep, found?.point], [kept, "before", "0123456789abcdef"]);
});

test("whatever moment its session is ended at, one whole database has the live name, and the next swap goes on", async () => {
  const { address, fresh } = await makePair("cut");
  let swapped = 0;
  for (let round = 0; round < 12; round += 1) {
    const [live, other] = swapped % 2 === 0 ? ["old", "new"] : ["new", "old"];
    const from = swapped % 2 === 0 && round === 0 ? fresh : ((await names("cut")).find((name) => name !== "cut") ?? "");
    const swapping = swapDatabases(address, swapOf("cut", from), { clock, signal });
    const outcome = swapping.then(
      () => true,
      () => false,
    );
    await sleep(round * 4);
    await server.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chatkeep' and datname = 'postgres'",
    );
    const told = await outcome;
    const word = await wordIn("cut");
    assert.ok(word === live || word === other, String(word));
    assert.equal(told, word === other, "a swap is done when it was said to be, and only then");
    if (word === other) swapped += 1;
    assert.equal((await names("cut")).length, 2, "no database is lost, and none is made");
  }
  const from = (await names("cut")).find((name) => name !== "cut") ?? "";
  const before = await wordIn("cut");
  await swapDatabases(address, swapOf("cut", from), { clock, signal });
  assert.notEqual(await wordIn("cut"), before);
});

test("a session that our role may not end is named, and nothing is swapped", async () => {
  await server.query("create role keeper login createdb password 'x'");
  const { address, fresh } = await makePair("held", "keeper");
  const holder = new Client({ ...server.address, database: "held", application_name: "console" });
  await holder.connect();
  try {
    const asKeeper = { ...address, user: "keeper", password: "x" };
    await assert.rejects(
      swapDatabases(asKeeper, swapOf("held", fresh), { clock, signal, patienceMs: 0 }),
      (error) => isFailure(error, "target/unsuitable") && /does not end: process \d+ .*console/.test(error.message),
    );
    assert.deepEqual([await wordIn("held"), await wordIn(fresh)], ["old", "new"]);
  } finally {
    await holder.end();
  }
});

/** A consumer of a logical slot, as a replica or a change stream is. */
function consume(database: string, slot: string): { stop: () => Promise<void> } {
  const { host, port, user } = server.address;
  const args = ["-h", host, "-p", String(port), "-U", user, "-d", database, "--slot", slot, "--start", "-f", "-"];
  const child = spawn(join(server.programs, "pg_recvlogical"), args, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    async stop() {
      child.kill("SIGINT");
      await ended;
    },
  };
}

async function untilSlot(slot: string, isActive: boolean): Promise<void> {
  const state = async () =>
    (await server.query(`select active from pg_replication_slots where slot_name = '${slot}'`))[0]?.["active"];
  while ((await state()) !== isActive) await sleep(20);
}

test("a slot that is read from, a subscription and a prepared transaction are told before a swap, and by a drop", async () => {
  const { address, fresh } = await makePair("copied");
  const found = async () => {
    const { blockers, findings } = await liveBlockers(address, { signal });
    return [...blockers, ...findings].map(({ level, message }) => `${level} ${message.replace(/:.*: /, ": ")}`);
  };
  assert.deepEqual(await found(), []);
  await server.query("select pg_create_logical_replication_slot('stream', 'test_decoding')", "copied");
  assert.deepEqual(await found(), [
    "warning 1 logical replication slot of 'copied' would stay with the database that is put aside: stream",
  ]);
  await server.query(
    "create subscription inward connection 'host=nowhere.example.org' publication p with (connect = false)",
    "copied",
  );
  assert.equal((await found()).length, 1, "a subscription that is disabled holds nothing");
  const consumer = consume("copied", "stream");
  try {
    await untilSlot("stream", true);
    await server.query("alter subscription inward enable", "copied");
    await server.query("begin; insert into here values ('later'); prepare transaction 'half done'", "copied");
    const held = "so no other database can take its place";
    assert.deepEqual(await found(), [
      `alarm 1 logical replication slot of 'copied' is in use, ${held}: stream`,
      `alarm 1 subscription of 'copied' is enabled, ${held}: inward`,
      `alarm 1 prepared transaction of 'copied' is open, ${held}: half done`,
    ]);
    await assert.rejects(
      dropDatabase(address, "copied", { isOwn: false, signal }),
      (error) =>
        isFailure(error, "target/unsuitable") &&
        /slot 'stream'.*subscription 'inward'.*'half done'/.test(error.message) &&
        /slot_name = NONE/.test(error.hint ?? ""),
    );
  } finally {
    await consumer.stop();
  }
  await untilSlot("stream", false);
  await server.query("alter subscription inward disable", "copied");
  const swap = swapOf("copied", fresh);
  await assert.rejects(
    swapDatabases(address, swap, { clock, signal, patienceMs: 0 }),
    (error) => isFailure(error, "target/unsuitable") && /does not end: .*'half done'/.test(error.message),
  );
  await server.query("rollback prepared 'half done'", "copied");
  const kept = await swapDatabases(address, swap, { clock, signal });
  await assert.rejects(dropDatabase(address, kept, { signal }), /subscription 'inward'/);
  // As if we had made it: the name of the subscription's slot, on a server that does not answer, is forgotten.
  await dropDatabase(address, kept, { isOwn: true, signal });
  assert.deepEqual(await names("copied"), ["copied"]);
  assert.deepEqual(await server.query("select slot_name from pg_replication_slots"), []);
});

test("what would keep a rollback from swapping is told before any session is ended, of both databases", async () => {
  await server.query("create role borrower login createdb");
  const { address, fresh: back } = await makePair("again", "borrower");
  const asBorrower = { ...address, user: "borrower" };
  {
    await using beside = await connectBeside(address, { signal });
    await noteDatabase(beside, back, noteOf("again"));
  }
  // By its name: it has none that a restore gives, so it may serve something else.
  await assert.rejects(
    planRollback(asBorrower, undefined, { signal }),
    (error) => isFailure(error, "target/unsuitable") && error.hint?.includes(`'chatkeep rollback ${back}'`) === true,
  );
  const plan = await planRollback(asBorrower, back, { signal });
  assert.deepEqual([plan.back, plan.blockers], [back, []]);
  await server.query("create role stranger login createdb");
  const asStranger = await planRollback({ ...address, user: "stranger" }, back, { signal });
  assert.deepEqual(
    asStranger.blockers.map(({ kind, hint }) => [kind, /GRANT "borrower" TO "stranger"/.test(hint)]),
    [
      ["database-no-swap", true],
      ["database-no-swap", true],
    ],
  );
  await server.query("select pg_create_logical_replication_slot('aside', 'test_decoding')", "again");
  for (const name of ["again", back]) {
    await server.query(`begin; create table half (n int); prepare transaction 'half in ${name}'`, name);
  }
  const client = new Client({ ...address, database: "again" });
  await client.connect();
  try {
    const { blockers, findings } = await planRollback(asBorrower, back, { signal });
    assert.deepEqual(
      blockers.map(({ message }) => message),
      [
        "1 prepared transaction of 'again' is open, so no other database can take its place: half in again",
        `1 prepared transaction of '${back}' is open, so it cannot be put back: half in ${back}`,
      ],
    );
    assert.ok(findings.some(({ kind }) => kind === "database-slots"));
    await assert.rejects(
      rollback(asBorrower, plan, { clock: systemClock, signal }),
      (error) => isFailure(error, "target/unsuitable") && /half in again/.test(error.message),
    );
    assert.equal((await client.query("select word from here")).rows[0]?.word, "old", "nobody was thrown out");
  } finally {
    await client.end();
    for (const name of ["again", back]) await server.query(`rollback prepared 'half in ${name}'`, name);
    await server.query("select pg_drop_replication_slot('aside')", "again");
  }
  await rollback(asBorrower, plan, { clock: systemClock, signal });
  assert.equal(await wordIn("again"), "new");
  await server.query(`alter database again rename to "gone"`);
  const [kept] = await listKept(address, { signal });
  const missing = await planRollback(asBorrower, kept?.name, { signal });
  assert.deepEqual(
    missing.blockers.map(({ kind }) => kind),
    ["database-missing"],
  );
});

test("a role that may not rename is told so, and nothing is swapped", async () => {
  await server.query("create role visitor login password 'x'");
  const { address, fresh } = await makePair("foreign");
  const asVisitor = { ...address, user: "visitor", password: "x" };
  await assert.rejects(
    swapDatabases(asVisitor, swapOf("foreign", fresh), { clock, signal }),
    (error) => isFailure(error, "target/unsuitable") && /may not rename/.test(error.message),
  );
  assert.deepEqual([await wordIn("foreign"), await wordIn(fresh)], ["old", "new"]);
  await using connection = await connectBeside(asVisitor, { signal });
  assert.deepEqual(await swapRights(connection, "foreign"), {
    canCreate: false,
    isOwner: false,
    isMember: false,
    canGive: false,
    owner: "postgres",
    isOwnerSuperuser: true,
    major: server.major,
  });
});

test("what belongs to a database's entry goes with the name: settings, lists among them, owner, limit and rights", async () => {
  await server.query("create role landlord");
  await server.query("create role reader");
  await server.createDatabase("settled");
  await server.createDatabase("settled_fresh");
  for (const sql of [
    "alter database settled set search_path = app, public",
    "alter database settled set app.tenant = 'o''clock, one'",
    "alter database settled set work_mem = '8MB'",
    "alter role reader in database settled set statement_timeout = '5s'",
    "alter database settled connection limit 77",
    "revoke all on database settled from public",
    "grant connect on database settled to reader",
    "alter database settled owner to landlord",
  ]) {
    await server.query(sql);
  }
  await using connection = await connectBeside(server.address, { signal });
  assert.deepEqual(await copyDatabaseEntry(connection, { from: "settled", to: "settled_fresh" }), []);
  const facts = async (name: string) => [
    await server.query(
      `select pg_get_userbyid(datdba) as owner, datconnlimit, datacl::text from pg_database where datname = '${name}'`,
    ),
    await server.query(
      `select setrole, array(select unnest(setconfig) order by 1) as settings from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = '${name}') order by 1`,
    ),
  ];
  assert.deepEqual(await facts("settled_fresh"), await facts("settled"));
});

test("what lies beside a database is told by its comment, the newest first, and dropped by its name", async () => {
  const address = await server.createDatabase("aside");
  await using connection = await connectBeside(address, { signal });
  for (const [name, at] of [
    ["aside_a", "2026-01-01T00:00:00Z"],
    ["aside_b", "2026-02-01T00:00:00Z"],
  ] as const) {
    await server.createDatabase(name);
    await noteDatabase(connection, name, { ...noteOf("aside"), at });
  }
  await server.createDatabase("aside_other");
  await server.query('comment on database aside_other is \'{"chatkeep":"before","of":"another"\'');
  const kept = await listKept(address, { signal });
  assert.deepEqual(
    kept.map(({ name, sessions }) => [name, sessions]),
    [
      ["aside_b", 0],
      ["aside_a", 0],
    ],
  );
  assert.ok((kept[0]?.bytes ?? 0) > 1_000_000);
  // A restore that was killed before it could say what it made.
  await server.createDatabase(keptName("aside", "restoring", AT));
  await server.createDatabase(keptName("aside_other", "restoring", AT));
  const [left] = await listKept(address, { signal });
  assert.deepEqual([left?.name, left?.chatkeep, left?.at], [keptName("aside", "restoring", AT), "restoring", AT]);
  await dropDatabase(address, left?.name ?? "", { signal });
  await dropDatabase(address, "aside_b", { signal });
  assert.deepEqual(
    (await listKept(address, { signal })).map(({ name }) => name),
    ["aside_a"],
  );
});

test("the live database is never one that was put aside, whatever its comment says, nor is one that got a name of its own", async () => {
  const { address, fresh } = await makePair("byhand");
  const rolledback = keptName("byhand", "rolledback", AT);
  await using connection = await connectBeside(address, { signal });
  for (const note of [
    { ...noteOf("byhand"), chatkeep: "rolledback", hadNone: true },
    { ...noteOf("byhand"), chatkeep: "restoring" },
  ] satisfies KeptNote[]) {
    await noteDatabase(connection, "byhand", note);
    assert.deepEqual(await listKept(address, { signal }), []);
    assert.deepEqual(await liveBlockers(address, { signal }), { blockers: [], findings: [] });
    await assert.rejects(planRollback(address, undefined, { signal }), /no restore put a database aside/);
    // It may serve something else.
    await noteDatabase(connection, fresh, note);
    assert.deepEqual(
      (await listKept(address, { signal })).map(({ name, isRenamed }) => [name, isRenamed]),
      [[fresh, true]],
    );
    assert.deepEqual(await listDiscardable(address, { signal }), []);
    assert.ok(!(await liveBlockers(address, { signal })).findings.some(({ kind }) => kind === "restore-left"));
    await server.query(`comment on database ${fresh} is null`);
  }
  // With the swap the comment goes, and is on nothing that is live again.
  const kept = await swapDatabases(address, swapOf("byhand", fresh), { clock, signal });
  assert.equal((await readDatabase(connection, "byhand"))?.note, undefined);
  await server.query(`alter database "${kept}" rename to "${rolledback}"`);
  await noteDatabase(connection, rolledback, { ...noteOf("byhand"), chatkeep: "rolledback" });
  assert.deepEqual(
    (await listDiscardable(address, { signal })).map(({ name }) => name),
    [rolledback],
  );
});

test("a database that is called postgres is swapped from another one, and back", async () => {
  const fresh = keptName("postgres", "restoring", AT);
  const address = await server.createDatabase(fresh);
  await server.query("create table here as select 'old' as word", "postgres");
  await server.query("create table here as select 'new' as word", fresh);
  const live = { ...address, database: "postgres" };
  const kept = await swapDatabases(live, swapOf("postgres", fresh), { clock, signal });
  assert.deepEqual([await wordIn("postgres"), await wordIn(kept)], ["new", "old"]);
  assert.deepEqual(
    (await listKept(live, { signal })).map(({ name, chatkeep }) => [name, chatkeep]),
    [[kept, "before"]],
  );
  const last = await swapDatabases(live, swapOf("postgres", kept), { clock, signal });
  assert.equal(await wordIn("postgres"), "old");
  await dropDatabase(live, last, { signal });
  await server.query("drop table here", "postgres");
});

test("names stay within PostgreSQL's 63 bytes, whatever letters they have", () => {
  assert.equal(keptName("chatwoot_production", "before", AT), "chatwoot_production_before_20260301T020304");
  for (const live of ["x".repeat(63), "ü".repeat(31), "😀".repeat(15)]) {
    const name = keptName(live, "rolledback", AT);
    assert.ok(Buffer.byteLength(name) <= 63 && name.endsWith("_rolledback_20260301T020304"), name);
    const next = keptName(live, "rolledback", AT, [name]);
    assert.ok(Buffer.byteLength(next) <= 63 && next.endsWith("_rolledback_20260301T020304_2"), next);
  }
});
