import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Readable } from "node:stream";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { refusedFindings } from "../../src/job/refused.ts";
import { loadDatabase } from "../../src/postgres/load.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { createDatabase, inspectTarget } from "../../src/postgres/target.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { HOSTILE_SQL, largeTable } from "./hostile.ts";
import { cutsOf, digestsOf, saveDatabase, toSource } from "./saved.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["log_statement=ddl"] });
});
after(async () => {
  await server.stop();
});

async function makeHostile(name: string) {
  const address = await server.createDatabase(name);
  await server.query("create extension pg_trgm; create extension pgcrypto; create extension pg_stat_statements", name);
  await server.query(HOSTILE_SQL, name);
  await server.query(largeTable(30_000), name);
  await server.query(
    `create sequence drawn; create materialized view by_chance as
       select nextval('drawn') as n, random() as r, now() as at from generate_series(1, 10)`,
    name,
  );
  return address;
}

async function options(jobs = 2) {
  return { programs: await findPrograms(15, { signal }), jobs, progress: silent, signal };
}

test("a database with everything hostile comes back line for line, and reads back with the same digests", async () => {
  await using folder = await temporaryFolder();
  const source = await makeHostile("hostile");
  const saved = await saveDatabase(source);
  const target = { ...source, database: "hostile_back" };
  await createDatabase(target, { encoding: "UTF8", collate: "C.UTF-8", ctype: "C.UTF-8", signal });
  assert.equal((await inspectTarget(target, { signal })).state, "empty");
  await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  assert.equal((await inspectTarget(target, { signal })).state, "not-empty");

  await assertSameDatabase(source, target);
  const back = await saveDatabase(target, { earlier: cutsOf(saved) });
  assert.deepEqual(digestsOf(back), digestsOf(saved));
  assert.equal(back.schema.sql, saved.schema.sql);
  assert.deepEqual(back.sequences, saved.sequences);

  // The next conversation takes the next number of its account.
  const next = "insert into conversations (account_id, display_id) values (2, 0) returning display_id as n";
  const [expected] = await server.query(next, "hostile");
  const [found] = await server.query(next, "hostile_back");
  assert.equal(found?.["n"], expected?.["n"]);
  await server.query("insert into accounts (name) values ('three')", "hostile_back");
});

test("indexes of the largest table are begun first, each with its share of the memory", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("weighed");
  const small = Array.from({ length: 6 }, (_, at) => `create table a${at} (id int primary key, v text)`).join(";");
  await server.query(
    `${small}; create table z (v text); insert into z select repeat('x', 100) from generate_series(1, 5000); create index z_v on z (v)`,
    "weighed",
  );
  const saved = await saveDatabase(source);
  const target = await server.createDatabase("weighed_back");
  await server.query(
    `create function tell() returns event_trigger language plpgsql as
       $$ begin raise log 'memory: %', pg_size_bytes(current_setting('maintenance_work_mem')); end $$;
     create event trigger telling on ddl_command_end when tag in ('CREATE INDEX') execute function tell();
     create sequence begun;
     create function hold() returns event_trigger language plpgsql as $$ begin
       if current_query() !~ 'CREATE INDEX|ADD CONSTRAINT' or nextval('public.begun') <> 1 then return; end if;
       while (select last_value from public.begun) < 2 loop perform pg_sleep(0.01); end loop;
     end $$;
     create event trigger holding on ddl_command_start execute function hold()`,
    "weighed_back",
  );
  const before = server.log().length;
  await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  // What the trigger tells has the statement with it, once more.
  const told = [
    ...server
      .log()
      .slice(before)
      .matchAll(/CREATE INDEX (\w+)|ADD CONSTRAINT (\w+)/g),
  ].map(([, index, constraint]) => index ?? constraint);
  const built = [...new Set(told)];
  assert.equal(built.length, 7);
  // Two are begun at once, either may be told first, and neither ends before both were begun.
  assert.ok(built.slice(0, 2).includes("z_v"), built.join(", "));
  // Half of the least that all sessions together may use, which is more than this server's cache.
  const [, memory] = /memory: (\d+)/.exec(server.log().slice(before)) ?? [];
  assert.equal(Number(memory), LIMITS.indexMemoryBytes / 2);
  await server.query("drop event trigger telling; drop event trigger holding", "weighed_back");
  await server.query("drop function tell(); drop function hold(); drop sequence begun", "weighed_back");
  await assertSameDatabase(source, target);
});

test("a role that may not create an extension is told, and goes on when an administrator has made it", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("extended");
  await server.query(
    "create extension pg_stat_statements; create extension pg_trgm; create table t (id serial primary key, v text); insert into t (v) values ('x'); create index on t using gin (v gin_trgm_ops)",
    "extended",
  );
  const saved = await saveDatabase(source);
  await server.query("create role chatwoot login");
  const target = { ...(await server.createDatabase("extended_back", "chatwoot")), user: "chatwoot" };
  const load = async () => await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  await assert.rejects(
    load(),
    (error) =>
      isFailure(error, "target/unsuitable") &&
      /'chatwoot' may not create the extension 'pg_stat_statements'/.test(error.message) &&
      /CREATE EXTENSION "pg_stat_statements"/.test(error.hint ?? ""),
  );
  await server.query("drop database extended_back");
  await server.createDatabase("extended_back", "chatwoot");
  await server.query("create extension pg_stat_statements", "extended_back");
  await load();
  assert.deepEqual(await server.query("select v from t", "extended_back"), [{ v: "x" }]);
});

test("what an administrator made beforehand in a schema of its own does not stand in the way", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("apart");
  const extension = 'create schema ext; create extension pg_trgm schema ext; create schema "Own One"';
  await server.query(
    `${extension}; comment on schema ext is 'kept'; create table "Own One".t (v text); create index on "Own One".t using gin (v ext.gin_trgm_ops)`,
    "apart",
  );
  const saved = await saveDatabase(source);
  const target = { ...(await server.createDatabase("apart_back", "chatwoot")), user: "chatwoot" };
  await server.query("create schema ext; create extension pg_trgm schema ext", "apart_back");
  await server.query("grant usage on schema ext to chatwoot", "apart_back");
  await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  assert.deepEqual(await server.query('select count(*)::int as n from "Own One".t', "apart_back"), [{ n: 0 }]);
});

test("a role that may not create tables is told, and nothing is left half done in silence", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("simple");
  await server.query("create table t (id serial primary key, v text); insert into t (v) values ('x')", "simple");
  const saved = await saveDatabase(source);
  await server.query("create role guest login");
  const target = { ...(await server.createDatabase("simple_back")), user: "guest" };
  await assert.rejects(
    loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options()),
    (error) => isFailure(error, "target/unsuitable") && /'guest' may not create tables/.test(error.message),
  );
});

/** A range of the given rows. */
function text(value: string): () => Readable {
  return () => Readable.from([Buffer.from(value)]);
}

test("rows that do not fit, too few rows and a source that fails each end the restore and name the table", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("broken");
  await server.query(
    "create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 100) i",
    "broken",
  );
  const saved = await saveDatabase(source);
  const attempt = async (name: string, read: () => AsyncIterable<Uint8Array>) => {
    const target = await server.createDatabase(name);
    const good = await toSource(saved, folder.at("schema.dump"));
    const tables = good.tables.map((table) => ({
      ...table,
      ranges: table.ranges.map((range) => ({ ...range, read })),
    }));
    await loadDatabase(target, { ...good, tables }, await options());
  };
  await assert.rejects(
    attempt("broken_1", text("1\tnot a number\n")),
    (error) =>
      isFailure(error, "database/failed") &&
      /^table public\.t could not be loaded \(range 0\): .*not a number/.test(error.message),
  );
  await assert.rejects(
    attempt("broken_2", text("1\t1\n2\t2\n")),
    (error) =>
      isFailure(error, "database/failed") &&
      error.message.startsWith("2 rows of table public.t were loaded, 100 were saved"),
  );
  const damaged = new Failure("repo/damaged", "a chunk does not fit its id");
  await assert.rejects(
    attempt("broken_3", async function* () {
      yield Buffer.from("1\t1\n");
      throw damaged;
    }),
    damaged,
  );
});

test("aborting a restore ends it with the signal's reason", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("stopped");
  await server.query("create table t (id int primary key); insert into t values (1)", "stopped");
  const saved = await saveDatabase(source);
  const controller = new AbortController();
  const reason = new Failure("run/cancelled", "enough");
  const good = await toSource(saved, folder.at("schema.dump"));
  const read = async function* () {
    controller.abort(reason);
    yield Buffer.from("1\n");
  };
  const tables = good.tables.map((table) => ({ ...table, ranges: table.ranges.map((range) => ({ ...range, read })) }));
  const target = await server.createDatabase("stopped_back");
  await assert.rejects(
    loadDatabase(target, { ...good, tables }, { ...(await options()), signal: controller.signal }),
    reason,
  );
});

test("bytes that are no text come through a database without an encoding", async () => {
  await using folder = await temporaryFolder();
  const source = { ...server.address, database: "ascii" };
  await createDatabase(source, { encoding: "SQL_ASCII", collate: "C", ctype: "C", signal });
  await server.query(
    String.raw`create table t (id int primary key, v text); insert into t values (1, E'\xff\xfe'), (2, E'caf\xe9'), (3, 'é')`,
    "ascii",
  );
  const saved = await saveDatabase(source);
  assert.deepEqual(
    Buffer.concat(saved.tables.get("public.t")?.ranges[0]?.chunks ?? []),
    Buffer.from("1\t\xff\xfe\n2\tcaf\xe9\n3\t\xc3\xa9\n", "latin1"),
  );
  const target = { ...source, database: "ascii_back" };
  await createDatabase(target, { encoding: "SQL_ASCII", collate: "C", ctype: "C", signal });
  await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  assert.deepEqual(digestsOf(await saveDatabase(target, { earlier: cutsOf(saved) })), digestsOf(saved));
});

test("what only a superuser may make, and nothing else needs, is left out and told; what was left out has no secret", async () => {
  await using folder = await temporaryFolder();
  const source = await server.createDatabase("superuser's");
  await server.query(
    `create table t (id int primary key, v text); insert into t values (1, 'x');
     create function watch() returns event_trigger language plpgsql as $$ begin end $$;
     create event trigger watching on ddl_command_end execute function watch(); comment on event trigger watching is 'it''s';
     create publication everything for all tables; create publication part for table t;
     create subscription copying connection 'host=nowhere.example.org password=hidden' publication p with (connect = false, slot_name = none)`,
    source.database,
  );
  const saved = await saveDatabase(source);
  await server.query("create role nobody_special login");
  const target = { ...(await server.createDatabase("ordinary", "nobody_special")), user: "nobody_special" };
  const { refused } = await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  assert.deepEqual(
    refused.map(({ statement }) => statement.split(/\s+/).slice(0, 3).join(" ")),
    ["CREATE PUBLICATION everything", "CREATE SUBSCRIPTION copying", "CREATE EVENT TRIGGER", "COMMENT ON EVENT"],
  );
  assert.deepEqual(await server.query("select id, v from t", "ordinary"), [{ id: 1, v: "x" }]);
  assert.deepEqual(await server.query("select pubname from pg_publication", "ordinary"), [{ pubname: "part" }]);
  const [finding] = refusedFindings(refused, { kind: "left-out", what: "that make things", hint: "Do." });
  assert.match(
    finding?.message ?? "",
    /^4 statements that make things were refused: CREATE PUBLICATION everything .*permission denied/s,
  );
  assert.doesNotMatch(finding?.message ?? "", /hidden/);
  await server.query("alter subscription copying disable", source.database);
  await server.query("drop subscription copying", source.database);
});
