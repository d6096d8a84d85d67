import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { createDatabase, inspectTarget } from "../../src/postgres/target.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres();
  await server.query("create role maker login createdb; create role plain login");
});
after(async () => {
  await server.stop();
});

const at = (database: string, user = "postgres") => ({ ...server.address, database, user });

test("a target is missing, empty or not, and says what its server can", async () => {
  const missing = await inspectTarget(at("target"), { signal });
  assert.deepEqual(
    [missing.state, missing.tables, missing.canCreate, missing.major],
    ["missing", 0, true, server.major],
  );
  assert(missing.extensions.includes("pgcrypto") && missing.extensions.includes("plpgsql"));
  await createDatabase(at("target"), { encoding: "UTF8", signal });
  await server.query("create extension pg_trgm", "target");
  const empty = await inspectTarget(at("target"), { signal });
  assert.deepEqual([empty.state, empty.objects, empty.installed], ["empty", 0, ["pg_trgm", "plpgsql"]]);
  for (const sql of [
    "create table t (id int)",
    "create view v as select 1 as one",
    "create sequence s",
    "create function f() returns int language sql as 'select 1'",
    "create type e as enum ('a')",
    "create domain d as text",
    "select lo_create(0)",
  ]) {
    await server.query(`create database one template target`);
    await server.query(sql, "one");
    const found = await inspectTarget(at("one"), { signal });
    assert.equal(found.state, "not-empty", sql);
    assert.equal(found.tables, sql.startsWith("create table") ? 1 : 0, sql);
    await server.query("drop database one");
  }
});

test("a database is made of the role that asks, with the encoding and locale of the source", async () => {
  await createDatabase(at("made", "maker"), { encoding: "LATIN1", collate: "C", ctype: "C", signal });
  const [row] = await server.query(
    "select pg_encoding_to_char(encoding) as e, datcollate as c, pg_get_userbyid(datdba) as o from pg_database where datname = 'made'",
  );
  assert.deepEqual(row, { e: "LATIN1", c: "C", o: "maker" });
  // A locale that this machine does not have is no reason to give up.
  await createDatabase(at("abroad"), { encoding: "UTF8", collate: "xx_XX.nowhere", ctype: "xx_XX.nowhere", signal });
  assert.equal((await inspectTarget(at("abroad"), { signal })).state, "empty");
});

test("a database that exists is never taken, and a role without the right is told what to ask for", async () => {
  await assert.rejects(createDatabase(at("postgres"), { encoding: "UTF8", signal }), (error) =>
    isFailure(error, "target/not-empty"),
  );
  await assert.rejects(
    createDatabase(at("wished", "plain"), { encoding: "UTF8", signal }),
    (error) => isFailure(error, "database/denied") && /CREATE DATABASE "wished" OWNER "plain"/.test(error.hint ?? ""),
  );
  assert.equal((await inspectTarget(at("wished", "plain"), { signal })).canCreate, false);
});
