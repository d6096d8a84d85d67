import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { readServerFacts } from "../../src/postgres/server-facts.ts";
import { beginSnapshot, importSnapshot, openSnapshot, waitUntilDurable } from "../../src/postgres/snapshot.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  // Nothing reaches the disk by itself for a long time.
  server = await startPostgres({
    settings: ["synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=1GB"],
  });
  address = await server.createDatabase("snap");
  await server.query(
    "create table notes (id serial primary key, v text); insert into notes (v) values ('before')",
    "snap",
  );
});
after(async () => {
  await server.stop();
});

const run = async (sql: string) => await server.query(sql, "snap");

test("what is asked without a transaction is no error in the server's log", async () => {
  await using connection = await connect(address, { signal });
  await readServerFacts(connection);
  await assert.rejects(connection.query("select 'the marker'::int"));
  while (!server.log().includes("the marker")) await sleep(10);
  assert.doesNotMatch(server.log(), /SAVEPOINT/i);
});

test("another session reads what the snapshot saw, not what came after", async () => {
  await using snapshot = await openSnapshot(address, { signal });
  await run("insert into notes (v) values ('after'); create table later (id int)");
  await using other = await connect(address, { signal });
  await snapshot.importInto(other);
  assert.deepEqual(await other.query("select v from notes"), [{ v: "before" }]);
  assert.deepEqual(
    await snapshot.lookAt(
      [{ schema: "public", name: "notes" }],
      async (inside) => await inside.query("select v from notes"),
    ),
    [{ v: "before" }],
  );
  await assert.rejects(
    snapshot.lookAt([{ schema: "public", name: "later" }], async () => assert.fail("a later table was seen")),
    (error) => isFailure(error, "database/unsuitable"),
  );
  assert.match(snapshot.takenAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
});

const isGone = (error: unknown) => isFailure(error, "database/unreachable") && /is gone/.test(error.message);

test("a snapshot whose session has ended, or ends at this moment, is said to be gone", async () => {
  const snapshot = await openSnapshot(address, { signal });
  await snapshot.close();
  await using connection = await connect(address, { signal });
  await assert.rejects(importSnapshot(connection, snapshot.id), isGone);
  // The moment between the end of the transaction and that of its file cannot be brought about.
  connection.query = async () => {
    throw Object.assign(new Error("could not import the requested snapshot"), { code: "55000" });
  };
  await assert.rejects(importSnapshot(connection, snapshot.id), isGone);
});

test("a look leaves no lock behind, also when it fails", async () => {
  await using snapshot = await openSnapshot(address, { signal });
  const notes = [{ schema: "public", name: "notes" }];
  await snapshot.lookAt(notes, async (inside) => await inside.query("select count(*) from notes"));
  await assert.rejects(
    snapshot.lookAt(notes, async (inside) => await inside.query("select 1 / 0")),
    { code: "database/failed" },
  );
  await run("begin; lock table notes in access exclusive mode nowait; commit");
  assert.deepEqual(await snapshot.connection.query("select 1 as alive"), [{ alive: 1 }]);
});

test("what the snapshot saw is on disk once we have waited, although nobody commits", async () => {
  await using open = await connect(address, { signal });
  // WAL that no commit follows: its last page is only half full and would stay in memory.
  await open.query("begin; insert into notes (v) values ('never committed')");
  await using connection = await connect(address, { signal });
  const snapshot = await beginSnapshot(connection);
  const flushed = async () => {
    const [row] = await run(`select pg_current_wal_flush_lsn() >= '${snapshot.lsn}'::pg_lsn as yes`);
    return row?.["yes"];
  };
  assert.equal(await flushed(), false, "the server wrote it by itself: the test shows nothing");
  await snapshot.close();
  await waitUntilDurable(connection, snapshot.lsn, { signal });
  assert.equal(await flushed(), true);
});

test("a server says who it is", async () => {
  await using connection = await connect(address, { signal });
  const facts = await readServerFacts(connection);
  assert.equal(facts.major, server.major);
  assert.match(facts.version, /^\d+\.\d+$/);
  assert.match(facts.systemIdentifier, /^\d{10,}$/);
  assert.deepEqual([facts.timeline, facts.database, facts.encoding, facts.isStandby], [1, "snap", "UTF8", false]);
  assert.match(facts.postmasterStartedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual(
    facts.extensions.map(({ name, schema }) => [name, schema]),
    [["plpgsql", "pg_catalog"]],
  );
  assert.deepEqual([facts.role.name, facts.role.isSuperuser], ["postgres", true]);
  assert(facts.sizeBytes > 0);
});

test("a server that keeps its identity from the role is none the worse for it", async () => {
  await run("create role plain login; revoke execute on function pg_control_system() from public");
  await using snapshot = await openSnapshot({ ...address, user: "plain" }, { signal });
  const facts = await readServerFacts(snapshot.connection);
  assert.deepEqual([facts.systemIdentifier, facts.timeline, facts.role.isSuperuser], ["", 1, false]);
  assert.deepEqual(await snapshot.connection.query("select 1 as alive"), [{ alive: 1 }]);
});

test("a server without a log of its own is none the worse for it, and nothing is waited for", async () => {
  const other = await server.createDatabase("walless");
  await server.query(
    `set allow_system_table_mods = on;
     alter function pg_catalog.pg_current_wal_insert_lsn() rename to pg_kept_back;
     create function pg_catalog.pg_current_wal_insert_lsn() returns pg_lsn language plpgsql as
     $$ begin raise feature_not_supported using message = 'this server has no write-ahead log'; end $$`,
    "walless",
  );
  await using connection = await connect(other, { signal });
  const facts = await readServerFacts(connection);
  assert.match(facts.systemIdentifier, /^\d{10,}$/);
  assert.equal(facts.timeline, 0);
  await using snapshot = await beginSnapshot(connection);
  assert.equal(snapshot.lsn, "");
  assert.deepEqual(await connection.query("select 1 as alive"), [{ alive: 1 }]);
  await snapshot.close();
  await waitUntilDurable(connection, snapshot.lsn, { signal });
});
