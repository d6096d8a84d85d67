/** The database is brought back into its own place, taken back, and dropped: under a Chatwoot that goes on writing. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Finding } from "../../src/base/findings.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { keptName } from "../../src/postgres/kept-databases.ts";
import { startCli } from "../harness/cli.ts";
import { longTest, sampled } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { openDesk, SMALL, type Desk } from "./desk.ts";
import { followElsewhere } from "./followed-elsewhere.ts";

const KILLS = sampled(2, 8);

let desk: Desk;
let live: string;

before(async () => {
  desk = await openDesk({ hasOwnState: true, size: SMALL, server: { settings: ["max_prepared_transactions=2"] } });
  await makeCheapToOpen(desk);
  live = desk.installation.database.database;
  await desk.server.query(`alter database ${live} set idle_in_transaction_session_timeout = '7min'`);
  // When it is loaded, the server words this condition otherwise: that is no difference.
  await onLive("create table worded (v varchar check (v in ('a', 'it''s')))");
  await desk.summary(["backup"]);
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

afterEach(async () => {
  for (const name of await databases()) {
    if (name !== live) await desk.server.query(`drop database "${name}" with (force)`);
  }
});

async function onLive<T>(sql: string): Promise<T[]> {
  return await onDatabase(desk.installation.database, async (client) => (await client.query(sql)).rows as T[]);
}

async function messages(): Promise<number> {
  const [row] = await onLive<{ n: number }>("select count(*)::int as n from messages");
  return row?.n ?? -1;
}

async function databases(): Promise<string[]> {
  const rows = await desk.server.query(`select datname from pg_database where datname like '${live}%' order by 1`);
  return rows.map((row) => String(row["datname"]));
}

/** Findings of the plan, by kind; the newest kept database by its message. */
async function planned(): Promise<Map<string, string>> {
  const result = await desk.chatkeep(["--json", "restore", "latest", "--only", "database", "--plan"]);
  const lines = result.stdout.split("\n").filter((line) => line !== "");
  const plan = lines.map((line) => JSON.parse(line) as { type: string; findings?: Finding[] });
  const findings = plan.find(({ type }) => type === "plan")?.findings ?? [];
  return new Map(findings.map(({ kind, message }) => [kind, message]));
}

async function restoreLive(): Promise<Record<string, unknown>> {
  return await desk.summary(["restore", "latest", "--only", "database", "--yes"]);
}

async function discardAll(): Promise<void> {
  await desk.summary(["restore", "--discard-previous", "--yes"]);
  assert.deepEqual(await databases(), [live]);
}

test("a database comes back into its own place, its settings with it, and a rollback brings what was written since", async () => {
  const all = await messages();
  await onLive("delete from messages where id % 2 = 0");
  const half = await messages();
  await followElsewhere(desk);
  const summary = await restoreLive();
  const newServer = (summary["next"] as string[]).filter((step) => step.includes("watch --new-server"));
  assert.equal(newServer.length, 1, JSON.stringify(summary["next"]));
  const { name, previous } = summary["database"] as { name: string; previous: string };
  assert.equal(name, live);
  assert.match(previous, /_before_\d{8}T\d{6}$/);
  assert.equal(await messages(), all);
  const [setting] = await onLive<{ v: string }>("select current_setting('idle_in_transaction_session_timeout') as v");
  assert.equal(setting?.v, "7min");
  // The restored database is a Chatwoot's like any other: it is backed up, and proven.
  await desk.summary(["backup"]);

  const doctor = await desk.summary(["doctor"], 3);
  assert.ok(JSON.stringify(doctor["findings"]).includes(previous), "doctor says what is kept");

  await onLive("insert into tags (name) values ('written since')");
  const rolled = await desk.summary(["rollback", "--yes"]);
  assert.equal(rolled["back"], previous);
  assert.equal(await messages(), half);
  const aside = (rolled["database"] as { previous: string }).previous;
  assert.match(aside, /_rolledback_/);
  const since = "select count(*)::int as n from tags where name = 'written since'";
  assert.deepEqual([await desk.server.query(since, aside), await onLive(since)], [[{ n: 1 }], [{ n: 0 }]]);
  assert.match((await planned()).get("database-swapped") ?? "", new RegExp(`put back by a rollback .*'${aside}'`));
  const [note] = await desk.server.query(
    `select shobj_description(oid, 'pg_database') as text from pg_database where datname = '${aside}'`,
  );
  assert.ok(String(note?.["text"]).includes(String(summary["point"])), "the point is noted by its whole id");
  const nothing = await desk.chatkeep(["rollback", "--yes"]);
  assert.equal(nothing.status, 1);
  assert.match(nothing.stderr, /last swap was itself a rollback[\s\S]*_rolledback_/);
  await desk.summary(["rollback", aside, "--yes"]);
  assert.equal(await messages(), all);
  await discardAll();
});

test("the plan says what takes whose place, and changes nothing; without a terminal it asks for --yes", async () => {
  const plan = await desk.chatkeep(["restore", "latest", "--only", "database", "--plan"]);
  assert.equal(plan.status, 0);
  assert.match(plan.stdout, /in the place of what is there/);
  assert.match(plan.stdout, /chatkeep rollback/);
  for (const args of [["restore", "latest", "--only", "database"], ["rollback"], ["restore", "--discard-previous"]]) {
    const refused = await desk.chatkeep(args);
    assert.notEqual(refused.status, 0, args.join(" "));
    assert.match(refused.stderr, /hint:/);
  }
  assert.deepEqual(await databases(), [live]);
});

test("a forgotten --database-url beside --to does not reach for the live database", async () => {
  const refused = await desk.chatkeep(["restore", "latest", "--only", "database,config", "--to", "elsewhere", "--yes"]);
  assert.deepEqual([refused.status, /needs --database-url/.test(refused.stderr)], [2, true]);
  assert.deepEqual(await databases(), [live]);
});

test("a role that may not create databases is refused before anything is touched", async () => {
  const { user } = desk.installation.database;
  await desk.server.query(`alter role ${user} nosuperuser nocreatedb`);
  try {
    const refused = await desk.chatkeep(["restore", "latest", "--only", "database", "--yes"]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /may not create databases[\s\S]*--database-url/);
    assert.deepEqual(await databases(), [live]);
  } finally {
    await desk.server.query(`alter role ${user} superuser createdb`);
  }
});

longTest("a database that does not come back to the bit is not swapped in, and is removed", async () => {
  // Whenever the server fills the view, which is once more than when the point was made, a row comes into the table.
  await onLive(`create table drawn (n int);
    create function draw() returns int language sql as 'insert into public.drawn values (1) returning n';
    create materialized view drawing as select draw() as n`);
  const before = await messages();
  try {
    await desk.summary(["backup"]);
    const refused = await desk.chatkeep(["restore", "latest", "--only", "database", "--yes"]);
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /not what the restore point holds.*drawn[\s\S]*Nothing was swapped/);
    assert.deepEqual(await databases(), [live]);
    assert.equal(await messages(), before);
  } finally {
    await onLive("drop materialized view drawing; drop function draw; drop table drawn");
    await desk.summary(["backup"]);
  }
});

longTest(
  "killed at any moment, the old or the new database is in place and whole, and the next call goes on",
  async () => {
    const random = seededRandom(process.env["CHATKEEP_TEST_SEED"] ?? "1");
    const all = await messages();
    await onLive("delete from messages where id % 3 = 0");
    const fewer = await messages();
    for (let round = 0; round < KILLS; round += 1) {
      const child = startCli(["--config", desk.config, "restore", "latest", "--only", "database", "--yes"], {
        cwd: desk.root,
      });
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.stdout?.resume();
      child.stderr?.resume();
      await sleep(300 + random.below(6_000));
      child.kill("SIGKILL");
      await ended;
      const atOnce = await messages();
      assert.ok(atOnce === fewer || atOnce === all, `${atOnce} messages`);
      // What the killed run had asked of the server, and programs of its own, may still be at work for a moment.
      const working = `select count(*)::int as n from pg_stat_activity
      where datname like '%_restoring_%' or application_name like 'chatkeep%'`;
      while ((await desk.server.query(working))[0]?.["n"] !== 0) await sleep(50);
      const found = await messages();
      assert.ok(found === fewer || found === all, `${found} messages`);
      const told = await planned();
      const beside = await databases();
      assert.equal(
        told.has("restore-left"),
        beside.some((name) => name.includes("_restoring_")),
      );
      const kept = beside.findLast((name) => name.includes("_before_"));
      assert.equal(kept !== undefined, found === all, "what is live is a restore point as soon as one is kept");
      if (kept === undefined) assert.ok(!told.has("database-swapped"));
      else assert.ok(told.get("database-swapped")?.includes(kept), "the next call says which one is live");
    }
    // One that cannot be removed is said, and the restore goes on.
    const stuck = keptName(live, "restoring", "2026-01-01T00:00:00Z");
    await desk.server.createDatabase(stuck);
    await desk.server.query("begin; create table half (n int); prepare transaction 'stuck'", stuck);
    try {
      const summary = await desk.summary(["restore", "latest", "--only", "database", "--yes"], 3);
      const told = (summary["findings"] as Finding[]).filter(
        ({ kind, level }) => kind === "restore-left" && level !== "note",
      );
      assert.deepEqual([told.length, told[0]?.message.includes(stuck)], [1, true]);
    } finally {
      await desk.server.query("rollback prepared 'stuck'", stuck);
    }
    assert.equal(await messages(), all);
    const left = (await databases()).filter((name) => name.includes("_restoring_"));
    assert.deepEqual(left, [stuck], "what was left is removed");
    await discardAll();
  },
);
