/** Any moment between a base and the end of the log stands where a restore point does, on the command line. */
import assert from "node:assert/strict";
import { appendFile, chmod, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { parse, stringify } from "yaml";
import { watchFile } from "../../src/app/state-folder.ts";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { Manifest } from "../../src/point/manifest.ts";
import { listPoints } from "../../src/job/points.ts";
import type { RecoveredServer, ServerAccess } from "../../src/job/server-summary.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { isProcessOver, knownProcess } from "../../src/system/known-process.ts";
import { runCli, startCli, summaryOf } from "../harness/cli.ts";
import { run } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { longTest } from "../harness/whole.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { onDatabase } from "./hostile-installation.ts";
import { FOLLOWED, protect, serverTime } from "./protected-desk.ts";

/** Far more than what is waited for ever takes: PostgreSQL looks for its lock file every minute. */
const WAITED_MS = 300_000;

let desk: Desk;
/** Where recovered servers lie. */
let place: TestFolder;
let repository: Repository;
let backup: string;
/** Before everything was deleted: a time, a position, and how many messages there were. */
let good: { time: string; lsn: string; messages: number };
/** Before the base. */
let early: string;

before(async () => {
  const settings = [...FOLLOWED, "max_prepared_transactions=2"];
  desk = await openDesk({ server: { settings }, size: { messages: 80, conversations: 12, files: 6 } });
  ({ repository } = await makeCheapToOpen(desk));
  await appendFile(desk.config, `state-dir: ${join(desk.root, "state")}\n`);
  place = await temporaryFolder();
  await chmod(place.path, 0o755);
  backup = String((await desk.summary(["backup"]))["point"]);
  early = await serverTime(desk.server);
  const [identity] = (await listPoints(repository, { signal })).points;
  const { database } = desk.installation.database;
  const protection = await protect(desk.server, { id: identity?.installationId ?? "", name: "desk" }, { database });
  const random = seededRandom("moments");
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 5; n += 1) await sendMessage(client, random);
    await attachFile(client, random, desk.installation.storageRoot);
  });
  await desk.server.query("select pg_switch_wal()");
  await onDatabase(desk.installation, async (client) => await sendMessage(client, random));
  const [{ messages } = {}] = await desk.server.query("select count(*)::int as messages from messages", database);
  await disturb(database);
  const [{ lsn } = {}] = await desk.server.query("select pg_current_wal_insert_lsn()::text as lsn");
  good = { time: await serverTime(desk.server), lsn: String(lsn), messages: Number(messages) };
  await calm(database);
  await onDatabase(desk.installation, async (client) => {
    await client.query("delete from messages");
    await client.query("update accounts set name = 'after'");
  });
  await protection.finish(reopen(repository));
});

/** What is in the way of whoever comes to a server that is a copy of this one: all of it is in the log. */
async function disturb(database: string): Promise<void> {
  await desk.server.query(
    "begin; lock table messages in access exclusive mode; prepare transaction 'it''s open'",
    database,
  );
  for (const sql of [
    `alter database ${database} set session_preload_libraries = 'nobody_has_this'`,
    `alter database ${database} set default_transaction_isolation = 'serializable'`,
    `alter database ${database} allow_connections false`,
    "alter role postgres set default_transaction_read_only = on",
  ])
    await desk.server.query(sql);
}

async function calm(database: string): Promise<void> {
  const sql = `alter role postgres reset all; alter database ${database} reset all; alter database ${database} allow_connections true`;
  await desk.server.query(`begin read write; ${sql}; commit`);
  await desk.server.query("rollback prepared 'it''s open'", database);
}

after(async () => {
  for (const { id } of await runningNow()) await desk.chatkeep(["restore", "--stop", id]);
  await place[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

async function messagesOf(point: string): Promise<unknown> {
  const manifest = JSON.parse((await desk.chatkeep(["dump", point, "manifest.json"])).stdout) as {
    tables: { name: string; rows: number }[];
  };
  return manifest.tables.find(({ name }) => name === "messages")?.rows;
}

async function momentsThere(): Promise<number> {
  return (await listPoints(reopen(repository), { signal })).moments.length;
}

test("a time is exactly that moment, made into a restore point once", async () => {
  const made = await desk.chatkeep(["dump", good.time, "manifest.json"]);
  const { moment, tables } = JSON.parse(made.stdout) as Manifest;
  assert.equal(tables.find(({ name }) => name === "messages")?.rows, good.messages);
  const last = `the last commit in it is of ${moment?.lastCommitAt}, lsn:${moment?.replayedTo}`;
  assert.match(made.stderr, new RegExp(`^the moment is restore point [0-9a-f]{8}; ${last}$`, "m"));
  assert.doesNotMatch(made.stderr, /reading every row/);
  assert.equal(await momentsThere(), 1);
  const plan = await desk.chatkeep(["restore", good.time, "--to", join(desk.root, "unmade"), "--plan"]);
  assert.match(
    plan.stderr,
    new RegExp(`^the moment was brought back before: restore point [0-9a-f]{8}; ${last}$`, "m"),
  );
  assert.match(
    plan.stdout,
    new RegExp(`^  moment +${moment?.at}, .*\n  last commit +${moment?.lastCommitAt}, lsn:`, "m"),
  );
  // What the plan says for the same moment again is the same point.
  const position = /^ {2}same again +chatkeep restore (lsn:\S+)$/m.exec(plan.stdout)?.[1];
  assert.equal(position, `lsn:${moment?.replayedTo}`);
  assert.match((await desk.chatkeep(["ls", position, "database"])).stderr, /^the moment was brought back before/m);
  const again = await desk.chatkeep(["ls", good.time, "database"]);
  assert.equal(again.status, 0, again.stderr);
  assert.equal(await momentsThere(), 1);
  assert.equal(await messagesOf("latest"), await messagesOf(backup));
});

longTest("a moment is drilled, compared and restored as any restore point is", async () => {
  const drilled = await desk.summary(["drill", good.time]);
  assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
  const compared = await desk.summary(["diff", backup, good.time]);
  assert.equal(JSON.stringify(compared).includes("messages"), true);
});

longTest(
  "a moment by chance is proven, with the base, the pages and the indexes that it was recovered from",
  async () => {
    const drilled = await desk.summary(["drill", "--at", "random"]);
    assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
    const names = (drilled["checks"] as { name: string }[]).map(({ name }) => name);
    for (const name of ["base-files", "table-structure", "rows"]) assert.ok(names.includes(name), names.join(" "));
    assert.ok("recovery" in (drilled["stages"] as object));
    const [newest] = (await listPoints(reopen(repository), { signal })).moments.filter(
      ({ id }) => id === drilled["point"],
    );
    assert.equal(newest?.proof?.proven, true);
  },
);

test("a server that does not answer is said before a moment is recovered for it", async () => {
  const environment = await readFile(desk.installation.envFile, "utf8");
  const envFile = join(desk.root, "gone.env");
  await writeFile(envFile, environment.replace(/^POSTGRES_PORT=.*$/m, "POSTGRES_PORT=1"));
  const config = parse(await readFile(desk.config, "utf8")) as { installation: Record<string, unknown> };
  const gone = join(desk.root, "gone.yaml");
  await writeFile(gone, stringify({ ...config, installation: { ...config.installation, "env-file": envFile } }));
  const refused = await desk.chatkeep(["--config", gone, "restore", good.time, "--plan"]);
  assert.equal(refused.status, 1, refused.stdout);
  assert.match(refused.stderr, /^error: no PostgreSQL server answers .*\nhint: .* gone for good, start a new one /m);
  assert.doesNotMatch(refused.stderr, /brought back before|reading the base/);
});

test("a drill takes one name for what it proves", async () => {
  for (const args of [
    ["drill", "latest", "--at", "random"],
    ["drill", "--at", "latest"],
  ]) {
    assert.equal((await desk.chatkeep(args)).status, 2);
  }
  const outside = await desk.chatkeep(["drill", "--at", early]);
  assert.match(outside.stderr, /error: the moment .* cannot be had/);
});

longTest("a position and the newest moment are each a point of their own", async () => {
  assert.equal(await messagesOf(`lsn:${good.lsn}`), good.messages);
  assert.equal(await messagesOf("now"), 0);
});

/** Leaves a server running. */
async function startServer(point: string, more: readonly string[] = []): Promise<RecoveredServer> {
  return (await desk.summary(["restore", point, "--run", "--to", place.path, ...more]))["started"] as RecoveredServer;
}

async function runningNow(): Promise<RecoveredServer[]> {
  return (await desk.summary(["restore", "--run"]))["servers"] as RecoveredServer[];
}

function accessTo({ access }: RecoveredServer): ServerAccess {
  assert.ok(access !== null);
  return access;
}

/** As psql is let in by what was printed. */
async function ask(server: RecoveredServer, sql: string) {
  return await run("psql", [accessTo(server).url, "-XAtc", sql], { env: { PGPASSWORD: undefined } });
}

test("a server of a moment is left running, which nobody can write into, and goes without a trace", async () => {
  const server = await startServer(good.time);
  const { host, port, database } = accessTo(server);
  assert.equal(host, "127.0.0.1");
  assert.equal(server.point, good.time);
  assert.ok(server.lastCommitAt !== null && server.lastCommitAt <= good.time);
  const counted = await ask(server, "select count(*) from messages");
  assert.equal(counted.stdout, `${good.messages}\n`, counted.stderr);
  const begun = await readFile(join(server.folder, "data", "postmaster.opts"), "utf8");
  for (const setting of ["archive_mode=off", "primary_conninfo=", "shared_preload_libraries=", "max_wal_senders=0"]) {
    assert.ok(begun.includes(`"${setting}"`), begun);
  }
  const insert = "insert into accounts (name, created_at, updated_at) values ('x', now(), now())";
  for (const sql of [insert, `set default_transaction_read_only = off; ${insert}`, `begin read write; ${insert}`]) {
    assert.match((await ask(server, sql)).stderr, /read-only transaction|read-write mode during recovery/);
  }
  // Nobody else is let in, with whatever name the cluster knows.
  const other = await run(
    "psql",
    ["-h", host, "-p", String(port), "-U", "postgres", "-w", "-c", "select 1", database],
    {},
  );
  assert.match(other.stderr, /no pg_hba.conf entry/);
  assert.deepEqual(
    (await runningNow()).map(({ id, access }) => [id, access?.port]),
    [[server.id, port]],
  );
  const taken = await desk.chatkeep(["restore", good.time, "--run", "--port", String(port)]);
  assert.equal(taken.status, 1);
  assert.match(taken.stderr, /error: port \d+ of 127\.0\.0\.1 cannot be had/);
  const unknown = await desk.chatkeep(["restore", "--stop", "000000"]);
  assert.equal(unknown.status, 0, unknown.stderr);
  assert.match(unknown.stdout, new RegExp(`^no such server runs: nothing is left of it; there is ${server.id} \\(`));
  const typo = await desk.chatkeep(["restore", "--stop", `${server.id}x`]);
  assert.equal(typo.status, 2, typo.stdout);
  assert.match(
    typo.stderr,
    new RegExp(`^error: no server was ever called .*\nhint: .* There is ${server.id} \\(`, "m"),
  );
  assert.deepEqual((await desk.summary(["restore", "--stop"]))["stopped"], [server.id]);
  assert.deepEqual(await readdir(place.path), []);
  const again = await desk.summary(["restore", "--stop", server.id]);
  assert.deepEqual([again["stopped"], again["others"]], [[], []]);
  assert.deepEqual(await runningNow(), []);
});

test("what is no look, and a place that does not fit, is refused before anything is begun", async () => {
  for (const args of [
    [good.time, "--run", "--plan"],
    [good.time, "--run", "--onto", "compose"],
    [good.time, "--run", "--only", "database"],
    [good.time, "--run", "--stop"],
    [good.time, "--port", "5555"],
    [good.time, "--run", "--port", "80"],
    [good.time, "--stop"],
    ["--run", "--to", place.path],
  ]) {
    const result = await desk.chatkeep(["restore", ...args]);
    assert.equal(result.status, 2, `${args.join(" ")}: ${result.stderr}`);
  }
  for (const [to, said] of [
    [join(place.path, "nowhere"), /error: there is no folder '.*nowhere'/],
    [join(place.path, "n".repeat(90)), /error: the path '.*' is too long for a server's socket/],
  ] as const) {
    if (to.length > 100) await mkdir(to);
    const result = await desk.chatkeep(["restore", good.time, "--run", "--to", to]);
    assert.equal(result.status, 1, result.stderr);
    assert.match(result.stderr, said);
    await rm(to, { recursive: true, force: true });
  }
  assert.deepEqual(await runningNow(), []);
  assert.deepEqual(await readdir(place.path), []);
});

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + WAITED_MS;
  while (!(await isSo())) {
    assert.ok(performance.now() < limit, "it does not come about");
    await setImmediate();
  }
}

longTest("two servers run beside each other; one that was killed is forgotten with all that it had", async () => {
  // In a process of its own, which it outlives.
  const args = ["--config", desk.config, "--json", "restore", `lsn:${good.lsn}`, "--run", "--to", place.path];
  const ended = await runCli(args, { cwd: desk.root });
  assert.equal(ended.status, 0, ended.stderr);
  const first = summaryOf(ended.stdout)["started"] as RecoveredServer;
  const second = await startServer("latest");
  const count = "select count(*) from messages";
  assert.equal((await ask(first, count)).stdout, `${good.messages}\n`);
  assert.equal((await ask(second, count)).stdout, `${String(await messagesOf(backup))}\n`);
  assert.match((await ask(second, "create table t (n int)")).stderr, /read-only transaction/);
  assert.equal((await runningNow()).length, 2);
  const unclear = await desk.chatkeep(["restore", "--stop"]);
  assert.equal(unclear.status, 2);
  assert.match(unclear.stderr, /error: 2 servers run: /);
  const [pid = ""] = (await readFile(join(first.folder, "data", "postmaster.pid"), "utf8")).split("\n");
  const killed = knownProcess(Number(pid));
  process.kill(killed.pid, "SIGKILL");
  await until(() => isProcessOver(killed));
  assert.deepEqual(
    (await runningNow()).map(({ id }) => id),
    [second.id],
  );
  assert.deepEqual(await readdir(place.path), [basename(second.folder)]);
  assert.deepEqual((await desk.summary(["restore", "--stop"]))["stopped"], [second.id]);
  assert.deepEqual(await readdir(place.path), []);
});

longTest("a command that is killed while it recovers leaves nothing that runs, and what it left goes", async () => {
  const command = startCli(["--config", desk.config, "restore", good.time, "--run", "--to", place.path], {
    cwd: desk.root,
  });
  command.stdout?.resume();
  command.stderr?.resume();
  const ended = once(command, "close");
  const hasBegun = async () => (await readdir(place.path)).length > 0;
  await until(async () => command.exitCode !== null || (await hasBegun()));
  const [coming] = await runningNow();
  assert.equal(coming?.state, "recovering");
  const refused = await desk.chatkeep(["restore", "--stop"]);
  assert.equal(refused.status, 11);
  assert.match(refused.stderr, /is being recovered still, by process \d+/);
  command.kill("SIGKILL");
  await ended;
  assert.deepEqual(await runningNow(), []);
  // A server that it had started already ends by itself, and takes the folder along.
  await until(async () => !(await hasBegun()));
});

test("a time that no window covers is the restore point before it, and any other word is refused", async () => {
  const result = await desk.chatkeep(["dump", early, "manifest.json"]);
  assert.equal(result.status, 0, result.stderr);
  assert.match(result.stderr, /cannot be had: the nearest after it is .*: the restore point before it is taken/);
  const longAgo = await desk.chatkeep(["show", "-9000d"]);
  assert.match(longAgo.stderr, /error: the moment .* cannot be had: the nearest after it is /);
  const refused = await desk.chatkeep(["show", "lsn:0/16B3748"]);
  assert.equal(refused.status, 1);
  assert.match(
    refused.stderr,
    /error: the moment lsn:0\/16B3748 cannot be had: the log is there from lsn:0\/[0-9A-F]+ to lsn:0\/[0-9A-F]+\n/,
  );
  const held = await desk.chatkeep(["hold", "-5m", "--name", "audit"]);
  assert.match(held.stderr, /^error: there is no restore point '-5m'\nhint: 'chatkeep show -5m' makes .*name: give/m);
  const before = await desk.chatkeep(["show", "2020-01-01T00:00:00Z"]);
  assert.doesNotMatch(before.stderr, /the restore point before it is taken/);
  assert.match(before.stderr, /^error: no restore point is as old as 2020/m);
});

longTest("what the first repository lacks is brought back from another, from the plan to the end", async () => {
  const plain = await readFile(desk.config, "utf8");
  try {
    // The copy gets what lies in snapshots, and not the journal, which has the newest.
    await desk.summary(["init", "--add", "behind", "--location", join(desk.root, "behind")]);
    await desk.summary(["copy", "--to", "behind"]);
    const config = parse(await readFile(desk.config, "utf8")) as { repositories: { name: string }[] };
    config.repositories.reverse();
    await writeFile(desk.config, stringify(config));
    const why = /^'now' is read from repository 'primary': it goes to 2\S+Z, 'behind' to 2\S+Z$/m;
    await desk.server.query("create database brought");
    const url = `postgresql://postgres@127.0.0.1:${desk.server.address.port}/brought`;
    const to = ["--only", "database", "--database-url", url];
    const plan = await desk.chatkeep(["restore", "now", ...to, "--plan"]);
    assert.match(plan.stderr, why);
    assert.match(plan.stdout, /^ {2}repository +primary: it goes to 2\S+Z, 'behind' to 2\S+Z$/m);
    const position = /^ {2}same again +chatkeep restore (lsn:\S+)$/m.exec(plan.stdout)?.[1] ?? "";
    const restored = await desk.chatkeep(["restore", position, ...to, "--yes"]);
    assert.equal(restored.status, 0, restored.stderr);
    const [row] = await desk.server.query(
      "select (select count(*)::int from messages) as n, name from accounts",
      "brought",
    );
    assert.deepEqual(row, { n: 0, name: "after" });

    assert.equal(await messagesOf("now"), 0);
    assert.equal((await desk.summary(["drill", "now"]))["repository"], "primary");
    assert.equal((await desk.summary(["drill", "--at", "now"]))["repository"], "primary");
    assert.equal((await desk.summary(["moments"]))["repository"], "primary");
    const run = await desk.summary(["restore", "now", "--run", "--to", place.path]);
    assert.equal(run["repository"], "primary");
    const plainDump = [join(desk.root, "out.sql"), "--only", "database", "--format", "plain"];
    assert.match((await desk.chatkeep(["export", good.time, ...plainDump])).stderr, /'behind' does not have it/);
    assert.equal((await desk.summary(["diff", "latest", good.time]))["repository"], "primary");
    await desk.summary(["restore", "--stop"]);
    assert.equal(
      (await desk.summary(["restore", "now", "--run", "--repository", "behind", "--to", place.path]))["repository"],
      "behind",
    );
    await desk.summary(["restore", "--stop"]);
  } finally {
    await writeFile(desk.config, plain);
  }
});

test("a time after the last commit is refused, with both that can be had, until it is known that nothing came since", async () => {
  const [row] = await desk.server.query(
    `select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as asked,
       to_char((at + interval '1 hour') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as later,
       (select system_identifier::text from pg_control_system()) as system
     from (select clock_timestamp() + interval '1 minute' as at) as times`,
  );
  const asked = String(row?.["asked"]);
  const refused = await desk.chatkeep(["dump", asked, "manifest.json"]);
  assert.equal(refused.status, 1, refused.stdout);
  assert.match(
    refused.stderr,
    /cannot be had: the nearest before it that the log has is \d{4}-.*in between is not known/,
  );
  assert.match(refused.stderr, new RegExp(`Say which you want: \\d{4}-.*Z, or ${backup.slice(0, 8)}`));
  const slip = await desk.chatkeep(["dump", "2099-11-23T16:58:50Z", "manifest.json"]);
  assert.equal(slip.status, 1, slip.stdout);
  assert.match(
    slip.stderr,
    /the moment 2099-\S+ lies in the future: it is \d{4}-\S+Z now\nhint: Was it .* another zone\?/,
  );

  const identity = (await listPoints(reopen(repository), { signal })).points[0]?.installationId ?? "";
  const log = { systemId: String(row?.["system"]), timeline: 1, even: { at: String(row?.["later"]), lsn: "0/1" } };
  const report = { schema: 1, at: asked, pid: 1, repositories: [], findings: [], log };
  const state = join(desk.root, "state", identity);
  await mkdir(state, { recursive: true });
  await writeFile(watchFile({ path: state }), JSON.stringify(report));
  assert.equal(await messagesOf(asked), 0, "everything was deleted by the last commit");
  const again = await desk.chatkeep(["ls", asked, "database"]);
  assert.match(again.stderr, /nothing was committed from .* to .*: the moment of that commit is taken/);
});
