import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { copyColumns, readTables } from "../../src/postgres/catalogue.ts";
import { readForSuperusers, readNotes } from "../../src/postgres/catalogue-notes.ts";
import { connect } from "../../src/postgres/connect.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { HOSTILE_SQL, ODD } from "./hostile.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("catalogue");
  await server.query(HOSTILE_SQL, "catalogue");
});
after(async () => {
  await server.stop();
});

const run = async (sql: string) => await server.query(sql, "catalogue");

async function read() {
  await using connection = await connect(address, { signal });
  return await readTables(connection);
}

async function tableNamed(name: string) {
  const found = (await read()).tables.find((table) => table.name === name);
  assert(found !== undefined, name);
  return found;
}

test("every table that holds rows is listed once, and nothing else", async () => {
  await run("create temporary table passing (id int); create unlogged table kept_too (id int)");
  const names = (await read()).tables.map((table) => table.name);
  const expected = await run(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname in ('public', '${ODD.schema}') order by n.nspname collate "C", c.relname collate "C"`,
  );
  assert.deepEqual(
    names,
    expected.map((row) => row["name"]),
  );
  for (const name of [ODD.name, "parted_rest", "child", "kept_too", "no_columns"]) assert(names.includes(name), name);
  for (const name of ["parted", "summary", "plain_view", "passing"]) assert(!names.includes(name), name);
});

test("keys, generated columns and dropped columns are told", async () => {
  assert.deepEqual((await tableNamed("hostile")).key, { kind: "integer", column: "id", type: "integer" });
  assert.deepEqual((await tableNamed("huge_ids")).key, { kind: "integer", column: "id", type: "bigint" });
  assert.deepEqual((await tableNamed("no_key")).key, { kind: "none" });
  assert.deepEqual((await tableNamed("uuid_key")).key, { kind: "columns", columns: [{ name: "id", isText: false }] });
  assert.deepEqual((await tableNamed("composite_key")).key, {
    kind: "columns",
    columns: [
      { name: "b", isText: true },
      { name: "a", isText: false },
    ],
  });
  assert.deepEqual(copyColumns(await tableNamed("generated")), ["id", "a", "b"]);
  assert.deepEqual(copyColumns(await tableNamed("huge_ids")), ["id", "v"]);
  const dropped = await tableNamed("dropped");
  assert.deepEqual(dropped.droppedColumns, [2, 4]);
  assert.deepEqual(
    dropped.columns.map((column) => [column.name, column.attnum, column.hasMissingValue]),
    [
      ["id", 1, false],
      ["stays", 3, false],
      ["last", 5, false],
      ["added", 6, true],
    ],
  );
  assert.match(dropped.relfilenode, /^\d+$/);
  assert(dropped.bytes > 0);
});

test("a key over a domain, a deferred key and a unique index without a key are read in a safe order", async () => {
  await run(
    `create domain own_id as bigint; create table by_domain (id own_id primary key);
     create table deferred (id int primary key deferrable initially deferred);
     create table only_unique (id int unique)`,
  );
  assert.equal((await tableNamed("by_domain")).key.kind, "columns");
  assert.equal((await tableNamed("deferred")).key.kind, "integer");
  assert.equal((await tableNamed("only_unique")).key.kind, "none");
});

test("what rows and schema cannot carry is a finding, and a plain database has none", async () => {
  const before = (await read()).problems;
  assert.deepEqual(
    before.map((finding) => [finding.kind, finding.level]),
    [["materialized-views", "note"]],
  );
  await run(
    `create foreign data wrapper nowhere; create server far foreign data wrapper nowhere;
     create foreign table elsewhere (id int) server far`,
  );
  const { problems } = await read();
  assert.deepEqual(
    problems.map((finding) => [finding.kind, finding.level]),
    [
      ["foreign-tables", "warning"],
      ["materialized-views", "note"],
    ],
  );
  assert.match(problems[0]?.message ?? "", /public\.elsewhere/);
  await server.createDatabase("plain");
  await using connection = await connect({ ...address, database: "plain" }, { signal });
  assert.deepEqual(await readTables(connection), { tables: [], problems: [] });
});

test("a table that another session holds for a while is waited for, inside a transaction and outside", async () => {
  assert(LIMITS.lockTimeoutMs > 0);
  for (const begin of ["select 1", "begin isolation level repeatable read read only"]) {
    await using holder = await connect(address, { signal });
    await holder.query("begin; lock table no_key in access exclusive mode");
    await using connection = await connect(address, { signal });
    await connection.query(begin);
    const reading = readTables(connection);
    while ((await run("select from pg_locks where not granted")).length === 0);
    await holder.query("commit");
    assert((await reading).tables.length > 10);
    assert.deepEqual(await connection.query("select current_setting('lock_timeout') as t"), [{ t: "0" }]);
  }
});

test("what comes back in another way, or not at all, is told to the role that reads", async () => {
  const name = "noted";
  await server.createDatabase(name);
  await server.query(
    `create role reader login; create foreign data wrapper away; create server far foreign data wrapper away;
     create user mapping for public server far options (password 'hidden');
     create subscription copying connection 'host=nowhere.example.org password=hidden' publication p with (connect = false, slot_name = none);
     create function leaks(int) returns bool language sql leakproof as 'select true'; grant usage on schema public to reader;
     create collation german (provider = icu, locale = 'de')`,
    name,
  );
  await server.query(
    "set allow_system_table_mods = on; update pg_collation set collversion = '1' where collname = 'german'",
    name,
  );
  const notes = async (user: string) => {
    await using connection = await connect({ ...address, user, database: name }, { signal });
    const found = await readNotes(connection);
    assert.doesNotMatch(JSON.stringify(found), /hidden/);
    return found.map(({ kind, level }) => `${kind} ${level}`);
  };
  assert.deepEqual(await notes("postgres"), ["subscriptions note", "collation-versions note"]);
  assert.deepEqual(await notes("reader"), [
    "subscriptions warning",
    "user-mappings warning",
    "collation-versions note",
  ]);
  await using connection = await connect({ ...address, database: name }, { signal });
  assert.deepEqual(await readForSuperusers(connection), ["foreign data wrapper away", "function leaks(integer)"]);
  await server.query("alter subscription copying disable", name);
  await server.query("drop subscription copying", name);
});
