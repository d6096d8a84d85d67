/**
 * Bases of which the server sends what changed, of each major that can: put together they are, file by file, what pg_combinebackup
 * makes of the same files; pg_verifybackup takes them; and a server that is recovered from them has every row. Whatever keeps the
 * server from saying what changed, a base is taken all the same.
 */
import assert from "node:assert/strict";
import { chmod, chown, cp, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { Failure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { EarlierFiles, readEarlierBase } from "../../src/job/continuous/earlier-base.ts";
import { BaseKeeper, type BaseNews } from "../../src/job/continuous/keep-bases.ts";
import { type ListedBase, listContinuous } from "../../src/job/continuous/list.ts";
import { Together } from "../../src/job/continuous/put-together.ts";
import { readBase } from "../../src/job/continuous/read-base.ts";
import { type BaseEntry, saveBase } from "../../src/job/continuous/save-base.ts";
import { takeBase, type TakenBase } from "../../src/job/continuous/take-base.ts";
import { prune } from "../../src/job/prune.ts";
import { compareBase } from "../../src/postgres/base-manifest.ts";
import { connect } from "../../src/postgres/connect.ts";
import { summarizeWal } from "../../src/postgres/allow-replication.ts";
import { lookAtReplication } from "../../src/postgres/replication-look.ts";
import { recover } from "../../src/postgres/recovery.ts";
import { walFolder } from "../../src/postgres/recovery-wal.ts";
import { isVisibilityMap } from "../../src/postgres/incremental-file.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import type { BaseEntry as SentEntry } from "../../src/postgres/replication-base.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { embeddedPostgres } from "../harness/embedded.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { takeBase as takeRaw, type WrittenBase } from "../harness/physical-base.ts";
import { serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { judges as restics, runRestic } from "../harness/restic.ts";
import { mustRun, run } from "../harness/run.ts";
import { startStandby } from "../harness/standby.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { entriesOf, factsOf } from "../job/continuous/bases.ts";
import { follow, write } from "../job/continuous/following.ts";
import { IDENTITY } from "../job/memory-desk.ts";
import { hasty, newRepository, PASSWORD, reopen, signal } from "../repo/small-backup.ts";

type Major = 17 | 18;
const MAJORS = [17, 18] as const satisfies readonly Major[];
const SEGMENT = 16 * 1024 * 1024;
const SETTINGS = [
  "wal_level=replica",
  "full_page_writes=on",
  "synchronous_commit=on",
  "wal_keep_size=4GB",
  "max_slot_wal_keep_size=4GB",
];

async function startMajor(major: Major, settings: readonly string[] = ["summarize_wal=on"]): Promise<TestServer> {
  const { programs } = await embeddedPostgres(major);
  const server = await startPostgres({ programs, settings: [...SETTINGS, ...settings] });
  assert.equal(server.major, major);
  return server;
}

function writerFor(repository: Repository) {
  return { repository: reopen(repository), identity: IDENTITY, program: "chatkeep test", clock: hasty, signal };
}

async function newestBase(repository: Repository): Promise<ListedBase> {
  const { bases } = await listContinuous(reopen(repository), IDENTITY.id, { signal });
  const newest = bases.at(-1);
  assert.ok(newest);
  return newest;
}

async function take(
  repository: Repository,
  server: TestServer,
  { earlier, timeline = 1 }: { earlier?: ListedBase | undefined; timeline?: number } = {},
): Promise<TakenBase> {
  await using session = await openReplication(server.address, { signal });
  const { systemId } = await session.identifySystem();
  const expected = { systemId, timeline, least: 0n };
  const options = { address: server.address, rate: undefined, checkpoint: "fast", expected, earlier } as const;
  return await takeBase(writerFor(repository), options);
}

async function readInto(repository: Repository, listed: ListedBase, folder: string): Promise<void> {
  await readBase(reopen(repository), listed, folder, { signal, progress: silent });
}

type Query = (sql: string, database?: string) => Promise<Record<string, unknown>[]>;

async function databasesOf(query: Query): Promise<string[]> {
  const rows = await query("select datname::text as name from pg_database where datallowconn order by 1");
  return rows.map(({ name }) => String(name));
}

async function sumsOf(server: TestServer): Promise<Record<string, unknown>> {
  return await sums(async (sql, database) => await server.query(sql, database));
}

/** What the rows of all tables of all databases come to. */
async function sums(query: Query): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const database of await databasesOf(query)) {
    const tables = await query(
      "select c.oid::regclass::text as name from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1",
      database,
    );
    for (const { name } of tables) {
      const sum = `select count(*)::int as n, sum(hashtext(t::text)::bigint)::text as sum from ${String(name)} t`;
      found[`${database}.${String(name)}`] = (await query(sum, database))[0];
    }
  }
  return found;
}

async function makeTablespace(server: TestServer, folder: string): Promise<void> {
  await mkdir(folder);
  const user = serverUser();
  if (user !== undefined) await chown(folder, user.uid, user.gid);
  await server.query(`create tablespace aside location '${folder}'`);
}

/** Each does to relations what the one before did not. */
const CHANGES: readonly ((server: TestServer) => Promise<unknown>)[] = [
  async (server) => {
    await server.query("update large set body = 'changed' where id % 5000 = 7");
    await server.query("insert into large select g, repeat(md5(g::text), 4) from generate_series(50001, 60000) g");
    await server.query(
      "create table fresh as select g as id, repeat('f', 300) as body from generate_series(1, 3000) g",
    );
  },
  async (server) => {
    await server.query("delete from large where id > 30000");
    await server.query("vacuum large");
    await server.query("drop table doomed");
    await server.query("create database copied strategy file_copy template other");
    await server.query("create database logged strategy wal_log template other");
    await server.query("insert into far select g, 'more' from generate_series(9000, 9500) g");
  },
  async (server) => {
    await server.query("vacuum full large");
    await server.query("truncate emptied");
    await server.query("insert into emptied values (1, 'again')");
    await server.query("update here set body = 'in the copy' where id < 50", "copied");
    await server.query("drop database other");
  },
  // Nothing at all.
  async () => {},
  async (server) => {
    await server.query("insert into large select g, md5(g::text) from generate_series(200000, 230000) g");
    await server.query("delete from large where id > 210000");
    await server.query("vacuum large");
    await server.query("insert into large select g, 'grown again' from generate_series(300000, 315000) g");
    await server.query("create index on large (body)");
    await server.query("alter table far set tablespace pg_default");
  },
];

async function fill(server: TestServer): Promise<void> {
  await server.query(
    "create table large as select g as id, repeat(md5(g::text), 4) as body from generate_series(1, 40000) g",
  );
  await server.query("create index on large (id)");
  for (const name of ["doomed", "emptied"])
    await server.query(`create table ${name} as select g as id, md5(g::text) as body from generate_series(1, 20000) g`);
  await server.query("create table far (id int, body text) tablespace aside");
  await server.query("insert into far select g, md5(g::text) from generate_series(1, 8000) g");
  await server.query("create unlogged table brief as select generate_series(1, 5000) as id");
  await server.query("create database other");
  await server.query(
    "create table here as select g as id, md5(g::text) as body from generate_series(1, 9000) g",
    "other",
  );
}

/** Writes until it is told to stop, while a base is taken. */
async function load(server: TestServer, until: AbortSignal): Promise<void> {
  for (let round = 0; !until.aborted; round += 1) {
    await server.query(`insert into busy select g, repeat(md5(g::text), 3) from generate_series(1, 500) g`);
    await server.query(`update busy set body = md5(body) where id % 50 = ${round % 50}`);
    if (round % 7 === 6) {
      await server.query("delete from busy where id > 400");
      await server.query("vacuum busy");
    }
  }
}

async function* sentFrom(folder: string): AsyncGenerator<SentEntry> {
  for await (const entry of entriesOf(folder)) {
    if (entry.path !== "backup_manifest") yield entry as SentEntry;
  }
}

/** The base that we make of files of an incremental one, as it comes back. */
async function together(
  repository: Repository,
  listed: ListedBase,
  { raw, manifest, back }: { raw: string; manifest: Buffer; back: string },
): Promise<void> {
  const earlier = await readEarlierBase(reopen(repository), listed, { signal });
  let made: Together | undefined;
  const { snapshotId } = await saveBase(writerFor(repository), {
    files(locked): AsyncIterable<BaseEntry> {
      made = new Together(new EarlierFiles(locked, earlier, { signal }), { blockBytes: 8192, segmentBlocks: 131_072 });
      return made.entries(sentFrom(raw));
    },
    expectedBytes: 1_000_000,
    facts: async () => ({
      facts: factsOf({ ...listed.base, beganUs: listed.base.beganUs + 1n }),
      manifest: made?.manifest(manifest) ?? manifest,
    }),
  });
  const { snapshots } = await repository.listSnapshots({ signal });
  const saved = snapshots.find(({ id }) => id === snapshotId);
  assert.ok(saved);
  await readBase(reopen(repository), saved, back, { signal, progress: silent });
  // It was for this comparison alone.
  await repository.store.remove({ kind: "snapshots", name: snapshotId }, { signal });
}

async function rawSince(
  server: TestServer,
  listed: ListedBase,
  repository: Repository,
  raw: string,
): Promise<WrittenBase> {
  const { manifest: since } = await readEarlierBase(reopen(repository), listed, { signal });
  await using session = await openReplication(server.address, { signal });
  return await takeRaw(session, raw, { label: "a test's base", checkpoint: "fast", since });
}

/** pg_combinebackup's and ours are the same but for the manifests, which both are right. */
async function compareWithPostgres(
  server: TestServer,
  { repository, listed, folder, bin }: { repository: Repository; listed: ListedBase; folder: TestFolder; bin: string },
): Promise<void> {
  const place = (name: string) => folder.at(name);
  const raw = await rawSince(server, listed, repository, place("raw"));
  const names = await readdir(place("raw"), { recursive: true });
  assert.ok(names.filter((name) => name.includes("/INCREMENTAL.")).length > 100);
  await readInto(repository, listed, place("earlier"));
  await together(repository, listed, { raw: place("raw"), manifest: raw.manifest, back: place("ours") });
  // The log is not among them, and pg_combinebackup asks for its folder.
  await mustRun(join(bin, "pg_combinebackup"), ["--no-sync", "-o", place("theirs"), place("earlier"), place("raw")]);
  for (const name of ["ours", "theirs"]) await mustRun(join(bin, "pg_verifybackup"), ["--no-parse-wal", place(name)]);
  const but = { except: (path: string) => path === "backup_manifest" || isVisibilityMap(`/${path}`) };
  assert.deepEqual(await readFolder(place("ours"), but), await readFolder(place("theirs"), but));
  // What of the maps of visible pages did not come is theirs as it was, and says nothing in ours.
  const maps = (await readdir(place("theirs"), { recursive: true })).filter((path) => isVisibilityMap(`/${path}`));
  assert.ok(maps.length > 0);
  for (const path of maps) {
    const [ours, theirs] = [await readFile(join(place("ours"), path)), await readFile(join(place("theirs"), path))];
    assert.equal(ours.length, theirs.length, path);
    for (let at = 0; at < ours.length; at += 8192) {
      const [own, other] = [ours.subarray(at, at + 8192), theirs.subarray(at, at + 8192)];
      assert.ok(own.equals(other) || own.every((byte) => byte === 0), `${path} at ${at}`);
    }
  }
  for (const name of ["raw", "earlier", "ours", "theirs"]) await rm(place(name), { recursive: true });
}

async function dataFolder(server: TestServer): Promise<string> {
  const [row] = await server.query("select current_setting('data_directory') as data");
  return String(row?.["data"]);
}

/** What a server has that is recovered from a base and all of the log since. */
async function recoveredSums(
  server: TestServer,
  { repository, listed, folder }: { repository: Repository; listed: ListedBase; folder: TestFolder },
): Promise<Record<string, unknown>> {
  await server.query("select pg_switch_wal()");
  await cp(join(await dataFolder(server), "pg_wal"), folder.at("wal"), { recursive: true });
  const { folder: embedded } = await embeddedPostgres(server.major as Major);
  await using recovered = await recover({
    cluster: {
      major: server.major,
      segmentBytes: SEGMENT,
      bytes: 200 * 1024 * 1024,
      extensions: ["plpgsql"],
      locales: ["C.UTF-8"],
      settings: {},
      roles: ["postgres"],
    },
    files: async (data) => {
      await readInto(repository, listed, data);
      const { manifest } = await readEarlierBase(reopen(repository), listed, { signal });
      assert.deepEqual(await compareBase(data, manifest, { signal }), []);
    },
    wal: await walFolder(folder.at("wal"), SEGMENT),
    timeline: listed.base.timeline,
    target: { kind: "end" },
    places: { kinds: ["embedded"], embedded },
    progress: silent,
    signal,
  });
  const query = async (sql: string, database = "postgres") => {
    await using connection = await connect({ ...recovered.address, database }, { signal });
    return await connection.query<Record<string, unknown>>(sql);
  };
  const found = await sums(query);
  await rm(folder.at("wal"), { recursive: true });
  return found;
}

/** An unlogged table comes back empty. */
function durable(all: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => !name.endsWith(".brief")));
}

for (const major of MAJORS) {
  test(`PostgreSQL ${major}: base after base of what changed is what pg_combinebackup makes of it, and comes back`, async () => {
    const bin = (await newerPostgres(major)).programs;
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    await using server = await startMajor(major);
    await makeTablespace(server, folder.at("space"));
    await fill(server);
    await server.query("create table busy (id int, body text)");
    const repository = await newRepository(openLocalStore(folder.at("repo")));
    const first = await take(repository, server);
    assert.equal(first.sentBytes, first.facts.base.bytes);
    for (const [round, change] of CHANGES.entries()) {
      const listed = await newestBase(repository);
      await change(server);
      const stop = new AbortController();
      const loading = load(server, stop.signal);
      loading.catch(() => {});
      await compareWithPostgres(server, { repository, listed, folder, bin });
      const taken = await take(repository, server, { earlier: listed });
      stop.abort();
      await loading;
      assert.equal(taken.whyWhole, undefined);
      assert.deepEqual(taken.facts.builtOn, { id: listed.id, count: round + 1 });
      assert.ok(taken.sentBytes < taken.facts.base.bytes, `${taken.sentBytes} of ${taken.facts.base.bytes}`);
      const newest = await newestBase(repository);
      assert.equal(newest.id, taken.snapshotId);
      const all = await sumsOf(server);
      assert.deepEqual(
        durable(await recoveredSums(server, { repository, listed: newest, folder })),
        durable(all),
        `round ${round}`,
      );
    }

    // What is built on goes, and the newest is whole without it.
    const newest = await newestBase(repository);
    const { snapshots } = await repository.listSnapshots({ signal });
    for (const { id } of snapshots) {
      if (id !== newest.id) await repository.store.remove({ kind: "snapshots", name: id }, { signal });
    }
    const tools = { clock: hasty, progress: silent, signal };
    await prune({ repository: reopen(repository), maxUnused: { bytes: 0 }, dryRun: false, ...tools });
    for (const { path } of restics())
      await runRestic(["check", "--read-data"], { repo: folder.at("repo"), password: PASSWORD, restic: path });
    const all = await sumsOf(server);
    assert.deepEqual(durable(await recoveredSums(server, { repository, listed: newest, folder })), durable(all));
  });
}

/** What it has not yet noted it would note once its notes are gone. */
async function notesAreAsFarAs(server: TestServer, lsn: string): Promise<void> {
  for (;;) {
    const [row] = await server.query(
      `select coalesce(max(end_lsn) >= ${lsn}, false) as is from pg_available_wal_summaries()`,
    );
    if (row?.["is"] === true) return;
    await sleep(50);
  }
}

test("what keeps a server from saying what changed costs a whole base, and is told", async () => {
  await using server = await startMajor(17);
  await using folder = await temporaryFolder();
  await server.query("create table rows as select g as id, md5(g::text) as body from generate_series(1, 50000) g");
  const repository = await newRepository(openLocalStore(folder.at("repo")));
  await take(repository, server);
  const wholeBecause = async (why: RegExp) => {
    const taken = await take(repository, server, { earlier: await newestBase(repository) });
    assert.match(taken.whyWhole ?? "", why);
    assert.equal(taken.facts.builtOn, undefined);
    assert.equal(taken.sentBytes, taken.facts.base.bytes);
  };
  const isBuilt = async (count: number) => {
    const taken = await take(repository, server, { earlier: await newestBase(repository) });
    assert.deepEqual([taken.whyWhole, taken.facts.builtOn?.count], [undefined, count]);
  };
  for (let count = 1; count <= LIMITS.builtBases; count += 1) await isBuilt(count);
  await wholeBecause(/all pages are read and checked once/);
  await isBuilt(1);

  // Its notes are gone.
  await server.query("insert into rows select g, 'more' from generate_series(1, 50000) g");
  await server.query("checkpoint");
  await notesAreAsFarAs(server, "(select redo_lsn from pg_control_checkpoint())");
  const summaries = join(await dataFolder(server), "pg_wal/summaries");
  for (const name of await readdir(summaries)) if (name.endsWith(".summary")) await rm(join(summaries, name));
  await wholeBecause(/WAL summaries are required/);
  await isBuilt(1);

  // Somebody damaged what is kept: the manifest, or a chunk that is to be changed.
  const listed = await newestBase(repository);
  const { manifest } = await readEarlierBase(reopen(repository), listed, { signal });
  assert.ok(manifest.length > 0);
  for await (const { name } of repository.store.list("data", { signal }))
    await repository.store.remove({ kind: "data", name }, { signal });
  const lost = await take(repository, server, { earlier: listed });
  assert.match(lost.whyWhole ?? "", /is in no pack|cannot be read|not found|gone/);
  await readInto(repository, await newestBase(repository), folder.at("back"));
});

test("a server that does not note what changes sends whole bases, is told of, and is changed where a person wants it", async () => {
  await using server = await startMajor(18, []);
  await using folder = await temporaryFolder();
  const repository = await newRepository(openLocalStore(folder.at("repo")));
  await take(repository, server);
  const taken = await take(repository, server, { earlier: await newestBase(repository) });
  assert.match(taken.whyWhole ?? "", /summarize_wal is off/);
  const remarks = async () => (await lookAtReplication(server.address, { signal })).remarks.map(({ kind }) => kind);
  assert.ok((await remarks()).includes("summaries-off"));
  await using connection = await connect(server.address, { signal });
  const { undo } = await summarizeWal(connection, { clock: systemClock, signal });
  assert.equal(undo, "ALTER SYSTEM RESET summarize_wal; SELECT pg_reload_conf();");
  assert.ok(!(await remarks()).includes("summaries-off"));
  await take(repository, server);
  const built = await take(repository, server, { earlier: await newestBase(repository) });
  assert.deepEqual([built.whyWhole, built.facts.builtOn?.count], [undefined, 1]);
});

test("a standby's bases are built on each other where enough happened between, and over its promotion", async () => {
  const { programs } = await newerPostgres(17);
  const settings = [...SETTINGS, "summarize_wal=on"];
  await using primary = await startPostgres({ programs, settings });
  await primary.query("create table rows as select g as id, md5(g::text) as body from generate_series(1, 50000) g");
  await using standby = await startStandby(primary, settings);
  await using folder = await temporaryFolder();
  await standby.caughtUp();
  const repository = await newRepository(openLocalStore(folder.at("repo")));
  await take(repository, standby);
  const again = await take(repository, standby, { earlier: await newestBase(repository) });
  // No restartpoint lies between the two.
  assert.match(again.whyWhole ?? "", /but this backup starts at/);
  await primary.query("update rows set body = 'changed' where id % 1000 = 0");
  await primary.query("checkpoint");
  await standby.caughtUp();
  const built = await take(repository, standby, { earlier: await newestBase(repository) });
  assert.deepEqual([built.whyWhole, built.facts.builtOn?.count], [undefined, 1]);
  await standby.promote();
  await standby.query("update rows set body = 'by itself' where id % 1000 = 1");
  const promoted = await take(repository, standby, { earlier: await newestBase(repository), timeline: 2 });
  assert.deepEqual([promoted.whyWhole, promoted.facts.base.timeline], [undefined, 2]);
  assert.ok(promoted.sentBytes < promoted.facts.base.bytes);
  const back = folder.at("back");
  await readInto(repository, await newestBase(repository), back);
  const judged = await run(join(programs, "pg_verifybackup"), ["--no-parse-wal", back]);
  assert.equal(judged.status, 0, judged.stderr);
});

test("a watch builds its next base on the one before, whose log since is there, and says what was sent", async () => {
  await using server = await startMajor(17, [
    "summarize_wal=on",
    "checkpoint_timeout=30s",
    "checkpoint_completion_target=0.01",
  ]);
  await server.query("create table rows (id bigint generated always as identity, body text)");
  await write(server.address, 20_000);
  await using folder = await temporaryFolder();
  const repository = await newRepository(openLocalStore(folder.at("repo")));
  const stop = new AbortController();
  const news: BaseNews[] = [];
  let position = 0n;
  const keeper = new BaseKeeper({
    places: [{ name: "one", open: async () => reopen(repository) }],
    address: () => server.address,
    identity: IDENTITY,
    program: "chatkeep test",
    rate: undefined,
    everyMs: undefined,
    // Whatever is written makes one due.
    mostLogBytes: async () => 64 * 1024,
    clock: { ...hasty, sleep: async (_, end) => await hasty.sleep(50, end) },
    signal: stop.signal,
    onBegin() {},
    onBase: (one) => news.push(one),
    onServed() {},
    onTrouble() {},
  });
  await using following = follow(
    server.address,
    { one: repository },
    {
      onLine: (begun) => keeper.lineBegun(begun),
      onState: ({ durableTo }) => keeper.position((position = durableTo)),
    },
  );
  const running = keeper.run();
  running.catch(() => {});
  await following.until("a base is there", () => news.length > 0);
  await write(server.address, 100);
  await following.caughtUp();
  await following.until("the next one is there", () => news.length > 1);
  const [first, second] = news;
  assert.ok(first && second && position > first.base.to);
  assert.deepEqual([first.sentBytes, first.whyWhole], [first.base.bytes, undefined]);
  assert.ok(second.sentBytes < second.base.bytes, `${second.sentBytes} of ${second.base.bytes}`);
  assert.equal(second.whyWhole, undefined);
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(running, /the test is over/);
});
