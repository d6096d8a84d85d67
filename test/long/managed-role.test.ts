/**
 * Roles as providers give them: no superuser, signed in with a password that a command prints, with short timeouts and few
 * connections. Everything works, or is refused before anything is touched.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const TOKEN = "a-token-that-runs-out";
let desk: Desk;
let live: string;

/**
 * What Amazon's documentation says of the user that it gives, and of its group: databases and roles, a look at everybody's
 * sessions, and their end. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.rds_superuser.html
 */
const LIKE_AMAZONS = `
  create role rds_password; create role rds_replication;
  create role rds_superuser in role pg_monitor, pg_signal_backend, rds_password, rds_replication;
  alter role chatwoot with login nosuperuser inherit createdb createrole noreplication valid until 'infinity';
  grant rds_superuser to chatwoot`;

/** What Heroku's documentation says: https://devcenter.heroku.com/articles/connecting-heroku-postgres */
const LIKE_HEROKUS = `
  revoke rds_superuser from chatwoot; drop role rds_superuser, rds_password, rds_replication;
  alter role chatwoot with login nosuperuser nocreatedb nocreaterole`;

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 120, conversations: 12, files: 4 },
    server: { auth: "scram" },
  });
  await makeCheapToOpen(desk);
  live = desk.installation.database.database;
  const token = join(desk.root, "token");
  await writeFile(token, `${TOKEN}\n`, { mode: 0o600 });
  await writeFile(
    desk.config,
    `${await readFile(desk.config, "utf8")}database:\n  password-command: cat ${token}\ndrill:\n  servers: [database-url]\n`,
  );
  await desk.server.query(
    `${LIKE_AMAZONS}; alter role chatwoot password '${TOKEN}' connection limit 3;
     alter role chatwoot set statement_timeout = '20ms'; alter role chatwoot set lock_timeout = '20ms';
     alter role chatwoot set idle_in_transaction_session_timeout = '20ms'; alter role chatwoot set idle_session_timeout = '20ms'`,
  );
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

async function databases(): Promise<unknown[]> {
  const rows = await desk.server.query("select datname from pg_database where datname ~ '^chat' order by 1");
  return rows.map(({ datname }) => datname);
}

function urlOf(database: string): string {
  const { host, port, user } = desk.installation.database;
  return `postgresql://${user}@${host}:${port}/${database}`;
}

/** Somebody else's session on the live database, which its role may end. */
async function bystander(): Promise<AsyncDisposable & { isEnded(): boolean }> {
  await desk.server.query("create role bystander login password 'p4ss'");
  const client = new Client({ ...desk.installation.database, user: "bystander", password: "p4ss" });
  let isEnded = false;
  client.on("error", () => {
    isEnded = true;
  });
  await client.connect();
  return { isEnded: () => isEnded, [Symbol.asyncDispose]: async () => await client.end() };
}

const ELSEWHERE = ["restore", "latest", "--only", "database", "--yes", "--database-url"];

test("a role with the rights of rds_superuser backs up, restores, swaps, takes back and drills", async () => {
  await desk.summary(["backup"]);
  await desk.summary([...ELSEWHERE, urlOf("chat_elsewhere")]);
  const count = "select count(*)::int as n from messages";
  assert.deepEqual(await desk.server.query(count, "chat_elsewhere"), await desk.server.query(count, live));
  await using other = await bystander();
  // What only a superuser may give a database does not come along, and is told.
  await desk.server.query(`alter database ${live} set log_min_duration_statement = 500`);
  const { findings } = await desk.summary(["restore", "latest", "--only", "database", "--yes"], 3);
  const lacking = (findings as Finding[]).find(({ kind }) => kind === "database-settings-lacking");
  assert.match(lacking?.message ?? "", /^1 setting of .* by a superuser: log_min_duration_statement = 500$/);
  assert.equal(other.isEnded(), true);
  await desk.summary(["rollback", "--yes"]);
  await desk.summary(["restore", "--discard-previous", "--yes"]);
  // At Amazon it may create this one too; here only a superuser may, and that is told before anything is made.
  const drill = ["drill", "latest", "--in-place-server"];
  const refused = await desk.chatkeep(drill);
  assert.match(refused.stderr, /'chatwoot' may not create the extension pg_stat_statements on Chatwoot's own server/);
  await desk.server.query("drop extension pg_stat_statements", live);
  await desk.summary(["backup"]);
  assert.equal((await desk.summary(drill))["proven"], true);
  assert.deepEqual(await databases(), ["chat_elsewhere", live]);
});

test("a role that may make no databases backs up, restores into one that it was given, and is refused the rest", async () => {
  await desk.server.query(LIKE_HEROKUS);
  await desk.summary(["backup"]);
  const before = await databases();
  for (const [args, says] of [
    [["restore", "latest", "--only", "database", "--yes"], /may not create databases/],
    [[...ELSEWHERE, urlOf("chat_new")], /does not exist and role 'chatwoot' may not create it/],
  ] as const) {
    const { status, stderr } = await desk.chatkeep(args);
    assert.equal(status, 1, stderr);
    assert.match(stderr, says);
  }
  assert.deepEqual(await databases(), before);
  await desk.server.createDatabase("chat_given", "chatwoot");
  await desk.summary([...ELSEWHERE, urlOf("chat_given")]);
});
