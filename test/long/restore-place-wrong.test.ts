/** Something of the place that is restored into is not as it should be: one line and a way on, and nothing that is left half done. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, chown, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { IS_ROOT, runBoundByModes } from "../harness/namespace.ts";
import { startRedis } from "../harness/redis.ts";
import { run, type RunResult } from "../harness/run.ts";
import { assertRefused, type Refusal, secretsOf } from "../scenario/refusal.ts";
import {
  assertSameState,
  type DeskState,
  loseListedFiles,
  openWholeDesk,
  stageIs,
  type WholeDesk,
} from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;
/** Of the point that is whole. */
let point: string;
/** The point that has the rows of two uploaded files, and neither file, and the desk as it was then. */
let lacking: { point: string; state: DeskState };

const OTHER = 4321;
const OPTIONS = ["--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const ROLLBACK = ["rollback", "--yes"];
const FORGET = ["restore", "--discard-previous", "--yes"];
const needsRoot = IS_ROOT ? false : "only root may give files away";

before(async () => {
  whole = await openWholeDesk({ messages: 60, conversations: 10, files: 6 });
  const backup = await whole.desk.summary(["backup"]);
  point = String(backup["point"]);
  saved = await whole.state();
  await uploadTwoWithoutFiles();
  const second = await whole.desk.summary(["backup"], 3);
  lacking = { point: String(second["point"]), state: await whole.state() };
  const { envFile, database } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
    await client.query("delete from active_storage_blobs where key = any($1)", [UPLOADS.map(({ key }) => key)]);
  });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  await loseListedFiles(whole.desk);
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

/** Never in a point before, so that no earlier copy stands in for them. */
const UPLOADS = ["again", "lost"].map((name) => ({ key: name.padEnd(28, "x"), filename: `${name}.txt`, text: name }));

async function uploadTwoWithoutFiles(): Promise<void> {
  await onDatabase(whole.desk.installation.database, async (client) => {
    for (const { key, filename, text } of UPLOADS) {
      await client.query(
        `insert into active_storage_blobs (key, filename, content_type, byte_size, checksum, service_name, created_at)
         values ($1, $2, 'text/plain', $3, $4, 'local', now() - interval '1 day')`,
        [key, filename, text.length, createHash("md5").update(text).digest("base64")],
      );
    }
  });
}

function lackingOf(summary: Record<string, unknown>): string[] {
  const findings = summary["findings"] as Finding[];
  return findings.filter(({ kind }) => kind === "point-misses-files").map(({ message }) => message);
}

async function refused(result: RunResult, refusal: Refusal): Promise<void> {
  assertRefused(result, refusal, await secretsOf(whole.desk));
}

const environment = { NO_COLOR: "1", CHATKEEP_CONFIG: "", NODE_TEST_CONTEXT: undefined };

/** As a user who is root but for one right: on a network disk root is often not root. */
async function withoutChown(args: readonly string[]): Promise<RunResult> {
  const command = [process.execPath, CHATKEEP, "--config", whole.desk.config, ...args];
  return await run("setpriv", ["--bounding-set=-chown", "--", ...command], { env: environment, cwd: whole.desk.root });
}

async function undo(): Promise<void> {
  await whole.desk.summary(ROLLBACK);
  assertSameState(await whole.state(), damaged, "rolled back");
  await whole.desk.summary(FORGET);
}

test("files that cannot be given to their owner stand in the way", { skip: needsRoot }, async () => {
  const { storageRoot } = whole.desk.installation;
  await chown(storageRoot, OTHER, OTHER);
  try {
    await refused(await withoutChown(["restore", point, ...OPTIONS]), {
      status: 1,
      error: /^error: storage 'local' of this place cannot take files: .* cannot be given to user 4321 and group 4321/,
      hint: /Run Chatkeep as root, or as the user that the folder belongs to/,
    });
  } finally {
    await chown(storageRoot, 0, 0);
  }
});

test(
  "an environment file that cannot be given to its owner stops the restore there, and it goes on",
  { skip: needsRoot },
  async () => {
    const { envFile } = whole.desk.installation;
    await chown(envFile, OTHER, OTHER);
    try {
      await refused(await withoutChown(["restore", point, ...OPTIONS]), {
        status: 1,
        error: /^error: 'environment' could not be done: chown of '.*\.env\S*' failed \(EPERM\)/,
        hint: /run Chatkeep as root.*--resume/,
      });
      assert.equal((await whole.state()).environment, damaged.environment);
      await whole.desk.summary(RESUME);
      assertSameState(await whole.state(), saved, "restored");
      assert.equal((await stat(envFile)).uid, OTHER);
      await undo();
    } finally {
      await chown(envFile, 0, 0);
    }
  },
);

test("a storage that refuses writes stands in the way", { skip: needsRoot }, async () => {
  const { storageRoot } = whole.desk.installation;
  const { mode } = await stat(storageRoot);
  await chmod(storageRoot, 0o555);
  try {
    const args = [CHATKEEP, "--config", whole.desk.config, "restore", point, ...OPTIONS];
    const result = await runBoundByModes(process.execPath, args, { env: environment, cwd: whole.desk.root });
    await refused(result, {
      status: 1,
      error: /^error: storage 'local' of this place cannot take files: writing to '?.*storage.*EACCES/,
      hint: /Run Chatkeep as root/,
    });
  } finally {
    await chmod(storageRoot, mode & 0o7777);
  }
});

test("what the point lacks is told before and after, is used where it is there again, and keeps nothing else from coming back", async () => {
  const [again, lost] = UPLOADS;
  assert.ok(again && lost);
  const path = join(again.key.slice(0, 2), again.key.slice(2, 4), again.key);
  const file = join(whole.desk.installation.storageRoot, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, again.text);
  const here = { [path]: (await whole.state()).files[path] ?? "" };
  const withIt = (state: DeskState): DeskState => ({ ...state, files: { ...state.files, ...here } });

  const { stdout } = await whole.desk.chatkeep(["restore", lacking.point, "--plan"]);
  assert.match(stdout, /2 uploaded files were missing or damaged when the point was taken/);
  assertSameState(await whole.state(), withIt(damaged), "planned");

  assert.ok(await whole.killWhen(["restore", lacking.point, ...OPTIONS], stageIs("files", "begun")));
  const restored = await whole.desk.summary(RESUME);
  assert.equal(restored["state"], "done");
  assert.deepEqual(lackingOf(restored), [
    "2 uploaded files were missing or damaged when the point was taken",
    `1 uploaded file of 'local' is neither in the restore point nor here: ${lost.filename}`,
  ]);
  assertSameState(await whole.state(), withIt(lacking.state), "restored");
  assert.deepEqual(await whole.running(), { web: true, worker: true });

  await whole.desk.summary(ROLLBACK);
  assertSameState(await whole.state(), withIt(damaged), "rolled back");
  await whole.desk.summary(FORGET);
  await rm(dirname(dirname(file)), { recursive: true });
});

// The last one: the desk's Redis is not there afterwards.
test("a Redis that is down stops the restore there, and its rollback, and an empty one will do", async () => {
  const { port } = whole.redis;
  await whole.redis.stop();
  const held = await whole.desk.chatkeep(["restore", point, ...OPTIONS]);
  assert.equal(held.status, 3, held.stderr);
  assert.match(held.stderr + held.stdout, /stopped before the end, at 'redis'/);
  assert.match(held.stderr + held.stdout, /Redis could not be asked who is connected/);
  assert.deepEqual(await whole.running(), { web: false, worker: false });
  {
    await using _again = await startRedis({ port });
    const { findings } = (await whole.desk.summary(RESUME)) as { findings?: { kind: string }[] };
    assert.ok(
      findings?.every(({ kind }) => !kind.startsWith("redis-")),
      JSON.stringify(findings),
    );
    assertSameState(await whole.state(), saved, "restored");
  }
  await refused(await whole.desk.chatkeep(ROLLBACK), {
    status: 1,
    error: /Redis/,
    hint: /an empty Redis will do.*'chatkeep rollback'/,
  });
  await using _empty = await startRedis({ port });
  await undo();
});
