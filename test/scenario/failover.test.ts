/** The server fails over in the middle: a run ends loudly with nothing half, and the next one goes on from there. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { runCli, startCli, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { assertRefused } from "./refusal.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: StoppedPostgres;
let installation: DemoInstallation;
let config: string;

before(async () => {
  folder = await temporaryFolder();
  server = await StoppedPostgres.make();
  await server.start();
  installation = await buildInstallation({
    root: join(folder.path, "home"),
    address: server.address,
    size: { messages: 300, conversations: 30, files: 12 },
    signal: new AbortController().signal,
  });
  config = join(folder.path, "chatkeep", "chatkeep.yaml");
  await mkdir(join(folder.path, "chatkeep"), { mode: 0o700 });
  const places = ["--root", installation.codeRoot, "--location", join(folder.path, "repository")];
  await summary("init", "--yes", "--name", "desk", ...places);
  // Drills are held on the server itself.
  await appendFile(config, "drill:\n  servers: [database-url]\n");
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function chatkeep(...args: string[]): Promise<RunResult> {
  return await runCli(["--config", config, ...args], { cwd: folder.path });
}

async function summary(...args: string[]): Promise<Record<string, unknown>> {
  const result = await chatkeep("--json", ...args);
  assert.equal(result.status, 0, `${args.join(" ")}: ${result.stderr}${result.stdout}`);
  return summaryOf(result.stdout);
}

async function onServer<T>(act: (client: Client) => Promise<T>, database = "postgres"): Promise<T> {
  const client = new Client({ ...server.address, database });
  client.on("error", () => {});
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/** Starts a run, and restarts the server as soon as the query finds a row. */
async function restartWhile(args: string[], query: string): Promise<RunResult> {
  const child = startCli(["--config", config, ...args], { cwd: folder.path });
  const printed = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data: Buffer) => (printed.stdout += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (printed.stderr += data.toString()));
  const closed = once(child, "close") as Promise<[number | null]>;
  await onServer(async (client) => {
    while ((await client.query(query)).rows.length === 0) {
      assert.equal(child.exitCode, null, `it ended by itself: ${printed.stderr}`);
      await sleep(5);
    }
  });
  await server.crash();
  await server.start();
  const [status] = await closed;
  return { status: status ?? -1, ...printed, stdoutBytes: Buffer.from(printed.stdout) };
}

const LOST = { status: 1, error: /connection|server/, hint: /again|server/ };

async function filesOf(kind: string): Promise<string[]> {
  return Object.keys(await readFolder(join(folder.path, "repository", kind)));
}

async function databases(): Promise<string[]> {
  const { rows } = await onServer(
    async (client) =>
      await client.query<{ name: string }>(
        "select datname as name from pg_database where datname ~ '^chat' order by 1",
      ),
  );
  return rows.map(({ name }) => name);
}

test("a backup fails loudly and leaves no point; the next one uses what it stored, and reads every row after a restart", async () => {
  const live = installation.database.database;
  const failed = await onServer(async (client) => {
    // The backup waits for this table: all files are stored by then.
    await client.query("begin; lock table messages in access exclusive mode");
    return await restartWhile(["backup"], "select from pg_locks where not granted and mode = 'AccessShareLock'");
  }, live);
  assertRefused(failed, LOST);
  assert.deepEqual(await filesOf("snapshots"), []);
  const stored = await filesOf("data");
  assert.notEqual(stored.length, 0);
  const first = await summary("backup");
  assert.equal((await summary("verify", "--read-data"))["errors"], 0);
  const bytes = (first["storage"] as { bytes: number }).bytes;
  assert.ok((first["added"] as { bytes: number }).bytes < bytes, "the uploaded files were stored a second time");
  await server.crash();
  await server.start();
  const next = await chatkeep("backup");
  assert.equal(next.status, 0, next.stderr);
  assert.match(next.stderr, /reading every row: the server was restarted/);
});

test("a restore into the live place fails loudly and touches nothing; the next one removes what it left", async () => {
  const live = installation.database.database;
  const query = "select from pg_stat_activity where datname ~ '_restoring_' and query ~* '^copy'";
  assertRefused(await restartWhile(["restore", "latest", "--only", "database", "--yes"], query), LOST);
  const { rows } = await onServer(async (client) => await client.query("select from messages limit 1"), live);
  assert.equal(rows.length, 1);
  await summary("restore", "latest", "--only", "database", "--yes");
  const left = (await databases()).filter((name) => name !== live);
  assert.equal(left.length, 1, left.join(", "));
  assert.match(left[0] ?? "", /_before_/);
});

test("a drill on the server fails loudly and proves nothing, neither way; the next one removes what it left", async () => {
  // By pg_restore, whose words for it are others.
  const query =
    "select from pg_stat_activity where datname ~ '^chatkeep_drill_' and query ~* 'create (table|function)'";
  const drills = ["drill", "latest", "--in-place-server"];
  const before = await filesOf("snapshots");
  assertRefused(await restartWhile(drills, query), LOST);
  assert.deepEqual(await filesOf("snapshots"), before, "a proof was written");
  assert.equal((await summary(...drills))["proven"], true);
  assert.deepEqual(
    (await databases()).filter((name) => name.startsWith("chatkeep_drill_")),
    [],
  );
});
