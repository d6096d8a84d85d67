/** A rollback and the dropping of kept databases, killed at moments of their work; and a live database with faults of its own. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { keptName, listKept, noteDatabase } from "../../src/postgres/kept-databases.ts";
import { connectBeside } from "../../src/postgres/target.ts";
import { startCli } from "../harness/cli.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const KILLS = Number(process.env["CHATKEEP_TEST_KILLS"] ?? 12);
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const signal = new AbortController().signal;
let desk: Desk;
let live: string;

before(async () => {
  desk = await openDesk({
    size: { messages: 120, conversations: 12, files: 4 },
    server: { settings: ["allow_in_place_tablespaces=on", "max_prepared_transactions=2"] },
  });
  await makeCheapToOpen(desk);
  live = desk.installation.database.database;
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

async function databases(): Promise<string[]> {
  const rows = await desk.server.query(`select datname from pg_database where datname like '${live}%' order by 1`);
  return rows.map(({ datname }) => String(datname));
}

async function word(): Promise<unknown> {
  return (await desk.server.query("select word from here", live))[0]?.["word"];
}

/** A copy of the live one beside it, as a restore puts it aside. */
async function putAside(at: string): Promise<string> {
  const name = keptName(live, "before", at);
  await desk.server.query(`create database "${name}" template "${live}"`);
  await noteAs(name, at);
  return name;
}

async function noteAs(name: string, at: string): Promise<void> {
  await using connection = await connectBeside(desk.installation.database, { signal });
  await noteDatabase(connection, name, { chatkeep: "before", of: live, point: "0".repeat(64), at });
}

const OURS = "select count(*)::int as n from pg_stat_activity where application_name = 'chatkeep'";

async function sessions(): Promise<number> {
  return Number((await desk.server.query(OURS))[0]?.["n"]);
}

/** Kills a command so long after its first session was there; what it asked of the server last may go on for a moment. */
async function killed(args: readonly string[], afterMs: number): Promise<void> {
  const child = startCli(["--config", desk.config, ...args], { cwd: desk.root });
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.stdout?.resume();
  child.stderr?.resume();
  while (child.exitCode === null && (await sessions()) === 0) await sleep(5);
  await sleep(afterMs);
  child.kill("SIGKILL");
  await ended;
  while ((await sessions()) > 0) await sleep(20);
}

test(`a rollback that is killed went back or did not, and the next call says which and goes on (CHATKEEP_TEST_SEED=${seed})`, async () => {
  const random = seededRandom(`rollback/${seed}`);
  await desk.server.query("create table here as select 'old' as word", live);
  let aside = await putAside("2026-03-01T02:03:04.000Z");
  await desk.server.query("update here set word = 'new'", live);
  for (let round = 0; round < KILLS; round += 1) {
    await killed(["rollback", "--yes"], random.below(400));
    const found = await word();
    assert.ok(found === "old" || found === "new", String(found));
    const [one, other, ...more] = await databases();
    assert.deepEqual([one, more], [live, []], "no database is lost, and none is made");
    assert.ok(other !== undefined);
    const next = await desk.chatkeep(["rollback", "--yes"]);
    if (found === "old") {
      assert.equal(next.status, 1, next.stderr);
      assert.ok(next.stderr.includes(`'${live}' is what it put back`) && next.stderr.includes(other), next.stderr);
    } else {
      assert.equal(next.status, 0, next.stderr);
      assert.equal(other, aside);
    }
    assert.equal(await word(), "old");
    // Both are where they were at first.
    const [kept] = await listKept(desk.installation.database, { signal });
    await desk.summary(["rollback", String(kept?.name), "--yes"]);
    assert.equal(await word(), "new");
    [aside = ""] = (await databases()).filter((name) => name !== live);
    await noteAs(aside, `2026-03-02T02:03:${String(round % 60).padStart(2, "0")}.000Z`);
  }
  await desk.summary(["restore", "--discard-previous", "--yes"]);
  assert.deepEqual(await databases(), [live]);
  await desk.server.query("drop table here", live);
});

test(`databases that are dropped when it is killed are gone or whole, and the next call drops the rest (CHATKEEP_TEST_SEED=${seed})`, async () => {
  const random = seededRandom(`discard/${seed}`);
  const discard = ["restore", "--discard-previous", "--yes"];
  for (let round = 0; round < Math.ceil(KILLS / 3); round += 1) {
    const made = [await putAside("2026-04-01T00:00:00.000Z"), await putAside("2026-04-02T00:00:00.000Z")];
    await killed(discard, random.below(600));
    const left = (await databases()).filter((name) => name !== live);
    assert.ok(left.every((name) => made.includes(name)));
    for (const name of left) assert.ok((await desk.server.query("select from messages", name)).length > 0);
    const next = await desk.chatkeep(discard);
    if (left.length === 0) assert.match(next.stderr, /no restore put a database aside/);
    else assert.equal(next.status, 0, next.stderr);
    assert.deepEqual(await databases(), [live]);
  }
});

test("what comes to hold the live database while another is loaded is told before any session is ended", async () => {
  await desk.summary(["backup"]);
  const worker = new Client({ ...desk.installation.database, application_name: "worker" });
  await worker.connect();
  try {
    const restoring = desk.chatkeep(["restore", "latest", "--only", "database", "--yes"]);
    while ((await databases()).every((name) => !name.includes("_restoring_"))) await sleep(5);
    await desk.server.query("begin; create table half (n int); prepare transaction 'half done'", live);
    const { status, stderr } = await restoring;
    assert.equal(status, 1, stderr);
    assert.match(stderr, /1 prepared transaction of .* is open.*: half done/);
    assert.match(
      stderr.replaceAll(/\s+/g, " "),
      /Nothing was swapped\. The restored database stays beside the live one/,
    );
    assert.ok((await worker.query("select 1 as one")).rows.length === 1, "nobody was thrown out");
  } finally {
    await worker.end();
    await desk.server.query("rollback prepared 'half done'", live);
  }
  await desk.summary(["restore", "--discard-previous", "--yes"]);
  assert.deepEqual(await databases(), [live]);
});

test("a database in a tablespace of its own, with an account that lacks a sequence, comes back to where it was", async () => {
  await desk.server.query("create tablespace fast location ''");
  await desk.server.query(`alter database ${live} set tablespace fast`);
  const [account] = await desk.server.query("select min(id)::int as id from accounts", live);
  await desk.server.query(`drop sequence camp_dpid_seq_${String(account?.["id"])}`, live);
  const { findings } = await desk.summary(["backup"], 3);
  const lacking = (findings as Finding[]).filter(({ level }) => level !== "note");
  assert.deepEqual(
    lacking.map(({ kind }) => kind),
    ["account-sequences-lacking"],
  );
  const drilled = await desk.summary(["drill"]);
  assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
  const checks = drilled["checks"] as { name: string; detail: string }[];
  assert.match(checks.find(({ name }) => name === "triggers")?.detail ?? "", /accounts that lacked their sequences/);
  await desk.summary(["restore", "latest", "--only", "database", "--yes"]);
  const [place] = await desk.server.query(
    `select spcname as name from pg_database d join pg_tablespace t on t.oid = dattablespace where datname = '${live}'`,
  );
  assert.equal(place?.["name"], "fast");
  await desk.summary(["ack", "account-sequences-lacking"]);
  await desk.summary(["backup"]);
});
