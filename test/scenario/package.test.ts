/** What is published works: packed, installed in an empty folder, under every Node that it promises to run on. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { type DemoInstallation, buildInstallation } from "../../src/demo/installation.ts";
import { summaryOf } from "../harness/cli.ts";
import { type NodeVersion, installPackage, nodeVersions, packPackage } from "../harness/package.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { type TestServer, startPostgres } from "../harness/postgres.ts";
import { mustRun, run } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { isWhole } from "../harness/whole.ts";

const { signal } = new AbortController();

let server: TestServer;
let folder: TestFolder;
let demo: DemoInstallation;
let archive: string;

before(async () => {
  server = await startPostgres();
  folder = await temporaryFolder();
  demo = await buildInstallation({
    root: folder.at("demo"),
    address: server.address,
    size: { messages: 500, conversations: 40, files: 30 },
    signal,
  });
  archive = await packPackage(folder.path);
});

after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

test("the package holds the program, its facts and its licence, and neither sources nor tests", async () => {
  const { stdout } = await mustRun("tar", ["-tzf", archive]);
  const files = stdout.trim().split("\n");
  for (const wanted of ["bin/chatkeep.js", "dist/cli/main.js", "assets/chatwoot-4.15.1/columns.tsv", "LICENSE"]) {
    assert.ok(files.includes(`package/${wanted}`), wanted);
  }
  assert.deepEqual(
    files.filter((file) => /^package\/(src|test|scripts|\.)|\.ts$/.test(file)),
    [],
  );
});

/** Whose Poly1305 the installed package uses: Node's own, or the one of sodium-native. */
async function macOf(node: NodeVersion, program: string): Promise<string> {
  const module = JSON.stringify(pathToFileURL(join(program, "../../dist/format/mac.js")).href);
  const script = `const m = await import(${module}); console.log(m.nodePoly1305() ? "node" : m.sodiumPoly1305() ? "sodium" : "none")`;
  return (await mustRun(node.path, ["--input-type=module", "--eval", script])).stdout.trim();
}

/** Backs the installation up and restores it elsewhere, with the installed package alone. */
async function backUpAndRestore(node: NodeVersion): Promise<void> {
  const home = folder.at(`node-${node.major}`);
  const program = await installPackage(archive, `${home}/app`, node);
  const config = `${home}/chatkeep.yaml`;
  const chatkeep = async (...args: string[]) =>
    await mustRun(node.path, [program, "--config", config, ...args], {
      cwd: home,
      env: { HOME: home, NODE_OPTIONS: undefined, NODE_TEST_CONTEXT: undefined, CHATKEEP_CONFIG: undefined },
    });
  const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };
  assert.equal((await chatkeep("--version")).stdout, `chatkeep ${version}\n`);
  assert.equal(await macOf(node, program), node.major < 26 ? "sodium" : "node");
  await chatkeep("init", "--yes", "--location", `${home}/repository`, "--name", "acme", "--root", demo.codeRoot);
  const summary = summaryOf((await chatkeep("backup", "--json")).stdout);
  assert.match(String(summary["point"]), /^[0-9a-f]{8,}$/);
  const name = `restored_${node.major}`;
  const target = await server.createDatabase(name);
  const url = `postgres://${target.user}@${target.host}:${target.port}/${name}`;
  await chatkeep("restore", "latest", "--to", `${home}/restored`, "--database-url", url, "--yes");
  await assertSameDatabase(demo.database, target);
  assert.deepEqual(await readFolder(`${home}/restored/storage`), await readFolder(demo.storageRoot));
}

// The oldest; each in the long run.
for (const node of isWhole ? nodeVersions() : nodeVersions().slice(-1)) {
  test(`installed in an empty folder under Node ${node.major}, it makes a backup and restores it`, async () => {
    await backUpAndRestore(node);
  });
}

test("Node 24 is among the versions that were tried", (t) => {
  if (nodeVersions().length === 1) t.skip("set-up could not fetch Node 24");
  else assert.ok(nodeVersions().some(({ major }) => major === 24));
});

test("a Node that is too old is told so in one line, with status 2", async (t) => {
  const older = ["/usr/bin/node", "/usr/local/bin/node"].filter((path) => existsSync(path));
  const versions = await Promise.all(older.map(async (path) => ({ path, ...(await run(path, ["--version"])) })));
  const old = versions.find(({ stdout }) => Number.parseInt(stdout.slice(1), 10) < 24);
  if (old === undefined) return t.skip("no Node older than 24 is installed");
  const { status, stdout, stderr } = await run(old.path, ["bin/chatkeep.js", "backup"], {
    env: { NODE_OPTIONS: undefined },
  });
  assert.equal(status, 2);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /^error: Chatkeep needs Node 24 or newer, and this is Node \d+\.\d+\.\d+\nhint: .*nodejs\.org.*\n$/,
  );
  const { engines } = JSON.parse(await readFile("package.json", "utf8")) as { engines: { node: string } };
  assert.equal(engines.node, ">=24");
});
