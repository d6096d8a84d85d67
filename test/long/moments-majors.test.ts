/**
 * What was done is found in the log of every major, and on either side of a failover; the position that is told has everything before
 * it and nothing of it. 15 alone is what `npm test` tries.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Client } from "pg";
import { silent } from "../../src/base/progress.ts";
import type { FoundCommit } from "../../src/job/commits-summary.ts";
import { takeBase } from "../../src/job/continuous/take-base.ts";
import { findCommits, type WantedChange } from "../../src/job/find-commits.ts";
import { parseMoment } from "../../src/point/moment.ts";
import { connect } from "../../src/postgres/connect.ts";
import type { ScratchPlaces } from "../../src/postgres/scratch.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { type EmbeddedMajor, embeddedPostgres } from "../harness/embedded.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { recoverMoment } from "../harness/recovered.ts";
import { startStandby } from "../harness/standby.ts";
import { ask, follow, type Following } from "../job/continuous/following.ts";
import { IDENTITY } from "../job/memory-desk.ts";
import { hasty, newRepository, reopen, signal } from "../repo/small-backup.ts";

const SETTINGS = ["max_slot_wal_keep_size=1GB", "synchronous_commit=on", "full_page_writes=on"];
const NOTHING: WantedChange = { table: undefined, inserted: 0, updated: 0, deleted: 0 };
const NONE = { inserted: 0, updated: 0, deleted: 0, replaced: false };

/** Follows a server from now on, with a base. */
async function protect(server: TestServer, address: TestAddress, repository: Repository): Promise<Following> {
  const following = follow(address, { primary: repository });
  await following.until("the log is followed", () => following.begun.length === 1);
  const [control] = await server.query("select system_identifier::text as id from pg_control_system()");
  const writer = { repository: reopen(repository), identity: IDENTITY, program: "chatkeep test", clock: hasty, signal };
  const expected = { systemId: String(control?.["id"]), timeline: 1, least: 0n };
  await takeBase(writer, { address, rate: undefined, checkpoint: "fast", expected });
  return following;
}

/** One transaction. Returns its number, as the server says it. */
async function commit(address: TestAddress, ...statements: readonly string[]): Promise<number> {
  const client = new Client(address);
  await client.connect();
  try {
    await client.query("begin");
    for (const statement of statements) await client.query(statement);
    const { rows } = await client.query<{ xid: string }>("select txid_current()::text as xid");
    await client.query("commit");
    return Number(rows[0]?.xid);
  } finally {
    await client.end();
  }
}

async function find(
  repository: Repository,
  live: TestAddress | undefined,
  wanted: Partial<WantedChange>,
  limit = 1000,
) {
  return (await search(repository, live, wanted, limit)).found;
}

async function search(
  repository: Repository,
  live: TestAddress | undefined,
  wanted: Partial<WantedChange>,
  limit: number,
) {
  const found = await findCommits({
    repository: reopen(repository),
    installationId: IDENTITY.id,
    live,
    wanted: { ...NOTHING, ...wanted },
    sinceUs: undefined,
    untilUs: undefined,
    limit,
    progress: silent,
    signal,
  });
  assert.deepEqual(found.unread, []);
  return found;
}

const shown = ({ xid, timeline, tables, whole }: FoundCommit) => ({ xid, timeline, tables, whole });

/** How many rows a table has at a moment, by the recovered server. */
async function rowsAt(repository: Repository, word: string, places: ScratchPlaces): Promise<number | undefined> {
  const asked = parseMoment(word, 0);
  assert.ok(asked !== undefined);
  const database = "desk";
  const options = { repository, installation: IDENTITY.id, asked, database, places, signal };
  await using recovered = await recoverMoment(options);
  await using connection = await connect({ ...recovered.address, database }, { signal });
  const [row] = await connection.query<{ rows: number }>("select count(*)::int as rows from messages");
  return row?.rows;
}

for (const major of [13, 14, 16, 17, 18] as const satisfies readonly EmbeddedMajor[]) {
  test(`PostgreSQL ${major}: each transaction is found with what it did, and the position before it has nothing of it`, async () => {
    const { folder: embedded, programs } = await embeddedPostgres(major);
    await using server = await startPostgres({ programs, settings: SETTINGS });
    const address = await server.createDatabase("desk");
    await ask(address, "create table messages (id int primary key, body text); create table dropped (id int)");
    const repository = await newRepository(createMemoryStore());
    await using following = await protect(server, address, repository);
    const filled = await commit(
      address,
      "insert into messages select n, repeat(md5(n::text), 100) from generate_series(1, 3000) n",
    );
    const changed = await commit(
      address,
      "update messages set body = repeat(md5(body), 200) where id <= 7",
      "delete from messages where id > 2950",
      "savepoint one",
      "delete from messages",
      "rollback to savepoint one",
    );
    await ask(address, "begin; delete from messages; rollback");
    await ask(address, "select pg_switch_wal()");
    const dropped = await commit(address, "drop table dropped");
    const deleted = await commit(address, "delete from messages where id % 2 = 0");
    const emptied = await commit(address, "truncate messages");
    await following.caughtUp();

    const messages = { ...NONE, table: "messages" };
    const own = { timeline: 1, whole: true };
    const expected = [
      { xid: filled, ...own, tables: [{ ...messages, inserted: 3000 }] },
      { xid: changed, ...own, tables: [{ ...messages, updated: 7, deleted: 50 }] },
      { xid: deleted, ...own, tables: [{ ...messages, deleted: 1475 }] },
      { xid: emptied, ...own, tables: [{ ...messages, replaced: true }] },
    ];
    assert.deepEqual((await find(repository, address, { table: "messages" })).map(shown), expected);
    // Where the database is gone, the base says which table a file was.
    assert.deepEqual((await find(repository, undefined, { table: "messages" })).map(shown), expected);
    const gone = await find(repository, undefined, { table: "dropped" });
    assert.deepEqual(
      gone.map(({ xid, tables }) => [xid, tables]),
      [[dropped, [{ ...NONE, table: "dropped", replaced: true }]]],
    );
    const [large, whole] = await find(repository, address, { table: "messages", deleted: 1000 });
    assert.deepEqual([large?.xid, whole?.xid], [deleted, emptied]);
    const places = { kinds: ["embedded"], embedded } as const;
    assert.equal(await rowsAt(repository, large?.before ?? "", places), 2950);
    assert.equal(await rowsAt(repository, large?.after ?? "", places), 1475);
  });
}

test("after a failover what either timeline has is found once, and what the old server wrote alone is on no other", async () => {
  await using primary = await startPostgres({ settings: SETTINGS });
  const address = await primary.createDatabase("desk");
  await ask(address, "create table messages (id int primary key)");
  const repository = await newRepository(createMemoryStore());
  await using standby = await startStandby(primary, SETTINGS);
  await using following = await protect(primary, address, repository);
  const before = await commit(address, "insert into messages select generate_series(1, 100)");
  await standby.caughtUp();
  await standby.query("alter system set primary_conninfo = ''");
  await standby.query("select pg_reload_conf()");
  for (let left = 1; left > 0; await sleep(20)) {
    const [row] = await primary.query(
      "select count(*)::int as n from pg_stat_replication where application_name = 'walreceiver'",
    );
    left = Number(row?.["n"]);
  }
  const alone = await commit(address, "insert into messages select generate_series(1000, 1009)");
  await following.caughtUp();
  await primary.stop();
  await following.until("the loss is noticed", () => following.troubles.at(-1) !== undefined);
  await standby.promote();
  address.port = standby.address.port;
  const behind = await commit(address, "delete from messages where id > 60");
  await following.until("the next timeline is followed", () => following.state()?.line.timeline === 2);
  await following.caughtUp();

  const found = await find(repository, { ...address }, { table: "messages" });
  const of = (xid: number, timeline: number) => found.filter((one) => one.xid === xid && one.timeline === timeline);
  assert.equal(found.length, 3, JSON.stringify(found));
  const messages = { ...NONE, table: "messages" };
  assert.deepEqual(of(before, 1)[0]?.tables, [{ ...messages, inserted: 100 }]);
  assert.deepEqual(of(alone, 1)[0]?.tables, [{ ...messages, inserted: 10 }]);
  const [after] = of(behind, 2);
  assert.deepEqual(after?.tables, [{ ...messages, deleted: 40 }]);
  const places = { kinds: ["programs"] } as const;
  // Only the old server had it: its positions name the timeline.
  const lost = of(alone, 1)[0]?.after ?? "";
  assert.match(lost, /^lsn:1:/);
  assert.equal(await rowsAt(repository, lost, places), 110);
  assert.equal(await rowsAt(repository, after.before, places), 100);
  assert.equal(await rowsAt(repository, after.after, places), 60);
});

test("after a restore in place what was done is shown by files, until a base or the live database says what they are", async () => {
  await using server = await startPostgres({ settings: SETTINGS });
  const address = await server.createDatabase("desk");
  await ask(address, "create table messages (id int primary key)");
  const repository = await newRepository(createMemoryStore());
  // Nobody may be connected to a database that is renamed.
  await using following = await protect(server, { ...address, database: "postgres" }, repository);
  await commit(address, "insert into messages select generate_series(1, 100)");
  const fresh = await server.createDatabase("desk_restoring");
  await ask(fresh, "create table messages (id int primary key)");
  await server.query("alter database desk rename to desk_before_20260301T020304");
  await server.query("alter database desk_restoring rename to desk");
  const newest = await commit(address, "delete from messages", "insert into messages select generate_series(1, 7)");
  await following.caughtUp();

  const { port } = server.address;
  const away = { ...address, port: port === 1 ? 2 : 1 };
  const named = await search(repository, away, { table: "messages" }, 1000);
  assert.equal(named.found.length, 1);
  assert.ok((named.unnamed?.commits ?? 0) > 0);
  const [last] = (await search(repository, away, {}, 1)).found;
  assert.equal(last?.xid, newest);
  assert.match(last.tables[0]?.table ?? "", /^file \d+\/\d+$/);
  const asked = await search(repository, address, { table: "messages" }, 1000);
  assert.deepEqual([asked.found.at(-1)?.xid, asked.unnamed], [newest, null]);
});
