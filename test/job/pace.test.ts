/** A database that is read no faster than it may be: what is counted, and that nobody is kept waiting by it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Line } from "../../src/base/line.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { planTable } from "../../src/postgres/range-plan.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { scanTables } from "../../src/postgres/stamps.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { contentsOf, signal, take } from "./captures.ts";

const RATE = 64 * 1024;
const GROUPS = 12;
let server: TestServer;
let address: TestAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("paced");
  // Far from each other, so that each has a range of its own.
  await run(
    `create table t (id bigint primary key, v text);
     insert into t select (n % ${GROUPS}) * 1000000000000 + n, repeat(md5(n::text), 8) from generate_series(1, 6000) n`,
  );
});
after(async () => {
  await server.stop();
});

async function run(sql: string): Promise<Record<string, unknown>[]> {
  return await server.query(sql, "paced");
}

function paced(clock: HandClock): Line {
  return new Line(new SharedArrayBuffer(8), 0, RATE, clock);
}

async function tableBytes(): Promise<number> {
  return Number((await run("select pg_table_size('t') as bytes"))[0]?.["bytes"]);
}

test("rows that are read and pages that are scanned share one rate", async () => {
  const clock = new HandClock({ wakesAtOnce: true });
  const free = await take(address);
  const slow = await take(address, undefined, { pace: paced(clock) });
  assert.deepEqual(contentsOf(slow), contentsOf(free));
  assert.ok((slow.capture.tables[0]?.ranges.length ?? 0) > 8);
  const seconds = clock.monotonic() / 1000;
  const counted = slow.capture.bytesRead + (await tableBytes());
  assert.ok(seconds * RATE > 0.8 * counted, `${counted} bytes in ${seconds} s`);
});

test("where nothing changed only what is scanned counts", async () => {
  const first = await take(address);
  const clock = new HandClock({ wakesAtOnce: true });
  const now = await take(address, first, { pace: paced(clock) });
  assert.ok(now.capture.rangesReused > 4);
  const seconds = clock.monotonic() / 1000;
  assert.ok(seconds * RATE > 0.8 * (await tableBytes()));
});

/** Lets time pass while `work` goes on, and takes the table for a moment whenever all of its sessions wait. */
async function lockWhileWaiting(work: Promise<unknown>, clock: HandClock, sessions: number): Promise<number> {
  const ended = new AbortController();
  const over = work.finally(() => ended.abort());
  let taken = 0;
  while (!ended.signal.aborted) {
    if (clock.asleep === sessions) {
      // Fails at once if anybody has the table open.
      await run("begin; lock table t in access exclusive mode nowait; commit");
      taken += 1;
    }
    await clock.advance(100);
    await sleep(2);
  }
  await over;
  return taken;
}

test("no range's lock is held while the next one is waited for", async () => {
  const clock = new HandClock();
  // Two ranges are under way for each session.
  const work = take(address, undefined, { pace: paced(clock), readers: 1, stampedTableBytes: Infinity });
  assert.ok((await lockWhileWaiting(work, clock, 2)) > 0);
});

test("no piece's lock is held while the next one is waited for", async () => {
  const clock = new HandClock();
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const scanned = await Promise.all(
    tables.map(async (facts) => ({ facts, plan: await planTable(snapshot.connection, facts) })),
  );
  const scan = async (pace?: Line) => await scanTables(address, snapshot.id, scanned, { connections: 1, pace, signal });
  const free = await scan();
  const work = scan(paced(clock));
  assert.ok((await lockWhileWaiting(work, clock, 1)) > 5);
  assert.deepEqual(await work, free);
});

test("the largest ranges are begun first, over as many sessions as there are jobs", async () => {
  const sizes = await server.createDatabase("sizes");
  await server.query(
    `create table a_small (id int primary key, v text); insert into a_small values (1, 'x');
     create table b_large (id int primary key, v text); insert into b_large select n, repeat(md5(n::text), 30) from generate_series(1, 3000) n;
     create table c_middle (id int primary key, v text); insert into c_middle select n, repeat(md5(n::text), 30) from generate_series(1, 300) n`,
    "sizes",
  );
  const begun: string[] = [];
  let atOnce = 0;
  let most = 0;
  await take(sizes, undefined, {
    readers: 1,
    async beforeRange(plan) {
      begun.push(typeof plan === "object" ? plan.name : plan);
      atOnce += 1;
      most = Math.max(most, atOnce);
    },
    duringRange: async () => void (atOnce -= 1),
  });
  assert.deepEqual(begun, ["b_large", "c_middle", "a_small"]);
  // Two ranges for each session: one that is read, and one that waits.
  assert.ok(most <= 2);
});
