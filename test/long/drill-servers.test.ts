/** A drill on servers that are there already: as the configuration names them, and Chatwoot's own only when told. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startPostgres } from "../harness/postgres.ts";
import { firstOf } from "../harness/whole.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

let desk: Desk;
let plain: string;

before(async () => {
  desk = await openDesk({ size: { messages: 60, conversations: 8, files: 6 }, server: { auth: "scram" } });
  await makeCheapToOpen(desk);
  plain = readFileSync(desk.config, "utf8");
  await desk.summary(["backup"]);
});
after(async () => await desk[Symbol.asyncDispose]());

function configure(drill: string): void {
  writeFileSync(desk.config, `${plain}\ndrill: ${drill}\n`);
}

async function databases(): Promise<unknown[]> {
  return await desk.server.query("select datname from pg_database order by 1");
}

test("where none that may be used fits, the drill says what each lacks and changes nothing", async () => {
  configure("{ servers: [database-url] }");
  const { status, stderr } = await desk.chatkeep(["drill"]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /^error: there is no server to drill in: PostgreSQL \d+ with /m);
  assert.match(stderr, /\(1\) a server for drills: none is named\. .*\(2\) Chatwoot's own server: it is left alone/s);
  const { findings } = (await desk.summary(["doctor"], 3)) as { findings: { kind: string; hint: string }[] };
  const found = findings.find(({ kind }) => kind === "no-scratch-server");
  assert.match(found?.hint ?? "", /drill\.database-url/);
});

test("with drill.database-url-file a database is made there and dropped, and its password is in no output", async () => {
  const { host, port, user, password = "" } = desk.server.address;
  const file = join(desk.root, "drills.url");
  writeFileSync(file, `postgres://${user}:${password}@${host}:${port}/postgres\n`, { mode: 0o600 });
  configure(`{ servers: [database-url], database-url-file: ${file} }`);
  const before = await databases();
  const { status, stdout, stderr } = await desk.chatkeep(["--json", "drill"]);
  assert.equal(status, 0, stderr + stdout);
  const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
  assert.deepEqual([summary["proven"], summary["recorded"]], [true, true]);
  assert.match(String(summary["server"]), /^a database of its own on PostgreSQL .* at 127\.0\.0\.1:\d+$/);
  assert.ok(!`${stdout}${stderr}`.includes(password));
  assert.deepEqual(await databases(), before);
});

test("with --in-place-server Chatwoot's own server bears it, and the report says so", async () => {
  configure("{ servers: [database-url] }");
  const before = await databases();
  const { status, stdout, stderr } = await desk.chatkeep(["drill", "--in-place-server"]);
  assert.equal(status, 0, stderr + stdout);
  assert.match(stdout, /Chatwoot's own server, which bore the load/);
  assert.match(stdout, /^  load +[\d.]+ s +[\d,]+ rows, /m);
  assert.deepEqual(await databases(), before);
  const shown = await desk.chatkeep(["show", "latest"]);
  assert.match(shown.stdout, /✓ proven .*Chatwoot's own server/);
  assert.match(shown.stdout, /a restore of this point takes about .+ here: database .+, files .+ \(into /);
  const { points } = (await desk.summary(["list"])) as { points: { recoverSeconds: number | null }[] };
  assert.ok((points[0]?.recoverSeconds ?? 0) > 0);
});

async function outcome(): Promise<unknown[]> {
  const { points } = (await desk.summary(["list"])) as { points: { provenAt: unknown; failedDrill: unknown }[] };
  return [points[0]?.provenAt, points[0]?.failedDrill];
}

test("a server that lacks a role which policies name does not fit, and what would make it is said", async () => {
  await using other = await startPostgres();
  const database = desk.installation.database.database;
  await desk.server.query("create role auditors");
  await desk.server.query("create policy audited on labels to auditors using (true)", database);
  await desk.summary(["backup"]);
  const { host, port, user } = other.address;
  configure(`{ servers: [database-url], database-url: "postgres://${user}@${host}:${port}/postgres" }`);
  const { status, stderr } = await desk.chatkeep(["drill"]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /lacks the role auditors, which policies .*CREATE ROLE "auditors";/s);
  assert.deepEqual(await outcome(), [null, false]);
  const { findings } = (await desk.summary(["doctor"], 3)) as { findings: { kind: string; hint: string }[] };
  const found = findings.find(({ kind }) => kind === "no-scratch-server");
  assert.match(found?.hint ?? "", /lacks the role auditors, which policies .*CREATE ROLE "auditors";/);
  await other.query("create role auditors");
  assert.equal((await desk.summary(["drill"]))["proven"], true);
});

/** A function that fails in a drill's database alone, as where that server has too little memory. */
const WEARY = `create function public.weary(id bigint) returns bigint language plpgsql immutable as $$ begin
  if current_database() like 'chatkeep\\_drill\\_%' then raise exception 'out of memory' using errcode = '53200'; end if;
  return id; end $$`;

const WEARIED = [
  [
    "fills a view",
    "create materialized view public.tired as select public.weary(id) from accounts",
    "drop materialized view public.tired",
  ],
  ["builds an index", "create index tired on accounts (public.weary(id))", "drop index public.tired"],
] as const;

for (const [what, make, drop] of firstOf(WEARIED, 1)) {
  test(`a server that has too little memory when it ${what} says nothing of the point: no outcome is kept`, async () => {
    const database = desk.installation.database.database;
    await desk.server.query(WEARY, database);
    await desk.server.query(make, database);
    await desk.summary(["backup"]);
    configure("{ servers: [database-url] }");
    const before = await databases();
    const { status, stderr } = await desk.chatkeep(["drill", "--in-place-server"]);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^error: the drill could not be held in a database of its own on .*: .*out of memory/m);
    assert.deepEqual(await outcome(), [null, false]);
    assert.deepEqual(await databases(), before);
    await desk.server.query(`${drop}; drop function public.weary`, database);
  });
}
