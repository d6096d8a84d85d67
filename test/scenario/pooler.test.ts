/** PgBouncer between Chatkeep and the server: refused where it shares sessions, and of use where it does not. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { startPgbouncer, type TestPgbouncer } from "../harness/pgbouncer.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { longTest } from "../harness/whole.ts";

let desk: Desk;
let config: string;

before(async () => {
  desk = await openDesk({
    hasOwnState: true,
    hasTwoReaders: true,
    size: { messages: 120, conversations: 12, files: 4 },
  });
  await makeCheapToOpen(desk);
  config = await readFile(desk.config, "utf8");
  await desk.summary(["backup"]);
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

function urlOf(pooler: TestPgbouncer, database: string): string {
  const { user, password = "" } = desk.installation.database;
  return `postgresql://${user}:${encodeURIComponent(password)}@${pooler.host}:${pooler.port}/${database}`;
}

/** Chatkeep is told to go through it, to Chatwoot's database and to that of its drills. */
async function goThrough(pooler: TestPgbouncer): Promise<void> {
  const live = urlOf(pooler, desk.installation.database.database);
  const drills = `drill:\n  servers: [database-url]\n  database-url: ${urlOf(pooler, "postgres")}\n`;
  await writeFile(
    desk.config,
    `${config.replace("installation:\n", `installation:\n  database-url: ${live}\n`)}${drills}`,
  );
}

async function pooled(mode: "session" | "transaction" | "statement", settings: string[] = []): Promise<TestPgbouncer> {
  const { user, password = "" } = desk.installation.database;
  const pooler = await startPgbouncer(desk.server.address, { mode, users: [{ name: user, password }], settings });
  await goThrough(pooler);
  return pooler;
}

test("in transaction and statement mode everything is refused before anything is read or written", async () => {
  const before = Object.keys(await readFolder(desk.repository));
  const refused = async (...args: string[]) => {
    const { status, stderr } = await desk.chatkeep(args);
    assert.equal(status, 1, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, /a pooler gives each transaction another session of the server/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  };
  {
    await using _ = await pooled("statement");
    await refused("backup");
  }
  await using pooler = await pooled("transaction");
  await refused("backup");
  await refused("restore", "latest", "--only", "database", "--yes");
  const url = urlOf(pooler, "never_made");
  await refused("restore", "latest", "--only", "database", "--database-url", url, "--yes");
  await refused("drill", "latest");
  const doctor = await desk.chatkeep(["doctor"]);
  assert.match(doctor.stdout, /a pooler gives each transaction another session[\s\S]*server's own address/);
  const rows = await desk.server.query(
    "select datname as name from pg_database where datname ~ 'never_made|_restoring_|drill'",
  );
  assert.deepEqual(rows, []);
  assert.deepEqual(Object.keys(await readFolder(desk.repository)), before);
});

longTest("in session mode a backup, restores, a rollback and a drill go through it", async () => {
  await using pooler = await pooled("session", ["server_login_retry = 1"]);
  await desk.summary(["backup", "--full"]);
  assert.equal((await desk.summary(["drill", "latest"]))["proven"], true);
  const url = urlOf(pooler, "elsewhere");
  await desk.summary(["restore", "latest", "--only", "database", "--database-url", url, "--yes"]);
  await desk.summary(["restore", "latest", "--only", "database", "--yes"]);
  await desk.summary(["rollback", "--yes"]);
  const count = "select count(*)::int as n from messages";
  const live = await desk.server.query(count, desk.installation.database.database);
  assert.deepEqual(await desk.server.query(count, "elsewhere"), live);
});

longTest("a pooler that lets only two in is enough, although the server has room for more", async () => {
  await using _ = await pooled("session", ["max_client_conn = 2"]);
  const { stderr, status } = await desk.chatkeep(["backup"]);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /no connection left for us .*; starting over with two sessions/);
});
