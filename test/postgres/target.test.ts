import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { liveBlockers } from "../../src/job/restore-live.ts";
import { findDataFolder, readTablespace } from "../../src/postgres/target-space.ts";
import { freeBytesOf } from "../../src/system/folders.ts";
import { connectBeside, createDatabase, inspectTarget } from "../../src/postgres/target.ts";
import { findLacking } from "../../src/postgres/target-extensions.ts";
import { compareVersions } from "../../src/postgres/versions.ts";
import { connect } from "../../src/postgres/connect.ts";
import { readServerFacts } from "../../src/postgres/server-facts.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["allow_in_place_tablespaces=on"] });
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
  const nowhere = { encoding: "UTF8", collate: "xx_XX.nowhere", ctype: "xx_XX.nowhere", signal };
  assert.equal(await createDatabase(at("abroad"), nowhere), false);
  assert.equal((await inspectTarget(at("abroad"), { signal })).state, "empty");
});

test("a database whose text ICU orders is made again so; where that cannot be, it is told", async () => {
  const like = { encoding: "UTF8", collate: "C", ctype: "C.UTF-8", signal };
  const provider = { name: "icu", locale: "de-u-co-phonebk", rules: null } as const;
  assert.equal(await createDatabase(at("ordered"), { ...like, provider }), true);
  await using connection = await connect(at("ordered"), { signal });
  const facts = await readServerFacts(connection);
  assert.deepEqual(facts.provider, provider);
  const [row] = await connection.query("select 'Ärger' < 'Ast' as before");
  assert.deepEqual(row, { before: true });
  const builtin = { name: "builtin", locale: "C.UTF-8", rules: null } as const;
  assert.equal(await createDatabase(at("too_new"), { ...like, provider: builtin }), server.major >= 17);
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

test("extensions that a target cannot give are told apart, and nothing is made by asking", async () => {
  await createDatabase(at("asked", "maker"), { encoding: "UTF8", signal });
  const saved = [
    { name: "nowhere", version: "1.0" },
    { name: "pg_trgm", version: "99.0" },
    { name: "pgcrypto", version: "1.0" },
    { name: "pg_stat_statements", version: "1.0" },
  ].map((one) => ({ ...one, schema: "public" }));
  const ask = async (database: string, user: string) => {
    const facts = await inspectTarget(at(database, user), { signal });
    const states = await findLacking(at(database, user), saved, facts, { signal });
    return states.map(({ name, state }) => `${name} ${state}`);
  };
  assert.deepEqual(await ask("asked", "postgres"), ["nowhere absent", "pg_trgm older"]);
  const forMaker = ["nowhere absent", "pg_trgm older", "pg_stat_statements forbidden"];
  assert.deepEqual(await ask("asked", "maker"), forMaker);
  // One that is to be made for the restore.
  assert.deepEqual(await ask("not_there", "maker"), forMaker);
  // Trusted, but not in somebody else's database.
  assert.deepEqual(await ask("asked", "plain"), [
    "nowhere absent",
    "pg_trgm forbidden",
    "pgcrypto forbidden",
    "pg_stat_statements forbidden",
  ]);
  assert.deepEqual(await server.query("select extname from pg_extension where extname <> 'plpgsql'", "asked"), []);
});

test("versions of extensions are compared as numbers", () => {
  for (const [a, b] of [
    ["1.9", "1.10"],
    ["0.7.4", "0.8.0"],
    ["1.3", "1.3.1"],
    ["2.0", "10"],
    ["3.4.0alpha1", "3.4.0beta1"],
  ] as const) {
    assert.ok(compareVersions(a, b) < 0 && compareVersions(b, a) > 0, `${a} ${b}`);
  }
  assert.equal(compareVersions("1.10", "1.10"), 0);
  assert.equal(compareVersions("1.0", "1"), 0);
});

test("what lies beside a live database in a tablespace of its own lies there too, if the role may, and room is looked for there", async () => {
  await server.query("create tablespace fast location ''");
  await server.query("create database placed owner maker tablespace fast");
  const address = at("placed", "maker");
  const told = async () => (await liveBlockers(address, { signal })).findings.map(({ kind, hint }) => [kind, hint]);
  const found = async () => {
    await using connection = await connectBeside(address, { signal });
    const own = await readTablespace(connection, "placed");
    return own && [own.name, own.mayCreate];
  };
  assert.deepEqual(await found(), ["fast", false]);
  assert.match((await told()).join(), /^tablespace-denied,.*GRANT CREATE ON TABLESPACE "fast" TO "maker"/);
  const folder = await findDataFolder(at("placed"), { isLive: true, signal });
  assert.ok(((await freeBytesOf(folder ?? "none")) ?? 0) > 0);
  await server.query("grant create on tablespace fast to maker");
  assert.deepEqual([await found(), await told()], [["fast", true], []]);
  await createDatabase(at("placed_beside", "maker"), { encoding: "UTF8", tablespace: "fast", signal });
  {
    await using connection = await connectBeside(address, { signal });
    assert.equal((await readTablespace(connection, "placed_beside"))?.name, "fast");
    assert.equal(await readTablespace(connection, "made"), undefined);
  }
});
