/**
 * What a stamp cannot see: in each of these a range would have been taken over although its text is another one, because its
 * stamp is the same. A capture reads it all the same, and each test says which guard it owes that to.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { isItsTurn } from "../../src/job/reuse.ts";
import { connect } from "../../src/postgres/connect.ts";
import { readTextDigest } from "../../src/postgres/stamps.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { longTest } from "../harness/whole.ts";
import {
  assertSameAsFull,
  assertWouldBeStale,
  contentsOf,
  DAY,
  factsOf,
  idOf,
  reasonOf,
  scanNow,
  signal,
  stampsOf,
  take,
  type Taken,
} from "./captures.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["synchronous_commit=on"] });
});
after(async () => {
  await server.stop();
});

async function query(address: TestAddress, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

const ROWS =
  "create table t (id bigint primary key, v text); insert into t select n, 'old' from generate_series(1, 100) n";

/** What is sent at once is one transaction: rows of both tables have the same places and the same transaction. */
const TWO = `${ROWS}; create table other (id bigint primary key, v text); insert into other select n, 'new' from generate_series(1, 100) n`;

/** Changes of the catalogue that leave every row where and as it is. */
const CHANGES: Readonly<Record<string, { made: string; changed: string }>> = {
  "a column dropped and added again under its name": {
    made: "create table t (id bigint primary key, v text default 'old'); insert into t select n from generate_series(1, 100) n",
    changed:
      "alter table t drop v; alter table t add v text default 'old'; alter table t alter v set default 'new'; alter table t drop v; alter table t add v text default 'new'",
  },
  "a column added with a default": { made: ROWS, changed: "alter table t add w text default 'everywhere'" },
  "a column added with another default": {
    made: `${ROWS}; alter table t add w text default 'one'`,
    changed: "alter table t drop w; alter table t add w text default 'two'",
  },
  "a type that is another without a rewrite": {
    made: "create table t (id bigint primary key, at timestamp); insert into t select n, '2026-01-01 12:00' from generate_series(1, 100) n",
    changed: "set timezone = 'UTC'; alter table t alter at type timestamptz",
  },
  "a label of an enum that is renamed": {
    made: "create type mood as enum ('glad', 'sad'); create table t (id bigint primary key, v mood); insert into t select n, 'sad' from generate_series(1, 100) n",
    changed: "alter type mood rename value 'sad' to 'low'",
  },
  "labels of an enum that change places": {
    made: "create type mood as enum ('glad', 'sad'); create table t (id bigint primary key, v mood[]); insert into t select n, '{sad}' from generate_series(1, 100) n",
    changed:
      "alter type mood rename value 'sad' to 'x'; alter type mood rename value 'glad' to 'sad'; alter type mood rename value 'x' to 'glad'",
  },
  "a table in whose place another comes, of the same transaction": {
    made: TWO,
    changed: "drop table t; alter table other rename to t",
  },
  "a table whose file is exchanged for another's, as pg_repack does": {
    made: TWO,
    changed: `update pg_class c set relfilenode = o.relfilenode from pg_class o
      where c.relname in ('t', 'other') and o.relname in ('t', 'other') and c.relname <> o.relname`,
  },
  "a key whose columns are in another order": {
    made: "create table t (a int, b int, primary key (a, b)); insert into t select n, 100 - n from generate_series(1, 100) n",
    changed: "alter table t drop constraint t_pkey; alter table t add primary key (b, a)",
  },
  "a key that is dropped": {
    made: "create table t (a int, b int, primary key (a, b)); insert into t select n, 100 - n from generate_series(1, 100) n",
    changed: "alter table t drop constraint t_pkey",
  },
};

for (const [at, [what, { made, changed }]] of Object.entries(CHANGES).entries()) {
  test(`${what}: the table is read`, async () => {
    const address = await server.createDatabase(`change_${at}`);
    await query(address, made);
    const first = await take(address);
    await query(address, changed);
    const now = await take(address, first);
    assertWouldBeStale(first, now, "t");
    await assertSameAsFull(address, now, first);
    assert.deepEqual(now.capture.findings, []);
  });
}

/** Values whose text lies elsewhere: such tables have no stamps at all. */
const ELSEWHERE: Readonly<Record<string, { made: string; changed: string }>> = {
  "a composite type": {
    made: "create type pair as (a int); create table t (id bigint primary key, v pair); insert into t select n, row(n)::pair from generate_series(1, 100) n",
    changed: "alter type pair add attribute b int",
  },
  "an array of a composite type": {
    made: "create type pair as (a int); create table t (id bigint primary key, v pair[]); insert into t select n, array[row(n)::pair] from generate_series(1, 100) n",
    changed: "alter type pair add attribute b int",
  },
  "a range of a composite type": {
    made: "create type pair as (a int); create type span as range (subtype = pair); create table t (id bigint primary key, v span); insert into t select n, span(row(n)::pair, null) from generate_series(1, 100) n",
    changed: "alter type pair rename attribute a to b; alter type pair add attribute c int",
  },
  "a table's name": {
    made: "create table other (v int); create table t (id bigint primary key, v regclass); insert into t select n, 'other' from generate_series(1, 100) n",
    changed: "alter table other rename to another",
  },
};

for (const [at, [what, { made, changed }]] of Object.entries(ELSEWHERE).entries()) {
  test(`${what} that changes: its table is always read`, async () => {
    const address = await server.createDatabase(`elsewhere_${at}`);
    await query(address, made);
    const first = await take(address);
    const stamps = await scanNow(address, "t");
    await query(address, changed);
    assert.deepEqual(await scanNow(address, "t"), stamps, "the stamp would be the same");
    const now = await take(address, first);
    assert.deepEqual(Object.values(stampsOf(now, "t")), [undefined]);
    assert.notDeepEqual(contentsOf(now)["public.t"], contentsOf(first)["public.t"]);
    await assertSameAsFull(address, now, first);
  });
}

test("a label that is renamed while rows are read makes the capture start over", async () => {
  const address = await server.createDatabase("renamed_meanwhile");
  await query(
    address,
    "create type mood as enum ('glad', 'sad'); create table t (id bigint primary key, v mood); insert into t select n, 'sad' from generate_series(1, 100) n",
  );
  const first = await take(address);
  let reads = 0;
  const beforeRange = async () => {
    reads += 1;
    if (reads === 1) await query(address, "alter type mood rename value 'sad' to 'low'");
  };
  await query(address, "update t set v = 'glad' where id = 1");
  const now = await take(address, first, { beforeRange });
  assert.equal(reads, 2);
  assert.deepEqual(now.capture.findings, []);
  await assertSameAsFull(address, now, first);
});

/** Ids that are given again: tables without times have nothing else that tells. */
const WITHOUT_TIMES = `create table t (id bigint primary key, v text); insert into t select n, 'old' from generate_series(1, 100) n;
  create table still (id bigint primary key, v text); insert into still select n, 'old' from generate_series(1, 100) n`;

test("an older data directory that was put back gives transaction ids again: everything is read", async () => {
  await using postgres = await StoppedPostgres.make();
  const { address } = postgres;
  await postgres.start(["synchronous_commit=on"]);
  await query(address, WITHOUT_TIMES);
  await query(address, "checkpoint");
  await postgres.stop();
  const putBack = await postgres.remember();
  await postgres.start(["synchronous_commit=on"]);
  await query(address, "update t set v = 'one' where id = 1");
  const first = await take(address);
  await postgres.stop();
  await putBack();
  await postgres.start(["synchronous_commit=on"]);
  await query(address, "update t set v = 'two' where id = 1");
  // The log is ahead of where it was: only the time of the start tells.
  await query(address, "select pg_logical_emit_message(false, 'test', repeat('x', 100000))");
  const now = await take(address, first);
  assertWouldBeStale(first, now, "t");
  assert.equal(await reasonOf(address, first, now), "the server was restarted");
  assert.equal(now.capture.rangesReused, 0);
  await assertSameAsFull(address, now, first);

  await postgres.stop();
  await writeFile(join(postgres.data, "recovery.signal"), "");
  await postgres.start(["synchronous_commit=on", "restore_command=false"]);
  const later = await take(address, now);
  assert.equal(await reasonOf(address, now, later), "the server is on another timeline");
  assert.equal(later.capture.rangesReused, 0);
});

longTest(
  "a server that goes back with its memory, so that it was started when it was: its log is behind, and everything is read",
  async () => {
    await using postgres = await StoppedPostgres.make();
    const { address } = postgres;
    await postgres.start(["synchronous_commit=on"]);
    await query(address, WITHOUT_TIMES);
    await query(address, "checkpoint");
    await postgres.stop();
    const putBack = await postgres.remember();
    await postgres.start(["synchronous_commit=on"]);
    await query(address, "update t set v = 'one' where id = 1");
    await query(address, "select pg_logical_emit_message(false, 'test', repeat('x', 100000))");
    const before = await take(address);
    await postgres.stop();
    await putBack();
    await postgres.start(["synchronous_commit=on"]);
    await query(address, "update t set v = 'two' where id = 1");
    // A memory cannot be put back here: so the time of the start, which lies in it, is.
    const { postmasterStartedAt } = await factsOf(address);
    const first = {
      ...before,
      manifest: { ...before.manifest, server: { ...before.manifest.server, postmasterStartedAt } },
    };
    const now = await take(address, first);
    assertWouldBeStale(first, now, "t");
    assert.equal(await reasonOf(address, first, now), "the server's log is behind where it was");
    assert.equal(now.capture.rangesReused, 0);
    await assertSameAsFull(address, now, first);
  },
);

test("another server at the same address, even one of the same history: everything is read", async () => {
  await using other = await StoppedPostgres.make();
  await using one = await StoppedPostgres.make();
  const settings = ["synchronous_commit=on"];
  await one.start(settings);
  await other.start(settings);
  for (const [place, value] of [
    [one, "one"],
    [other, "two"],
  ] as const) {
    await query(place.address, `${WITHOUT_TIMES}; update t set v = '${value}' where id = 1`);
  }
  await query(other.address, "select pg_logical_emit_message(false, 'test', repeat('x', 1000000))");
  const first = await take(one.address);
  const now = await take(other.address, first);
  assertWouldBeStale(first, now, "t");
  assert.deepEqual(
    now.capture.tables.map(({ entry }) => entry.form),
    first.capture.tables.map(({ entry }) => entry.form),
  );
  assert.equal(await reasonOf(other.address, first, now), "it is another server");
  assert.equal(now.capture.rangesReused, 0);
  await assertSameAsFull(other.address, now, first);
});

longTest("another database under the same name: everything is read", async () => {
  const address = await server.createDatabase("named");
  await query(address, WITHOUT_TIMES);
  const first = await take(address);
  await server.query("create database copied template named");
  await server.query("alter database named rename to before");
  await server.query("alter database copied rename to named");
  const now = await take(address, first);
  assert.deepEqual(stampsOf(now, "t"), stampsOf(first, "t"));
  assert.equal(await reasonOf(address, first, now), "it is another database of that name");
  assert.equal(now.capture.rangesReused, 0);
});

test("a server that was restarted after it was looked at: everything is read, and nothing is promised to the next", async () => {
  await using postgres = await StoppedPostgres.make();
  const { address } = postgres;
  await postgres.start(["synchronous_commit=on"]);
  await query(address, WITHOUT_TIMES);
  const first = await take(address);
  await postgres.stop();
  await postgres.start(["synchronous_commit=on"]);
  const { server: lookedAt } = first.manifest;
  const now = await take(address, first, { server: lookedAt as never });
  assert.equal(now.capture.rangesReused, 0);
  assert.equal(now.capture.stamps, undefined);
});

/** Ends a session of the server as a crash would: the server then goes back to what is on the disk, without a restart. */
async function crash(forgetful: TestServer): Promise<void> {
  const victim = new Client(forgetful.address);
  victim.on("error", () => {});
  await victim.connect();
  const { rows } = await victim.query<{ pid: number }>("select pg_backend_pid() as pid");
  const starts = () => forgetful.log().split("database system is ready to accept connections").length;
  const before = starts();
  process.kill(rows[0]?.pid ?? 0, "SIGKILL");
  // For a moment it still answers as if nothing had happened.
  while (starts() === before) await sleep(20);
}

test("a server that crashed and forgot what it had told gives transaction ids again: what a capture saw is never among them", async () => {
  await using forgetful = await startPostgres({
    settings: [
      "synchronous_commit=off",
      "wal_writer_delay=10s",
      "wal_writer_flush_after=1GB",
      "bgwriter_lru_maxpages=0",
    ],
  });
  const { address } = forgetful;
  await query(address, WITHOUT_TIMES);
  await query(address, "checkpoint");
  const started = async () => (await query(address, "select pg_postmaster_start_time()::text as at"))[0]?.["at"];
  const valueOf = async () => (await query(address, "select v from t where id = 1"))[0]?.["v"];
  const startedAt = await started();
  // The server writes its log out now and then by itself: until it was the crash that came first.
  for (let isForgotten = false; !isForgotten;) {
    await query(address, "checkpoint");
    await query(address, "update t set v = 'one' where id = 1");
    const stamps = await scanNow(address, "t");
    await crash(forgetful);
    isForgotten = (await valueOf()) === "old";
    if (!isForgotten) {
      await query(address, "update t set v = 'old' where id = 1");
      continue;
    }
    await query(address, "update t set v = 'two' where id = 1");
    assert.deepEqual(await scanNow(address, "t"), stamps, "the same transaction id at the same place");
  }
  assert.equal(await started(), startedAt, "nothing tells that the server has crashed");
  await query(address, "update t set v = 'three' where id = 1");
  const first = await take(address);
  await crash(forgetful);
  assert.equal(await valueOf(), "three", "what a capture has seen is on the disk");
  await query(address, "update t set v = 'four' where id = 1");
  const now = await take(address, first);
  assert.equal(await started(), startedAt);
  assert.equal(await reasonOf(address, first, now), undefined);
  assert.notDeepEqual(stampsOf(now, "t"), stampsOf(first, "t"));
  assert.deepEqual(stampsOf(now, "still"), stampsOf(first, "still"));
  await assertSameAsFull(address, now, first);
});

test("values that our own session writes otherwise than it did: everything is read", async () => {
  const address = await server.createDatabase("settings");
  await query(
    address,
    "create table t (id bigint primary key, v float8); insert into t select n, n / 3.0 from generate_series(1, 100) n",
  );
  const first = await take(address);
  await using connection = await connect(address, { signal });
  const valueOf = async () => (await connection.query<{ v: string }>("select v::text as v from t where id = 1"))[0]?.v;
  const written = await valueOf();
  await connection.query("set extra_float_digits = 0");
  assert.notEqual(await valueOf(), written, "the same row, and another text");
  // As if the last point had been made in such a session.
  const { stamps } = first.manifest;
  assert.ok(stamps);
  const text = await readTextDigest(connection);
  const other = { ...first, manifest: { ...first.manifest, stamps: { ...stamps, text } } };
  const now = await take(address, other);
  assert.deepEqual(stampsOf(now, "t"), stampsOf(first, "t"));
  assert.equal(await reasonOf(address, other, now), "values are written in another way now");
  assert.equal(now.capture.rangesReused, 0);
  await assertSameAsFull(address, now, other);
});

/** A point whose ranges are not what their stamps say, although nobody can tell. */
function spoilt({ capture, manifest }: Taken): Taken {
  const tables = capture.tables.map(({ entry, ranges }) => ({
    entry,
    ranges: ranges.map((range) => ({ ...range, sha256: "0".repeat(64), chunks: [idOf(Buffer.from("spoilt"))] })),
  }));
  return { capture: { ...capture, tables }, manifest };
}

longTest(
  "--full, and full-every reached: a range is read that would have been taken over, whatever it holds",
  async () => {
    const address = await server.createDatabase("every_row");
    await query(address, WITHOUT_TIMES);
    let first = await take(address);
    // Until it is no range's turn to be read all the same.
    const turn = () => (first.manifest.stamps?.turn ?? 0) + 1;
    const isAnyTurn = () => ["t", "still"].some((name) => isItsTurn({ schema: "public", name }, "0", turn()));
    while (isAnyTurn()) first = await take(address, first);
    const whole = contentsOf(first);
    const parent = spoilt(first);
    assert.deepEqual(contentsOf(await take(address, parent)), contentsOf(parent), "it is taken over");
    for (const options of [{ full: true }, { fullEveryMs: 0 }]) {
      const now = await take(address, parent, options);
      assert.deepEqual(contentsOf(now), whole);
      // What equal stamps had promised is compared all the same.
      assert.deepEqual(
        now.capture.findings.map(({ kind }) => kind),
        ["stale-range"],
      );
    }
    const readAt = Date.parse(first.manifest.stamps?.fullReadAt ?? "");
    assert.deepEqual(contentsOf(await take(address, parent, { at: readAt + 7 * DAY - 1 })), contentsOf(parent));
    assert.deepEqual(contentsOf(await take(address, parent, { at: readAt + 7 * DAY })), whole);
  },
);
