import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { dumpSchema, normalizeSchema } from "../../src/postgres/schema-dump.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { runProgram } from "../../src/system/process.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

const BODY = "\\restrict inside\n\n\n-- Dumped from a body\n\\unrestrict inside";
const SCHEMA = `create table t (id serial primary key, v text default $d$${BODY}$d$);
create function f() returns text language sql as $f$ select $d$${BODY}$d$ $f$`;

async function make(name: string): Promise<ServerAddress> {
  const address = await server.createDatabase(name);
  await server.query(SCHEMA, name);
  return address;
}

/** Newer programs write a random key each time. */
function withoutKeys(sql: string): string {
  return sql.replace(/^(\\(?:un)?restrict) .*$/gm, "$1");
}

test("equal schemas are equal text, whenever and wherever they are dumped", async () => {
  const programs = await findPrograms(server.major, { signal });
  const one = await make("one");
  await server.query(
    "insert into t default values; create table passing (); drop table passing; vacuum t".split(";")[0] ?? "",
    "one",
  );
  const first = await dumpSchema(one, programs, { signal });
  const again = await dumpSchema(one, programs, { signal });
  const other = await dumpSchema(await make("other"), programs, { signal });
  assert.equal(again.sql, first.sql);
  assert.equal(other.sql, first.sql);
  // What is said of owners and rights is found by what it adds to this, so nothing else may differ.
  const bare = ["--no-owner", "--no-acl", "--file=-"];
  const { stdout } = await runProgram(programs.pgRestore, bare, { signal, input: first.custom });
  assert.equal(withoutKeys(stdout.toString("utf8")), withoutKeys(first.bare));
  assert.doesNotMatch(first.sql.split("\nSET ")[0] ?? "", /restrict|Dumped|\d\d\.\d/);
  assert.equal(first.sql.split(BODY).length, 3, "texts inside the schema are left alone");
  await server.query("alter table t add column w int", "one");
  assert.notEqual((await dumpSchema(one, programs, { signal })).sql, first.sql);
});

test("who owns the schema public, and who may use it, is none of the schema's text", async () => {
  const programs = await findPrograms(server.major, { signal });
  const [plain, owned] = [await make("plain"), await make("owned")];
  await server.query("alter schema public owner to postgres; grant all on schema public to public", "owned");
  const { sql } = await dumpSchema(owned, programs, { signal });
  assert.equal(sql, (await dumpSchema(plain, programs, { signal })).sql);
  assert.equal(normalizeSchema(sql), sql);
  await server.query("comment on schema public is 'ours'", "owned");
  assert.match((await dumpSchema(owned, programs, { signal })).sql, /COMMENT ON SCHEMA public IS 'ours'/);
});

test("the schema is that of the snapshot", async () => {
  const programs = await findPrograms(server.major, { signal });
  const address = await make("moving");
  await using snapshot = await openSnapshot(address, { signal });
  const before = await dumpSchema(address, programs, { signal });
  await server.query("create table later (id int)", "moving");
  const dumped = await dumpSchema(address, programs, { snapshotId: snapshot.id, signal });
  assert.equal(dumped.sql, before.sql);
  await snapshot.close();
  await assert.rejects(
    dumpSchema(address, programs, { snapshotId: snapshot.id, signal }),
    (error) => isFailure(error, "database/unreachable") && /snapshot of the database is gone/.test(error.message),
  );
});

test("a table that the role may not read is named", async () => {
  const programs = await findPrograms(server.major, { signal });
  const address = await make("closed");
  await server.query("create role outsider login", "closed");
  await assert.rejects(
    dumpSchema({ ...address, user: "outsider" }, programs, { signal }),
    (error) => isFailure(error, "database/denied") && /may not read table t\b/.test(error.message),
  );
});

test("a server that has no connection left is asked again until it has one", async () => {
  const programs = await findPrograms(server.major, { signal });
  await server.query("create role single login connection limit 1");
  const address = { ...(await server.createDatabase("narrow", "single")), user: "single" };
  const only = await connect(address, { signal });
  const dumping = dumpSchema(address, programs, { signal });
  while (!server.log().includes('too many connections for role "single"')) await sleep(5);
  await only.close();
  assert.match((await dumping).sql, /^SET /m);
});

test("a table that is locked for a while is waited for", async () => {
  const programs = await findPrograms(server.major, { signal });
  const address = await make("locked");
  await using holder = await connect(address, { signal });
  await holder.query("begin; lock table t in access exclusive mode");
  const dumping = dumpSchema(address, programs, { signal });
  while ((await server.query("select from pg_locks where not granted", "locked")).length === 0);
  await holder.query("commit");
  assert.match((await dumping).sql, /CREATE TABLE public\.t /);
});

test("only the head and the foot are normalised", () => {
  const text =
    "--\n\n\\restrict k\n\n-- Dumped from database version 15\n\nSET a = 1;\n\n\n\\restrict body\n-- Dumped by me\n--\n\n\\unrestrict k\n\n";
  assert.equal(normalizeSchema(text), "--\n\nSET a = 1;\n\n\n\\restrict body\n-- Dumped by me\n--\n");
  assert.equal(normalizeSchema(normalizeSchema(text)), normalizeSchema(text));
});
