/** A moment becomes a restore point: rows from a recovered server, files and configuration from the points around it. */
import assert from "node:assert/strict";
import { chmod, cp, rm } from "node:fs/promises";
import { after, before, test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { parseSnapshotId } from "../../../src/base/ids.ts";
import { silent } from "../../../src/base/progress.ts";
import { attachFile, sendMessage } from "../../../src/demo/change.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import { storagePath } from "../../../src/demo/files.ts";
import { seededRandom } from "../../../src/demo/random.ts";
import { backup } from "../../../src/job/backup.ts";
import { Follower } from "../../../src/job/continuous/follow.ts";
import { openFollowPlace } from "../../../src/job/continuous/follow-place.ts";
import { findMoment, makeMoment, type MomentOptions, type MomentSource } from "../../../src/job/continuous/moment.ts";
import { PointReader } from "../../../src/job/point-reader.ts";
import { listPoints, type Point, resolvePoint } from "../../../src/job/points.ts";
import type { RecoveryMeasure } from "../../../src/job/recovery-pace.ts";
import { Sources } from "../../../src/job/sources.ts";
import { type AskedMoment, momentOf } from "../../../src/point/moment.ts";
import { FALL_LIMITS } from "../../../src/policy/shrinkage.ts";
import { connect } from "../../../src/postgres/connect.ts";
import { walFolder } from "../../../src/postgres/recovery-wal.ts";
import { parseLsn } from "../../../src/wal/lsn.ts";
import { receiveWal, takeBase } from "../../harness/wal.ts";
import { hasty, reopen, signal } from "../../repo/small-backup.ts";
import { savedFiles, savedRows } from "../../scenario/saved-point.ts";
import { backUpInto, IDENTITY, type MemoryDesk, openMemoryDesk } from "../memory-desk.ts";

const SEGMENT = 16 * 1024 * 1024;
const LINE = { installationId: IDENTITY.id, systemId: "", timeline: 1 };

let desk: MemoryDesk;
let earlier: string;
let later: string;
let asked: Extract<AskedMoment, { kind: "time" }>;
let source: MomentSource;
/** As the database was at the moment. */
let messages: number;
let keys: string[];
/** Uploaded after the earlier point, and deleted before the later one but for the first; of those one was followed, one lies on the disk still. */
const files = { kept: "", followed: "", left: "", lost: "" };

async function attach(word: string): Promise<string> {
  const { database, storageRoot } = desk.demo;
  return (await onDatabase(database, async (client) => await attachFile(client, seededRandom(word), storageRoot))).key;
}

async function purge(key: string, { isLeft }: { isLeft: boolean }): Promise<void> {
  await onDatabase(desk.demo.database, async (client) => {
    const own = "blob_id = (select id from active_storage_blobs where key = $1)";
    await client.query(`delete from active_storage_attachments where ${own}`, [key]);
    await client.query("delete from active_storage_blobs where key = $1", [key]);
  });
  if (!isLeft) await rm(storagePath(desk.demo.storageRoot, key));
}

/** As a watch does. */
async function follow(): Promise<void> {
  await using database = await connect(desk.demo.database, { signal });
  const place = await openFollowPlace({
    open: async () => reopen(desk.repository),
    sources: () => new Sources({ installation: desk.installation, progress: silent, signal }),
    installation: IDENTITY,
    program: "chatkeep test",
    clock: hasty,
    signal,
  });
  await new Follower({ place, clock: hasty }).look(database, { signal });
}

before(async () => {
  desk = await openMemoryDesk({
    settings: ["wal_level=replica", "synchronous_commit=on", "full_page_writes=on", "wal_keep_size=256MB"],
  });
  const { server, folder, demo, repository } = desk;
  await chmod(folder.path, 0o755);
  await server.query("create unlogged table unlogged as select 1 as id", demo.database.database);
  earlier = (await backUpInto(repository, desk)).point ?? "";
  const receiver = await receiveWal(server, folder.at("wal"));
  const [began] = await server.query("select pg_current_wal_flush_lsn()::text as lsn");
  await takeBase(server, folder.at("base"));
  await onDatabase(demo.database, async (client) => await sendMessage(client, seededRandom("moment")));
  files.followed = await attach("followed");
  await follow();
  for (const name of ["kept", "left", "lost"] as const) files[name] = await attach(name);
  const [now] = await server.query(
    `select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as us, (select count(*)::int from messages) as messages,
            (select array_agg(key order by key) from active_storage_blobs) as keys`,
    demo.database.database,
  );
  asked = { kind: "time", us: BigInt(String(now?.["us"])) };
  messages = Number(now?.["messages"]);
  keys = now?.["keys"] as string[];
  for (const name of ["followed", "left", "lost"] as const) await purge(files[name], { isLeft: name === "left" });
  await onDatabase(demo.database, async (client) => await client.query("delete from messages where id > 30"));
  later = (await backUpInto(repository, desk)).point ?? "";
  await receiver.caughtUp();
  await receiver.stop();
  const [identity] = await server.query("select system_identifier::text as id from pg_control_system()");
  source = {
    systemId: String(identity?.["id"]),
    timeline: 1,
    base: parseSnapshotId("a".repeat(64)),
    from: parseLsn(String(began?.["lsn"])),
    cluster: {
      major: server.major,
      segmentBytes: SEGMENT,
      bytes: 100 * 1024 * 1024,
      extensions: [],
      locales: [],
      settings: {},
      roles: ["postgres"],
    },
    wal: await walFolder(folder.at("wal"), SEGMENT),
    target: asked,
    files: async (data) => await cp(folder.at("base"), data, { recursive: true }),
  };
});

after(async () => await desk[Symbol.asyncDispose]());

function optionsFor(more: Partial<MomentOptions> = {}): MomentOptions {
  const { installation } = desk;
  const repository = reopen(desk.repository);
  return {
    repository,
    asked,
    source,
    identity: IDENTITY,
    installation,
    database: undefined,
    scratch: { kinds: ["programs"] },
    backup: async (made) =>
      await backup({
        ...made,
        repository,
        repositoryName: "memory",
        installation,
        identity: IDENTITY,
        tags: [],
        full: false,
        fullEveryMs: 0,
        fallLimits: FALL_LIMITS,
        ownConfig: undefined,
        workers: undefined,
        program: "chatkeep test",
        clock: systemClock,
        progress: silent,
        signal,
      }),
    clock: systemClock,
    progress: silent,
    signal,
    ...more,
  };
}

async function readerOf(name: string): Promise<{ point: Point; reader: PointReader }> {
  const list = await listPoints(desk.repository, { signal });
  const point = resolvePoint(list, name, IDENTITY.id);
  return { point, reader: new PointReader(desk.repository, point, { signal }) };
}

test("the point of a moment has its rows, its files from either side, and the configuration of the point before it", async () => {
  const measures: RecoveryMeasure[] = [];
  const summary = await makeMoment(optionsFor({ onMade: async (measure) => void measures.push(measure) }));
  const { point, reader } = await readerOf(summary.point ?? "");
  const manifest = await reader.manifest();
  assert.equal(manifest.tables.find(({ name }) => name === "messages")?.rows, messages);
  assert.equal((await savedRows(reader, "messages"))?.length, messages);
  assert.equal(manifest.moment?.configurationOf, earlier);
  // What is in no log does not come back, and that is said.
  assert.equal(manifest.tables.find(({ name }) => name === "unlogged")?.rows, 0);
  const unlogged = manifest.findings.filter(({ kind }) => kind === "unlogged-tables");
  assert.deepEqual(
    unlogged.map(({ level }) => level),
    ["warning"],
  );
  assert.match(
    unlogged[0]?.message ?? "",
    /^the write-ahead log, and so a moment, has no rows of 1 unlogged table, .*: public\.unlogged$/,
  );
  assert.equal(BigInt(point.takenAtMs), asked.us / 1000n);
  const before = await readerOf(earlier);
  assert.deepEqual(await reader.folderTree("config"), await before.reader.folderTree("config"));
  const [measure] = measures;
  assert.equal(measures.length, 1);
  assert.equal(measure?.base.bytes, source.cluster.bytes);
  const replayed = parseLsn(manifest.moment?.replayedTo ?? "") - source.from;
  assert.ok(replayed > 0n && measure.log.bytes === Number(replayed), `${measure.log.bytes} of ${replayed}`);
  assert.ok(measure.log.seconds > 0 && measure.saveSeconds > 0);
  // The later point deleted rows, and no alarm of accounts that have less comes from it.
  assert.equal(point.shrunk, undefined);
  const saved = await savedFiles(reader);
  assert.deepEqual([...saved.keys()].toSorted(), keys.filter((key) => key !== files.lost).toSorted());
  assert.deepEqual(
    manifest.storage.flatMap(({ missing }) => missing.map(({ key, reason }) => [key, reason])),
    [[files.lost, "missing"]],
  );
  // Only the one that lay on the disk was read there.
  assert.equal(manifest.read.blobsCopied, 1);
});

test("the same moment is found again, and stands in for no backup", async () => {
  const list = await listPoints(desk.repository, { signal });
  const line = { ...LINE, systemId: source.systemId };
  const found = findMoment(list, asked, line);
  assert(found !== undefined);
  assert.deepEqual(momentOf(found.snapshot.tags)?.us, asked.us);
  assert.equal(findMoment(list, { kind: "time", us: asked.us + 1n }, line), undefined);
  assert.equal(findMoment(list, asked, { ...line, timeline: 2 }), undefined);
  // At the log's end the same time may mean more: a clock was set back, or two commits have one time.
  const replayedTo = momentOf(found.snapshot.tags)?.replayedTo ?? 0n;
  assert.equal(findMoment(list, asked, { ...line, reach: replayedTo }), found);
  assert.equal(findMoment(list, asked, { ...line, reach: replayedTo + 1n }), undefined);
  assert.equal(findMoment(list, asked, { ...line, systemId: "1" }), undefined);
  assert.equal(resolvePoint(list, "latest", IDENTITY.id).id, later);
  assert.equal(list.points.includes(found), false);
  const next = await backUpInto(desk.repository, desk);
  assert.equal(next.parent, later);
});

test("a file that was lost in the storage before a backup had it comes from what was followed, into an ordinary point too", async () => {
  const followed = await attach("lost after it was followed");
  await follow();
  const never = await attach("lost before it was followed");
  for (const key of [followed, never]) await rm(storagePath(desk.demo.storageRoot, key));
  // Of young ones a backup waits for the file.
  const old = "update active_storage_blobs set created_at = created_at - interval '1 day' where key = any($1)";
  await onDatabase(desk.demo.database, async (client) => await client.query(old, [[followed, never]]));
  const point = (await backUpInto(reopen(desk.repository), desk)).point ?? "";
  const repository = reopen(desk.repository);
  await repository.loadIndex({ signal });
  const found = resolvePoint(await listPoints(repository, { signal }), point, IDENTITY.id);
  const { storage } = await new PointReader(repository, found, { signal }).manifest();
  const lacking = storage.flatMap(({ missing }) => missing).filter(({ key }) => [followed, never].includes(key));
  assert.deepEqual(
    lacking.map(({ key, kept }) => [key, kept]),
    [
      [followed, true],
      [never, undefined],
    ],
  );
});
