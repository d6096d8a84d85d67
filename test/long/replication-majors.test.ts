/**
 * The log as it is streamed, and physical bases, of every major from 13 to 18; 15 is what `npm test` tries. The log is
 * compared with the server's own files, a base with the server's own manifest, and a server of the same major starts from it.
 */
import assert from "node:assert/strict";
import { chown, mkdir, open as openFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { connect } from "../../src/postgres/connect.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { lookAtReplication } from "../../src/postgres/replication-look.ts";
import { adoptSlot, createSlot, dropSlot, readSlot } from "../../src/postgres/replication-slots.ts";
import { formatLsn, type Lsn, segmentName, segmentStart } from "../../src/wal/lsn.ts";
import { EMBEDDED_MAJORS, type EmbeddedMajor, embeddedPostgres } from "../harness/embedded.ts";
import { differencesFrom, parseManifest, takeBase, writeLog } from "../harness/physical-base.ts";
import { installedServers, serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { mustRun, run } from "../harness/run.ts";
import { startStandby } from "../harness/standby.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
const MIB = 1024 ** 2;

async function programsOf(major: EmbeddedMajor): Promise<string> {
  return (await embeddedPostgres(major)).programs;
}

async function startMajor(major: EmbeddedMajor, settings: readonly string[] = []): Promise<TestServer> {
  const server = await startPostgres({ programs: await programsOf(major), settings });
  assert.equal(server.major, major);
  return server;
}

/** Has a tablespace, made in the folder. */
async function fill(server: TestServer, place: TestFolder): Promise<void> {
  const own = place.at("tablespace");
  await mkdir(own);
  const user = serverUser();
  if (user !== undefined) for (const path of [place.path, own]) await chown(path, user.uid, user.gid);
  await server.query(`create tablespace own location '${own}'`);
  await server.query("create table here as select g as id, md5(g::text) as body from generate_series(1, 50000) g");
  await server.query("create table there tablespace own as select * from here");
}

/** Writes rows in two sessions until it is told to stop: each changes those of its own parity, as two could wait for each other. */
async function load(server: TestServer, until: AbortSignal): Promise<void> {
  await Promise.all(
    [0, 1].map(async (own) => {
      while (!until.aborted) {
        await server.query("insert into here select g, repeat(md5(g::text), 8) from generate_series(1, 1000) g");
        await server.query(`update here set body = md5(body) where id % 194 = ${own}`);
        await server.query(`delete from here where id % 178 = ${own + 2}`);
      }
    }),
  );
}

async function logFiles(server: TestServer, { from, to, segment }: { from: Lsn; to: Lsn; segment: number }) {
  const parts: Buffer[] = [];
  for (let at = from; at < to; at += BigInt(segment)) {
    const [row] = await server.query(`select pg_read_binary_file('pg_wal/${segmentName(1, at, segment)}') as bytes`);
    parts.push(row?.["bytes"] as Buffer);
  }
  return Buffer.concat(parts).subarray(0, Number(to - from));
}

for (const major of EMBEDDED_MAJORS) {
  test(`PostgreSQL ${major}: the log while it is written, and a base, are what the server has`, async () => {
    await using place = await temporaryFolder();
    await using server = await startMajor(major, [
      "max_slot_wal_keep_size=1GB",
      "max_wal_size=64MB",
      "min_wal_size=32MB",
    ]);
    await fill(server, place);
    const look = await lookAtReplication(server.address, { signal });
    assert.deepEqual([look.mode, look.slot, look.facts.major], ["stream", "permanent", major]);
    await using connection = await connect(server.address, { signal });
    await using follower = await openReplication(server.address, { signal });
    const { flushed, timeline, systemId } = await follower.identifySystem();
    const segment = await follower.segmentBytes();
    const from = segmentStart(flushed, segment);
    const slot = await adoptSlot(follower, connection, "chatkeep_majors");
    const stream = await follower.streamWal({ from, timeline, slot: slot.name });

    const stop = new AbortController();
    const loading = load(server, stop.signal);
    const log: Buffer[] = [];
    let end: Lsn | undefined;
    const following = (async () => {
      for await (const { bytes } of stream) {
        log.push(bytes);
        if (end !== undefined && stream.received >= end) break;
      }
    })();
    // What failed first is told, and not what failed because of it.
    following.catch(() => {});
    loading.catch(() => {});
    await using session = await openReplication(server.address, { signal });
    const folder = place.at("base");
    const base = await takeBase(session, folder);
    stop.abort();
    await loading;
    await server.query("select pg_logical_emit_message(true, 'test', 'end')");
    await server.query("select pg_switch_wal()");
    end = (await session.identifySystem()).flushed;
    assert(end >= base.end);
    // Something is written, so that the end comes by.
    await server.query("create table afterwards (id int)");
    await following;

    const bytes = Buffer.concat(log);
    assert(bytes.length > 4 * MIB);
    assert(bytes.equals(await logFiles(server, { from, to: from + BigInt(bytes.length), segment })));
    stream.confirm({ written: stream.received, flushed: base.end });

    const { Files: files, "WAL-Ranges": ranges } = parseManifest(base.manifest);
    assert.equal(base.files, files.length);
    assert.deepEqual(ranges, [{ Timeline: 1, "Start-LSN": formatLsn(base.start), "End-LSN": formatLsn(base.end) }]);
    assert.deepEqual(await differencesFrom(base.manifest, folder), []);
    const judge = join(installedServers()[0]?.programs ?? "", "pg_verifybackup");
    // The one that is installed knows no manifest of 17 and newer.
    if (major <= 16) assert.equal((await run(judge, ["--no-parse-wal", folder])).status, 0);

    await writeLog(folder, { from, bytes, timeline, segmentBytes: segment });
    await using again = await startPostgres({
      programs: server.programs,
      settings: ["allow_in_place_tablespaces=on"],
      data: async (data) => {
        await mustRun("cp", ["-a", folder, data]);
        await rm(join(data, "tablespace_map"));
      },
    });
    // The whole log was there: everything is.
    const sum = "select count(*)::int as rows, sum(hashtext(t::text)::bigint)::text as sum from here t";
    assert.deepEqual(await again.query(sum), await server.query(sum));
    assert.deepEqual(await again.query("select count(*)::int as rows from there"), [{ rows: 50_000 }]);
    await using restored = await openReplication(again.address, { signal });
    assert.equal((await restored.identifySystem()).systemId, systemId);
    await follower.close();
    await dropSlot(session, connection, slot.name);
  });

  test(`PostgreSQL ${major}: a slot that was let go of, and a log that is gone, are told apart from all else`, async () => {
    await using server = await startMajor(major, [
      "max_slot_wal_keep_size=16MB",
      "max_wal_size=32MB",
      "min_wal_size=32MB",
    ]);
    await using connection = await connect(server.address, { signal });
    await using session = await openReplication(server.address, { signal });
    const { timeline, flushed } = await session.identifySystem();
    const name = "chatkeep_left_alone";
    await adoptSlot(session, connection, name);
    for (let round = 0; round < 6; round += 1) {
      await server.query("select pg_logical_emit_message(false, 'test', repeat('x', 1000)), pg_switch_wal()");
      await server.query("checkpoint");
    }
    assert.equal((await readSlot(connection, name))?.walStatus, "lost");
    await assert.rejects(adoptSlot(session, connection, name), (error) => isFailure(error, "wal/gone"));
    for (const slot of [name, undefined]) {
      const stream = await session.streamWal({ from: segmentStart(flushed, 16 * MIB), timeline, slot });
      await assert.rejects(
        async () => {
          for await (const _ of stream);
        },
        (error) => isFailure(error, "wal/gone"),
        `with slot ${slot}`,
      );
    }
    await dropSlot(session, connection, name);
    await createSlot(session, name, { isTemporary: true });
    await using other = await openReplication(server.address, { signal });
    const { flushed: now } = await other.identifySystem();
    const taken = await other.streamWal({ from: now, timeline, slot: name });
    await assert.rejects(
      async () => {
        for await (const _ of taken);
      },
      (error) => isFailure(error, "wal/slot-in-use"),
    );
  });
}

/** A page of the table whose file that is, changed behind the server's back. */
async function damage(server: TestServer, table: string): Promise<void> {
  const [row] = await server.query(
    `select current_setting('data_directory') || '/' || pg_relation_filepath('${table}') as path`,
  );
  const file = await openFile(String(row?.["path"]), "r+");
  await file.write(Buffer.from("damaged"), 0, 7, 8192 + 4000);
  await file.close();
}

test("a page whose checksum is wrong makes a base fail at its end, unless it is asked not to", async () => {
  // Servers of 18 have checksums unless somebody does not want them.
  await using place = await temporaryFolder();
  await using server = await startMajor(18);
  await server.query("create table t as select g as id, md5(g::text) as body from generate_series(1, 5000) g");
  await server.query("checkpoint");
  assert.equal((await lookAtReplication(server.address, { signal })).facts.hasChecksums, true);
  await damage(server, "t");
  await using session = await openReplication(server.address, { signal });
  await assert.rejects(takeBase(session, place.at("refused")), (error) => isFailure(error, "database/unreadable"));
  await using other = await openReplication(server.address, { signal });
  const options = { label: "as it is", checkpoint: "fast", verifyChecksums: false } as const;
  const base = await takeBase(other, place.at("as-it-is"), options);
  assert.deepEqual(await differencesFrom(base.manifest, place.at("as-it-is")), []);
});

test("a base of a standby is whole, and the look says that it is one", async () => {
  await using place = await temporaryFolder();
  // The one that is installed has pg_basebackup, which makes standbys.
  await using primary = await startPostgres({ settings: ["full_page_writes=on"] });
  await primary.query("create table t as select g as id from generate_series(1, 5000) g");
  await using standby = await startStandby(primary);
  await standby.caughtUp();
  await primary.query("checkpoint");
  const look = await lookAtReplication(standby.address, { signal });
  assert.equal(look.mode, "stream");
  assert(look.remarks.some(({ kind }) => kind === "standby"));
  await using session = await openReplication(standby.address, { signal });
  const base = await takeBase(session, place.at("base"));
  assert.deepEqual(await differencesFrom(base.manifest, place.at("base")), []);
});
