/** An immutable repository in a bucket with object lock, on moto: what is used stays locked, whoever has the credentials. */
import assert from "node:assert/strict";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DeleteObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectVersionsCommand,
  PutObjectRetentionCommand,
} from "@aws-sdk/client-s3";
import type { ListSummary } from "../../src/job/summaries.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { startMoto, type TestMoto } from "../harness/moto.ts";
import { resticPaths, runRestic } from "../harness/restic.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { isReady, startWatch, stateOf } from "../scenario/watched-desk.ts";

const BUCKET = "locked";
const DAY = 24 * 3_600_000;

let moto: TestMoto;
let desk: Desk;
let first: string;

before(async () => {
  moto = await startMoto();
  await moto.createBucket(BUCKET, { isLocking: true });
  await moto.createBucket("open");
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 200, conversations: 20, files: 20 },
  });
  await add("offsite", moto.location(BUCKET, "acme"), "30d");
  first = String((await offsite(["backup"]))["point"]);
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await moto[Symbol.asyncDispose]();
});

async function add(name: string, location: string, immutable: string): Promise<void> {
  await desk.summary(["init", "--yes", "--add", name, "--location", location], 0, { env: moto.env });
  const text = await readFile(desk.config, "utf8");
  const changed = text.replace(
    new RegExp(`^( *)(- )?location: "?${location}"?$`, "m"),
    `$&\n$1immutable: ${immutable}`,
  );
  assert.notEqual(changed, text);
  await writeFile(desk.config, changed);
}

async function offsite(args: readonly string[], status = 0): Promise<Record<string, unknown>> {
  return await desk.summary(["--repository", "offsite", ...args], status, { env: moto.env });
}

interface Listed {
  readonly key: string;
  readonly id: string;
  readonly isLatest: boolean;
}

async function versions(): Promise<Listed[]> {
  const page = await moto.client.send(new ListObjectVersionsCommand({ Bucket: BUCKET }));
  assert.notEqual(page.IsTruncated, true);
  return (page.Versions ?? []).map(({ Key = "", VersionId = "", IsLatest }) => ({
    key: Key,
    id: VersionId,
    isLatest: IsLatest === true,
  }));
}

async function head({ key, id }: Listed): Promise<HeadObjectCommandOutput> {
  return await moto.client.send(new HeadObjectCommand({ Bucket: BUCKET, Key: key, VersionId: id }));
}

const isJournal = ({ key }: Listed) => key.includes("/chatkeep/journal/");

/** Every file that is there now but for the journal, and none of them a lock of the repository. */
async function assertLocked(): Promise<Listed[]> {
  const now = (await versions()).filter((one) => one.isLatest && !isJournal(one));
  for (const file of now) {
    const { ObjectLockMode, ObjectLockRetainUntilDate } = await head(file);
    assert.equal(ObjectLockMode, "GOVERNANCE", file.key);
    assert.ok((ObjectLockRetainUntilDate?.getTime() ?? 0) > Date.now() + 29 * DAY, file.key);
    assert.doesNotMatch(file.key, /locks\//);
  }
  return now;
}

test("after a backup every file is locked, those that init wrote too, and no lock of the repository ever was", async () => {
  const now = await assertLocked();
  assert.ok(now.some(({ key }) => key.endsWith("/config")) && now.some(({ key }) => key.includes("/keys/")));
  const locks = (await versions()).filter(({ key }) => key.includes("/locks/"));
  assert.ok(locks.length > 0);
  for (const lock of locks) assert.equal((await head(lock)).ObjectLockMode, undefined);
});

test("what would run out within half the time is extended by the next backup, and by the one after it nothing", async () => {
  const old = await assertLocked();
  for (const { key } of old) {
    const Retention = { Mode: "GOVERNANCE", RetainUntilDate: new Date(Date.now() + 2 * DAY) } as const;
    const parts = { Bucket: BUCKET, Key: key, Retention, BypassGovernanceRetention: true };
    await moto.client.send(new PutObjectRetentionCommand(parts));
  }
  const { retention } = (await offsite(["backup"])) as { retention: { files: number; extended: number } };
  assert.equal(retention.extended, old.length);
  assert.ok(retention.files > old.length);
  await assertLocked();
  const again = (await offsite(["backup"])) as { retention: { extended: number; until: string } };
  assert.equal(again.retention.extended, 0);
  assert.ok(Date.parse(again.retention.until) > Date.now() + 29 * DAY);
});

test("with all rights but that to lift locks, no version that is in use can be removed", async () => {
  for (const { key, id } of await assertLocked()) {
    await assert.rejects(moto.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: key, VersionId: id })), key);
  }
  assert.equal((await offsite(["verify", "--read-data"]))["errors"], 0);
});

test("prune says what stays locked as old versions; no backup locks it longer or brings it back", async () => {
  const earlier = await assertLocked();
  await offsite(["forget", first, "--yes"]);
  const dry = (await offsite(["prune", "--max-unused", "0", "--dry-run"])) as { retained?: { packs: number } };
  const pruned = (await offsite(["prune", "--max-unused", "0", "--yes"])) as {
    packs: { removed: number; repacked: number };
    retained?: { packs: number; bytes: number; until: string };
  };
  assert.deepEqual(pruned.retained, dry.retained);
  assert.equal(pruned.retained?.packs, pruned.packs.removed + pruned.packs.repacked);
  assert.ok((pruned.retained?.bytes ?? 0) > 0 && Date.parse(pruned.retained?.until ?? "") > Date.now() + 29 * DAY);

  const gone = async () => {
    const latest = new Set((await assertLocked()).map(({ key }) => key));
    return earlier.filter(({ key }) => !latest.has(key) && key.includes("/data/"));
  };
  const before = await gone();
  assert.equal(before.length, pruned.retained?.packs);
  const ends = async () => await Promise.all(before.map(async (file) => (await head(file)).ObjectLockRetainUntilDate));
  const untouched = await ends();
  assert.equal(((await offsite(["backup"])) as { retention: { extended: number } }).retention.extended, 0);
  assert.deepEqual(await gone(), before);
  assert.deepEqual(await ends(), untouched);
  assert.equal((await offsite(["verify", "--read-data"]))["errors"], 0);
});

for (const restic of resticPaths()) {
  test(`restic ${restic.version} checks every byte of the immutable repository and adds to it`, async () => {
    const password = (await readFile(`${desk.root}/chatkeep/chatkeep-offsite.password`, "utf8")).trim();
    const options = { repo: moto.location(BUCKET, "acme"), password, restic: restic.path, env: moto.env };
    assert.match((await runRestic(["check", "--read-data"], options)).stdout, /no errors were found/);
    await runRestic(["backup", "--tag", "own", desk.config], options);
    // What restic wrote, it wrote without a lock: the next backup locks it.
    const { retention } = (await offsite(["backup"])) as { retention: { extended: number } };
    assert.ok(retention.extended >= 3);
    await assertLocked();
  });
}

test("a copy into an immutable repository is locked too", async () => {
  await desk.summary(["backup"], 0, { env: moto.env });
  await assertLocked();
  await desk.summary(["copy", "--to", "offsite"], 0, { env: moto.env });
  await assertLocked();
});

test("what a watch stores is locked as everything else, but for the journal; forgetting leaves the window whole", async () => {
  const watched = `state-dir: ${stateOf(desk)}\nwatch: { repositories: [offsite], mode: stream, flush-every: 1s }\n`;
  await appendFile(desk.config, watched);
  const before = new Set((await versions()).map(({ key }) => key));
  await using watching = startWatch(desk, [], { env: moto.env });
  await watching.until("a base is there", isReady);
  await desk.server.query("create table noted as select n, md5(n::text) from generate_series(1, 1000) n");
  const [row] = await desk.server.query("select pg_current_wal_insert_lsn()::text as lsn");
  const position = parseLsn(String(row?.["lsn"]));
  await watching.until("all of it is durable", ({ log }) => log !== null && parseLsn(log.durable) >= position);
  const journal = (await versions()).filter(isJournal);
  assert.ok(journal.length > 0);
  for (const file of journal) assert.equal((await head(file)).ObjectLockMode, undefined, file.key);
  // So many whole segments are a span, beside the base.
  for (let n = 0; n < 3; n += 1) {
    await desk.server.query("insert into noted select n, md5(n::text) from generate_series(1, 100) n");
    await desk.server.query("select pg_switch_wal()");
  }
  await watching.until("nothing is lacking", ({ log }) => log !== null && log.lagBytes === 0);
  const isNewSnapshot = ({ key }: Listed) => key.includes("/snapshots/") && !before.has(key);
  for (let look = 0; (await versions()).filter(isNewSnapshot).length < 2; look += 1) {
    assert.ok(look < 600, watching.told());
    await sleep(200);
  }
  assert.equal(await watching.stop(), 130, watching.told());
  const added = (await assertLocked()).filter(({ key }) => !before.has(key));
  for (const kind of ["/data/", "/index/", "/snapshots/"]) {
    assert.ok(
      added.some(({ key }) => key.includes(kind)),
      kind,
    );
  }
  for (const { key, id } of added) {
    await assert.rejects(moto.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: key, VersionId: id })), key);
  }
  const { windows } = (await offsite(["list"])) as unknown as ListSummary;
  assert.deepEqual([windows[0]?.ranges.length, windows[0]?.gaps], [1, []]);
  await offsite(["forget", "--keep-last", "1", "--yes"]);
  const left = (await offsite(["list"])) as unknown as ListSummary;
  assert.deepEqual([left.points.length, left.windows], [1, windows]);
  const dumped = await desk.chatkeep(["--repository", "offsite", "dump", "now", "manifest.json"], { env: moto.env });
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.equal((await offsite(["verify", "--read-data"]))["errors"], 0);
});

test("a bucket without object lock is refused before anything is written, by backup and by doctor, with what to do", async () => {
  await add("open", moto.location("open"), "{ for: 30d, mode: compliance }");
  const { status, stderr } = await desk.chatkeep(["--repository", "open", "backup"], { env: moto.env });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /has no object lock/);
  assert.match(stderr, /hint: .*with object lock/);
  const { findings, facts } = (await desk.summary(["doctor"], 3, { env: moto.env })) as {
    findings: { message: string }[];
    facts: { name: string; value: string }[];
  };
  assert.equal(findings.filter(({ message }) => /has no object lock/.test(message)).length, 1);
  assert.ok(
    facts.some(({ name, value }) => name === "files in 'offsite'" && value === "locked for 30 days, governance"),
  );
});
