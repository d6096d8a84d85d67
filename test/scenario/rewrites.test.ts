/**
 * Another client empties, rewrites and replaces tables while backups run. A snapshot does not protect against that,
 * so these tests hold Chatkeep to it: no table is ever saved empty or half, and the other client is not held up.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { FILE_TABLES } from "../../src/chatwoot/accounts.ts";
import { jsonLines, startCli, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { firstOf, sampled } from "../harness/whole.ts";
import { changeBusyTables, createBusyTables, faultsOf } from "./busy-tables.ts";
import { makeCheapToOpen, type OpenedDesk } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";

const BACKUPS = sampled(2, 8);

let desk: Desk;
let opened: OpenedDesk;

before(async () => {
  desk = await openDesk({ hasTwoReaders: true, size: { messages: 100, conversations: 20, files: 4 } });
  opened = await makeCheapToOpen(desk);
  await withClient(createBusyTables);
});

after(async () => await desk[Symbol.asyncDispose]());

async function withClient<T>(act: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(desk.installation.database);
  client.on("error", () => {});
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

interface RunningBackup {
  readonly child: ChildProcess;
  readonly ended: Promise<RunResult>;
  readonly isRunning: () => boolean;
}

function startBackup(): RunningBackup {
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  assert.ok(child.stdout && child.stderr);
  const printed = Promise.all([text(child.stdout), text(child.stderr)]);
  const status = new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? -1)));
  const ended = Promise.all([status, printed]).then(([code, [stdout, stderr]]) => ({
    status: code,
    stdout,
    stderr,
    stdoutBytes: Buffer.from(stdout),
  }));
  return { child, ended, isRunning: () => child.exitCode === null && child.signalCode === null };
}

/** A backup ended in one of the two ways it may: with a point, or by saying that tables kept changing. */
function assertEnd({ status, stdout, stderr }: RunResult): void {
  if (status === 0) assert.equal(summaryOf(stdout)["verb"], "backup");
  else {
    assert.equal(status, 1, stderr);
    assert.equal(jsonLines(stdout).at(-1)?.["code"], "database/changed", stderr);
  }
}

async function assertNothingHalf(): Promise<number> {
  const points = await savedPoints(opened.repository);
  for (const point of points) assert.deepEqual(await faultsOf(point), [], `point ${point.point.id}`);
  return points.length;
}

test("a client that rewrites tables without a pause: every point holds each table whole, in its committed state", async () => {
  const stop = new AbortController();
  let generation = 0;
  const busy = withClient(async (client) => {
    while (!stop.signal.aborted) {
      await changeBusyTables(client, ++generation);
      // Some of the backups shall find a moment to end in, others shall not.
      await sleep((generation % 4) * 400, undefined, { signal: stop.signal }).catch(() => {});
    }
  });
  const ends: number[] = [];
  try {
    for (let number = 0; number < BACKUPS; number++) {
      const result = await startBackup().ended;
      assertEnd(result);
      ends.push(result.status);
    }
  } finally {
    stop.abort();
    await busy;
  }
  assert.equal(await assertNothingHalf(), ends.filter((status) => status === 0).length);
  assert.ok(generation > 1);
});

type Waiting = { pid: number; query: string };

/** The sessions of ours that wait for a lock, once there are any. */
async function untilWaiting(run: RunningBackup): Promise<Waiting[]> {
  for (;;) {
    const waiting = (await desk.server.query(
      `select pid, query from pg_stat_activity
       where wait_event_type = 'Lock' and application_name like 'chatkeep%' order by pid`,
    )) as Waiting[];
    if (waiting.length > 0) return waiting;
    if (!run.isRunning()) throw new Error(`the backup ended before it waited:\n${(await run.ended).stderr}`);
    await sleep(10);
  }
}

/**
 * Takes an exclusive lock on `table` and lets the backup through step by step, until it waits for the lock while it
 * reads ranges or dumps the schema. With COMMIT and LOCK in one message no step can slip past.
 */
async function catchInTheMiddle(client: Client, run: RunningBackup, table: string): Promise<Waiting[]> {
  const looking = new Set<number>();
  for (;;) {
    const waiting = await untilWaiting(run);
    // The session that reads the catalogue waits as well, before it and pg_dump and those that read ranges do.
    for (const { pid, query } of waiting) if (query.includes("n.nspname as schema")) looking.add(pid);
    if (waiting.some(({ pid, query }) => !looking.has(pid) && /lock table /i.test(query))) return waiting;
    await client.query(`COMMIT; BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  }
}

const CHANGES: Readonly<Record<string, string>> = {
  "emptied and filled":
    "CREATE TEMP TABLE kept AS TABLE busy_states; TRUNCATE busy_states; INSERT INTO busy_states TABLE kept",
  rewritten: "ALTER TABLE busy_states ALTER generation TYPE bigint",
  replaced: `CREATE TEMP TABLE kept AS TABLE busy_states; DROP TABLE busy_states;
    CREATE TABLE busy_states (name text PRIMARY KEY, generation int NOT NULL); INSERT INTO busy_states TABLE kept`,
};

for (const [what, change] of firstOf(Object.entries(CHANGES), 1)) {
  test(`a table that is ${what} after the snapshot makes the backup start over`, async () => {
    const pointsBefore = (await savedPoints(opened.repository)).length;
    await withClient(async (client) => {
      await client.query("BEGIN; LOCK TABLE busy_states IN ACCESS EXCLUSIVE MODE");
      const run = startBackup();
      await catchInTheMiddle(client, run, "busy_states");
      await client.query(`${change}; COMMIT`);
      const { status, stderr } = await run.ended;
      assert.equal(status, 0, stderr);
      assert.match(stderr, /; starting over with a new snapshot/);
    });
    assert.equal(await assertNothingHalf(), pointsBefore + 1);
  });
}

test("while a backup is held up, any other table can be altered at once, and it goes on when it can", async () => {
  await withClient(async (client) => {
    await client.query("BEGIN; LOCK TABLE busy_states IN ACCESS EXCLUSIVE MODE");
    const run = startBackup();
    await catchInTheMiddle(client, run, "busy_states");
    // The very session that holds the backup up wants another table: whoever waits for it must not hold that one.
    for (const table of ["busy_altered", "messages", "active_storage_blobs", "users", "accounts"]) {
      await client.query(
        `ALTER TABLE ${table} ADD COLUMN chatkeep_test int; ALTER TABLE ${table} DROP COLUMN chatkeep_test`,
      );
      assert.ok(run.isRunning(), "the backup has ended");
    }
    await client.query("COMMIT");
    const { status, stderr } = await run.ended;
    assert.equal(status, 0, stderr);
  });
  await assertNothingHalf();
});

test("a session that reads rows never holds the locks of two tables", async () => {
  const run = startBackup();
  const held = new Set<string>();
  let samples = 0;
  await withClient(async (client) => {
    while (run.isRunning()) {
      // pg_dump, whose statements are its own, and the catalogue's query hold several, for the time of a small statement;
      // what counts uploaded files by account joins two. Ours are in lower case.
      const { rows } = await client.query<{ pid: number; query: string; tables: string[] }>(
        `select a.pid, a.query, array_agg(c.relname::text order by c.relname) as tables
         from pg_locks l join pg_stat_activity a using (pid) join pg_class c on c.oid = l.relation
         where a.application_name like 'chatkeep%' and a.datname = current_database() and l.granted and c.relkind = 'r'
           and c.relnamespace = 'public'::regnamespace group by 1, 2`,
      );
      samples += rows.length;
      for (const { query, tables } of rows.filter(({ query: text }) => /^(set|lock|copy|select count)/.test(text))) {
        if (tables.length > 1 && tables.join() !== FILE_TABLES.join())
          held.add(`${query.slice(0, 80)}: ${tables.join()}`);
      }
      await sleep(1);
    }
  });
  assert.equal((await run.ended).status, 0);
  assert.ok(samples > 0);
  assert.deepEqual([...held], []);
});
