/** What a backup tells of the installation: an alarm when it is new, a note once it is known, nothing when it is mended. */
import assert from "node:assert/strict";
import { chmod, copyFile, mkdir, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { storagePath } from "../../src/demo/files.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
import { runBoundByModes } from "../harness/namespace.ts";
import type { RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";
import { longTest } from "../harness/whole.ts";

let desk: Desk;
let client: Client;
let aside: string;
let repository: Repository;

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    hasServerForDrills: true,
    size: { messages: 120, conversations: 20, files: 20 },
  });
  ({ repository } = await makeCheapToOpen(desk));
  client = new Client(desk.installation.database);
  await client.connect();
  aside = join(desk.root, "aside");
  await mkdir(aside);
});

after(async () => {
  await client.end();
  await desk[Symbol.asyncDispose]();
});

interface Blob {
  id: string;
  path: string;
  bytes: number;
}

/** Files that are not empty and that no other test of this file takes. */
async function takeBlobs(from: number, count: number): Promise<Blob[]> {
  const sql = "select id, key, byte_size from active_storage_blobs where byte_size > 1 order by id offset $1 limit $2";
  const { rows } = await client.query<{ id: string; key: string; byte_size: string }>(sql, [from, count]);
  assert.equal(rows.length, count);
  const root = desk.installation.storageRoot;
  return rows.map(({ id, key, byte_size }) => ({ id, path: storagePath(root, key), bytes: Number(byte_size) }));
}

interface Backup {
  result: RunResult;
  findings: Finding[];
  point: string;
}

function read(result: RunResult): Backup {
  const summary = summaryOf(result.stdout);
  return { result, findings: summary["findings"] as Finding[], point: String(summary["point"]) };
}

async function backup(...args: string[]): Promise<Backup> {
  return read(await desk.chatkeep(["--json", "backup", ...args]));
}

/** As root who is bound by modes, so that a file can be unreadable: in a process of its own. */
async function boundBackup(...args: string[]): Promise<Backup> {
  const argv = [CHATKEEP, "--config", desk.config, "--json", "backup", ...args];
  return read(await runBoundByModes(process.execPath, argv, { cwd: desk.root }));
}

function levelsOf(findings: readonly Finding[]): Record<string, string> {
  return Object.fromEntries(findings.map(({ kind, level }) => [kind, level]));
}

const LOST = ["blobs-altered", "blobs-missing", "blobs-short"];
const UNREAD = "blobs-unreadable";

function damageOf(findings: readonly Finding[]): string[] {
  const found = findings.filter(({ kind }) => kind.startsWith("blobs-") && kind !== "blobs-without-checksum");
  return found.map(({ kind, level }) => `${level}: ${kind}`).toSorted();
}

function levelled(level: string, kinds: readonly string[]): string[] {
  return kinds.map((kind) => `${level}: ${kind}`);
}

async function mend(blobs: readonly Blob[]): Promise<void> {
  for (const { id, path } of blobs) {
    await rm(path, { force: true });
    await copyFile(join(aside, id), path);
  }
}

test("files that are newly lost alarm, are noted while they stay lost, and are whole again when they come back", async (t) => {
  const blobs = await takeBlobs(0, 5);
  const [missing, short, altered, zero, unreadable] = blobs.map(({ path }) => path);
  assert.ok(missing && short && altered && zero && unreadable);
  for (const { id, path } of blobs) await copyFile(path, join(aside, id));
  t.after(async () => await mend(blobs));
  await rm(missing);
  await truncate(short, 1);
  await writeFile(altered, Buffer.alloc(blobs[2]?.bytes ?? 0, "x"));
  await truncate(zero, 0);
  await chmod(unreadable, 0o000);

  const first = await boundBackup();
  assert.equal(first.result.status, 3);
  assert.deepEqual(damageOf(first.findings), levelled("alarm", [...LOST, UNREAD]));
  const shortOnes = first.findings.find(({ kind }) => kind === "blobs-short");
  assert.match(shortOnes?.message ?? "", /^2 uploaded files of storage 'local' are /);

  // What may not be read is there, and is in no restore point: that stays an alarm.
  const second = await boundBackup();
  assert.equal(second.result.status, 3);
  assert.deepEqual(damageOf(second.findings), [...levelled("alarm", [UNREAD]), ...levelled("note", LOST)]);

  // Unless somebody has said that it is known, and as long as no other one is added.
  assert.match(
    (await desk.chatkeep(["ack"])).stdout,
    /blobs-unreadable: 1 uploaded file [^]*'chatkeep ack blobs-unreadable'/,
  );
  await desk.summary(["ack", UNREAD, "--reason", "of another owner"]);
  const known = await boundBackup();
  assert.equal(known.result.status, 0, known.result.stderr);
  assert.deepEqual(damageOf(known.findings), levelled("note", [...LOST, UNREAD]));
  assert.match(known.findings.find(({ kind }) => kind === UNREAD)?.message ?? "", / \(acknowledged\)$/);
  const [another] = await takeBlobs(5, 1);
  assert.ok(another);
  await chmod(another.path, 0o000);
  const more = await boundBackup("--full");
  assert.equal(more.result.status, 3);
  assert.deepEqual(damageOf(more.findings), [...levelled("alarm", [UNREAD]), ...levelled("note", LOST)]);
  assert.equal((await desk.chatkeep(["ack", "chunks-damaged"])).status, 2);

  await chmod(another.path, 0o600);
  await chmod(unreadable, 0o600);
  const third = await backup();
  assert.equal(third.result.status, 0, third.result.stderr);
  assert.deepEqual(damageOf(third.findings), levelled("note", LOST));

  await mend(blobs);
  const fourth = await backup();
  assert.equal(fourth.result.status, 0, fourth.result.stderr);
  assert.deepEqual(damageOf(fourth.findings), []);
  await desk.summary(["restore", fourth.point, "--to", "restored", "--only", "storage", "--yes"]);
  assert.deepEqual(
    await readFolder(join(desk.root, "restored/storage")),
    await readFolder(desk.installation.storageRoot),
  );
});

longTest("a storage that was emptied stays an alarm until somebody says that it is known", async (t) => {
  const { rows } = await client.query<{ count: number }>(
    "select count(*)::int as count from active_storage_blobs where byte_size > 1",
  );
  const blobs = await takeBlobs(0, rows[0]?.count ?? 0);
  for (const { id, path } of blobs) await copyFile(path, join(aside, id));
  t.after(async () => await mend(blobs));
  for (const { path } of blobs) await rm(path);
  for (const args of [["--full"], []]) {
    const { result, findings } = await backup(...args);
    assert.equal(result.status, 3, result.stderr);
    assert.deepEqual(damageOf(findings), ["alarm: blobs-missing"]);
  }
  await desk.summary(["ack", "blobs-missing", "--reason", "the disk of May"]);
  const known = await backup();
  assert.equal(known.result.status, 0, known.result.stderr);
  assert.deepEqual(damageOf(known.findings), ["note: blobs-missing"]);
  await mend(blobs);
  assert.deepEqual(damageOf((await backup()).findings), []);
});

longTest("a file that is lost after it was saved stays in the next points, and a full backup says so", async () => {
  const [blob] = await takeBlobs(6, 1);
  assert.ok(blob);
  await backup();
  await rename(blob.path, join(aside, blob.id));
  const next = await backup();
  assert.deepEqual([next.result.status, damageOf(next.findings)], [0, []]);
  // A backup does not look at what it has; doctor does, and names it.
  const doctor = (await desk.summary(["doctor"], 3))["findings"] as Finding[];
  const [lost] = doctor.filter(({ kind }) => kind === "storage-files-lost");
  assert.match(lost?.message ?? "", new RegExp(`, 1 is not there or not whole: .*\\(blob ${blob.id}\\)$`));
  const full = await backup("--full");
  assert.equal(full.result.status, 3);
  assert.deepEqual(damageOf(full.findings), ["alarm: blobs-missing"]);
  await rename(join(aside, blob.id), blob.path);
  await desk.summary(["restore", full.point, "--to", "kept", "--only", "storage", "--yes"]);
  const kept = await readFolder(join(desk.root, "kept/storage"));
  assert.deepEqual(kept, await readFolder(desk.installation.storageRoot));
  assert.equal((await desk.summary(["drill", full.point]))["proven"], true);
  // Looked at again, it is there: nothing is left of the alarm.
  const healthy = (await desk.chatkeep(["--json", "doctor"])).stdout;
  assert.doesNotMatch(healthy, /storage-files-lost/);
  assert.deepEqual(damageOf((await backup()).findings), []);
});

test("files without a checksum and a checkout with changes are notes", async () => {
  const [blob] = await takeBlobs(7, 1);
  const { rows } = await client.query<{ checksum: string }>(
    "update active_storage_blobs b set checksum = null from active_storage_blobs old where b.id = $1 and old.id = b.id returning old.checksum",
    [blob?.id],
  );
  try {
    const { result, findings } = await backup();
    assert.equal(result.status, 0, result.stderr);
    const levels = levelsOf(findings);
    assert.equal(levels["blobs-without-checksum"], "note");
    const code = findings.filter(({ kind }) => kind.startsWith("code"));
    assert.ok(code.length > 0, JSON.stringify(levels));
    assert.deepEqual([...new Set(Object.values(levels))], ["note"]);
  } finally {
    await client.query("update active_storage_blobs set checksum = $1 where id = $2", [rows[0]?.checksum, blob?.id]);
  }
});

test("a file that Chatwoot deletes while the backup runs is a note", async () => {
  await backup();
  const key = "purgedwhilethebackupruns0001";
  await client.query(
    `insert into active_storage_blobs (key, filename, content_type, metadata, byte_size, checksum, created_at, service_name)
     values ($1, 'gone.txt', 'text/plain', null, 4, 'AAAAAAAAAAAAAAAAAAAAAA==', now(), 'local')`,
    [key],
  );
  // Whoever holds this lock decides when the backup gets on: its snapshot is taken, and has the row.
  await client.query("begin; lock table messages in access exclusive mode");
  const running = backup();
  while ((await desk.server.query("select 1 from pg_locks where not granted", "chatwoot_production")).length === 0)
    await sleep(20);
  await desk.server.query(`delete from active_storage_blobs where key = '${key}'`, "chatwoot_production");
  await client.query("commit");
  const { result, findings, point } = await running;
  assert.equal(result.status, 0, result.stderr);
  assert.equal(levelsOf(findings)["purged-during-backup"], "note");
  assert.deepEqual(damageOf(findings), []);
  // The next point does not know of it any more.
  const next = await backup();
  assert.notEqual(next.point, point);
  assert.equal(levelsOf(next.findings)["purged-during-backup"], undefined);
});

longTest(
  "a point from a clock that was an hour ahead is told of, and is the parent of none that has another",
  async () => {
    const { signal } = new AbortController();
    const honest = await backup();
    const { point } = (await savedPoints(repository)).find((reader) => reader.point.id === honest.point) ?? {};
    assert.ok(point);
    const time = new Date(Date.now() + 3_600_000).toISOString();
    const ahead = await repository.saveSnapshot({ ...point.snapshot, time }, { signal });
    // What would be done is built upon the point that it is then built upon.
    const planned = summaryOf((await desk.chatkeep(["--json", "backup", "--dry-run"])).stdout);
    assert.equal(planned["parent"], honest.point);
    assert.equal(levelsOf(planned["findings"] as Finding[])["points-in-the-future"], "warning");
    const next = await backup();
    assert.equal(levelsOf(next.findings)["points-in-the-future"], "warning");
    assert.equal(next.result.status, 3);
    assert.equal(summaryOf(next.result.stdout)["parent"], honest.point);
    const listed = await desk.chatkeep(["list"]);
    assert.match(listed.stdout, new RegExp(`^${ahead.slice(0, 8)} +in the future`, "m"));
    const doctor = summaryOf((await desk.chatkeep(["--json", "doctor"])).stdout)["findings"] as Finding[];
    assert.equal(levelsOf(doctor)["points-in-the-future"], "warning");
    // The hint's own command.
    await desk.summary(["forget", ahead.slice(0, 8), "--yes"]);
    assert.equal(levelsOf((await backup()).findings)["points-in-the-future"], undefined);
  },
);

test("backup and doctor tell a transaction that somebody has open for long", async () => {
  const { server } = desk;
  const [view] = await server.query(
    "select pg_get_viewdef('pg_catalog.pg_stat_activity'::regclass) as sql",
    client.database,
  );
  const now = String(view?.["sql"]);
  const earlier = now.replace("s.xact_start", "s.xact_start - interval '2 hours' as xact_start");
  assert.notEqual(earlier, now);
  const show = async (sql: string) => {
    const replace = `set allow_system_table_mods = on; create or replace view pg_catalog.pg_stat_activity as ${sql}`;
    await server.query(replace, client.database);
  };
  await client.query("begin");
  await client.query("select count(*) from accounts");
  await show(earlier);
  try {
    const { result, findings } = await backup();
    assert.equal(result.status, 3, result.stderr);
    const doctor = await desk.summary(["doctor"], 3);
    for (const found of [findings, doctor["findings"] as Finding[]]) {
      const [open] = found.filter(({ kind }) => kind === "long-transaction");
      assert.match(open?.message ?? "", /^session \d+ of '.*' has a transaction open for 2 h/);
      assert.equal(open?.level, "warning");
    }
  } finally {
    await show(now);
    await client.query("rollback");
  }
});
