/** What is remembered of servers that were left running: what is over goes, what runs stays, and nothing else is touched. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { RecoveredServer } from "../../src/job/server-summary.ts";
import {
  beingRecovered,
  folderName,
  lookAtServers,
  runningServers,
  type ServerRecord,
  stopServer,
  writeServer,
} from "../../src/job/standing-servers.ts";
import { isFailure } from "../../src/base/errors.ts";
import { isAlive } from "../../src/system/alive.ts";
import { isProcessOver, knownProcess } from "../../src/system/known-process.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const signal = new AbortController().signal;
const OWN = knownProcess(process.pid);
const [MACHINE = "", BOOT = "", ...REST] = OWN.mark.split(".");

function serverAt(parent: string, id: string): RecoveredServer {
  return {
    id,
    state: "running",
    since: `2026-11-23T16:58:5${id.slice(-1)}.000Z`,
    point: "now",
    lastCommitAt: null,
    replayedTo: "0/16B3748",
    server: "PostgreSQL 15",
    folder: join(parent, folderName(id)),
    access: null,
  };
}

function standing(server: RecoveredServer, change: Partial<typeof OWN> = {}): ServerRecord {
  return { schema: 1, server, recovering: null, standing: { kind: "process", ...OWN, ...change } };
}

test("a process is known again after a restart of the machine, and after its number went to another", () => {
  assert.equal(isProcessOver(OWN), false);
  const otherBoot = [MACHINE, BOOT === "000000" ? "111111" : "000000", ...REST].join(".");
  assert.equal(isProcessOver({ ...OWN, mark: otherBoot }), true);
  assert.equal(isProcessOver({ ...OWN, began: "1" }), true);
  // Of another machine with the same folder nothing can be told.
  assert.equal(isProcessOver({ ...OWN, mark: ["000000", BOOT, ...REST].join(".") }), false);
});

test("what a machine or command that went down left is removed, and what runs or is being recovered stays", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("servers");
  const [runs, restarted, killed, coming] = ["000001", "000002", "000003", "000004"].map((id) =>
    serverAt(folder.path, id),
  ) as [RecoveredServer, RecoveredServer, RecoveredServer, RecoveredServer];
  const otherBoot = [MACHINE, BOOT === "000000" ? "111111" : "000000", ...REST].join(".");
  await writeServer(home, standing(runs));
  await writeServer(home, standing(restarted, { mark: otherBoot }));
  await writeServer(home, { ...beingRecovered(killed), recovering: { ...OWN, began: "1" } });
  await writeServer(home, beingRecovered(coming));
  for (const { folder: path } of [runs, restarted, killed, coming])
    await mkdir(join(path, "data"), { recursive: true });
  const looked = await lookAtServers(home, { signal });
  assert.deepEqual(
    looked.over.map(({ server }) => server.id),
    ["000002", "000003"],
  );
  assert.equal((await readdir(home)).length, 4, "a look changes nothing");
  const running = await runningServers(home, { signal });
  assert.deepEqual(
    running.map(({ server }) => server.id),
    ["000001", "000004"],
  );
  assert.deepEqual((await readdir(home)).toSorted(), ["000001.json", "000004.json"]);
  assert.deepEqual(
    [runs, restarted, killed, coming].map(({ folder: path }) => existsSync(path)),
    [true, false, false, true],
  );
  const [, unready] = running;
  assert(unready !== undefined);
  await stopServer(home, unready);
  assert.equal(existsSync(coming.folder), false);
});

function isRefused(error: unknown): boolean {
  return isFailure(error, "target/unsuitable");
}

test("while a command is at it, its server is left alone whatever became of a first attempt; afterwards all of it goes", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("servers");
  const server = serverAt(folder.path, "000008");
  await mkdir(server.folder, { recursive: true });
  const coming = { ...beingRecovered(server), standing: { kind: "process", ...OWN, began: "1" } as const };
  await writeServer(home, coming);
  assert.equal((await runningServers(home, { signal })).length, 1);
  assert.equal(existsSync(server.folder), true);

  const started = spawn("sleep", ["600"], { stdio: "ignore" });
  const ended = once(started, "exit");
  await once(started, "spawn");
  try {
    const standing = { kind: "process", ...knownProcess(started.pid ?? 0) } as const;
    await writeServer(home, { ...coming, recovering: { ...OWN, began: "1" }, standing });
    assert.deepEqual(await runningServers(home, { signal }), []);
    await ended;
    assert.deepEqual([await readdir(home), existsSync(server.folder)], [[], false]);
  } finally {
    started.kill("SIGKILL");
  }
});

test("a process that has ended is over, though nobody asks how it ended", async () => {
  // What the shell becomes knows nothing of its child.
  const parent = spawn("/bin/sh", ["-c", "sleep 600 & echo $!; exec sleep 600"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const [printed] = (await once(parent.stdout, "data")) as [Buffer];
    const known = knownProcess(Number(printed.toString("latin1")));
    assert.equal(isProcessOver(known), false);
    process.kill(known.pid);
    while (!/\) Z /.test(await readFile(`/proc/${known.pid}/stat`, "latin1"))) await sleep(10);
    assert.equal(isProcessOver(known), true);
    assert.equal(isAlive(known.pid), false);
  } finally {
    parent.kill("SIGKILL");
  }
});

test("a server that cannot be seen from here is said to be one, and whatever has its number here goes on", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("servers");
  const other = spawn("sleep", ["600"], { stdio: "ignore" });
  const ended = once(other, "exit");
  await once(other, "spawn");
  try {
    const here = knownProcess(other.pid ?? 0);
    const elsewhere = { ...here, mark: ["000000", BOOT, ...here.mark.split(".").slice(2)].join(".") };
    // Where the system tells no beginnings it may be another's after a restart.
    for (const known of [elsewhere, { ...here, began: "" }]) {
      const server = serverAt(folder.path, "000007");
      await mkdir(server.folder, { recursive: true });
      await writeServer(home, standing(server, known));
      const [record, ...more] = await runningServers(home, { signal });
      assert(record !== undefined);
      assert.deepEqual([record.server.state, more], ["unseen", []]);
      await assert.rejects(stopServer(home, record), isRefused);
      await assert.rejects(stopServer(home, standing(server, known)), isRefused);
      assert.equal(isAlive(here.pid), true);
      assert.equal(existsSync(server.folder), true);
    }
    await stopServer(home, standing(serverAt(folder.path, "000007"), here));
    await ended;
    assert.deepEqual([isAlive(here.pid), await readdir(home)], [false, []]);
  } finally {
    other.kill("SIGKILL");
  }
});

test("a record that names a folder which is none of ours, or cannot be read, removes nothing", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("servers");
  await mkdir(folder.at("precious"));
  const foreign = { ...serverAt(folder.path, "000005"), folder: folder.at("precious") };
  await writeServer(home, standing(foreign, { began: "1" }));
  await writeFile(join(home, "000006.json"), "{");
  assert.deepEqual(await runningServers(home, { signal }), []);
  assert.equal(existsSync(folder.at("precious")), true);
});
