/** Backups that read a standby, by the command line: the primary is asked nothing, and the point is as one from it. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { examineStandby } from "../../src/job/doctor-standby.ts";
import type { BackupSummary, DoctorSummary } from "../../src/job/summaries.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { startCli } from "../harness/cli.ts";
import { type Standby, startStandby } from "../harness/standby.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { savedPoints } from "../scenario/saved-point.ts";

let desk: Desk;
let repository: Repository;
let standby: Standby;
let standbyUrl: string;

before(async () => {
  desk = await openDesk({
    hasOwnState: true,
    hasTwoReaders: true,
    size: { messages: 200, conversations: 20, files: 10 },
    server: { settings: ["synchronous_commit=on", "log_connections=on"] },
  });
  ({ repository } = await makeCheapToOpen(desk));
  standby = await startStandby(desk.server);
  await standby.caughtUp();
  const { user, password, database } = desk.installation.database;
  standbyUrl = `postgres://${user}:${password ?? ""}@127.0.0.1:${standby.address.port}/${database}`;
  await appendFile(desk.config, `\ndatabase:\n  max-rate: 1000000\n  standby-url-file: ${desk.root}/standby.url\n`);
  await writeFile(`${desk.root}/standby.url`, `${standbyUrl}\n`, { mode: 0o600 });
});

after(async () => {
  await standby.stop();
  await desk[Symbol.asyncDispose]();
});

/** How many sessions of ours the primary has logged so far. What it logs comes through a pipe, in its order. */
async function sessionsOfOurs(): Promise<number> {
  const name = `sentinel ${Math.random()}`;
  const client = new Client({ ...desk.server.address, application_name: name });
  await client.connect();
  await client.end();
  while (!desk.server.log().includes(`application_name=${name}`)) await sleep(10);
  return [...desk.server.log().matchAll(/connection authorized: .*application_name=chatkeep/g)].length;
}

function kinds({ findings }: { findings: readonly Finding[] }): string[] {
  return findings.filter(({ level }) => level !== "note").map(({ kind }) => kind);
}

async function dataTree(): Promise<unknown> {
  const point = (await savedPoints(repository)).at(-1);
  return [(await point?.find("database/data"))?.subtree, (await point?.find("storage"))?.subtree];
}

test("nothing of a backup from a standby reaches the primary, and rows and files are those of one from the primary", async () => {
  await desk.summary(["backup"]);
  const fromPrimary = await dataTree();
  const sessions = await sessionsOfOurs();
  assert.ok(sessions > 0);
  const { database } = (await desk.summary(["backup", "--from-standby", "--full"])) as unknown as BackupSummary;
  assert.deepEqual(database.standby, { lagSeconds: 0 });
  assert.equal(database.rangesReused, 0);
  assert.equal(await sessionsOfOurs(), sessions);
  assert.deepEqual(await dataTree(), fromPrimary);
  const told = await desk.chatkeep(["backup", "--from-standby"]);
  assert.equal(told.status, 0, told.stderr);
  assert.match(told.stdout, /read from +a standby that has applied all it received/);
  assert.equal(await sessionsOfOurs(), sessions);
});

/** With a configuration that knows of the database what its standby is. */
async function withStandbyUrl(work: () => Promise<void>): Promise<void> {
  const config = await readFile(desk.config, "utf8");
  const here = config
    .replace(/^ +standby-url-file:.*\n/m, "  jobs: 1\n")
    .replace(/^( +)id:/m, `$1database-url: ${standbyUrl}\n$1id:`);
  await writeFile(desk.config, here);
  try {
    await work();
  } finally {
    await writeFile(desk.config, config);
  }
}

test("a database URL that is a standby's simply works, with --from-standby or without", async () => {
  const sessions = await sessionsOfOurs();
  await withStandbyUrl(async () => {
    const { database, findings } = (await desk.summary(["backup", "--from-standby"])) as unknown as BackupSummary;
    assert.deepEqual(database.standby, { lagSeconds: 0 });
    assert.deepEqual(kinds({ findings }), []);
    const dry = (await desk.summary(["backup", "--dry-run"])) as unknown as BackupSummary;
    assert.deepEqual(dry.database.standby, { lagSeconds: 0 });
  });
  assert.equal(await sessionsOfOurs(), sessions);
});

/** What the standby said of sessions that it ended. */
function endings(): number {
  return [...standby.log().matchAll(/conflict with recovery/g)].length;
}

async function setPatience(change: string): Promise<void> {
  await standby.query(`alter system ${change}`);
  await standby.query("select pg_reload_conf()");
}

/**
 * Does `work` on the standby, which waits there for the table, and is ended with every other session: by a tablespace that the primary
 * drops, and in which the standby has files. Then the table is free again.
 */
async function endedOnce<T>(table: string, work: () => Promise<T>): Promise<T> {
  const { database } = desk.installation.database;
  await using holder = await openClient(database);
  await using dropper = await openClient(database);
  await setPatience("set max_standby_streaming_delay = 0");
  await dropper.query("set allow_in_place_tablespaces = on");
  await dropper.query("create tablespace doomed location ''");
  try {
    await standby.caughtUp();
    const [place] = await standby.query(
      "select current_setting('data_directory') || '/pg_tblspc/' || oid as folder from pg_tablespace where spcname = 'doomed'",
    );
    const [version = ""] = await readdir(String(place?.["folder"]));
    await mkdir(join(String(place?.["folder"]), version, "in", "use"), { recursive: true });
    await holder.query(`begin; lock table ${table} in access exclusive mode`);
    await standby.caughtUp();
    const before = endings();
    const working = work();
    // It is told where it is waited for.
    working.catch(() => {});
    const waiting = "select from pg_stat_activity where application_name = 'chatkeep' and wait_event_type = 'Lock'";
    while ((await standby.query(waiting)).length === 0) await sleep(10);
    await dropper.query("drop tablespace doomed");
    while (endings() === before) await sleep(10);
    await holder.query("rollback");
    return await working;
  } finally {
    await setPatience("reset max_standby_streaming_delay");
  }
}

async function openClient(database: string): Promise<Client & AsyncDisposable> {
  const client = new Client({ ...desk.server.address, database });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: async () => await client.end() });
}

test("what the standby ends of a dry run and of doctor is asked again", async () => {
  const dry = (await endedOnce("messages", async () =>
    desk.summary(["backup", "--dry-run", "--from-standby"]),
  )) as unknown as BackupSummary;
  assert.deepEqual(dry.database.standby, { lagSeconds: 0 });
  const { host, user, password, database } = desk.installation.database;
  const primary = { host, port: desk.server.address.port, user, password: password ?? "", database };
  const there = { ...primary, port: standby.address.port };
  const signal = new AbortController().signal;
  const { facts, findings } = await endedOnce("pg_catalog.pg_extension", async () =>
    examineStandby(there, primary, { signal }),
  );
  assert.deepEqual([facts.length, findings], [1, []]);
  await withStandbyUrl(async () => {
    const asked = await endedOnce("accounts", async () => desk.summary(["doctor"], 3));
    const named = (asked as unknown as DoctorSummary).facts.map(({ name }) => name);
    assert.deepEqual(named, [...new Set(named)]);
    assert.ok(named.includes("database"));
    assert.ok(
      !kinds(asked as unknown as DoctorSummary).some((kind) => kind.startsWith("database-")),
      JSON.stringify(asked),
    );
  });
});

test("a file that was purged a moment ago, whose row the standby still shows, is noted as purged and alarms nobody", async () => {
  const { database, storageRoot } = desk.installation;
  const content = Buffer.from("purged soon");
  const md5 = createHash("md5").update(content).digest("base64");
  const path = blobPath(storageRoot, "purgedfile");
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  // Of yesterday: what is younger is waited for anyway.
  await desk.server.query(
    `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
     values ('purgedfile', 'p.txt', ${content.length}, '${md5}', 'local', now() - interval '1 day')`,
    database.database,
  );
  await standby.caughtUp();
  await standby.query("select pg_wal_replay_pause()");
  // As Chatwoot does it: the row first, then the file.
  await desk.server.query("delete from active_storage_blobs where key = 'purgedfile'", database.database);
  await rm(path);
  const child = startCli(["--config", desk.config, "--json", "backup", "--from-standby", "--full"], { cwd: desk.root });
  assert.ok(child.stdout && child.stderr);
  child.stderr.resume();
  const status = new Promise((resolve) => child.once("close", resolve));
  let last: unknown;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { type?: string; name?: string };
    if (said.type === "stage" && said.name?.startsWith("waiting for files") === true)
      await standby.query("select pg_wal_replay_resume()");
    last = said;
  }
  assert.equal(await status, 0, JSON.stringify(last));
  const { storage } = last as BackupSummary;
  assert.deepEqual([storage.purged, storage.missing], [1, 0]);
});

test("doctor says what the standby is, and a promoted one is told of by doctor and backup", async () => {
  const facts = ((await desk.summary(["doctor"], 3)) as unknown as DoctorSummary).facts.filter(
    ({ name }) => name === "standby",
  );
  assert.match(
    facts[0]?.value ?? "",
    /^PostgreSQL 15\.\d+, not behind; max_standby_streaming_delay 30s, hot_standby_feedback off$/,
  );
  assert.doesNotMatch(JSON.stringify(facts), /postgres:\/\//);
  await standby.promote();
  const examined = (await desk.summary(["doctor"], 3)) as unknown as DoctorSummary;
  assert.ok(kinds(examined).includes("standby-promoted"), JSON.stringify(examined.findings));
  const summary = (await desk.summary(["backup", "--from-standby"], 3)) as unknown as BackupSummary;
  assert.deepEqual(kinds(summary), ["standby-promoted"]);
  assert.equal(summary.database.standby, undefined);
});

test("without a standby in the configuration, --from-standby says that the server is none", async () => {
  const config = await readFile(desk.config, "utf8");
  await writeFile(desk.config, config.replace(/^ +standby-url-file:.*\n/m, "  jobs: 2\n"));
  try {
    const summary = (await desk.summary(["backup", "--from-standby"], 3)) as unknown as BackupSummary;
    assert.deepEqual(kinds(summary), ["standby-promoted"]);
  } finally {
    await writeFile(desk.config, config);
  }
});
