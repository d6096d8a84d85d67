/** What `doctor` tells of a server whose log cannot be followed, and what `doctor --fix` changes there: on a real one. */
import assert from "node:assert/strict";
import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig, type LoadedConfig } from "../../src/app/config.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { boundFor, fixServer, followFindings } from "../../src/app/watch-doctor.ts";
import { tryWay } from "../../src/app/watch-mode.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { addHbaLine, allowRole, boundSlots, ownHbaFile, slotBeyond } from "../../src/postgres/allow-replication.ts";
import { connect } from "../../src/postgres/connect.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
const s: Surroundings = {
  signal,
  progress: silent,
  env: {},
  cwd: "/",
  clock: systemClock,
  person: undefined,
  redact: (value) => value,
  hide: () => {},
};
const yes = { confirm: async () => true };
const onlyHba = { confirm: async (question: string) => question.includes("pg_hba.conf") };
let server: TestServer;
let folder: TestFolder;
let hba: string;

/** Statements may come from anywhere on the machine, replication from nowhere. */
const CLOSED = "# ours\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n";

before(async () => {
  folder = await temporaryFolder();
  server = await startPostgres();
  await server.query("create role chatwoot login");
  await server.query("alter role postgres password 'test-superuser'");
  hba = String((await server.query("show hba_file"))[0]?.["hba_file"]);
});
beforeEach(async () => {
  await writeFile(hba, CLOSED);
  await server.query("select pg_reload_conf()");
  for (let look = 0; look < 600 && !(await isWithoutLine()); look += 1) await sleep(20);
});
after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

async function isWithoutLine(): Promise<boolean> {
  return /no pg_hba\.conf entry/.test((await tryWay(server.address, s))?.message ?? "");
}

async function configOf(user: string, more = "watch: { mode: auto }"): Promise<LoadedConfig> {
  const path = folder.at("chatkeep.yaml");
  const url = `postgres://${user}@127.0.0.1:${server.address.port}/postgres`;
  await writeFile(
    path,
    `installation: { id: 6f1c0000-0000-4000-8000-00000000cafe, name: acme, kind: manual, database-url: "${url}", storage: ${folder.path} }
repositories: [{ name: primary, location: ${folder.at("repository")} }]
state-dir: ${folder.at("state")}
${more}
`,
  );
  return await loadConfig({ config: path }, s);
}

test("what is in the way is told with its line where the log is meant to be followed, and only there", async () => {
  const found = await followFindings(await configOf("chatwoot"), s);
  assert.deepEqual(
    found.map(({ kind, level, subject }) => [kind, level, subject]),
    [
      ["log-not-allowed", "warning", "pg-hba"],
      ["log-not-allowed", "warning", "role"],
      ["log-remark", "warning", "slot-unbounded"],
    ],
  );
  assert.match(found[0]?.hint ?? "", /^host replication chatwoot 127\.0\.0\.1\/32 scram-sha-256 It goes into /);
  assert.match(found[1]?.hint ?? "", /^ALTER ROLE "chatwoot" REPLICATION;.*'chatkeep doctor --fix'/);
  assert.deepEqual(await followFindings(await configOf("chatwoot", "watch: { mode: interval }"), s), []);
  assert.deepEqual(await followFindings(await configOf("chatwoot", ""), s), []);
});

test("a line is added to the server's own file with consent, tried, and the file as it was lies beside it", async () => {
  const asked: string[] = [];
  const loaded = await configOf("postgres");
  const declined = await fixServer(loaded, { confirm: async (question) => asked.push(question) < 0 }, s);
  assert.deepEqual(
    declined.map(({ outcome }) => outcome),
    ["declined", "declined"],
  );
  assert.equal(asked.length, 2);
  assert.match(
    asked[0] ?? "",
    /Change it\? host replication postgres 127\.0\.0\.1\/32 scram-sha-256 {2}\(in '.*pg_hba\.conf'\)$/,
  );
  // By the disk of the server's own log, which lies on this machine.
  assert.match(asked[1] ?? "", /Change it\? ALTER SYSTEM SET max_slot_wal_keep_size = '\d+MB';$/);
  assert.equal(await readFile(hba, "utf8"), CLOSED);

  const was = await stat(hba);
  process.env["PGPASSWORD"] = "test-superuser";
  try {
    const [line] = await fixServer(loaded, onlyHba, s);
    assert.equal(line?.outcome, "done", line?.note ?? "");
    assert.equal(line?.what, "the server lets 'postgres' replicate from 127.0.0.1");
    assert.match(line?.note ?? "", /^To undo it: take the two lines at the beginning of '.*pg_hba\.conf' out/);
    assert.equal(await tryWay(server.address, s), undefined);
  } finally {
    delete process.env["PGPASSWORD"];
  }
  const now = await stat(hba);
  assert.deepEqual([now.mode, now.uid, now.gid], [was.mode, was.uid, was.gid]);
  assert.equal(await readFile(`${hba}.chatkeep-before`, "utf8"), CLOSED);
  // It lies in the server's data folder, of which a base has every file: one that the server may not read would end each.
  const kept = await stat(`${hba}.chatkeep-before`);
  assert.deepEqual([kept.mode, kept.uid, kept.gid], [was.mode, was.uid, was.gid]);
  assert.ok((await readFile(hba, "utf8")).endsWith(CLOSED));
});

test("a file that the server finds fault with is put back as it was", async () => {
  const faulty = `${CLOSED}hosts all all nowhere\n`;
  await writeFile(hba, faulty);
  const [line] = await fixServer(await configOf("postgres"), onlyHba, s);
  assert.equal(line?.outcome, "failed");
  assert.match(line.note, /finds fault with line \d+ of its pg_hba\.conf/);
  assert.equal(await readFile(hba, "utf8"), faulty);
});

test("a line that does not help is taken out, and nothing else that somebody wrote meanwhile; bytes of any encoding stay", async () => {
  await using connection = await connect(server.address, { signal });
  const before = Buffer.concat([Buffer.from("# \xfcber", "latin1"), Buffer.from(`\n${CLOSED}`)]);
  await writeFile(hba, before);
  const theirs = "# theirs\n";
  const refusal = async () => {
    await appendFile(hba, theirs);
    return new Failure("database/denied", "no password fits");
  };
  const line = "host replication nobody 127.0.0.1/32 scram-sha-256";
  await assert.rejects(addHbaLine(connection, { path: hba, line, refusal }, s), /so it was taken back/);
  assert.deepEqual(await readFile(hba), Buffer.concat([before, Buffer.from(theirs)]));
});

test("a line that rejects is told as one, and the line that is put above it lets a password in that is kept as MD5", async () => {
  await server.query(
    "set password_encryption = 'md5'; create role old login superuser password 'test-old'; reset password_encryption",
  );
  await writeFile(hba, `${CLOSED}host replication all 127.0.0.1/32 reject\n`);
  await server.query("select pg_reload_conf()");
  for (let look = 0; look < 600; look += 1) {
    const refused = await tryWay({ ...server.address, user: "old" }, s);
    if (/rejects replication/.test(refused?.message ?? "")) break;
    await sleep(20);
  }
  const loaded = await configOf("old");
  // The statements' line trusts: whether the password is right only the new line tells.
  process.env["PGPASSWORD"] = "wrong";
  try {
    const [failed] = await fixServer(loaded, onlyHba, s);
    assert.equal(failed?.outcome, "failed");
    assert.match(failed.line ?? "", /^host replication old 127\.0\.0\.1\/32 md5$/);
    assert.match(
      failed.note,
      /taken back; the server said: password authentication failed for user "old"\. Is the password/,
    );
    process.env["PGPASSWORD"] = "test-old";
    const [done] = await fixServer(loaded, onlyHba, s);
    assert.deepEqual([done?.outcome, done?.what], ["done", "the server lets 'old' replicate from 127.0.0.1"]);
  } finally {
    delete process.env["PGPASSWORD"];
  }
  await server.query("alter role old password null");
  await writeFile(hba, CLOSED);
  await server.query("select pg_reload_conf()");
  for (let look = 0; look < 600 && !(await isWithoutLine()); look += 1) await sleep(20);
  const [without] = await fixServer(loaded, onlyHba, s);
  assert.equal(without?.outcome, "told");
  assert.match(
    without.note,
    /^The line alone would not help: 'old' has no password\. It goes into .* give it one first/,
  );
});

test("who is no superuser is told what a superuser does", async () => {
  const lines = await fixServer(await configOf("chatwoot"), yes, s);
  assert.deepEqual(
    lines.map(({ outcome, line }) => [outcome, line]),
    [
      ["told", "host replication chatwoot 127.0.0.1/32 scram-sha-256"],
      ["told", 'ALTER ROLE "chatwoot" REPLICATION;'],
      ["told", "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';"],
    ],
  );
  assert.match(lines[1]?.note ?? "", /^It takes a superuser, and 'chatwoot' is none\./);
});

test("a role and the bound of slots are changed, and what is said to undo it does", async () => {
  await using connection = await connect(server.address, { signal });
  const allowed = await allowRole(connection, "chatwoot");
  const may = async () =>
    (await server.query("select rolreplication as may from pg_roles where rolname = 'chatwoot'"))[0]?.["may"];
  assert.equal(await may(), true);
  await server.query(allowed.undo);
  assert.equal(await may(), false);

  const bounded = await boundSlots(connection, 2048, s);
  assert.equal(
    (await connection.query<{ size: string }>("select current_setting('max_slot_wal_keep_size') as size"))[0]?.size,
    "2GB",
  );
  for (const statement of bounded.undo.split("; ")) await server.query(statement);
  for (let look = 0; look < 600; look += 1) {
    const [row] = await server.query("select current_setting('max_slot_wal_keep_size') as size");
    if (row?.["size"] === "-1") return;
    await sleep(100);
  }
  assert.fail("the bound was not taken back");
});

test("a slot of somebody else that a bound would end is known", async () => {
  await using connection = await connect(server.address, { signal });
  await server.query(
    "select pg_create_physical_replication_slot(name, true) from unnest(array['standby', 'ours']) name",
  );
  try {
    await server.query("select pg_logical_emit_message(false, 'test', repeat('x', 3 * 1048576))");
    const found = await slotBeyond(connection, { mib: 1, own: "ours" });
    assert.equal(found?.name, "standby");
    assert.ok(found.bytes > 3 * 1024 ** 2);
    assert.equal(await slotBeyond(connection, { mib: 1024, own: "ours" }), undefined);
  } finally {
    await server.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots");
  }
});

test("a bound that the server's command line has the last word on is taken back", async () => {
  await using fixed = await startPostgres({ settings: ["max_slot_wal_keep_size=64MB"] });
  await using connection = await connect(fixed.address, { signal });
  assert.deepEqual(await ownHbaFile(connection), {
    path: String((await fixed.query("show hba_file"))[0]?.["hba_file"]),
  });
  // As long as a reload may take passes, with a look at the server each time, and nobody waits for it.
  const clock = new HandClock({ wakesAtOnce: true });
  const trying = boundSlots(connection, 2048, { clock, signal });
  await assert.rejects(trying, /did not take max_slot_wal_keep_size, so it was taken back/);
  const [row] = await fixed.query(
    "select count(*)::int as n from pg_file_settings where name = 'max_slot_wal_keep_size'",
  );
  assert.equal(row?.["n"], 0);
  assert.ok(clock.waits.length > 100 && clock.now() >= 20_000);
});

test("the bound leaves most of the disk's room to others, and too little is none", () => {
  const GIB = 1024 ** 3;
  assert.equal(boundFor(100 * GIB), 25 * 1024);
  assert.equal(boundFor(5 * GIB), 1024);
  assert.equal(boundFor(3 * GIB), 512);
  assert.equal(boundFor(1 * GIB), undefined);
  assert.equal(boundFor(10_000 * GIB), 50 * 1024);
});
