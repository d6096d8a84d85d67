import assert from "node:assert/strict";
import { chown, mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { baseBackupCommand, leftOutOfBase } from "../../src/postgres/replication-base.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { createSlot } from "../../src/postgres/replication-slots.ts";
import { formatLsn, segmentStart } from "../../src/wal/lsn.ts";
import { differencesFrom, parseManifest, takeBase, writeLog } from "../harness/physical-base.ts";
import { initialise, installedServers, serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { run } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
const SEGMENT = 16 * 1024 * 1024;
let server: TestServer;
let place: TestFolder;

before(async () => {
  server = await startPostgres({ settings: ["max_wal_size=256MB"] });
  place = await temporaryFolder();
  const own = place.at("tablespace");
  await mkdir(own);
  const user = serverUser();
  if (user !== undefined) for (const path of [place.path, own]) await chown(path, user.uid, user.gid);
  await server.query(`create tablespace own location '${own}'`);
  await server.query("create table here as select g as id, md5(g::text) as body from generate_series(1, 20000) g");
  await server.query("create table there tablespace own as select * from here");
});
after(async () => {
  await server.stop();
  await place[Symbol.asyncDispose]();
});

test("a base of a server whose databases lie behind a link, which no base has, is refused", async () => {
  await using aside = await temporaryFolder();
  const user = serverUser();
  if (user !== undefined) await chown(aside.path, user.uid, user.gid);
  const [programs = ""] = installedServers().map((one) => one.programs);
  await using linked = await startPostgres({
    data: async (data) => {
      await initialise(aside.path, programs);
      await rename(aside.at("data"), data);
      for (const [name, place] of [
        ["base", aside.at("base")],
        ["pg_wal", aside.at("pg_wal")],
      ] as const) {
        await rename(join(data, name), place);
        await symlink(place, join(data, name));
      }
    },
  });
  await using session = await openReplication(linked.address, { signal });
  await assert.rejects(
    takeBase(session, place.at("linked")),
    (error) => isFailure(error, "database/unsuitable") && error.message.startsWith("'./base' in the server's"),
  );
});

test("of what a server leaves out of a base, the files of its databases count", () => {
  for (const path of [
    "./base",
    "./base/16384/2619",
    "./global",
    "/disk 2/PG_15_202209061/5/1",
    "pg_tblspc/7/PG_18_1/5/1",
  ])
    assert.equal(leftOutOfBase({ routine: "sendDir", message: `skipping special file "${path}"` }), path);
  for (const path of ["./.s.PGSQL.5432", "./server.key", "./log", "./pg_stat_tmp", "./basement"])
    assert.equal(leftOutOfBase({ routine: "sendDir", message: `skipping special file "${path}"` }), undefined);
  assert.equal(leftOutOfBase({ routine: "sendDir", message: "überspringe besondere Datei »./base«" }), "./base");
  assert.equal(leftOutOfBase({ routine: "sendFile", message: 'could not verify "./base/1/1"' }), undefined);
});

test("a base taken while rows are written has every file of the manifest, and a server starts from it", async () => {
  await using follower = await openReplication(server.address, { signal });
  const { flushed, timeline, systemId } = await follower.identifySystem();
  const from = segmentStart(flushed, SEGMENT);
  // It is read only afterwards, and kept until then.
  const { name: slot } = await createSlot(follower, "chatkeep_beside", { isTemporary: true });
  const stream = await follower.streamWal({ from, timeline, slot });
  await using session = await openReplication(server.address, { signal });
  const folder = place.at("base");
  const taken = new AbortController();
  const writing = (async () => {
    let rows = 20_000;
    while (!taken.signal.aborted) {
      await server.query(`insert into here select g, md5(g::text) from generate_series(${rows + 1}, ${rows + 500}) g`);
      rows += 500;
    }
    return rows;
  })();
  const base = await takeBase(session, folder).finally(() => taken.abort());
  const rows = await writing;
  assert(base.start < base.end && base.start >= from);
  assert.equal(base.timeline, timeline);
  assert.match(base.label, /^START WAL LOCATION: [0-9A-F]+\/[0-9A-F]+ /);
  assert.match(base.label, /^LABEL: a test's base$/m);
  assert.match(base.tablespaceMap ?? "", new RegExp(`^\\d+ ${place.at("tablespace")}\\n$`));

  const { Files: files, "WAL-Ranges": ranges } = parseManifest(base.manifest);
  assert.equal(base.files, files.length);
  assert(files.some(({ Path: path }) => path.startsWith("pg_tblspc/")));
  assert.deepEqual(
    ranges.map((range) => [range["Start-LSN"], range["End-LSN"]]),
    [[formatLsn(base.start), formatLsn(base.end)]],
  );
  assert.deepEqual(await differencesFrom(base.manifest, folder), []);
  const judged = await run(join(server.programs, "pg_verifybackup"), ["--no-parse-wal", folder]);
  assert.equal(judged.status, 0, judged.stderr);

  const log: Buffer[] = [];
  for await (const { bytes } of stream) {
    log.push(bytes);
    if (stream.received >= base.end) break;
  }
  await writeLog(folder, { from, bytes: Buffer.concat(log), timeline, segmentBytes: SEGMENT });
  await using again = await startPostgres({
    settings: ["allow_in_place_tablespaces=on"],
    data: async (data) => {
      const moved = await run("cp", ["-a", folder, data]);
      assert.equal(moved.status, 0, moved.stderr);
      // Beside the one that runs its tablespace lies in the data folder itself.
      await rm(join(data, "tablespace_map"));
    },
  });
  const counts = "select count(*)::int as rows, (select count(*)::int from there) as others from here";
  const [row] = await again.query(counts);
  assert.equal(row?.["others"], 20_000);
  assert(Number(row?.["rows"]) >= 20_000 && Number(row?.["rows"]) <= rows);
  await using restored = await openReplication(again.address, { signal });
  assert.equal((await restored.identifySystem()).systemId, systemId);
});

test("tablespaces, sizes and the position are known before the files come, and files may be passed over", async () => {
  await using session = await openReplication(server.address, { signal });
  await using backup = await session.baseBackup({ label: "it's mine", checkpoint: "fast", rate: 1024 ** 3 });
  assert.deepEqual(
    backup.tablespaces.map(({ location }) => location),
    [place.at("tablespace"), ""],
  );
  assert(backup.expectedBytes > 20_000_000);
  let bytes = 0;
  const kinds = new Set<string>();
  for await (const entry of backup.files()) {
    kinds.add(entry.kind);
    // Some are read in part, some not at all.
    if (entry.kind !== "file") continue;
    bytes += entry.size;
    if (!entry.path.includes("_vm")) continue;
    for await (const _ of entry.bytes) break;
  }
  assert.deepEqual([...kinds].toSorted(), ["file", "folder"]);
  assert(Math.abs(bytes - backup.expectedBytes) < backup.expectedBytes / 4, `${bytes} of ${backup.expectedBytes}`);
  const end = await backup.finish();
  assert.match(end.label, /^LABEL: it's mine$/m);
  assert(end.end > backup.start);
  // The session is good for the next command.
  assert.equal((await session.identifySystem()).timeline, 1);
});

test("a base that is left in its middle cuts its session, and an aborted one ends with the signal's reason", async () => {
  await using session = await openReplication(server.address, { signal });
  {
    await using backup = await session.baseBackup({ label: "left", checkpoint: "fast" });
    for await (const { path } of backup.files()) if (path === "PG_VERSION") break;
  }
  assert.equal(session.isOpen, false);

  const stop = new AbortController();
  await using other = await openReplication(server.address, { signal: stop.signal });
  await using backup = await other.baseBackup({ label: "aborted", checkpoint: "fast", rate: 32 * 1024 });
  const reason = new Failure("run/cancelled", "enough");
  await assert.rejects(async () => {
    for await (const entry of backup.files()) {
      if (entry.kind === "file") for await (const _ of entry.bytes) stop.abort(reason);
    }
  }, reason);
});

test("each major is asked in its own words", () => {
  const options = { label: "a'b", checkpoint: "spread", rate: 1 } as const;
  assert.equal(
    baseBackupCommand(14, options),
    "BASE_BACKUP LABEL 'a''b' PROGRESS TABLESPACE_MAP NOWAIT MAX_RATE 32 MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'",
  );
  assert.equal(
    baseBackupCommand(15, { ...options, verifyChecksums: false }),
    "BASE_BACKUP (LABEL 'a''b', PROGRESS, TABLESPACE_MAP, CHECKPOINT 'spread', WAIT false, MAX_RATE 32, VERIFY_CHECKSUMS false, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')",
  );
});

test("a role without the right takes no base", async () => {
  await server.query("create role plain login");
  await assert.rejects(openReplication({ ...server.address, user: "plain" }, { signal }), (error) =>
    isFailure(error, "database/denied"),
  );
});
