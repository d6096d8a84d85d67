/** The single executable: built here, it does what the package does, in one process of its own after another. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { buildExecutable } from "../../deploy/executable/build.ts";
import { slimNode } from "../../deploy/executable/node-program.ts";
import { CRONTAB } from "../harness/crontab.ts";
import { jsonLines, summaryOf } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { mustRun, run, type RunOptions } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { startWhole } from "../installation/cluster-desk.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const ROOT = resolve(import.meta.dirname, "../..");

let folder: TestFolder;
let desk: Desk;
let executable: string;

before(async () => {
  folder = await temporaryFolder();
  executable = await buildExecutable(folder.at("built"));
  desk = await openDesk();
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Calls the executable, in a folder and with a PATH where no Node is. */
async function chatkeep(args: readonly string[], options: RunOptions = {}) {
  return await run(executable, args, {
    cwd: desk.root,
    ...options,
    env: { PATH: "/usr/bin:/bin", CHATKEEP_CONFIG: desk.config, NODE_TEST_CONTEXT: undefined, ...options.env },
  });
}

async function summary(...args: string[]) {
  const { status, stdout, stderr } = await chatkeep(["--json", ...args]);
  assert.equal(status, 0, stdout + stderr);
  return summaryOf(stdout);
}

test("what is built is one program with its checksums, and needs no library that a bare Debian lacks", async () => {
  const built = folder.at("built");
  const sums = readFileSync(join(built, "SHA256SUMS"), "utf8").trim().split("\n");
  for (const line of sums) {
    const [sum = "", name = ""] = line.split("  ");
    assert.equal(
      createHash("sha256")
        .update(readFileSync(join(built, name)))
        .digest("hex"),
      sum,
      name,
    );
  }
  assert.deepEqual(readdirSync(built).toSorted(), [...sums.map((line) => line.slice(66)), "SHA256SUMS"].toSorted());
  const { stdout } = await mustRun("ldd", [executable]);
  assert.match(stdout, /libc\.so\.6/);
  assert.doesNotMatch(stdout, /libatomic/);
});

test("it says its version with the code that was compiled when it was built", async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  const { status, stdout, stderr } = await chatkeep(["--version"], { env: { CHATKEEP_DEBUG: "1" } });
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: `chatkeep ${version}\n`, stderr: "" });
});

test("a backup, a copy, a verification and a restore need no Node, and heed nothing that is meant for one", async () => {
  const spy = folder.at("spy.cjs");
  await writeFile(spy, `require("node:fs").appendFileSync(${JSON.stringify(folder.at("spied"))}, "loaded\\n")`);
  const { status, stdout } = await chatkeep(["--json", "backup"], { env: { NODE_OPTIONS: `--require ${spy}` } });
  assert.equal(status, 0, stdout);
  assert.equal(existsSync(folder.at("spied")), false);
  await summary("init", "--add", "second", "--location", folder.at("second"), "--yes");
  await summary("copy", "--to", "second");
  assert.deepEqual((await summary("verify", "--read-data"))["problems"], []);
  const target = await desk.server.createDatabase("by_executable");
  const url = `postgres://${target.user}@${target.host}:${target.port}/by_executable`;
  await summary("restore", "latest", "--to", folder.at("restored"), "--database-url", url, "--yes");
  await assertSameDatabase(desk.installation.database, target);
  const files = await readFolder(desk.installation.storageRoot);
  assert.ok(Object.keys(files).length > 30);
  assert.deepEqual(await readFolder(folder.at("restored/storage")), files);
});

test("what it holds of Kubernetes' client is enough to find Chatwoot in a cluster", async () => {
  await using cluster = await startWhole();
  const config = folder.at("cluster.yaml");
  const id = "6f1c1b9e-3f0e-4a6e-9a5e-111111111111";
  const primary = `{ name: primary, location: ${folder.at("none")}, password: "not used" }`;
  await writeFile(config, `installation: { id: ${id}, name: acme, kind: kubernetes }\nrepositories: [${primary}]\n`);
  const env = { KUBECONFIG: cluster.kubeconfig };
  const { status, stdout, stderr } = await chatkeep(["--config", config, "--json", "doctor"], { env });
  assert.equal(status, 3, stdout + stderr);
  const [installation] = summaryOf(stdout)["facts"] as Record<string, unknown>[];
  assert.deepEqual(installation, { name: "installation", value: "kubernetes", from: "chatwoot/acme-chatwoot-web" });
});

test("what runs it every day calls it by its own path", async () => {
  await writeFile(folder.at("crontab"), CRONTAB);
  await chmod(folder.at("crontab"), 0o755);
  const table = folder.at("table");
  const env = { PATH: `${folder.path}:/usr/bin:/bin`, TABLE: table };
  const { status, stdout, stderr } = await chatkeep(["schedule", "install", "--crontab"], { env });
  assert.equal(status, 0, stdout + stderr);
  const line = readFileSync(table, "utf8");
  assert.ok(line.includes(`${executable} --config ${desk.config}`), line);
});

test("a failure has its status and its object, and on request a trace that names functions", async () => {
  const { status, stdout, stderr } = await chatkeep(["--json", "show", "nonsense"], { env: { CHATKEEP_DEBUG: "1" } });
  assert.equal(status, 1, stderr);
  assert.equal(jsonLines(stdout).at(-1)?.["type"], "error");
  assert.match(stderr, /^ +at .*\w+ \(chatkeep\/program\.js:\d+:\d+\)$/m);
});

test("it shows the licences of all that is in it", async () => {
  const { stdout } = await chatkeep(["help", "licences"]);
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { dependencies: object };
  for (const name of [...Object.keys(dependencies), "Node.js"]) {
    assert.match(stdout, new RegExp(`^ {2}${name} \\d+\\.\\d+\\.\\d+: `, "m"), name);
  }
  assert.match(stdout, /V8, located at deps\/v8/);
  assert.ok(stdout.includes(readFileSync(join(ROOT, "LICENSE"), "utf8").trim()));
});

test("every file of a thread is in it", () => {
  const entry = readFileSync(join(ROOT, "deploy/executable/main.ts"), "utf8");
  const threads = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith("-worker.ts"),
  );
  assert.ok(threads.length >= 4);
  for (const name of threads) {
    assert.ok(
      entry.includes(`"${name.replace(/^.*\/|\.ts$/g, "")}": async () => await import("../../src/${name}")`),
      name,
    );
  }
});

test("a Node that is made otherwise is refused, not guessed at", () => {
  assert.throws(() => slimNode(Buffer.from("#!/bin/sh\n".padEnd(100))), /not as expected: it is not a program for/);
  const node = readFileSync(process.execPath);
  const called = Buffer.from("__atomic_compare_exchange\0");
  const name = node.indexOf(called);
  node.write("x", name);
  assert.throws(() => slimNode(node), /not as expected: __atomic_compare_exchange is not called/);
  node.write("_", name);
  // A caller that asks for sixteen bytes.
  const eight = Buffer.from("bf08000000", "hex");
  for (let at = node.indexOf(eight); at >= 0; at = node.indexOf(eight, at + 1)) node[at + 1] = 16;
  assert.throws(() => slimNode(node), /not as expected: __atomic_compare_exchange is called for another size/);
});
