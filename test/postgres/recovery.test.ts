/** A cluster comes back as it was at any moment, from a base and the log after it, with PostgreSQL's own tools as the source. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, chown, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { checkStructure } from "../../src/postgres/amcheck.ts";
import { compareBase } from "../../src/postgres/base-manifest.ts";
import { connect } from "../../src/postgres/connect.ts";
import {
  type ClusterFacts,
  recover,
  type RecoveryOptions,
  type RecoveryTarget,
  roomFor,
} from "../../src/postgres/recovery.ts";
import { neededSettings } from "../../src/postgres/recovery-place.ts";
import { walFolder } from "../../src/postgres/recovery-wal.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { receiveWal, takeBase } from "../harness/wal.ts";

const signal = new AbortController().signal;
const SEGMENT = 16 * 1024 * 1024;

interface Moment {
  rows: number;
  us: bigint;
  lsn: string;
}

let folder: TestFolder;
let cluster: ClusterFacts;
const moments: Moment[] = [];

/** Commits a row, and says when that was done and where the log was after it. */
async function commitRow(server: TestServer): Promise<Moment> {
  const rows = moments.length + 1;
  await server.query(`insert into account select ${rows}, repeat('x', 200)`);
  const [row] = await server.query(
    "select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as us, pg_current_wal_insert_lsn()::text as lsn",
  );
  return { rows, us: BigInt(String(row?.["us"])), lsn: String(row?.["lsn"]) };
}

before(async () => {
  folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  await using server = await startPostgres({
    settings: [
      "wal_level=replica",
      "synchronous_commit=on",
      "full_page_writes=on",
      "wal_keep_size=256MB",
      "max_prepared_transactions=5",
    ],
  });
  await server.query("create table account (n int primary key, t text)");
  await using receiver = await receiveWal(server, folder.at("wal"));
  await takeBase(server, folder.at("base"));
  for (let n = 1; n <= 5; n += 1) moments.push(await commitRow(server));
  await server.query("begin; insert into account values (1000, ''); prepare transaction 'open'");
  await server.query("select pg_switch_wal()");
  for (let n = 6; n <= 8; n += 1) moments.push(await commitRow(server));
  await receiver.caughtUp();
  cluster = {
    major: server.major,
    segmentBytes: SEGMENT,
    bytes: 40 * 1024 * 1024,
    extensions: ["plpgsql"],
    locales: ["C.UTF-8"],
    // As if more were allowed after the base only.
    settings: { max_prepared_transactions: "0", max_connections: "2000", wal_level: "replica" },
    roles: ["nobody_of_this_name", "postgres"],
  };
});

after(async () => await folder[Symbol.asyncDispose]());

async function optionsFor(target: RecoveryTarget, more: Partial<RecoveryOptions> = {}): Promise<RecoveryOptions> {
  return {
    cluster,
    files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
    wal: await walFolder(folder.at("wal"), SEGMENT),
    timeline: 1,
    target,
    places: { kinds: ["programs"] },
    progress: silent,
    signal,
    ...more,
  };
}

/** What comes back for a target. */
async function rowsAt(target: RecoveryTarget, more: Partial<RecoveryOptions> = {}) {
  await using recovered = await recover(await optionsFor(target, more));
  await using connection = await connect(recovered.address, { signal });
  const [row] = await connection.query<{ rows: number }>("select count(*)::int as rows from account");
  const { replayedTo, lastCommitUs, timeline } = recovered;
  return { rows: row?.rows, replayedTo, lastCommitUs, timeline };
}

/** As a watch receives it. */
async function putBase(server: TestServer, to: string): Promise<void> {
  await using session = await openReplication(server.address, { signal });
  await using base = await session.baseBackup({ label: "test", checkpoint: "fast" });
  for await (const entry of base.files()) {
    const path = join(to, entry.path);
    if (entry.kind === "folder") await mkdir(path, { recursive: true });
    else if (entry.kind === "link") await symlink(entry.target, path);
    else {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, entry.bytes);
    }
  }
  await base.finish();
}

test("a moment has exactly what was committed until then", async () => {
  for (const { rows, us } of [moments[2], moments[6]].filter((moment) => moment !== undefined)) {
    const found = await rowsAt({ kind: "time", us });
    assert.equal(found.rows, rows);
    assert.equal(found.timeline, 2);
    assert(found.lastCommitUs !== undefined && found.lastCommitUs <= us);
  }
});

test("a position has what lies before it, and the end has everything", async () => {
  const [fourth, last] = [moments[3], moments.at(-1)];
  assert(fourth !== undefined && last !== undefined);
  const at = await rowsAt({ kind: "lsn", lsn: parseLsn(fourth.lsn) });
  assert.equal(at.rows, 4);
  assert.equal(at.replayedTo, parseLsn(fourth.lsn));
  const end = await rowsAt({ kind: "end" }, { reach: parseLsn(last.lsn) });
  assert.equal(end.rows, 8);
  assert(end.replayedTo >= parseLsn(last.lsn));
});

test("the server is private, told to change nothing where it is looked at, and gone afterwards", async () => {
  let place = "";
  {
    await using recovered = await recover(await optionsFor({ kind: "end" }, { isReadOnly: true }));
    place = dirname(recovered.address.host);
    assert(existsSync(place));
    await using connection = await connect(recovered.address, { signal });
    const [row] = await connection.query<Record<string, string>>(
      `select current_setting('listen_addresses') as listen, current_setting('archive_mode') as archive,
              current_setting('max_logical_replication_workers') as workers, current_setting('max_prepared_transactions') as prepared`,
    );
    assert.deepEqual(row, { listen: "", archive: "off", workers: "0", prepared: "1000" });
    await assert.rejects(connection.query("insert into account values (100, '')"), /read-only transaction/);
  }
  assert.equal(existsSync(place), false);
});

function roomOf(prepared: string, locks: string): unknown[] {
  const settings = { max_prepared_transactions: prepared, max_locks_per_transaction: locks };
  const needed = neededSettings(settings, 15);
  return [needed["max_prepared_transactions"], needed["max_locks_per_transaction"]];
}

test("locks for many sessions, and what a large machine had room for, are not asked of this one", () => {
  assert.deepEqual(roomOf("0", "64"), ["1000", "64"]);
  assert.deepEqual(roomOf("0", "256"), ["1000", "256"]);
  assert.deepEqual(roomOf("0", "2000000000"), ["1000", "707"]);
  assert.deepEqual(roomOf("5000", "1000000"), ["5000", "148"]);
  assert.deepEqual(roomOf("262143", "64"), ["262143", "10"]);
  const { max_locks_per_transaction: locks } = neededSettings({}, 15);
  assert.equal(locks, "64");
});

test("a cluster with large files of its log comes back", async () => {
  const segmentMib = 64;
  const segmentBytes = segmentMib * 1024 ** 2;
  await using work = await temporaryFolder();
  await chmod(work.path, 0o755);
  await using server = await startPostgres({ segmentMib, settings: ["wal_level=replica", "wal_keep_size=256MB"] });
  await using receiver = await receiveWal(server, work.at("wal"));
  await takeBase(server, work.at("base"));
  await server.query("create table account as select 1 as n");
  await receiver.caughtUp();
  const settings = { ...cluster.settings, wal_segment_size: `${segmentMib}MB` };
  const found = await rowsAt(
    { kind: "end" },
    {
      cluster: { ...cluster, segmentBytes, settings },
      files: async (data) => await cp(work.at("base"), data, { recursive: true }),
      wal: await walFolder(work.at("wal"), segmentBytes),
    },
  );
  assert.equal(found.rows, 1);
});

test("a cluster with more origins of logical replication than a server takes by itself comes back", async () => {
  await using work = await temporaryFolder();
  await chmod(work.path, 0o755);
  await using server = await startPostgres({
    settings: ["wal_level=replica", "wal_keep_size=64MB", "max_replication_slots=20"],
  });
  await using receiver = await receiveWal(server, work.at("wal"));
  const advance = async (from: number, to: number) =>
    await server.query(
      `select pg_replication_origin_advance('from ' || n, '0/1000000') from generate_series(${from}, ${to}) n`,
    );
  await server.query("select pg_replication_origin_create('from ' || n) from generate_series(1, 14) n");
  await advance(1, 12);
  await takeBase(server, work.at("base"));
  await server.query("create table account as select 1 as n");
  await advance(13, 14);
  await receiver.caughtUp();
  const found = await rowsAt(
    { kind: "end" },
    {
      files: async (data) => await cp(work.at("base"), data, { recursive: true }),
      wal: await walFolder(work.at("wal"), SEGMENT),
    },
  );
  assert.equal(found.rows, 1);
});

test("a moment outside of what there is says on which side", async () => {
  const first = moments[0];
  assert(first !== undefined);
  await assert.rejects(
    rowsAt({ kind: "time", us: first.us + 3_600_000_000n }),
    (error) => isFailure(error, "moment/outside") && /ends before that moment/.test(error.message),
  );
  await assert.rejects(
    rowsAt({ kind: "lsn", lsn: parseLsn("0/1000028") }),
    (error) => isFailure(error, "moment/outside") && /before the end of the base/.test(error.message),
  );
});

test("what is damaged or lacking is told, and what to do", async () => {
  const names = (await readdir(folder.at("wal"))).toSorted();
  const wal = await walFolder(folder.at("wal"), SEGMENT);
  const without = (lost: string | undefined) => ({ ...wal, names: wal.names.filter((name) => name !== lost) });
  await assert.rejects(rowsAt({ kind: "end" }, { wal: without(undefined), reach: parseLsn("1/0") }), (error) =>
    isFailure(error, "recovery/damaged"),
  );
  const [label = ""] = (await readFile(folder.at("base/backup_label"), "utf8")).match(/[0-9A-F]{24}/) ?? [];
  assert(names.includes(label), "the segment in which the base begins");
  await assert.rejects(rowsAt({ kind: "end" }, { wal: without(label) }), (error) =>
    isFailure(error, "recovery/damaged"),
  );
  const failing = { ...wal, fetch: async () => await Promise.reject(new TypeError("gone")) };
  await assert.rejects(rowsAt({ kind: "end" }, { wal: failing }), /gone/);
  const copied = (change: (data: string) => Promise<void>) => ({
    files: async (data: string) => {
      await cp(folder.at("base"), data, { recursive: true });
      await change(data);
    },
  });
  await assert.rejects(
    rowsAt(
      { kind: "end" },
      copied(async (data) => await rm(join(data, "backup_label"))),
    ),
    (error) => isFailure(error, "recovery/damaged") && /backup_label/.test(error.message),
  );
  await assert.rejects(
    rowsAt(
      { kind: "end" },
      copied(async (data) => await writeFile(join(data, "global/pg_control"), Buffer.alloc(8192))),
    ),
    (error) => isFailure(error, "recovery/failed") || isFailure(error, "recovery/damaged"),
  );
});

test("what lies in a tablespace comes back in the private folder, and the place that it had is not touched", async () => {
  await using own = await temporaryFolder();
  await chmod(own.path, 0o755);
  await using server = await startPostgres({
    settings: ["wal_level=replica", "full_page_writes=on", "wal_keep_size=256MB"],
  });
  await mkdir(own.at("space"));
  const user = serverUser();
  if (user !== undefined) await chown(own.at("space"), user.uid, user.gid);
  await server.query(`create tablespace aside location '${own.at("space")}'`);
  await server.query("create table far (n int primary key) tablespace aside");
  await server.query("insert into far select generate_series(1, 1000)");
  await putBase(server, own.at("base"));
  await server.query("insert into far select generate_series(1001, 2000)");
  await server.query("select pg_switch_wal()");
  const [row] = await server.query("select current_setting('data_directory') as data");
  await cp(join(String(row?.["data"]), "pg_wal"), own.at("wal"), { recursive: true });
  // Nothing of it is there any more.
  await server.query("drop table far");
  await server.query("drop tablespace aside");
  await rm(own.at("space"), { recursive: true });
  await using recovered = await recover({
    ...(await optionsFor({ kind: "end" })),
    files: async (data) => await cp(own.at("base"), data, { recursive: true }),
    wal: await walFolder(own.at("wal"), SEGMENT),
  });
  await using connection = await connect(recovered.address, { signal });
  const [found] = await connection.query<{ rows: number; at: string }>(
    `select count(*)::int as rows, (select pg_tablespace_location(oid) from pg_tablespace where spcname = 'aside') as at from far`,
  );
  assert.equal(found?.rows, 2000);
  assert.ok(found?.at.startsWith(dirname(recovered.address.host)), found?.at);
  assert.equal(existsSync(own.at("space")), false);
});

/** What lies below a folder, by its names. */
async function contentOf(path: string): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile()) found.set(file, await readFile(file));
  }
  return found;
}

test("a tablespace that was made after the base is ours, and the live server's files in it are not touched", async () => {
  await using own = await temporaryFolder();
  await chmod(own.path, 0o755);
  await using server = await startPostgres({
    settings: ["wal_level=replica", "full_page_writes=on", "wal_keep_size=256MB"],
  });
  await takeBase(server, own.at("base"));
  const user = serverUser();
  for (const name of ["space", "more"]) {
    await mkdir(own.at(name));
    if (user !== undefined) await chown(own.at(name), user.uid, user.gid);
    await server.query(`create tablespace ${name} location '${own.at(name)}'`);
    await server.query(`create table in_${name} (n int primary key) tablespace ${name}`);
    await server.query(`insert into in_${name} select generate_series(1, 1000)`);
  }
  const [at] = await server.query("select pg_current_wal_insert_lsn()::text as lsn");
  await server.query("insert into in_space select generate_series(1001, 5000)");
  await server.query("drop table in_more");
  await server.query("drop tablespace more");
  await server.query("select pg_switch_wal()");
  const [row] = await server.query("select current_setting('data_directory') as data");
  await cp(join(String(row?.["data"]), "pg_wal"), own.at("wal"), { recursive: true });
  await server.query("checkpoint");
  const live = await contentOf(own.at("space"));
  for (const [target, rows] of [
    [{ kind: "lsn", lsn: parseLsn(String(at?.["lsn"])) }, [1000, 1000]],
    [{ kind: "end" }, [5000, undefined]],
  ] as const) {
    await using recovered = await recover({
      ...(await optionsFor(target)),
      files: async (data) => await cp(own.at("base"), data, { recursive: true }),
      wal: await walFolder(own.at("wal"), SEGMENT),
    });
    await using connection = await connect(recovered.address, { signal });
    const count = async (table: string) =>
      (await connection.query<{ rows: number }>(`select count(*)::int as rows from ${table}`))[0]?.rows;
    const there = await connection.query<{ name: string }>("select spcname as name from pg_tablespace");
    const hasMore = there.some(({ name }) => name === "more");
    assert.deepEqual([await count("in_space"), hasMore ? await count("in_more") : undefined], rows);
    await connection.query("checkpoint");
    assert.deepEqual(await contentOf(own.at("space")), live);
    assert.deepEqual(await readdir(own.at("more")), []);
  }
});

test("room is wanted for the base and for what of the log lies there at once, not for weeks of it", () => {
  const gib = 1024 ** 3;
  assert.equal(roomFor(10 * gib, gib), 11 * gib);
  assert.equal(roomFor(10 * gib, 70 * gib), 16.5 * gib);
  assert.equal(roomFor(0, 3 * gib), 3 * gib);
});

test("a base whose files are not those that were sent is told, file by file", async () => {
  await using copy = await temporaryFolder();
  const data = copy.at("base");
  await cp(folder.at("base"), data, { recursive: true });
  const manifest = await readFile(join(data, "backup_manifest"));
  assert.deepEqual(await compareBase(data, manifest, { signal }), []);
  await writeFile(join(data, "PG_VERSION"), "16\n");
  await writeFile(join(data, "global/pg_control"), "short");
  await rm(join(data, "backup_label"));
  await writeFile(join(data, "base/stranger"), "");
  assert.deepEqual(await compareBase(data, manifest, { signal }), [
    { path: "PG_VERSION", reason: "other-bytes" },
    { path: "backup_label", reason: "missing" },
    { path: "base/stranger", reason: "not-listed" },
    { path: "global/pg_control", reason: "other-size" },
  ]);
  const changed = Buffer.from(manifest.toString("utf8").replace('"PG_VERSION", "Size": 3', '"PG_VERSION", "Size": 4'));
  await assert.rejects(compareBase(data, changed, { signal }), (error) => isFailure(error, "recovery/damaged"));
});

test("tables, indexes and pages of a recovered cluster are checked, and damage is told", async () => {
  await using recovered = await recover(await optionsFor({ kind: "end" }));
  await using connection = await connect(recovered.address, { signal });
  const sound = await checkStructure(connection);
  assert.deepEqual(sound?.problems, []);
  assert((sound?.tables ?? 0) > 20 && (sound?.indexes ?? 0) > 50);
  await connection.query("set enable_seqscan = off; set allow_system_table_mods = on");
  // An index that lacks a row of its table.
  await connection.query("update pg_index set indisready = false where indexrelid = 'account_pkey'::regclass");
  await connection.query("insert into account values (500, 'not in the index')");
  await connection.query("update pg_index set indisready = true where indexrelid = 'account_pkey'::regclass");
  const broken = await checkStructure(connection);
  assert.equal(broken?.problems.length, 1);
  assert.match(broken.problems[0] ?? "", /^account_pkey: .*lacks matching index tuple/);
});

test("a locale or an extension that this machine lacks, another major and a full disk are told before anything is begun", async () => {
  const untouched = { files: async () => await Promise.reject(new TypeError("the base was read")) };
  const end = { kind: "end" } as const;
  await assert.rejects(
    rowsAt(end, { ...untouched, cluster: { ...cluster, locales: ["xx_YY.UTF-8"] } }),
    (error) =>
      isFailure(error, "program/missing") &&
      /does not know the locale xx_YY\.UTF-8.*localedef -i xx_YY/.test(error.hint ?? ""),
  );
  await assert.rejects(
    rowsAt(end, { ...untouched, cluster: { ...cluster, major: 77 } }),
    (error) => isFailure(error, "program/missing") && /postgresql-77/.test(error.hint ?? ""),
  );
  const extensions = ["plpgsql", "of_nobody", "vector_of_nobody"];
  await assert.rejects(
    rowsAt(end, { ...untouched, cluster: { ...cluster, extensions } }),
    (error) =>
      isFailure(error, "program/missing") &&
      error.message ===
        `there is no server to recover in: PostgreSQL ${cluster.major} with of_nobody, vector_of_nobody is needed` &&
      /lacks the extension of_nobody, vector_of_nobody\. Install the package that brings it/.test(error.hint ?? ""),
  );
  await assert.rejects(rowsAt(end, { ...untouched, cluster: { ...cluster, bytes: 2 ** 50 } }), (error) =>
    isFailure(error, "store/full"),
  );
});
