/**
 * Every major of PostgreSQL that Chatwoot may run on: backed up, taken over from, changed, restored, proven; and points of
 * older majors restored into newer ones. 15 is what everything else is tried on.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { Client } from "pg";
import type { BackupSummary } from "../../src/job/summaries.ts";
import { type EmbeddedMajor, embeddedPostgres } from "../harness/embedded.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { installedServers, startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

/** What each major's server is started with, and its own pg_dump or the next newer one. */
interface Version {
  major: number;
  server: string;
  client: string;
  /** For its configuration, where a drill does not find a server of this major by itself. */
  drill: string;
}

/** Ids far from each other, so that each group has a range of its own. */
const BIG = `create table big (id bigint primary key, body text);
  insert into big select (n % 14) * 1000000000000 + n, repeat(md5(n::text), 8) from generate_series(1, 20000) n`;

let pg17: string;
let pg18: string;
let target17: TestServer;
let target18: TestServer;

before(async () => {
  pg17 = (await newerPostgres(17)).programs;
  pg18 = (await newerPostgres(18)).programs;
  // Where a person's shell would find them.
  process.env["PATH"] = `${process.env["PATH"] ?? ""}:${pg17}:${pg18}`;
  target17 = await startPostgres({ programs: pg17 });
  target18 = await startPostgres({ programs: pg18 });
});

after(async () => {
  await target17.stop();
  await target18.stop();
});

async function versionOf(major: 13 | 14 | 15 | 16 | 17 | 18): Promise<Version> {
  const own = { 15: installedServers()[0]?.programs ?? "", 17: pg17, 18: pg18 };
  if (major === 15 || major === 17 || major === 18) return { major, server: own[major], client: own[major], drill: "" };
  return { major, client: major === 16 ? pg17 : own[15], ...(await embedded(major)) };
}

async function embedded(major: EmbeddedMajor): Promise<Pick<Version, "server" | "drill">> {
  const { folder, programs } = await embeddedPostgres(major);
  return { server: programs, drill: `drill: { servers: [embedded], embedded: ${folder} }\n` };
}

async function openVersion({ server, drill }: Version): Promise<Desk> {
  const desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 1_500, conversations: 120, files: 10 },
    server: { programs: server },
  });
  await makeCheapToOpen(desk);
  writeFileSync(desk.config, `${readFileSync(desk.config, "utf8")}\n${drill}`);
  await desk.server.query(BIG, desk.installation.database.database);
  return desk;
}

async function backup(desk: Desk): Promise<BackupSummary> {
  return (await desk.summary(["backup"])) as unknown as BackupSummary;
}

async function restore(desk: Desk, target: TestAddress): Promise<void> {
  const url = `postgres://${target.user}@${target.host}:${target.port}/${target.database}`;
  await desk.summary(["restore", "latest", "--database-url", url, "--yes"]);
}

/** A new name on a server: a restore makes the database. */
function fresh({ address }: TestServer, database: string): TestAddress {
  return { ...address, database };
}

/** Each table's rows, and a digest of their text, whatever the server's version. */
async function rowsOf(address: TestAddress): Promise<Record<string, string>> {
  const client = new Client(address);
  await client.connect();
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public' order by 1",
    );
    const found: Record<string, string> = {};
    for (const { name } of tables) {
      const { rows } = await client.query<{ digest: string }>(
        `select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text) collate "C")), '') as digest from ${name} t`,
      );
      found[name] = rows[0]?.digest ?? "";
    }
    return found;
  } finally {
    await client.end();
  }
}

async function assertSameRows(one: TestAddress, other: TestAddress): Promise<void> {
  const rows = await rowsOf(one);
  assert.ok(Object.keys(rows).length > 50);
  assert.deepEqual(await rowsOf(other), rows);
}

/** From one backup to the next: what is taken over, and what is read. */
async function assertTakenOver(desk: Desk, { major }: Version): Promise<void> {
  const first = await backup(desk);
  assert.equal(first.database.rangesReused, 0);
  const told = await desk.chatkeep(["--json", "backup"]);
  assert.equal(told.status, 0, told.stderr);
  const second = JSON.parse(told.stdout.trimEnd().split("\n").at(-1) ?? "") as BackupSummary;
  await desk.server.query("update big set body = 'changed' where id < 1000", desk.installation.database.database);
  const third = await backup(desk);
  assert.equal(third.database.rows, first.database.rows);
  if (major < 14) {
    assert.match(
      told.stdout + told.stderr,
      new RegExp(`reading every row: PostgreSQL ${major} cannot tell what changed`),
    );
    assert.deepEqual([second.database.rangesReused, third.database.rangesReused], [0, 0]);
  } else {
    assert.doesNotMatch(told.stdout + told.stderr, /reading every row/);
    assert.ok(second.database.rangesReused > 4, `${second.database.rangesReused} ranges taken over`);
    assert.ok(second.database.bytesRead < first.database.bytesRead);
    assert.ok(third.database.rangesReused > 3, `${third.database.rangesReused} ranges taken over`);
  }
}

for (const major of [13, 14, 16, 17, 18] as const) {
  test(`PostgreSQL ${major}: backed up, taken over, changed, restored and proven`, async () => {
    const version = await versionOf(major);
    await using desk = await openVersion(version);
    assert.equal(desk.server.major, major);
    await assertTakenOver(desk, version);
    const source = desk.installation.database;
    const restored = fresh(desk.server, "restored");
    await restore(desk, restored);
    await assertSameDatabase(source, restored, { programs: version.client });
    await assertSameRows(source, restored);
    const drilled = await desk.summary(["drill"]);
    assert.equal(drilled["proven"], true, JSON.stringify(drilled["checks"]));
    if (major !== 13) return;
    const newer = fresh(target18, "of_13");
    await restore(desk, newer);
    await assertSameRows(source, newer);
  });
}

test("a point of PostgreSQL 15 is restored into 17 and 18", async () => {
  await using desk = await openVersion(await versionOf(15));
  await backup(desk);
  for (const target of [target17, target18]) {
    const newer = fresh(target, "of_15");
    await restore(desk, newer);
    await assertSameRows(desk.installation.database, newer);
  }
});
