/**
 * Runs that end before their end: by Ctrl-C, by a kill, by a lock that was taken from them while they slept, or by a full
 * disk. What they stored is used by the next one.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { storagePath } from "../../src/demo/files.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { startCli } from "../harness/cli.ts";
import { runRestic } from "../harness/restic.ts";
import { cannotMount } from "../harness/namespace.ts";
import type { RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { fillDisks } from "./full-disk.ts";
import { assertRefused, secretsOf } from "./refusal.ts";
import { longTest } from "../harness/whole.ts";

let desk: Desk;
let client: Client;

let password: string;

before(async () => {
  desk = await openDesk({
    hasTwoReaders: true,
    isCheckout: true,
    size: { messages: 120, conversations: 20, files: 30 },
  });
  ({ password } = await makeCheapToOpen(desk));
  client = new Client(desk.installation.database);
  await client.connect();
});

after(async () => {
  await client.end();
  await desk[Symbol.asyncDispose]();
});

async function isWaiting(): Promise<boolean> {
  return (await desk.server.query("select 1 from pg_locks where not granted", "chatwoot_production")).length > 0;
}

/** Begins a backup, and does something to it while it waits for a table; every new file is stored by then. */
async function whileItWaits(act: (child: ChildProcess, closed: Promise<unknown>) => Promise<void>): Promise<RunResult> {
  await client.query("begin; lock table messages in access exclusive mode");
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  const printed = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data: Buffer) => (printed.stdout += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (printed.stderr += data.toString()));
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  try {
    while (!(await isWaiting())) await sleep(20);
    await act(child, closed);
    const [status] = await closed;
    return { status: status ?? -1, ...printed, stdoutBytes: Buffer.from(printed.stdout) };
  } finally {
    await client.query("rollback");
  }
}

async function stopBackup(signals: number): Promise<RunResult> {
  return await whileItWaits(async (child, closed) => {
    for (let sent = 0; sent < signals; sent += 1) {
      // So near together that they are one, two signals would not count as two.
      if (sent > 0) await Promise.race([sleep(300), closed]);
      child.kill("SIGINT");
    }
  });
}

async function filesIn(folder: string): Promise<string[]> {
  return Object.keys(await readFolder(join(desk.repository, folder)));
}

test("Ctrl-C stops a backup cleanly, and the next one uses what it stored", async () => {
  const before = await filesIn("snapshots");
  const stopped = await stopBackup(1);
  assertRefused(
    stopped,
    { status: 130, error: /stopped before the end/, hint: /next (run|backup)/ },
    await secretsOf(desk),
  );
  assert.deepEqual(await filesIn("locks"), []);
  assert.deepEqual(await filesIn("snapshots"), before, "an interrupted run is no restore point");
  const stored = await filesIn("data");
  assert.ok(stored.length > 0, "it had stored something");

  const summary = await desk.summary(["backup"]);
  const now = await filesIn("data");
  assert.deepEqual(
    stored.filter((pack) => !now.includes(pack)),
    [],
    "a pack of the first run is gone",
  );
  const { bytes } = summary["storage"] as { bytes: number };
  const added = summary["added"] as { bytes: number };
  assert.ok(added.bytes < bytes / 2, `${added.bytes} bytes were stored again of ${bytes}`);
  assert.deepEqual((await desk.summary(["verify", "--read-data"]))["problems"], []);
});

test("Ctrl-C twice ends a backup at once, and the next one goes on", async () => {
  const points = (await filesIn("snapshots")).length;
  const stopped = await stopBackup(2);
  assert.equal(stopped.status, 130, stopped.stderr);
  assert.doesNotMatch(stopped.stderr, /\n\s+at /);
  assert.equal((await filesIn("snapshots")).length, points);
  await desk.summary(["backup"]);
  assert.deepEqual(await filesIn("locks"), [], "the lock of the run that died is swept");
  assert.deepEqual((await desk.summary(["verify", "--read-data"]))["problems"], []);
});

test("a run whose lock was taken from it while it was suspended writes no restore point", async () => {
  const points = await filesIn("snapshots");
  const restic = { repo: desk.repository, password };
  const result = await whileItWaits(async (child) => {
    child.kill("SIGSTOP");
    // As somebody would who sees that nothing moves; what the run stored is in no snapshot, so prune removes it.
    await runRestic(["unlock", "--remove-all"], restic);
    await runRestic(["prune", "--max-unused=0"], restic);
    child.kill("SIGCONT");
    await client.query("rollback");
  });
  assertRefused(
    result,
    { status: 11, error: /the lock on the repository was lost: it was removed by someone else/, hint: /unlock/ },
    await secretsOf(desk),
  );
  assert.deepEqual(await filesIn("snapshots"), points);
  assert.deepEqual(await filesIn("locks"), []);
  await desk.summary(["backup"]);
  await runRestic(["check", "--read-data"], restic);
});

/** As many in test/long/full-disk.test.ts as it takes to hit each stage of a backup. */
const DISKS = 1;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

longTest(
  `${DISKS} disk that fills up (CHATKEEP_TEST_SEED=${seed}): one line each, and with more room the next one goes on`,
  async (t) => {
    const why = await cannotMount();
    if (why !== undefined) return t.skip(why);
    await fillDisks(desk, { disks: DISKS, random: seededRandom(`disks/${seed}`), password });
  },
);

/** Uploads of noise, which nothing makes smaller. */
async function upload(files: number, bytesEach: number): Promise<void> {
  for (let number = 0; number < files; number += 1) {
    const bytes = randomBytes(bytesEach);
    const key = `noise${String(number).padStart(23, "0")}`;
    const path = storagePath(desk.installation.storageRoot, key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    const md5 = createHash("md5").update(bytes).digest("base64");
    await client.query(
      `insert into active_storage_blobs (key, filename, content_type, metadata, service_name, byte_size, checksum, created_at)
       values ($1, $2, 'application/octet-stream', '{}', 'local', $3, $4, now())`,
      [key, `noise-${number}.bin`, bytes.length, md5],
    );
  }
}

/** Bytes of the packs that are whole and in their place. */
async function packBytes(known: Map<string, number>): Promise<number> {
  const found = await readdir(join(desk.repository, "data"), { recursive: true, withFileTypes: true });
  for (const entry of found) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || !/^[0-9a-f]{64}$/.test(entry.name) || known.has(path)) continue;
    known.set(path, (await stat(path)).size);
  }
  return known.values().reduce((sum, bytes) => sum + bytes, 0);
}

test("killed in the middle of storing, the next run adds what was lacking and no more", async (t) => {
  const total = 96 << 20;
  await upload(24, total / 24);
  const known = new Map<string, number>();
  const before = await packBytes(known);
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  child.stdout?.resume();
  child.stderr?.resume();
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  for (;;) {
    // While it stands still nothing more is stored than what is counted.
    child.kill("SIGSTOP");
    if (child.exitCode !== null || (await packBytes(known)) - before >= total / 2) break;
    child.kill("SIGCONT");
    await sleep(5);
  }
  child.kill("SIGKILL");
  assert.deepEqual(await closed, [null, "SIGKILL"], "it was still at work");
  const stored = await packBytes(known);
  t.diagnostic(`killed at ${Math.floor((100 * (stored - before)) / total)} %`);

  const summary = await desk.summary(["backup"]);
  const added = (await packBytes(known)) - stored;
  assert.equal((summary["added"] as { bytes: number }).bytes, added, "it says what it adds");
  assert.ok(stored - before + added < 1.05 * total, `${added} of ${total} bytes were added`);
  await runRestic(["check"], { repo: desk.repository, password });
});
