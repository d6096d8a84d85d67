/** What the scan says of a table's ranges, on a real server: what changes a stamp, what leaves it, and what it costs. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { connect } from "../../src/postgres/connect.ts";
import { planTable } from "../../src/postgres/range-plan.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { readTextDigest, type ScanOptions, scanTables } from "../../src/postgres/stamps.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres({ settings: ["log_temp_files=0", "work_mem=64kB", "statement_timeout=0"] });
  address = await server.createDatabase("stamps");
});
after(async () => {
  await server.stop();
});

const run = async (sql: string) => await server.query(sql, "stamps");

interface Looked {
  form: string;
  k: number | null;
  stamps: Record<string, string>;
}

/** Ranges of 2^38 ids: quicker than to find it out. */
const CUT = { k: 38, j: 33 };

type LookOptions = Partial<ScanOptions> & { cut?: typeof CUT; meanwhile?: () => Promise<unknown> };

async function look(table: string, { cut = CUT, meanwhile, ...options }: LookOptions = {}): Promise<Looked> {
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const facts = tables.find(({ name }) => name === table);
  assert.ok(facts, `no table ${table}`);
  const plan = await planTable(snapshot.connection, facts, cut);
  await meanwhile?.();
  const scanned = await scanTables(address, snapshot.id, [{ facts, plan }], { connections: 2, signal, ...options });
  const stamps = Object.fromEntries(scanned[0]?.stamps ?? new Map<string, string>());
  assert.deepEqual(Object.keys(stamps).toSorted(), plan.ranges.map(({ bucket }) => bucket).toSorted());
  return { form: facts.form, k: plan.k, stamps };
}

/** Ids far apart lie in ranges of their own: five of them. */
async function makeNotes(name: string): Promise<void> {
  await run(
    `create table ${name} (id bigint primary key, body text, seen_at timestamp(6), said_at timestamptz);
     insert into ${name} select (n % 5) * 1000000000000 + n, md5(n::text), '2026-01-01', null from generate_series(1, 5000) n`,
  );
}

/** The buckets whose stamps differ. */
function changedIn(before: Looked, now: Looked): string[] {
  const buckets = new Set([...Object.keys(before.stamps), ...Object.keys(now.stamps)]);
  return [...buckets].filter((bucket) => before.stamps[bucket] !== now.stamps[bucket]);
}

test("a change of a row changes the stamp of its range, and of no other", async () => {
  await makeNotes("changing");
  const first = await look("changing");
  assert.equal(Object.keys(first.stamps).length, 5);
  assert.equal(new Set(Object.values(first.stamps)).size, 5);
  const bucketOf = (id: bigint) => (id >> BigInt(first.k ?? 0)).toString();
  const changes = [
    ["update changing set body = 'x' where id = 1000000000001", 1_000_000_000_001n],
    ["update changing set body = body where id = 2000000000002", 2_000_000_000_002n],
    ["delete from changing where id = 3000000000003", 3_000_000_000_003n],
    ["insert into changing values (4000000000000, 'new')", 4_000_000_000_000n],
    ["begin; delete from changing where id = 5; insert into changing values (5, 'again'); commit", 5n],
    ["begin; savepoint a; update changing set body = 'y' where id = 10; release a; commit", 10n],
  ] as const;
  let before = first;
  for (const [sql, id] of changes) {
    await run(sql);
    const now = await look("changing");
    assert.deepEqual(changedIn(before, now), [bucketOf(id)], sql);
    assert.equal(now.form, before.form);
    before = now;
  }
  await run("update changing set id = 2500000000000 where id = 1000000000006");
  const moved = await look("changing");
  const both = [bucketOf(1_000_000_000_006n), bucketOf(2_500_000_000_000n)];
  assert.deepEqual(changedIn(before, moved).toSorted(), both.toSorted());
});

test("what changes no row leaves every stamp", async () => {
  await makeNotes("staying");
  const first = await look("staying");
  const stays = [
    "begin; update staying set body = 'x'; rollback",
    "begin; delete from staying; rollback",
    "begin; insert into staying values (7000000000000, 'new'); rollback",
    "begin; savepoint a; delete from staying; rollback to a; commit",
    "begin; select count(*) from (select from staying for update) s; commit",
    "vacuum staying",
    "vacuum freeze staying",
    "analyze staying",
    "create index on staying (body)",
    "reindex table staying",
    "alter table staying alter body set default 'none'",
    "comment on table staying is 'a note'",
  ];
  for (const sql of stays) {
    await run(sql);
    assert.deepEqual(await look("staying"), first, sql);
  }
});

test("a table that is written anew, or whose columns change, has another form", async () => {
  await makeNotes("formed");
  const forms = new Set([(await look("formed")).form]);
  const changes = [
    "vacuum full formed",
    "cluster formed using formed_pkey",
    "begin; create temp table kept as table formed; truncate formed; insert into formed table kept; commit",
    "alter table formed alter body type varchar",
    "alter table formed add tag text default 'old'",
    "alter table formed drop tag; alter table formed add tag text default 'new'",
    "alter table formed rename tag to label",
    "alter table formed set unlogged",
    "alter table formed rename to other; create table formed (like other including all); insert into formed table other",
  ];
  for (const sql of changes) {
    await run(sql);
    const { form } = await look("formed");
    assert.ok(!forms.has(form), sql);
    forms.add(form);
  }
});

test("a table in many pieces has the stamps of one in one piece", async () => {
  await makeNotes("pieces");
  await run("delete from pieces where id % 7 = 0");
  await run("vacuum pieces");
  await run("update pieces set body = 'x' where id % 11 = 0");
  const whole = await look("pieces");
  assert.equal(Object.keys(whole.stamps).length, 5);
  for (const piecePages of [1, 7, 1000]) assert.deepEqual(await look("pieces", { piecePages }), whole);
});

test("tables whose rows have no integer key are one range", async () => {
  await run(
    `create table keyless (v text); insert into keyless select md5(n::text) from generate_series(1, 1000) n;
     create table texts (v text primary key, at timestamp); insert into texts select md5(n::text), now() from generate_series(1, 1000) n`,
  );
  for (const table of ["keyless", "texts"]) {
    const first = await look(table);
    assert.deepEqual(Object.keys(first.stamps), ["all"]);
    await run(`delete from ${table} where v = (select max(v) from ${table})`);
    assert.deepEqual(changedIn(first, await look(table)), ["all"]);
  }
});

test("the snapshot decides: what comes after it is in no stamp, and a table that is rewritten is refused", async () => {
  await makeNotes("later");
  const first = await look("later");
  const same = await look("later", { meanwhile: async () => await run("update later set body = 'after'") });
  assert.deepEqual(same, first);
  await assert.rejects(look("later", { meanwhile: async () => await run("truncate later") }), (error) =>
    isFailure(error, "database/changed"),
  );
});

/** The log names the statement of each temporary file. */
function spilled(): string[] {
  const [, ...files] = server.log().split("LOG:  temporary file:");
  return files.map((text) => text.slice(text.indexOf("STATEMENT:")));
}

test("a scan writes nothing on the server's disk, however many ranges there are and whatever the planner expects", async () => {
  await run(
    `create table large (id bigint primary key, body text);
     insert into large select n * 100000::bigint, repeat('x', 100) from generate_series(1, 60000) n`,
  );
  for (const k of [17, 40]) {
    for (const statement of ["select 1", "analyze large"]) {
      await run(statement);
      const { stamps } = await look("large", { cut: { k, j: k - 5 } });
      assert.ok(Object.keys(stamps).length > (k === 17 ? 40_000 : 0));
    }
  }
  await run("select count(*) from (select body, id from large order by 1, 2) sorted");
  // It comes through a pipe, in its order.
  while (!spilled().some((text) => text.includes("sorted"))) await sleep(5);
  assert.ok(!spilled().some((text) => text.includes("hash_record_extended")));
});

test("a scan holds nothing but ACCESS SHARE, of one table, and lets a writer write", async () => {
  await makeNotes("locked");
  const modes = new Set<string>();
  const watcher = new Client(address);
  await watcher.connect();
  const holder = new Client(address);
  await holder.connect();
  try {
    // Somebody writes, and is not asked to end.
    await holder.query("begin; update locked set body = 'held' where id = 1");
    const ended = new AbortController();
    const scanning = look("locked", { piecePages: 1, connections: 1 }).finally(() => ended.abort());
    while (!ended.signal.aborted) {
      const { rows } = await watcher.query<{ mode: string }>(
        `select l.mode from pg_locks l join pg_stat_activity a using (pid)
         where a.application_name like 'chatkeep%' and l.granted and l.relation = 'locked'::regclass`,
      );
      for (const { mode } of rows) modes.add(mode);
      await sleep(1);
    }
    await holder.query("commit");
    assert.equal(Object.keys((await scanning).stamps).length, 5);
  } finally {
    await holder.end();
    await watcher.end();
  }
  assert.deepEqual([...modes], ["AccessShareLock"]);
});

test("the digest of what values look like: labels of enums and our settings", async () => {
  await using connection = await connect(address, { signal });
  const first = await readTextDigest(connection);
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(await readTextDigest(connection), first);
  await run("create type mood as enum ('glad', 'sad')");
  const withEnum = await readTextDigest(connection);
  assert.notEqual(withEnum, first);
  await run("alter type mood rename value 'sad' to 'low'");
  const renamed = await readTextDigest(connection);
  assert.notEqual(renamed, withEnum);
  await connection.query("set extra_float_digits = 0");
  assert.notEqual(await readTextDigest(connection), renamed);
});

test("a table whose values take their text from elsewhere is told", async () => {
  await run(
    `create type pair as (a int, b text); create domain short as text check (length(value) < 9);
     create type span as range (subtype = float8); create type colour as enum ('red', 'blue');
     create table elsewhere_composite (id int primary key, v pair);
     create table elsewhere_composites (id int primary key, v pair[]);
     create table elsewhere_domain (id int primary key, v short);
     create table elsewhere_class (id int primary key, v regclass);
     create table elsewhere_classes (id int primary key, v regclass[]);
     create table elsewhere_rights (id int primary key, v aclitem);
     create table elsewhere_range (id int primary key, v span);
     create table itself (id int primary key, a int[], b colour, c colour[], d int4range, e jsonb, f money, g numeric(9, 2),
       h bytea, i xml, j inet, k uuid, l point, m tsvector, n "char", o name, p text[][], q int8multirange, r oid)`,
  );
  await using connection = await connect(address, { signal });
  const { tables } = await readTables(connection);
  const told = tables.filter(({ isSelfContained }) => !isSelfContained).map(({ name }) => name);
  assert.deepEqual(told.toSorted(), [
    "elsewhere_class",
    "elsewhere_classes",
    "elsewhere_composite",
    "elsewhere_composites",
    "elsewhere_domain",
    "elsewhere_range",
    "elsewhere_rights",
  ]);
});
