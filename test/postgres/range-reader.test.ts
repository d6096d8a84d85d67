import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { connect } from "../../src/postgres/connect.ts";
import { planTable, type RangePlan, type TablePlan } from "../../src/postgres/range-plan.ts";
import { openRangeReader, type RangeReader } from "../../src/postgres/range-reader.ts";
import { type DatabaseSnapshot, openSnapshot } from "../../src/postgres/snapshot.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { idOf } from "./saved.ts";

const signal = new AbortController().signal;
const ignore = async () => {};
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("ranges");
});
after(async () => {
  await server.stop();
});

const run = async (sql: string) => await server.query(sql, "ranges");

interface Look {
  snapshot: DatabaseSnapshot;
  reader: RangeReader;
  plan: TablePlan;
}

/** Plans `table` in a snapshot of its own and hands it over with a reader. */
async function look(table: string, act: (look: Look) => Promise<void>, who: ServerAddress = address): Promise<void> {
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const facts = tables.find((one) => one.name === table);
  assert(facts !== undefined, `table ${table} is not listed`);
  const plan = await planTable(snapshot.connection, facts);
  await using reader = await openRangeReader(who, { signal });
  await act({ snapshot, reader, plan });
}

function first({ ranges }: TablePlan): RangePlan {
  assert(ranges[0] !== undefined, "the table has no ranges");
  return ranges[0];
}

async function chunksOf({ snapshot, reader, plan }: Look, range: RangePlan): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  await reader.readRange(snapshot.id, plan, range, async (chunk) => {
    chunks.push(Buffer.from(chunk));
  });
  return chunks;
}

/** What may not be told from an unchanged table by its rows: read as if nothing had happened, rows would be missing. */
const CHANGES: Record<string, string> = {
  truncated: "truncate changing",
  "truncated and filled again":
    "truncate changing; insert into changing (id, v) select i, 'new' from generate_series(1, 10) i",
  "vacuumed full": "vacuum full changing",
  "rewritten by a new type": "alter table changing alter column n type bigint",
  "of another type without being rewritten": "alter table changing alter column v type varchar",
  dropped: "drop table changing",
  "dropped and made again": "drop table changing; create table changing (id int primary key, v text, n int, gone int)",
  renamed: "alter table changing rename to changed",
  "given the name of another table":
    "alter table changing rename to other; create table changing (id int primary key, v text, n int, gone int)",
  "of a column less": "alter table changing drop column n",
  "of another column with the old name": "alter table changing drop column gone, add column gone int",
  "of a column with a new name": "alter table changing rename column n to m",
  "of two columns that changed names":
    "alter table changing rename column n to x; alter table changing rename column gone to n; alter table changing rename column x to gone",
};

test("a table that is changed after the snapshot is noticed, never read as empty", async () => {
  for (const [how, sql] of Object.entries(CHANGES)) {
    await run(
      `drop table if exists changing, changed, other;
       create table changing (id int primary key, v text, n int, gone int);
       insert into changing select i, 'row ' || i, i, -i from generate_series(1, 100) i`,
    );
    await look("changing", async ({ snapshot, reader, plan }) => {
      for (const statement of sql.split("; ")) await run(statement);
      const reading = reader.readRange(snapshot.id, plan, first(plan), async () => assert.fail(`rows came: ${how}`));
      await assert.rejects(
        reading,
        (error) => isFailure(error, "database/changed") && /table public\.changing/.test(error.message),
        how,
      );
      await assert.rejects(
        snapshot.lookAt([{ schema: "public", name: "changing" }], async () => assert.fail(`looked: ${how}`)),
        (error) => isFailure(error, "database/changed"),
        how,
      );
    });
  }
});

test("changes that a snapshot does protect against do not disturb: new rows, new columns, longer types, statistics", async () => {
  await run(
    `create table calm (id int primary key, v varchar(20)); insert into calm select i, 'row ' || i from generate_series(1, 100) i`,
  );
  await look("calm", async (look) => {
    const before = await chunksOf(look, first(look.plan));
    await run(
      "update calm set v = 'changed'; delete from calm where id % 2 = 0; insert into calm values (1000, 'new')",
    );
    for (const sql of [
      "alter table calm add column more int default 7",
      "alter table calm alter column v type varchar(40)",
      "create domain calm_text as varchar(40)",
      "alter table calm alter column v type calm_text",
      "analyze calm",
      "vacuum calm",
    ])
      await run(sql);
    assert.deepEqual(await chunksOf(look, first(look.plan)), before);
  });
});

test("what the snapshot sees stays the same while others write", async () => {
  await run(
    "create table busy (id serial primary key, v int); insert into busy (v) select i from generate_series(1, 2000) i",
  );
  await look("busy", async (look) => {
    const before = await chunksOf(look, first(look.plan));
    const done = new AbortController();
    const writer = (async () => {
      await using connection = await connect(address, { signal });
      let writes = 0;
      for (; !done.signal.aborted; writes += 1)
        await connection.query("update busy set v = v + 1 where id % 7 = 0; insert into busy (v) values (0)");
      return writes;
    })();
    for (let i = 0; i < 20; i += 1) assert.deepEqual(await chunksOf(look, first(look.plan)), before);
    done.abort();
    assert((await writer) > 0, "nothing was written meanwhile");
  });
});

/** Waits until the query gives a row. */
async function until(sql: string): Promise<void> {
  while ((await run(sql)).length === 0) await sleep(10);
}

test("a migration waits for one range at most", async () => {
  await run(
    "create table migrated (id serial primary key, v text); insert into migrated (v) select 'x' from generate_series(1, 10) i",
  );
  await look("migrated", async ({ snapshot, reader, plan }) => {
    let altered: Promise<unknown> = Promise.resolve();
    let isDone = false;
    await reader.readRange(snapshot.id, plan, first(plan), async () => {
      altered = run("alter table migrated alter column v type varchar(50)").then(() => (isDone = true));
      await until(
        "select from pg_locks where not granted and mode = 'AccessExclusiveLock' and relation = 'migrated'::regclass",
      );
      assert.equal(isDone, false, "the table was altered under the reader");
    });
    // The snapshot is still open, and holds nothing of the table.
    await altered;
    await assert.rejects(reader.readRange(snapshot.id, plan, first(plan), ignore), { code: "database/changed" });
  });
});

test("a lock that another session holds for a while is waited for, and nothing is lost by it", async () => {
  await run(
    "create table held (id serial primary key, v text); insert into held (v) select 'x' from generate_series(1, 10) i",
  );
  await look("held", async (look) => {
    const expected = await chunksOf(look, first(look.plan));
    await using holder = await connect(address, { signal });
    await holder.query("begin; lock table held in access exclusive mode");
    const reading = chunksOf(look, first(look.plan));
    await until("select from pg_locks where not granted and mode = 'AccessShareLock' and relation = 'held'::regclass");
    await holder.query("commit");
    assert.deepEqual(await reading, expected);
  });
});

test("a role without rights is told what to grant, and row security is an error, not fewer rows", async () => {
  await run(
    `create role reader login; create table secret (id int primary key); insert into secret values (1);
     create table policed (id int primary key); insert into policed values (1), (2); grant select on policed to reader;
     alter table policed enable row level security; create policy own on policed using (id = 1)`,
  );
  const reader = { ...address, user: "reader" };
  const denied = async (table: string, message: RegExp, hint: RegExp) =>
    await look(
      table,
      async ({ snapshot, reader, plan }) => {
        await assert.rejects(
          reader.readRange(snapshot.id, plan, first(plan), async () => assert.fail("rows came")),
          (error) => isFailure(error, "database/denied") && message.test(error.message) && hint.test(error.hint ?? ""),
        );
      },
      reader,
    );
  await denied(
    "secret",
    /^'reader' may not read table public\.secret$/,
    /GRANT SELECT ON "public"\."secret" TO "reader";/,
  );
  await denied("policed", /^row security hides rows of public\.policed from 'reader'$/, /BYPASSRLS/);
});

let wide: Promise<unknown> | undefined;

/** A table of several ranges, made when it is first needed. */
async function fillWide(): Promise<void> {
  wide ??= run(
    `create table wide (v text, id bigserial primary key);
     insert into wide (v) select repeat(md5(i::text), 100) from generate_series(1, 12000) i; analyze wide`,
  );
  await wide;
}

/** The ids of all chunks of the table, and its bytes. */
async function readWide(): Promise<{ ids: string[]; bytes: number }> {
  const ids: string[] = [];
  let bytes = 0;
  await look("wide", async (look) => {
    assert(look.plan.ranges.length >= 3, "the table is one of several ranges");
    for (const range of look.plan.ranges) {
      for (const chunk of await chunksOf(look, range)) {
        ids.push(idOf(chunk));
        bytes += chunk.length;
      }
    }
  });
  return { ids, bytes };
}

test("one changed row costs one chunk, of several megabytes", async () => {
  await fillWide();
  const earlier = await readWide();
  await run("update wide set v = 'short' where id = 6000");
  const later = await readWide();
  const known = new Set(earlier.ids);
  assert.equal(later.ids.filter((id) => !known.has(id)).length, 1);
  assert.equal(later.ids.length, earlier.ids.length);
  assert(earlier.bytes / earlier.ids.length < 2 * 1024 * 1024);
});

test("a slow taker holds the server back instead of filling memory", async () => {
  await fillWide();
  await look("wide", async ({ snapshot, reader, plan }) => {
    let chunks = 0;
    const digest = await reader.readRange(snapshot.id, plan, first(plan), async () => {
      chunks += 1;
      if (chunks === 1)
        await until("select from pg_stat_activity where wait_event = 'ClientWrite' and query like 'copy%wide%'");
    });
    assert(chunks > 4);
    assert(digest.bytes > 8 * 1024 * 1024);
  });
});

test("what the taker throws ends the range, and the reader goes on with the next", async () => {
  await fillWide();
  await look("wide", async (look) => {
    const { snapshot, reader, plan } = look;
    const failure = new Failure("store/full", "the disk is full");
    const reading = reader.readRange(snapshot.id, plan, first(plan), async () => {
      throw failure;
    });
    await assert.rejects(reading, failure);
    assert((await chunksOf(look, first(plan))).length > 0);
  });
});

test("a session that is ended in the middle of a range fails the range, and the next one has a new session", async () => {
  await fillWide();
  await look("wide", async (look) => {
    const { snapshot, reader, plan } = look;
    let chunks = 0;
    const reading = reader.readRange(snapshot.id, plan, first(plan), async () => {
      chunks += 1;
      if (chunks > 1) return;
      await run(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'copy%wide%' and pid <> pg_backend_pid()",
      );
      await until(
        "select where not exists (select from pg_stat_activity where query like 'copy%wide%' and pid <> pg_backend_pid())",
      );
    });
    await assert.rejects(reading, (error) => isFailure(error, "database/unreachable"));
    assert((await chunksOf(look, first(plan))).length > 0);
  });
});

test("aborting in the middle of a range ends it with the signal's reason", async () => {
  await fillWide();
  await look("wide", async ({ snapshot, plan }) => {
    const controller = new AbortController();
    const reason = new Failure("run/cancelled", "enough");
    await using reader = await openRangeReader(address, { signal: controller.signal });
    const reading = reader.readRange(snapshot.id, plan, first(plan), async () => controller.abort(reason));
    await assert.rejects(reading, reason);
  });
});

test("a snapshot whose session ended is told as gone", async () => {
  await run("create table short (id int primary key); insert into short values (1)");
  await look("short", async ({ snapshot, reader, plan }) => {
    await snapshot.close();
    await assert.rejects(
      reader.readRange(snapshot.id, plan, first(plan), ignore),
      (error) => isFailure(error, "database/unreachable") && /snapshot of the database is gone/.test(error.message),
    );
  });
});
