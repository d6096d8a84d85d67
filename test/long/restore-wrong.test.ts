/** What goes wrong around a restore into the own place: one line and a way on, and nothing that is left half done. */
import assert from "node:assert/strict";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { resumeWhole } from "../../src/app/restore-whole.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Finding } from "../../src/base/findings.ts";
import { silent } from "../../src/base/progress.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { jsonLines } from "../harness/cli.ts";
import { startS3 } from "../harness/s3.ts";
import { startS3Proxy } from "../harness/s3-proxy.ts";
import { done, setEnvironment } from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, stageIs, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;

const BEGIN = ["restore", "latest", "--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const ROLLBACK = ["rollback", "--yes"];
const FORGET = ["restore", "--discard-previous", "--yes"];

before(async () => {
  whole = await openWholeDesk({ messages: 120, conversations: 20, files: 6 });
  await whole.desk.summary(["backup"]);
  saved = await whole.state();
  const { envFile, database } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  damaged = await whole.state();
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});
afterEach(async () => {
  assertSameState(await whole.state(), damaged, "after a test");
  assert.equal(await whole.journal(), undefined);
});

async function pids(): Promise<string[]> {
  const folder = join(whole.desk.root, "processes");
  return await Promise.all(["web", "worker"].map(async (name) => await readFile(join(folder, `${name}.pid`), "utf8")));
}

async function undo(): Promise<void> {
  await whole.desk.summary(["rollback", "--yes"]);
  assertSameState(await whole.state(), damaged, "rolled back");
  await whole.desk.summary(FORGET);
}

/** One line, a hint, and nothing that looks like a fault of the program. */
async function refused(args: readonly string[], said: RegExp): Promise<void> {
  const { status, stderr } = await whole.desk.chatkeep(args);
  assert.notEqual(status, 0, args.join(" "));
  assert.match(stderr, said, args.join(" "));
  assert.match(stderr, /\nhint: /, args.join(" "));
  assert.doesNotMatch(stderr, /\n {4}at |internal\/bug/, args.join(" "));
}

/** That it ran in between is told, whoever goes on or back. */
function toldAgain({ findings }: Record<string, unknown>): void {
  assert.ok(
    (findings as Finding[]).some(({ kind }) => kind === "ran-again"),
    JSON.stringify(findings),
  );
}

test("what somebody started on half a restore is stopped again, by going on and by going back", async () => {
  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "done")));
  await whole.start();
  const byHand = await pids();
  toldAgain(await done(whole, RESUME));
  assertSameState(await whole.state(), saved, "restored");
  const ours = await pids();
  assert.ok(
    ours.every((pid, at) => pid !== byHand[at]),
    "both were started anew, on what was restored",
  );
  await undo();

  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "done")));
  await whole.start();
  const again = await pids();
  toldAgain(await done(whole, ROLLBACK));
  assertSameState(await whole.state(), damaged, "rolled back");
  await whole.desk.summary(FORGET);
  assert.ok(
    (await pids()).every((pid, at) => pid !== again[at]),
    "both were started anew, on what was there before",
  );
});

test("a restored database that somebody dropped does not keep the one of before from coming back", async () => {
  await whole.desk.summary(BEGIN);
  await whole.stop();
  const { database } = whole.desk.installation.database;
  await whole.desk.server.query(`drop database "${database}" with (force)`);
  await undo();
});

test("a live database that somebody dropped before the swap does not keep the rest from being undone", async () => {
  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "begun")));
  const { database } = whole.desk.installation.database;
  const { server } = whole.desk;
  await server.query(`create database "as_damaged" template "${database}"`);
  await server.query(`drop database "${database}" with (force)`);
  await refused(RESUME, /somebody renamed, made or dropped|does not exist/);
  // Without any Chatwoot would not be well, and be waited for in vain.
  await server.query(`alter database "as_damaged" rename to "${database}"`);
  await undo();
});

interface RollbackPlan {
  blockers: Finding[];
  findings: Finding[];
}

async function planned(): Promise<RollbackPlan> {
  const { stdout } = await whole.desk.chatkeep(["--json", "rollback", "--plan"]);
  return jsonLines(stdout).find(({ type }) => type === "plan") as unknown as RollbackPlan;
}

function kindsOf(findings: readonly Finding[]): string[] {
  return findings.map(({ kind }) => kind).toSorted();
}

/** The rollback says no, and the restored desk goes on as if nobody had asked. */
async function changesNothing(said: RegExp): Promise<void> {
  const [journal, processes] = [await whole.journal(), await pids()];
  await refused(ROLLBACK, said);
  assertSameState(await whole.state(), saved, "nothing was undone");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  assert.deepEqual([await whole.journal(), await pids()], [journal, processes]);
}

/** The database that the restore has put aside. */
async function putAside(): Promise<string> {
  const [row] = await whole.desk.server.query("select datname from pg_database where datname like '%\\_before\\_%'");
  return String(row?.["datname"]);
}

test("a rollback without Redis, or what was put aside, changes nothing and names both; then it goes back", async () => {
  await whole.desk.summary(BEGIN);
  await whole.redis.stop();
  const [id = ""] = await readdir(whole.home);
  const copy = join(whole.home, id, "environment", "0.before");
  await rename(copy, `${copy}.away`);
  assert.deepEqual(kindsOf((await planned()).blockers), ["put-aside-gone", "redis-not-ready"]);
  await changesNothing(/nothing listens there[^]*empty Redis will do[^]*1 other thing stands in the way, too/);
  await rename(`${copy}.away`, copy);
  await changesNothing(/nothing listens there/);
  // Its data is lost.
  await whole.startRedis();
  await undo();
});

/** Names of the objects that an s3rver keeps. */
async function objectsIn(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).filter((name) => name.endsWith("_S3rver_object"));
}

test("a bucket that is gone keeps no rollback from bringing the desk back, and is emptied when it is there again", async () => {
  await using s3 = await startS3();
  await s3.createBucket("acme");
  const objects = async () => await objectsIn(join(s3.folder, "acme"));
  let port: number;
  {
    await using bucket = await startS3Proxy(s3.endpoint);
    port = Number(new URL(bucket.endpoint).port);
    await setEnvironment(whole, {
      STORAGE_BUCKET_NAME: "acme",
      STORAGE_ENDPOINT: bucket.endpoint,
      STORAGE_ACCESS_KEY_ID: "S3RVER",
      STORAGE_SECRET_ACCESS_KEY: "S3RVER",
      STORAGE_FORCE_PATH_STYLE: "true",
    });
    const restored = await whole.desk.chatkeep(["--json", ...BEGIN, "--storage", "s3_compatible"]);
    // The stand-in asks for files without a key, and the bucket is not open to everybody.
    assert.ok(restored.status === 0 || restored.status === 3, restored.stderr);
    assert.ok((await objects()).length > 0);
  }
  const plan = await planned();
  assert.deepEqual([kindsOf(plan.blockers), kindsOf(plan.findings)], [[], ["rollback-left"]]);
  const rolled = await whole.desk.summary(ROLLBACK, 3);
  const [left] = rolled["findings"] as Finding[];
  assert.equal(left?.kind, "rollback-left");
  assert.match(left.hint, /--discard-previous' tries again/);
  const { environment, ...others } = await whole.state();
  assertSameState({ ...others, environment: damaged.environment }, damaged, "rolled back without the bucket");
  assert.ok(
    environment.startsWith(damaged.environment),
    "with the lines of the bucket, which are of before the restore",
  );
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await refused(FORGET, /still cannot be taken out/);
  await using _again = await startS3Proxy(s3.endpoint, port);
  await whole.desk.summary(FORGET);
  assert.deepEqual(await objects(), []);
  await writeFile(whole.desk.installation.envFile, damaged.environment);
});

test("the database of before comes back whatever somebody has called it since, and that is told", async () => {
  await whole.desk.summary(BEGIN);
  await whole.desk.server.query(`alter database "${await putAside()}" rename to "somebodys_copy"`);
  const { blockers, findings } = await planned();
  assert.deepEqual([blockers, kindsOf(findings)], [[], ["database-renamed"]]);
  await undo();
});

test("a database of before that is closed, or dropped, stands in the way before anything is undone", async () => {
  const { server, installation } = whole.desk;
  const { database: live } = installation.database;
  await whole.desk.summary(BEGIN);
  const aside = await putAside();
  await server.query(`alter database "${aside}" allow_connections false`);
  assert.deepEqual(kindsOf((await planned()).blockers), ["database-no-swap"]);
  await changesNothing(/which was there before, lets nobody in/);
  await server.query(`alter database "${aside}" allow_connections true`);
  await server.query(`create database "as_damaged" template "${aside}"`);
  await server.query(`drop database "${aside}"`);
  await changesNothing(/the database that was live before is gone/);
  // Somebody puts a copy of his own there.
  await whole.stop();
  await server.query(`drop database "${live}" with (force)`);
  await server.query(`alter database "as_damaged" rename to "${live}"`);
  await undo();
});

test("a restored database that lets nobody in any more does not keep the one of before from coming back", async () => {
  const { server, installation } = whole.desk;
  await whole.desk.summary(["restore", "latest", "--yes", "--outbound", "defuse"]);
  await whole.stop();
  await server.query(`alter database "${installation.database.database}" allow_connections false`);
  const rolled = await whole.desk.summary(ROLLBACK, 3);
  assert.match(JSON.stringify(rolled["findings"]), /rows of the restored database that were made to rest stay so/);
  assertSameState(await whole.state(), damaged, "rolled back");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await whole.desk.summary(FORGET);
});

test("a restore that was let hold asks whoever goes on with it at a terminal, and tells again what its plan found", async () => {
  const { desk } = whole;
  await desk.summary(["restore", "latest", "--yes", "--outbound", "hold"], 3);
  const { findings: found = [] } = (await whole.journal()) ?? {};
  const asked: string[] = [];
  const answered = async (question: string) => {
    asked.push(question);
    return await Promise.resolve("allow");
  };
  const s: Surroundings = {
    signal: new AbortController().signal,
    progress: silent,
    env: process.env,
    cwd: desk.root,
    clock: systemClock,
    person: { text: answered, secret: answered, confirm: () => Promise.resolve(false) },
    redact: (value) => value,
    hide: () => {},
  };
  const summary = await resumeWhole({ config: desk.config }, { outbound: undefined }, s);
  assert.equal(summary.state, "done");
  assert.deepEqual(asked, ["The worker would do this by itself as soon as it is started."]);
  assert.deepEqual(summary.findings.slice(0, found.length), found);
  await undo();
});

/** Answers as S3 does where a key may not write. */
const DENIED = {
  status: 403,
  body: "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
};

test("a bucket that refuses writes stands in the way; one that begins to in the middle is gone on with, or what was there comes back", async () => {
  await using s3 = await startS3();
  await s3.createBucket("acme");
  await using bucket = await startS3Proxy(s3.endpoint);
  const objects = async () => await objectsIn(join(s3.folder, "acme"));
  const into = ["--storage", "s3_compatible"];
  let put = 0;
  /** Lets so many uploaded files through, and the small file that is tried out always. */
  const allowing = (files: number) => {
    put = 0;
    bucket.fault = ({ method, path }) => {
      if (method !== "PUT" || /chatkeep-probe/.test(path)) return undefined;
      put += 1;
      return put > files ? DENIED : undefined;
    };
  };
  await setEnvironment(whole, {
    STORAGE_BUCKET_NAME: "acme",
    STORAGE_ENDPOINT: bucket.endpoint,
    STORAGE_ACCESS_KEY_ID: "S3RVER",
    STORAGE_SECRET_ACCESS_KEY: "S3RVER",
    STORAGE_FORCE_PATH_STYLE: "true",
  });
  const here = await whole.state();
  const processes = await pids();

  bucket.fault = ({ method }) => (method === "PUT" ? DENIED : undefined);
  const hint = /hint: Check STORAGE_ACCESS_KEY_ID and STORAGE_SECRET_ACCESS_KEY in Chatwoot's environment/;
  await refused(
    [...BEGIN, ...into],
    /^error: storage 's3_compatible' of this place cannot take files: .*Access ?Denied/m,
  );
  await refused([...BEGIN, ...into], hint);
  assert.equal(await whole.journal(), undefined);
  assertSameState(await whole.state(), here, "planned");
  assert.deepEqual([await objects(), await pids()], [[], processes]);

  for (const way of ["on", "back"] as const) {
    allowing(2);
    await refused(
      [...BEGIN, ...into],
      /^error: cannot write '\w+' at bucket 'acme' of storage 's3_compatible': .*Access ?Denied/m,
    );
    assert.ok(stageIs("files", "begun")((await whole.journal()) ?? assert.fail()));
    assertSameState(await whole.state(), here, "refused in the middle");
    assert.equal((await objects()).length, 2);
    if (way === "on") {
      await refused(RESUME, hint);
      bucket.fault = () => undefined;
      // The stand-in asks for files without a key, and the bucket is not open to everybody.
      const { status, stderr } = await whole.desk.chatkeep(["--json", ...RESUME]);
      assert.ok(status === 0 || status === 3, stderr);
      assert.equal((await whole.journal())?.state, "done");
      const { database } = whole.desk.installation.database;
      const rows = await whole.desk.server.query(
        "select key, service_name as service from active_storage_blobs",
        database,
      );
      assert.ok(rows.length > 2 && rows.every(({ service }) => service === "s3_compatible"));
      const there = new Set((await objects()).map((name) => name.split("._S3rver_object")[0]));
      assert.deepEqual(there, new Set(rows.map(({ key }) => key)));
    }
    await whole.desk.summary(ROLLBACK);
    assertSameState(await whole.state(), here, `${way}, rolled back`);
    assert.deepEqual(await objects(), [], "nothing is left in the bucket");
    assert.deepEqual(await whole.running(), { web: true, worker: true });
    await whole.desk.summary(FORGET);
  }
  await writeFile(whole.desk.installation.envFile, damaged.environment);
});
