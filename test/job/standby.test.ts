/** A standby as the source: what is read there is what its primary has, and what it ends is read again. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { lagFindings } from "../../src/job/standby-findings.ts";
import type { RowsPlan } from "../../src/postgres/range-reader.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { type Standby, startStandby } from "../harness/standby.ts";
import { assertSameAsFull, assertWouldBeStale, contentsOf, reasonOf, stampsOf, take } from "./captures.ts";

const SETTINGS = ["synchronous_commit=on"];
let primary: TestServer;
let standby: Standby;

before(async () => {
  primary = await startPostgres({ settings: [...SETTINGS, "log_connections=on"] });
  standby = await startStandby(primary, ["max_standby_streaming_delay=0", "wal_receiver_status_interval=1"]);
});
after(async () => {
  await standby.stop();
  await primary.stop();
});

/** A database that both have. */
async function makeBoth(name: string, sql: string): Promise<{ there: TestAddress; here: TestAddress }> {
  const there = await primary.createDatabase(name);
  await primary.query(sql, name);
  await standby.caughtUp();
  return { there, here: { ...standby.address, database: name } };
}

const ROWS = `create table t (id bigint primary key, v text); insert into t select n, 'old' from generate_series(1, 1000) n;
  create table u (a int, b text); insert into u select n, repeat('x', n) from generate_series(1, 100) n`;

test("a standby gives the rows and stamps that its primary has, and ranges are taken over from it", async () => {
  const { there, here } = await makeBoth("both", ROWS);
  const fromPrimary = await take(there);
  const first = await take(here);
  assert.deepEqual(contentsOf(first), contentsOf(fromPrimary));
  assert.deepEqual(stampsOf(first, "t"), stampsOf(fromPrimary, "t"));
  assert.deepEqual(first.capture.standby, { isReceiving: true, lagSeconds: 0 });
  assert.equal(fromPrimary.capture.standby, undefined);
  await primary.query("update t set v = 'new' where id = 7", "both");
  await standby.caughtUp();
  const now = await take(here, first);
  assert.equal(await reasonOf(here, first, now), undefined);
  assert.equal(now.capture.rangesReused, 1);
  assert.deepEqual(now.capture.findings, []);
  await assertSameAsFull(here, now, first);
});

test("the primary read after its standby, and the standby after its primary: everything is read", async () => {
  const { there, here } = await makeBoth("turns", ROWS);
  const first = await take(here);
  const second = await take(there, first);
  assert.equal(await reasonOf(there, first, second), "a standby was read before, and this is none");
  assert.equal(second.capture.rangesReused, 0);
  const third = await take(here, second);
  assert.equal(await reasonOf(here, second, third), "a standby is read, and it was its primary before");
  assert.equal(third.capture.rangesReused, 0);
  assert.deepEqual(contentsOf(third), contentsOf(first));
});

test("rows that the primary cleans away end every session of a capture: all is read in a new snapshot", async () => {
  const { here } = await makeBoth("cleaned", ROWS);
  const snapshots = new Set<string>();
  const now = await take(here, undefined, {
    async beforeRange(_table, _range, snapshot) {
      snapshots.add(snapshot);
      if (snapshots.size > 1) return;
      await primary.query("update t set v = 'new'", "cleaned");
      await primary.query("vacuum t", "cleaned");
      await standby.caughtUp();
    },
  });
  assert.equal(snapshots.size, 2);
  assert.match(standby.log(), /terminating connection due to conflict with recovery/);
  assert.deepEqual(contentsOf(now), contentsOf(await take(here)));
});

function isNamed(plan: RowsPlan, name: string): boolean {
  return typeof plan === "object" && plan.name === name;
}

test("a table that the primary locks for a moment ends one session: its range is read again in the same snapshot", async () => {
  const { here } = await makeBoth("locked", ROWS);
  const first = await take(here);
  const snapshots: string[] = [];
  const now = await take(here, undefined, {
    beforeRange: async (plan, _range, snapshot) => void (isNamed(plan, "t") && snapshots.push(snapshot)),
    async duringRange(plan) {
      if (!isNamed(plan, "t") || snapshots.length > 1) return;
      await primary.query("begin; lock table t in access exclusive mode; commit", "locked");
      await standby.caughtUp();
    },
  });
  assert.equal(snapshots.length, 2);
  assert.equal(new Set(snapshots).size, 1);
  assert.deepEqual(contentsOf(now), contentsOf(first));
});

test("a standby that ends every attempt: no point, and the hint says which settings let it wait", async () => {
  const { here } = await makeBoth("ended", ROWS);
  const snapshots = new Set<string>();
  const attempt = take(here, undefined, {
    async beforeRange(_table, _range, snapshot) {
      if (snapshots.has(snapshot)) return;
      snapshots.add(snapshot);
      await primary.query("update t set v = v || '.'", "ended");
      await primary.query("vacuum t", "ended");
      await standby.caughtUp();
    },
  });
  await assert.rejects(attempt, (error) => {
    assert.ok(isFailure(error, "database/conflict"), String(error));
    assert.match(error.message, /in each of 5 attempts$/);
    assert.match(error.hint ?? "", /hot_standby_feedback = on/);
    return true;
  });
  assert.equal(snapshots.size, LIMITS.conflictAttempts);
});

test("tables that only the primary has are told of, and everything else is saved", async () => {
  const { here } = await makeBoth(
    "unlogged",
    `${ROWS}; create unlogged table fleeting (id bigserial primary key, v text); insert into fleeting (v) values ('x')`,
  );
  const { capture } = await take(here);
  assert.deepEqual(
    capture.findings.map(({ kind, level }) => [kind, level]),
    [["unlogged-tables", "warning"]],
  );
  assert.match(capture.findings[0]?.message ?? "", /: public\.fleeting$/);
  assert.deepEqual(
    capture.tables.map(({ entry }) => [entry.name, entry.rows]),
    [
      ["fleeting", 0],
      ["t", 1000],
      ["u", 100],
    ],
  );
});

function tell(isReceiving: boolean, lagSeconds: number | null): string[] {
  return lagFindings({ isReceiving, lagSeconds }).map(({ level, message }) => `${level}: ${message}`);
}

test("how far a standby is behind is told, and a warning from five minutes on", async () => {
  const { here } = await makeBoth("behind", ROWS);
  await standby.query("select pg_wal_replay_pause()");
  try {
    await primary.query("update t set v = 'new' where id = 1", "behind");
    for (let isThere = false; !isThere; await sleep(20)) {
      const [row] = await standby.query("select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() as more");
      isThere = row?.["more"] === true;
    }
    const { capture } = await take(here);
    assert.equal(capture.standby?.isReceiving, true);
    assert.ok((capture.standby?.lagSeconds ?? 0) > 0);
  } finally {
    await standby.query("select pg_wal_replay_resume()");
  }
  assert.deepEqual(tell(true, 300), []);
  assert.deepEqual(tell(true, 301), ["warning: the last transaction that the standby applied is 5 min 1 s old"]);
  assert.deepEqual(tell(true, null), ["warning: the standby does not tell how far it is behind its primary"]);
  assert.deepEqual(tell(false, 2), [
    "note: the last transaction that the standby applied is 2.0 s old, and it is not connected to its primary",
  ]);
});

let promoted: Promise<void> | undefined;

/** Two ranges may begin at the same moment, and a server can be promoted but once. */
async function promoteOnce(): Promise<void> {
  promoted ??= standby.promote();
  await promoted;
}

/** Last: there is no standby after it. */
test("a standby that was promoted without what its primary did last gives its transaction ids again: everything is read", async () => {
  const { there, here } = await makeBoth("promoted", ROWS);
  await standby.query("alter system set primary_conninfo = ''");
  await standby.query("select pg_reload_conf()");
  for (let isAlone = false; !isAlone; await sleep(20)) {
    const [row] = await standby.query("select not exists (select from pg_stat_wal_receiver) as alone");
    isAlone = row?.["alone"] === true;
  }
  const alone = await take(here);
  assert.equal(alone.capture.standby?.isReceiving, false);
  assert.deepEqual(
    alone.capture.findings.map(({ kind, level }) => [kind, level]),
    [["standby-behind", "note"]],
  );
  await primary.query("update t set v = 'there' where id = 1", "promoted");
  const first = await take(there);
  // In the middle of a capture, which goes on: what it reads is as old as it was.
  const during = await take(here, undefined, { beforeRange: async () => await promoteOnce() });
  assert.deepEqual(contentsOf(during), contentsOf(alone));
  await standby.query("update t set v = 'here' where id = 1", "promoted");
  await standby.query("select pg_logical_emit_message(false, 'test', repeat('x', 1000000))");
  const now = await take(here, first);
  assertWouldBeStale(first, now, "t");
  assert.equal(await reasonOf(here, first, now), "the server is on another timeline");
  assert.equal(now.capture.rangesReused, 0);
  await assertSameAsFull(here, now, first);
  const after = await take(here, alone);
  assert.equal(await reasonOf(here, alone, after), "the server is on another timeline");
  assert.equal(after.capture.rangesReused, 0);
});
