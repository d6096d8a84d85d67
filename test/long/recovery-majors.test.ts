/**
 * Recovery with each major of PostgreSQL, from a base as the server sends it and the segments that it wrote: with tablespaces and
 * page checksums, under load, and looked at as a drill does.
 */
import assert from "node:assert/strict";
import { chmod, cp, mkdir, open, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { checkStructure } from "../../src/postgres/amcheck.ts";
import { compareBase } from "../../src/postgres/base-manifest.ts";
import { connect } from "../../src/postgres/connect.ts";
import { checkPages } from "../../src/postgres/page-checksums.ts";
import { recover, type RecoveryTarget } from "../../src/postgres/recovery.ts";
import { walFolder } from "../../src/postgres/recovery-wal.ts";
import { endStanding, isStandingOver, standOn } from "../../src/postgres/standing.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { embeddedPostgres, type EmbeddedMajor } from "../harness/embedded.ts";
import { serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { startStandby } from "../harness/standby.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";

const signal = new AbortController().signal;
const SEGMENT = 16 * 1024 * 1024;

/** As a watch receives it. */
async function takeBase(server: TestServer, folder: string): Promise<Buffer> {
  await using session = await openReplication(server.address, { signal });
  await using base = await session.baseBackup({ label: "test", checkpoint: "fast" });
  for await (const entry of base.files()) {
    const path = join(folder, entry.path);
    if (entry.kind === "folder") await mkdir(path, { recursive: true });
    else if (entry.kind === "link") await symlink(entry.target, path);
    else {
      await mkdir(dirname(path), { recursive: true });
      await using file = await open(path, "w", 0o600);
      for await (const bytes of entry.bytes) await file.write(bytes);
    }
  }
  return (await base.finish()).manifest;
}

async function dataFolder(server: TestServer): Promise<string> {
  const [row] = await server.query("select current_setting('data_directory') as data");
  return String(row?.["data"]);
}

async function now(server: TestServer): Promise<bigint> {
  const [row] = await server.query("select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as us");
  return BigInt(String(row?.["us"]));
}

async function makeTablespace(server: TestServer, folder: TestFolder, name = "aside"): Promise<void> {
  await mkdir(folder.at(name));
  const user = serverUser();
  if (user !== undefined) await mustRun("chown", [`${user.uid}:${user.gid}`, folder.at(name)]);
  await server.query(`create tablespace ${name} location '${folder.at(name)}'`);
}

for (const major of [13, 14, 16, 17, 18] as const satisfies readonly EmbeddedMajor[]) {
  test(`PostgreSQL ${major}: a moment comes back, with its tablespace, and all of it is sound`, async () => {
    const { folder: embedded, programs } = await embeddedPostgres(major);
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    await using server = await startPostgres({
      programs,
      settings: ["wal_level=replica", "full_page_writes=on", "synchronous_commit=on", "wal_keep_size=1GB"],
    });
    await makeTablespace(server, folder);
    await server.query(
      "create table account (n int primary key, t text); create table far (n int primary key, t text) tablespace aside",
    );
    await server.query("insert into far select n, repeat('y', 100) from generate_series(1, 5000) n");
    const manifest = await takeBase(server, folder.at("base"));
    assert.deepEqual(await compareBase(folder.at("base"), manifest, { signal }), []);
    await makeTablespace(server, folder, "later");
    await server.query("create table young (n int primary key) tablespace later; insert into young values (1)");
    await server.query(
      "insert into account select n, repeat('x', 500) from generate_series(1, 20000) n; update far set t = 'moved'",
    );
    await server.query("select pg_switch_wal()");
    await server.query(
      "begin; savepoint a; insert into account values (0, 'kept'); savepoint b; insert into account values (-1, 'not'); rollback to b; commit",
    );
    const moment = await now(server);
    await server.query("delete from account; drop table far; insert into young select generate_series(2, 1000)");
    await server.query("select pg_switch_wal()");
    await server.query("checkpoint");
    const live = await mustRun("sh", ["-c", 'cd "$0" && find . -type f -exec sha256sum {} +', folder.at("later")]);
    await cp(join(await dataFolder(server), "pg_wal"), folder.at("wal"), { recursive: true });
    const recoverTo = async (target: RecoveryTarget) =>
      await recover({
        cluster: {
          major,
          segmentBytes: SEGMENT,
          bytes: 100 * 1024 * 1024,
          extensions: ["plpgsql"],
          locales: ["C.UTF-8"],
          settings: {},
          roles: ["postgres"],
        },
        files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
        wal: await walFolder(folder.at("wal"), SEGMENT),
        timeline: 1,
        target,
        places: { kinds: ["embedded"], embedded },
        progress: silent,
        signal,
      });
    await using recovered = await recoverTo({ kind: "time", us: moment });
    await using connection = await connect(recovered.address, { signal });
    const [row] = await connection.query(
      "select (select count(*)::int from account) as account, (select min(n) from account) as least, (select count(*)::int from far where t = 'moved') as far, (select count(*)::int from young) as young",
    );
    assert.deepEqual(row, { account: 20_001, least: 0, far: 5000, young: 1 });
    await connection.query("checkpoint");
    const after = await mustRun("sh", ["-c", 'cd "$0" && find . -type f -exec sha256sum {} +', folder.at("later")]);
    assert.deepEqual(after, live, "the live server's files were touched");
    const [place] = await connection.query<{ data: string; file: string }>(
      "select current_setting('data_directory') as data, pg_relation_filepath('account') as file",
    );
    const { data = "", file = "" } = place ?? {};
    const pages = await checkPages(connection, data, { signal });
    // PostgreSQL 18 makes clusters with checksums.
    assert.equal(pages === undefined, major < 18);
    assert.deepEqual(pages?.wrong ?? [], []);
    const structure = await checkStructure(connection);
    assert.deepEqual(structure?.problems, []);
    assert((structure?.indexes ?? 0) > 50);
    const [left] = await connection.query("select count(*)::int as n from pg_extension where extname = 'amcheck'");
    assert.deepEqual(left, { n: 0 });
    if (pages !== undefined) {
      assert(pages.pages > 1000, `${pages.pages} pages`);
      await using damaged = await open(join(data, file), "r+");
      await damaged.write(Buffer.from([0x55]), 0, 1, 3 * 8192 + 5000);
      assert.deepEqual((await checkPages(connection, data, { signal }))?.wrong, [{ file, page: 3 }]);
    }
    await using end = await recoverTo({ kind: "end" });
    await using later = await connect(end.address, { signal });
    assert.deepEqual(await later.query("select count(*)::int as n from account"), [{ n: 0 }]);
  });
}

for (const major of [13, 18] as const satisfies readonly EmbeddedMajor[]) {
  test(`PostgreSQL ${major}: a server of a moment stands, can be read by its own role, and refuses every change`, async () => {
    const { folder: embedded, programs } = await embeddedPostgres(major);
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    await using server = await startPostgres({
      programs,
      settings: ["wal_level=replica", "full_page_writes=on", "synchronous_commit=on", "wal_keep_size=1GB"],
    });
    await makeTablespace(server, folder);
    await server.query(
      `create table far (n int primary key) tablespace aside; insert into far select generate_series(1, 5000);
       create schema own; create table own.rows (n int); insert into own.rows values (1), (2);
       alter table own.rows enable row level security; revoke all on database postgres from public;
       create sequence numbers; select nextval('numbers'); select lo_from_bytea(4711, 'kept');
       create materialized view seen as select count(*) as n from far`,
    );
    if (major >= 17) {
      await server.query(
        `create table signed_in (at timestamptz); create function note() returns event_trigger language plpgsql
           as $$ begin insert into signed_in values (now()); end $$;
         create event trigger noting on login execute function note(); alter event trigger noting enable always`,
      );
    }
    await takeBase(server, folder.at("base"));
    await server.query("insert into own.rows values (3)");
    const moment = await now(server);
    await server.query("drop schema own cascade; select pg_switch_wal()");
    await cp(join(await dataFolder(server), "pg_wal"), folder.at("wal"), { recursive: true });
    const place = folder.at("stands");
    await mkdir(place, { mode: 0o700 });
    const user = serverUser();
    if (user !== undefined) await mustRun("chown", [`${user.uid}:${user.gid}`, place]);
    await using recovered = await recover({
      cluster: {
        major,
        segmentBytes: SEGMENT,
        bytes: 100 * 1024 * 1024,
        extensions: ["plpgsql"],
        locales: ["C.UTF-8"],
        settings: {},
        roles: ["postgres"],
      },
      files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
      wal: await walFolder(folder.at("wal"), SEGMENT),
      timeline: 1,
      target: { kind: "time", us: moment },
      folder: place,
      places: { kinds: ["embedded"], embedded },
      progress: silent,
      signal,
    });
    const standing = await standOn(recovered.server, recovered.address, {
      looker: { user: "looker", password: "seen", database: "postgres" },
      port: undefined,
      settings: {},
      onStart: async () => {},
      signal,
    });
    try {
      await using connection = await connect(standing.address, { signal });
      const [row] = await connection.query(
        `select (select count(*)::int from own.rows) as rows, (select count(*)::int from far) as far,
                (select last_value::int from numbers) as number, (select n::int from seen) as seen,
                convert_from(lo_get(4711), 'UTF8') as object, pg_is_in_recovery() as follows,
                (select rolsuper from pg_roles where rolname = current_user) as super`,
      );
      assert.deepEqual(row, {
        rows: 3,
        far: 5000,
        number: 1,
        seen: 5000,
        object: "kept",
        follows: true,
        super: false,
      });
      for (const sql of [
        "insert into own.rows values (4)",
        "create temp table t (n int)",
        "select nextval('numbers')",
      ]) {
        await connection.query("set default_transaction_read_only = off");
        await assert.rejects(connection.query(sql), /read-only transaction|during recovery|permission denied/);
      }
      for (const wrong of [{ password: "guessed" }, { user: "postgres" }]) {
        await assert.rejects(connect({ ...standing.address, ...wrong }, { signal }), (error) =>
          isFailure(error, "database/denied"),
        );
      }
    } finally {
      await endStanding(standing.process);
    }
    assert.equal(await isStandingOver(standing.process, { signal }), true);
  });
}

test("after a failover, moments on either side of it come back from the base before", async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  const settings = ["wal_level=replica", "full_page_writes=on", "synchronous_commit=on", "wal_keep_size=1GB"];
  await using primary = await startPostgres({ settings });
  await primary.query("create table account (n int primary key)");
  await takeBase(primary, folder.at("base"));
  await using standby = await startStandby(primary, settings);
  await primary.query("insert into account select generate_series(1, 100)");
  const before = await now(primary);
  await primary.query("insert into account values (101)");
  await standby.caughtUp();
  await standby.promote();
  // The old one goes on by itself: what it still writes is of no line of history any more.
  await primary.query("insert into account select generate_series(1000, 2000)");
  await standby.query("insert into account values (102)");
  const behind = await now(standby);
  await standby.query("delete from account; select pg_switch_wal()");
  for (const server of [primary, standby]) {
    await cp(join(await dataFolder(server), "pg_wal"), folder.at("wal"), { recursive: true, force: true });
  }
  for (const [us, rows] of [
    [before, 100],
    [behind, 102],
  ] as const) {
    await using recovered = await recover({
      cluster: {
        major: primary.major,
        segmentBytes: SEGMENT,
        bytes: 100 * 1024 * 1024,
        extensions: ["plpgsql"],
        locales: ["C.UTF-8"],
        settings: {},
        roles: ["postgres"],
      },
      files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
      wal: await walFolder(folder.at("wal"), SEGMENT),
      timeline: 2,
      target: { kind: "time", us },
      places: { kinds: ["programs"] },
      progress: silent,
      signal,
    });
    await using connection = await connect(recovered.address, { signal });
    assert.deepEqual(await connection.query("select count(*)::int as n from account"), [{ n: rows }]);
    assert.equal(recovered.timeline, 3);
  }
});
