/**
 * A database that has one of everything comes back on another server with its roles, owners and grants, and pg_dump says the
 * same of it, line for line; so it does when restore.sh has put it back.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { longTest } from "../harness/whole.ts";
import { everything, everythingEntry, EVERYTHING_ROLES } from "../postgres/everything.ts";
import { commandFrom, serverEnvironment, shell, tryShell } from "./by-hand.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { prove } from "./line-for-line.ts";

interface Finding {
  kind: string;
  level: string;
  message: string;
}

let desk: Desk;
let other: TestServer;
let folder: TestFolder;
let source: TestAddress;
let point: string;
let findings: Finding[];

const SETTINGS = ["wal_level=logical", "max_logical_replication_workers=0"];

before(async () => {
  folder = await temporaryFolder();
  const size = { messages: 100, conversations: 10, files: 3 };
  desk = await openDesk({ size, server: { settings: [...SETTINGS, "allow_in_place_tablespaces=on"] } });
  source = { ...desk.server.address, database: desk.installation.database.database };
  other = await startPostgres({ settings: SETTINGS });
  for (const sql of [EVERYTHING_ROLES, everythingEntry(source.database)]) await desk.server.query(sql);
  await desk.server.query("create tablespace away location ''");
  await desk.server.query(everything("away"), source.database);
  await desk.server.query("select pg_create_logical_replication_slot('reader', 'pgoutput')", source.database);
  await makeCheapToOpen(desk);
  const summary = await desk.summary(["backup"], 3);
  point = String(summary["point"]);
  findings = summary["findings"] as Finding[];
});
after(async () => {
  await desk[Symbol.asyncDispose]();
  await other.stop();
  await folder[Symbol.asyncDispose]();
});

function urlOf({ user, host, port, database }: TestAddress): string {
  return `postgresql://${user}@${host}:${port}/${encodeURIComponent(database)}`;
}

async function roles({ host, port, user }: TestAddress): Promise<string[]> {
  const program = join(desk.server.programs, "pg_dumpall");
  const env = { PGHOST: host, PGPORT: String(port), PGUSER: user };
  const { stdout } = await mustRun(program, ["--roles-only", "--no-role-passwords"], { env });
  return stdout.split("\n").filter((line) => !line.startsWith("\\"));
}

test("a backup says what comes back in another way, and what does not", () => {
  const found = findings.map(({ kind, level }) => `${kind} ${level}`);
  for (const expected of [
    "foreign-tables warning",
    "materialized-views note",
    "replication-slots note",
    "subscriptions note",
    "tablespaces note",
  ]) {
    assert.ok(found.includes(expected), `${expected} is not among ${found.join(", ")}`);
  }
});

test("what cannot be helped is told once: the next dry run ends well, until there is more of it", async () => {
  const again = await desk.summary(["backup", "--dry-run"]);
  const known = (again["findings"] as Finding[]).find(({ kind }) => kind === "foreign-tables");
  assert.deepEqual([known?.level, known?.message.endsWith("things.elsewhere (known before)")], ["note", true]);
  await desk.server.query("create foreign table things.further (id int) server far", source.database);
  try {
    await desk.summary(["backup", "--dry-run"], 3);
  } finally {
    await desk.server.query("drop foreign table things.further", source.database);
  }
});

test("what a role or a server lacks for it is named before anything begins", async () => {
  await other.query("create role plain login createdb");
  const url = urlOf({ ...other.address, user: "plain", database: source.database });
  const { status, stdout } = await desk.chatkeep(["--json", "restore", point, "--database-url", url, "--plan"]);
  assert.equal(status, 1);
  const plan = JSON.parse(stdout.split("\n")[0] ?? "") as { blockers: Finding[] };
  const messages = plan.blockers.map(({ kind, message }) => `${kind}: ${message}`).join("\n");
  assert.match(messages, /^superuser-needed: only a superuser may make access method things_heap, /m);
  assert.match(messages, /^role-missing: the server has no role 'reporting', /m);
  assert.match(messages, /^role-missing: the server has no role 'readers', /m);
});

test("on another server it comes back with its roles, owners and grants, and pg_dump says the same, line for line", async () => {
  const target = { ...other.address, database: source.database };
  const args = ["restore", point, "--database-url", urlOf(target), "--with-roles"];
  const { stdout } = await desk.chatkeep([...args, "--plan"]);
  assert.match(stdout, /made without passwords: .*readers, reporting, support/s);
  const summary = await desk.summary([...args, "--yes"], 3);
  const told = (summary["findings"] as Finding[]).map(({ kind, message }) => `${kind}: ${message}`);
  assert.deepEqual(told, ["tablespaces-lacking: the server lacks 1 tablespace, or they may not be used: away"]);
  const options = { programs: desk.server.programs, isWhole: true, args: ["--no-tablespaces"] };
  await assertSameDatabase(source, target, options);
  await other.query("drop role if exists plain");
  assert.deepEqual(await roles(target), await roles(source));
  const passwords = "select rolname from pg_authid where rolpassword is not null and rolname <> 'postgres'";
  assert.deepEqual(await other.query(passwords), []);
});

test("a drill proves it", async () => {
  await prove({ desk, programs: desk.server.programs }, point, "things.kept");
});

longTest(
  "restore.sh brings it back with psql and pg_restore alone, roles that are there being left alone",
  async () => {
    const notes = (await desk.chatkeep(["dump", point, "RESTORE.md"])).stdout;
    const command = commandFrom(notes, "restic restore").replace("/srv/restored", `"$TARGET"`);
    const password = (await mustRun("cat", [desk.passwordFile])).stdout.trim();
    const restic = { RESTIC_REPOSITORY: desk.repository, RESTIC_PASSWORD: password, TARGET: folder.path };
    await shell(command.replace("restic", "restic --no-cache"), { cwd: folder.path, env: restic });
    await other.query("alter role support nocreatedb");
    for (const sql of ["alter subscription copying disable", "drop subscription copying"]) {
      await other.query(sql, source.database);
    }
    await other.query(`drop database "${source.database}"`);
    const target = await other.createDatabase(source.database);
    const env = { ...serverEnvironment(target, desk.server.programs), PGDATABASE: target.database };
    const cwd = join(folder.path, "chatkeep");
    const { status, stderr } = await tryShell("sh restore.sh --database --with-roles", { cwd, env });
    assert.equal(status, 0, stderr);
    await assertSameDatabase(source, target, {
      programs: desk.server.programs,
      isWhole: true,
      args: ["--no-tablespaces"],
    });
    const [support] = await other.query("select rolcreatedb from pg_roles where rolname = 'support'");
    assert.deepEqual(support, { rolcreatedb: false });
  },
);
