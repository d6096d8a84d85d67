/** Runs that end before their end: by Ctrl-C, or by a full disk. What they stored is used by the next one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { startCli } from "../harness/cli.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import type { RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertRefused, secretsOf } from "./refusal.ts";

let desk: Desk;
let client: Client;

before(async () => {
  desk = await openDesk({ size: { messages: 120, conversations: 20, files: 30 } });
  await makeCheapToOpen(desk);
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

/** Begins a backup and stops it while it waits for a table; every new file is stored by then. */
async function stopBackup(signals: number): Promise<RunResult> {
  await client.query("begin; lock table messages in access exclusive mode");
  const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
  const printed = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data: Buffer) => (printed.stdout += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (printed.stderr += data.toString()));
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  try {
    while (!(await isWaiting())) await sleep(20);
    for (let sent = 0; sent < signals; sent += 1) {
      // So near together that they are one, two signals would not count as two.
      if (sent > 0) await Promise.race([sleep(300), closed]);
      child.kill("SIGINT");
    }
    const [status] = await closed;
    return { status: status ?? -1, ...printed, stdoutBytes: Buffer.from(printed.stdout) };
  } finally {
    await client.query("rollback");
  }
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

/** All in one private world: a small disk, a backup that fills it, the same disk made larger, and a backup again. */
const FULL_DISK = `
  cd "$1"; node=$2; chatkeep=$3; config=$4
  mkdir small; mount -t tmpfs -o size=2m tmpfs small
  run() { name=$1; shift; set +e; "$node" "$chatkeep" "$@" > "$name.out" 2> "$name.err"; echo $? > "$name.status"; set -e; }
  run init init --yes --root "$5" --config "$config" --location "$PWD/small/repository"
  run full --config "$config" backup
  ls small/repository/snapshots small/repository/locks > full.left
  mount -o remount,size=200m small
  run again --config "$config" backup
  run verify --config "$config" verify --read-data
  mkdir temporary; mount -t tmpfs -o size=16k tmpfs temporary; export TMPDIR="$PWD/temporary"
  run temporary --config "$config" backup`;

test("a disk that fills up ends a backup with one line, and with more room the next one goes on", async (t) => {
  const why = await cannotMount();
  if (why !== undefined) return t.skip(why);
  const config = join(desk.root, "full", "chatkeep.yaml");
  const args = [desk.root, process.execPath, CHATKEEP, config, desk.installation.codeRoot];
  const { status, stderr } = await runWithMounts(FULL_DISK, args, { env: { NO_COLOR: "1" } });
  assert.equal(status, 0, stderr);
  const read = async (name: string) => await readFile(join(desk.root, name), "utf8");
  const resultOf = async (name: string): Promise<RunResult> => ({
    status: Number(await read(`${name}.status`)),
    stdout: await read(`${name}.out`),
    stderr: await read(`${name}.err`),
    stdoutBytes: Buffer.alloc(0),
  });
  const init = await resultOf("init");
  assert.equal(init.status, 0, init.stderr);
  assertRefused(
    await resultOf("full"),
    { status: 20, error: /full|no space/i, hint: /room|space/ },
    await secretsOf(desk),
  );
  assert.equal((await read("full.left")).replaceAll(/^small\S*:$|\s/gm, ""), "", "a lock or a point was left");
  for (const name of ["again", "verify"]) {
    const result = await resultOf(name);
    assert.equal(result.status, 0, result.stderr);
  }
  const temporary = { status: 20, error: /the disk that holds temporary files/, hint: /TMPDIR/ };
  assertRefused(await resultOf("temporary"), temporary, await secretsOf(desk));
});
