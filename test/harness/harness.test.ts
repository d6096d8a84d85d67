/** The harness itself: what other tests lean on must not be hollow. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { isListening } from "./listening.ts";
import { assertSameDatabase, sortCopyBlocks } from "./pg-dump-diff.ts";
import { initialise, installedServers, startPostgres } from "./postgres.ts";
import { resticPaths, runRestic } from "./restic.ts";
import { temporaryFolder } from "./temporary.ts";
import { readFolder } from "./tree.ts";

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("a test server starts, compares databases, and leaves neither process nor folder", async () => {
  const server = await startPostgres();
  const { pid, socketFolder } = server;
  const a = await server.createDatabase("a");
  const b = await server.createDatabase("b");
  for (const [name, order] of [
    ["a", "asc"],
    ["b", "desc"],
  ] as const) {
    await server.query(`create table t as select i from generate_series(1, 3) i order by i ${order}`, name);
  }
  await assertSameDatabase(a, b);
  await server.query("update t set i = 4 where i = 3", "b");
  await assert.rejects(assertSameDatabase(a, b), /the dumps differ/);
  await server.stop();
  assert.equal(isAlive(pid), false);
  assert.equal(existsSync(socketFolder), false);
});

test("a test server does not outlive the process that started it, even when that is killed", async () => {
  const text = `import { startPostgres } from ${JSON.stringify(join(import.meta.dirname, "postgres.ts"))};
    const server = await startPostgres();
    process.stdout.write(JSON.stringify({ pid: server.pid, folder: server.socketFolder }) + "\\n");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", text], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const { pid, folder } = JSON.parse(line.toString()) as { pid: number; folder: string };
  assert.equal(isAlive(pid), true);
  child.kill("SIGKILL");
  for (let tries = 0; tries < 2400 && existsSync(folder); tries++) await sleep(50);
  assert.equal(isAlive(pid), false);
  assert.equal(existsSync(folder), false);
});

test("nor does a server of a program that would go on", async () => {
  const text = `import { startRestServer } from ${JSON.stringify(join(import.meta.dirname, "rclone.ts"))};
    const server = await startRestServer();
    process.stdout.write(server.port + "\\n");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", text], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(line.toString());
  assert.equal(await isListening(port), true);
  child.kill("SIGKILL");
  for (let tries = 0; tries < 2400 && (await isListening(port)); tries++) await sleep(50);
  assert.equal(await isListening(port), false);
});

test("a server that wants passwords refuses a wrong one", async () => {
  await using server = await startPostgres({ auth: "scram" });
  await server.query("select 1");
  const client = new Client({ ...server.address, password: "wrong" });
  await assert.rejects(client.connect(), { code: "28P01" });
});

test("no two servers are one cluster, though their data was copied", async () => {
  await using folder = await temporaryFolder();
  const { programs = "" } = installedServers()[0] ?? {};
  const identities = ["a", "b"].map(async (name) => {
    await mkdir(folder.at(name));
    const { data } = await initialise(folder.at(name), programs);
    return readFileSync(join(data, "global/pg_control")).subarray(0, 8).toString("hex");
  });
  assert.equal(new Set(await Promise.all(identities)).size, 2);
});

test("only the rows of a COPY block are sorted", () => {
  const lines = ["z", "\\restrict x", "COPY public.t (i) FROM stdin;", "2", "1", "\\.", "b", "a"];
  assert.deepEqual(sortCopyBlocks(lines), ["z", "COPY public.t (i) FROM stdin;", "1", "2", "\\.", "b", "a"]);
});

test("every restic that is found makes and reads a repository", async () => {
  assert.notEqual(resticPaths().length, 0);
  for (const { path } of resticPaths()) {
    await using folder = await temporaryFolder();
    const options = { repo: folder.at("repo"), password: "a password", restic: path };
    await runRestic(["init"], options);
    await writeFile(folder.at("file"), "content");
    await runRestic(["backup", folder.at("file")], options);
    const { stdout } = await runRestic(["snapshots", "--json"], options);
    assert.equal((JSON.parse(stdout) as unknown[]).length, 1);
  }
});

test("a folder is read as a value, links and all", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("sub"));
  await writeFile(folder.at("sub", "a"), "");
  await symlink("sub/a", folder.at("link"));
  assert.deepEqual(await readFolder(folder.path), {
    link: "link sub/a",
    "sub/a": "file e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  });
});
