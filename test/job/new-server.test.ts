/**
 * Another cluster takes the place of the one that a running watch follows, and somebody says so: its log, its bases and its files are kept
 * beside what is there of the one before, and each is found by its own names, positions and times.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { storagePath } from "../../src/demo/files.ts";
import type { FoundCommit } from "../../src/job/commits-summary.ts";
import { findServingBases } from "../../src/job/continuous/moment-source.ts";
import { listContinuous } from "../../src/job/continuous/list.ts";
import { followsOf, readFollowed } from "../../src/job/continuous/followed-files.ts";
import { findCommits } from "../../src/job/find-commits.ts";
import { Sources } from "../../src/job/sources.ts";
import { watchLog } from "../../src/job/watch.ts";
import { WatchBook } from "../../src/job/watch-book.ts";
import { WatchedServer } from "../../src/job/watched-server.ts";
import { parseMicros } from "../../src/point/continuous.ts";
import { parseMoment } from "../../src/point/moment.ts";
import { connect } from "../../src/postgres/connect.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { recoverMoment } from "../harness/recovered.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { hasty, newRepository, reopen, signal } from "../repo/small-backup.ts";
import { ask, flushed } from "./continuous/following.ts";
import { IDENTITY } from "./memory-desk.ts";

const PATIENCE_MS = 120_000;
const SETTINGS = ["max_slot_wal_keep_size=1GB", "full_page_writes=on", "synchronous_commit=on"];
const NONE = { inserted: 0, updated: 0, deleted: 0, replaced: false };
/** Nobody here waits for what is looked at now and then. */
const clock: Clock = { ...hasty, sleep: async (ms, stop) => await hasty.sleep(Math.min(ms, 100), stop) };

interface Cluster {
  readonly server: TestServer;
  readonly address: TestAddress;
  readonly systemId: string;
}

interface Commit {
  readonly xid: number;
  /** By the server's clock, between it and the next. */
  readonly at: string;
}

await using folder = await temporaryFolder();
const primary = await newRepository(createMemoryStore());
const copy = await newRepository(createMemoryStore());
let isCopyAway = false;
let accepted: string | undefined;
let one: Cluster;
let other: Cluster;
const said: string[] = [];
const stop = new AbortController();
const book = new WatchBook({
  program: "chatkeep test",
  host: "desk-1",
  pid: process.pid,
  mode: "stream",
  repositories: ["primary", "copy"],
  clock,
  rpoMs: 24 * 3_600_000,
});
let watching: Promise<void>;
let failed: unknown;

before(async () => {
  one = await makeCluster(["messages", "contacts"]);
  other = await makeCluster(["contacts", "messages"]);
});
after(async () => {
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(watching, /the test is over/);
  await Promise.all([one.server.stop(), other.server.stop()]);
});

/** Whatever the order, the first table has the same number in each. */
async function makeCluster(tables: readonly string[]): Promise<Cluster> {
  const server = await startPostgres({ settings: SETTINGS });
  const address = await server.createDatabase("desk");
  await ask(
    address,
    "create table active_storage_blobs (id bigserial, key text, filename text, checksum text, byte_size bigint, service_name text, created_at timestamp default now())",
  );
  for (const table of tables) await ask(address, `create table ${table} (id int)`);
  await ask(address, "insert into messages select generate_series(1, 30)");
  await ask(address, "insert into contacts select generate_series(1, 50)");
  const [row] = await server.query("select system_identifier::text as id from pg_control_system()");
  return { server, address, systemId: String(row?.["id"]) };
}

async function upload({ address }: Cluster, key: string): Promise<void> {
  const path = storagePath(folder.path, key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, key);
  await ask(
    address,
    `insert into active_storage_blobs (key, byte_size, service_name) values ('${key}', ${key.length}, 'local')`,
  );
}

/** One transaction. */
async function commit({ address, server }: Cluster, statement: string): Promise<Commit> {
  await ask(address, `begin; ${statement}; insert into messages values (0); commit`);
  const [row] = await ask(address, "select max(xmin::text::int) as xid from messages where id = 0");
  // As JSON it would end before the last zeros.
  const [now] = await server.query(
    `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
  );
  return { xid: Number(row?.["xid"]), at: String(now?.["at"]) };
}

function startWatch(): void {
  watching = watchLog({
    repositories: [
      { name: "primary", open: async () => reopen(primary) },
      {
        name: "copy",
        open: async () => {
          if (isCopyAway) throw new Failure("store/unreachable", "the copy's disk is not plugged in");
          return reopen(copy);
        },
      },
    ],
    identity: IDENTITY,
    server: new WatchedServer({
      address: one.address,
      replication: one.address,
      look: async () => ({ address: other.address, replication: other.address }),
      say: (line) => void said.push(line),
      signal: stop.signal,
    }),
    sources: () => {
      const storage = [{ serviceName: "local", kind: "local", roots: [folder.path] } as const];
      return new Sources({ installation: { storage: [...storage], environment: new Map() }, progress: silent, signal });
    },
    book,
    program: "chatkeep test",
    clock,
    signal: stop.signal,
    flushMs: 100,
    maxRetainedBytes: 2 ** 40,
    isAccepted: async (systemId) => systemId === accepted,
    baseEveryMs: undefined,
    baseRate: undefined,
    rtoMs: undefined,
    replayRate: async () => 1,
    say: (line) => void said.push(line),
  });
  watching.catch((error: unknown) => (failed = error));
}

async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !(await is()); await sleep(50)) {
    if (failed !== undefined) throw failed;
    const kinds = book.findings.map(({ kind, message }) => `${kind}: ${message}`);
    assert.ok(performance.now() < end, `${what}: ${[...kinds, ...said].join("\n")}`);
  }
}

async function basesIn(opened: Repository): Promise<string[]> {
  const repository = reopen(opened);
  await repository.loadIndex({ signal });
  return (await listContinuous(repository, IDENTITY.id, { signal })).bases.map(({ base }) => base.systemId);
}

async function filesIn(opened: Repository): Promise<string[]> {
  const repository = reopen(opened);
  await repository.loadIndex({ signal });
  const [newest] = followsOf((await repository.listSnapshots({ signal })).snapshots, IDENTITY.id);
  if (newest === undefined) return [];
  const { folders } = await readFollowed(repository, newest, { signal });
  return [...folders.values()].flatMap((nodes) => [...nodes.keys()]).toSorted();
}

function pageOf(name: string) {
  const page = book.status.repositories.find((repository) => repository.name === name);
  assert.ok(page !== undefined);
  return page;
}

async function storedIn(names: readonly string[], { address, systemId }: Cluster): Promise<void> {
  const to = await flushed(address);
  await until(`everything to ${to} is in ${names.join(" and ")}`, () => {
    if (book.status.log?.systemId !== systemId) return false;
    return names.every((name) => parseLsn(pageOf(name).durable ?? "0/0") >= to);
  });
}

type Times = Partial<Record<"sinceUs" | "untilUs", bigint | undefined>>;

async function search(opened: Repository, live: TestAddress | undefined, table: string, times: Times = {}) {
  return await findCommits({
    repository: reopen(opened),
    installationId: IDENTITY.id,
    live,
    wanted: { table, inserted: 0, updated: 0, deleted: 1 },
    sinceUs: undefined,
    untilUs: undefined,
    limit: 1000,
    progress: silent,
    signal,
    ...times,
  });
}

async function find(opened: Repository, live: TestAddress | undefined, table: string): Promise<FoundCommit[]> {
  const { found, unread, unnamed } = await search(opened, live, table);
  assert.deepEqual([unread, unnamed], [[], null]);
  return found;
}

/** Of which cluster a word for a moment is. */
async function clusterOf(opened: Repository, word: string): Promise<string | undefined> {
  const asked = parseMoment(word, 0);
  assert.ok(asked !== undefined);
  const repository = reopen(opened);
  await repository.loadIndex({ signal });
  const { serving } = await findServingBases({ repository, installationId: IDENTITY.id, asked, signal });
  return serving[0]?.base.base.systemId;
}

async function contactsAt(repository: Repository, word: string): Promise<number | undefined> {
  const asked = parseMoment(word, 0);
  assert.ok(asked !== undefined);
  const options = { repository, installation: IDENTITY.id, asked, database: "desk", signal };
  await using recovered = await recoverMoment({ ...options, places: { kinds: ["programs"] } });
  await using connection = await connect({ ...recovered.address, database: "desk" }, { signal });
  const [row] = await connection.query<{ rows: number }>("select count(*)::int as rows from contacts");
  return row?.rows;
}

let gone: Commit;
let lost: Commit;

test("a running watch goes on with the cluster that was accepted: its log, a base of it, and its files", async () => {
  startWatch();
  for (const repository of [primary, copy]) {
    await until("a base is there", async () => (await basesIn(repository)).includes(one.systemId));
  }
  await upload(one, "abcdefghijkl");
  gone = await commit(one, "delete from contacts where id <= 20");
  await storedIn(["primary", "copy"], one);
  for (const repository of [primary, copy]) {
    await until("the file is there", async () => (await filesIn(repository)).includes("abcdefghijkl"));
  }
  isCopyAway = true;
  await one.server.stop();
  await upload(other, "mnopqrstuvwx");
  await until("it is a stranger", () => book.findings.some(({ kind }) => kind === "other-cluster"));
  assert.deepEqual(await filesIn(primary), ["abcdefghijkl"]);
  accepted = other.systemId;
  await until("a base of it is there", async () => (await basesIn(primary)).includes(other.systemId));
  await until("its file is there", async () => (await filesIn(primary)).includes("mnopqrstuvwx"));
  lost = await commit(other, "delete from contacts where id <= 10");
  await storedIn(["primary"], other);
  assert.deepEqual(await basesIn(primary), [one.systemId, other.systemId]);
  assert.ok(said.includes(`a base is in 'primary'`));
});

test("of a repository that is away since before that nothing is said that is true of the cluster before", () => {
  const { durable, safeUntil, trouble } = pageOf("copy");
  assert.deepEqual([durable, safeUntil, trouble], [null, undefined, "the copy's disk is not plugged in"]);
});

test("a repository that comes back later gets a base of it, its log and its files, too", async () => {
  isCopyAway = false;
  await until("a base of it is there", async () => (await basesIn(copy)).includes(other.systemId));
  await until("its file is there", async () => (await filesIn(copy)).includes("mnopqrstuvwx"));
  await storedIn(["primary", "copy"], other);
  assert.ok(pageOf("copy").safeUntil !== undefined);
});

test("what was done in either is found by the names of its own tables, and leads to its own moments", async () => {
  for (const live of [other.address, undefined]) {
    const found = await find(primary, live, "contacts");
    assert.deepEqual(
      found.map(({ xid, tables }) => [xid, tables.find(({ table }) => table === "contacts")]),
      [
        [gone.xid, { ...NONE, table: "contacts", deleted: 20 }],
        [lost.xid, { ...NONE, table: "contacts", deleted: 10 }],
      ],
    );
    assert.deepEqual(await find(primary, live, "messages"), []);
  }
  const [first, second] = await find(primary, other.address, "contacts");
  assert.ok(first !== undefined && second !== undefined);
  for (const [cluster, words] of [
    [one, [first.before, first.after, first.at, gone.at]],
    [other, [second.before, second.after, second.at, lost.at]],
  ] as const) {
    for (const word of words) assert.equal(await clusterOf(primary, word), cluster.systemId, word);
  }
  const between = parseMicros(gone.at);
  assert.ok(between !== undefined);
  for (const [times, deleted] of [
    [{ untilUs: between }, 20],
    [{ sinceUs: between }, 10],
  ] as const) {
    const { found } = await search(primary, undefined, "contacts", times);
    assert.deepEqual(
      found.flatMap(({ tables }) => tables.find(({ table }) => table === "contacts")?.deleted),
      [deleted],
    );
  }
  const { searched } = await search(primary, undefined, "contacts");
  for (const [at, { from, to }] of searched.entries()) {
    for (const word of [from, to]) assert.equal(await clusterOf(primary, word), [one, other][at]?.systemId, word);
  }
  assert.deepEqual([await contactsAt(primary, first.before), await contactsAt(primary, second.after)], [50, 40]);
});
