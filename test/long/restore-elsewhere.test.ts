/** A database brought back under another name, to another owner without a superuser's rights, whole and in part. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { lookForRoom, roomFindings } from "../../src/job/room.ts";
import { planDatabase } from "../../src/job/plan-database.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { ALL_ROWS } from "../../src/job/row-choice.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { jsonLines } from "../harness/cli.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { assertRefused } from "../scenario/refusal.ts";
import { savedPoints } from "../scenario/saved-point.ts";

const { signal } = new AbortController();

let desk: Desk;

before(async () => {
  desk = await openDesk({ hasOwnState: true, isCheckout: true, size: { messages: 150, conversations: 20, files: 12 } });
  await makeCheapToOpen(desk);
  await desk.server.query("create role keeper login createdb; create role guest login");
  await desk.summary(["backup"]);
});
after(async () => await desk[Symbol.asyncDispose]());

function urlOf(database: string, user: string): string {
  const { host, port } = desk.server.address;
  return `postgresql://${user}@${host}:${port}/${database}`;
}

type Found = { kind: string; level: string; message: string; hint: string };

interface Plan {
  blockers: Found[];
  findings: Found[];
  what: string;
  estimate: { diskBytes: number; freeBytes: number | null; seconds: number | null };
}

async function planOf(args: readonly string[]): Promise<Plan> {
  const { stdout } = await desk.chatkeep(["--json", "restore", "latest", ...args, "--plan"]);
  const plan = jsonLines(stdout).find(({ type }) => type === "plan");
  assert.ok(plan !== undefined, stdout);
  const [{ what }] = plan["steps"] as [{ what: string }];
  const { blockers, findings, estimate } = plan as unknown as Plan;
  return { blockers, findings, estimate, what };
}

async function firstPoint(): Promise<PointReader> {
  const password = readFileSync(desk.passwordFile, "utf8").trim();
  const repository = await openRepository(openLocalStore(desk.repository), { password, signal });
  const [point] = await savedPoints(repository);
  assert.ok(point !== undefined);
  return point;
}

test("the plan says how much room and time it takes, and what cannot fit is refused", async () => {
  const database = ["--only", "database", "--database-url", urlOf("roomy", "postgres")];
  const before = await planOf(database);
  assert.ok(before.estimate.diskBytes > 8 * 1024 ** 2, String(before.estimate.diskBytes));
  assert.ok((before.estimate.freeBytes ?? 0) > 0);
  assert.equal(before.estimate.seconds, null);
  const part = await planOf(["--database-url", urlOf("roomy", "postgres"), "--table", "messages"]);
  assert.ok(part.estimate.diskBytes < before.estimate.diskBytes);
  await desk.summary(["drill"]);
  const { estimate } = await planOf(database);
  assert.ok((estimate.seconds ?? 0) > 0);
  // Who may not ask where the data lies does not know.
  const unknown = await planOf(["--only", "database", "--database-url", urlOf("roomy", "keeper")]);
  assert.equal(unknown.estimate.freeBytes, null);

  const point = await firstPoint();
  const manifest = await point.manifest();
  const tables = manifest.tables.map((table) => ({ ...table, bytes: 2 ** 50 }));
  point.manifest = async () => ({ ...manifest, tables, server: { ...manifest.server, databaseBytes: 2 ** 50 } });
  const options = { address: { ...desk.server.address, database: "roomy" }, rows: ALL_ROWS, withRoles: false, signal };
  for (const [isLive, hint] of [
    [false, /another server/],
    [true, /--discard-previous/],
  ] as const) {
    const { room } = await planDatabase(point, { ...options, isLive });
    const [blocker] = roomFindings(await lookForRoom(room === undefined ? [] : [room]), "");
    assert.deepEqual([blocker?.kind, blocker?.level], ["server-disk-too-small", "alarm"]);
    assert.match(blocker?.message ?? "", /^the server's disk has .* free, the database needs about 1\.0 PiB$/);
    assert.match(blocker?.hint ?? "", hint);
  }
  // Half of what is free as text: by the estimate twice of it, which need not be so.
  const [first, ...others] = manifest.tables.map((table) => ({ ...table, bytes: 0 }));
  assert(first !== undefined);
  const half = [{ ...first, bytes: Math.round((before.estimate.freeBytes ?? 0) / 2) }, ...others];
  point.manifest = async () => ({ ...manifest, tables: half, server: { ...manifest.server, databaseBytes: 2 ** 50 } });
  const tight = await planDatabase(point, { ...options, isLive: false });
  assert.deepEqual(tight.blockers, []);
  assert(tight.room !== undefined);
  const [warned] = roomFindings(await lookForRoom([tight.room]), "");
  assert.deepEqual([warned?.kind, warned?.level], ["server-disk-too-small", "warning"]);
});

test("a server that is older than the point's, or lacks an extension of it, is refused; an older extension is told", async () => {
  const point = await firstPoint();
  const manifest = await point.manifest();
  const major = desk.server.major + 1;
  const trigrams = manifest.server.extensions.find(({ name }) => name === "pg_trgm");
  assert.ok(trigrams !== undefined);
  const extensions = [
    { name: "vectors", version: "1.0", schema: "public" },
    { ...trigrams, version: "99.0" },
  ];
  point.manifest = async () => ({ ...manifest, server: { ...manifest.server, major, extensions } });
  const address = { ...desk.server.address, database: "older" };
  for (const isLive of [false, true]) {
    const at = isLive ? desk.installation.database : address;
    const plan = await planDatabase(point, { address: at, isLive, rows: ALL_ROWS, withRoles: false, signal });
    assert.deepEqual(
      plan.blockers.map(({ kind, message }) => `${kind}: ${message}`),
      [
        `server-too-old: the server is PostgreSQL ${desk.server.major}, the restore point is of PostgreSQL ${major}`,
        "extension-missing: the server lacks the extension vectors",
      ],
    );
    assert.deepEqual(
      plan.findings.map(
        ({ kind, level, message }) => `${level}: ${kind}: ${message.replace(/version \d\S+ of/, "version … of")}`,
      ),
      [
        "warning: extension-older: the server has version … of the extension pg_trgm, the restore point was made with 99.0",
      ],
    );
  }
});

async function countsOf(database: string): Promise<Record<string, number>> {
  const names = await desk.server.query(
    "select c.relname as name from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1",
    database,
  );
  const parts = names.map(({ name }) => `select '${String(name)}' as name, count(*)::int as n from "${String(name)}"`);
  const rows = await desk.server.query(parts.join(" union all "), database);
  return Object.fromEntries(rows.map(({ name, n }) => [String(name), Number(n)]));
}

/** A new account has sequences of its own, which a trigger makes in `public` as whoever Chatwoot is there (F9). */
async function makeAccount(connectionString: string): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    await client.query("begin");
    await client.query("insert into accounts (id, name, created_at, updated_at) values (987654, 'new', now(), now())");
    const { rows } = await client.query("select to_regclass('public.conv_dpid_seq_987654') is not null as made");
    assert.deepEqual(rows, [{ made: true }]);
    await client.query("rollback");
  } finally {
    await client.end();
  }
}

test("another name, another owner, no superuser: what no data needs is left out and said, the rest is the same", async () => {
  const args = ["--only", "database", "--database-url", urlOf("kept", "keeper")];
  const plan = await planOf(args);
  assert.deepEqual(plan.blockers, []);
  const left = plan.findings.find(({ kind }) => kind === "extension-left-out");
  assert.match(left?.message ?? "", /pg_stat_statements is left out: only an administrator may create it/);
  assert.equal(left?.level, "note");
  await desk.summary(["restore", "latest", ...args, "--yes"]);
  const owners = await desk.server.query(
    "select distinct pg_get_userbyid(relowner) as owner from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')",
    "kept",
  );
  assert.deepEqual(owners, [{ owner: "keeper" }]);
  await makeAccount(urlOf("kept", "keeper"));
  // As the note says, an administrator may make it afterwards: then nothing differs.
  await desk.server.query("create extension pg_stat_statements", "kept");
  await assertSameDatabase(desk.installation.database, { ...desk.server.address, database: "kept" });
});

test("rows of some tables come into a database of their own, and foreign keys without rows stay out", async () => {
  const args = ["--database-url", urlOf("old_data", "keeper"), "--table", "public.messages,conversations"];
  const summary = await desk.summary(["restore", "latest", ...args, "--table", "active_storage_attachments", "--yes"]);
  const findings = summary["findings"] as Found[];
  const keys = findings.find(({ kind }) => kind === "foreign-keys-left-out");
  assert.match(keys?.message ?? "", /^1 foreign key to tables without rows is left out: fk_rails_/);
  const all = await countsOf(desk.installation.database.database);
  const some = await countsOf("old_data");
  assert.deepEqual(Object.keys(some), Object.keys(all));
  const named = ["messages", "conversations", "active_storage_attachments"];
  const expected = Object.fromEntries(Object.entries(all).map(([name, n]) => [name, named.includes(name) ? n : 0]));
  assert.deepEqual(some, expected);
  assert.ok((some["messages"] ?? 0) > 0 && (some["active_storage_attachments"] ?? 0) > 0);
  const indexes = "select count(*)::int as n from pg_indexes where tablename = 'messages'";
  assert.deepEqual(
    await desk.server.query(indexes, "old_data"),
    await desk.server.query(indexes, desk.installation.database.database),
  );
  assert.match(String((summary["next"] as string[])[0]), /DROP DATABASE "old_data"/);
  const both = await planOf([
    "--database-url",
    urlOf("both", "keeper"),
    "--table",
    "active_storage_attachments,active_storage_blobs",
  ]);
  assert.deepEqual(
    both.findings.filter(({ kind }) => kind === "foreign-keys-left-out"),
    [],
  );
  assert.match(both.what, / of 2 tables \(of \d+\)$/);
});

test("the schema alone has all tables and no rows", async () => {
  const plan = await planOf(["--database-url", urlOf("empty_one", "keeper"), "--schema-only"]);
  assert.match(plan.what, /^\d+ tables without rows$/);
  await desk.summary(["restore", "latest", "--database-url", urlOf("empty_one", "keeper"), "--schema-only", "--yes"]);
  const counts = await countsOf("empty_one");
  assert.deepEqual(Object.keys(counts), Object.keys(await countsOf(desk.installation.database.database)));
  assert.ok(Object.values(counts).every((n) => n === 0));
});

test("what cannot be chosen is refused with what may be meant, and the live database is never filled by half", async () => {
  const at = ["--database-url", urlOf("nowhere", "keeper")];
  const refuse = async (args: readonly string[], error: RegExp, hint: RegExp) => {
    assertRefused(await desk.chatkeep(["restore", "latest", ...args, "--yes"]), { status: 2, error, hint });
  };
  await refuse([...at, "--table", "mesages"], /no table 'mesages'/, /Is it messages\?.*database\/data/);
  await refuse(["--only", "database", "--table", "messages"], /into a database of its own/, /--database-url/);
  await refuse(["--only", "database", "--schema-only"], /into a database of its own/, /never put back by half/);
  await refuse([...at, "--table", "messages", "--schema-only"], /exclude each other/, /no rows/);
  await refuse([...at, "--to", desk.root, "--table", "messages"], /into a database of its own/, /nothing else/);
  assert.deepEqual(await desk.server.query("select from pg_database where datname = 'nowhere'"), []);
});

test("an extension that is needed and that only an administrator may create is named before anything is made", async () => {
  const live = desk.installation.database.database;
  await desk.server.query("create schema ext; create extension earthdistance schema ext cascade", live);
  await desk.server.query(
    "create table places (id int primary key, at ext.cube); insert into places values (1, '(1, 2)')",
    live,
  );
  await desk.server.query("create view slow as select query from pg_stat_statements", live);
  await desk.summary(["backup"]);
  const args = ["--only", "database", "--database-url", urlOf("needs", "keeper")];
  const refused = await desk.chatkeep(["restore", "latest", ...args, "--yes"]);
  assertRefused(refused, {
    status: 1,
    error: /role 'keeper' may not create the extensions earthdistance, pg_stat_statements: .*permission denied/,
    hint: /CREATE SCHEMA IF NOT EXISTS "ext"; CREATE EXTENSION "earthdistance" SCHEMA "ext" CASCADE; CREATE EXTENSION "pg_stat_statements" CASCADE;/,
  });
  assert.deepEqual(await desk.server.query("select from pg_database where datname = 'needs'"), []);
  const swap = await planOf(["--only", "database"]);
  assert.deepEqual(swap.blockers, []);
  // The way out, word for word.
  await desk.server.createDatabase("needs", "keeper");
  await desk.server.query(
    'CREATE SCHEMA IF NOT EXISTS "ext"; CREATE EXTENSION "earthdistance" SCHEMA "ext" CASCADE; CREATE EXTENSION "pg_stat_statements" CASCADE',
    "needs",
  );
  await desk.server.query("grant usage on schema ext to keeper", "needs");
  await desk.summary(["restore", "latest", ...args, "--yes"]);
  assert.deepEqual(await desk.server.query("select count(*)::int as n from places", "needs"), [{ n: 1 }]);
});

test("a role that may not make the database is told what to ask for", async () => {
  const plan = await planOf(["--only", "database", "--database-url", urlOf("theirs", "guest")]);
  assert.deepEqual(
    plan.blockers.map(({ kind }) => kind),
    ["database-missing", "extension-denied"],
  );
});
