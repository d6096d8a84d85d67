/**
 * The README's commands do what it says: each block marked `<!-- run -->` is run by bash as it stands there. Only its
 * places are others, so that nothing of the machine is touched: see {@link PLACES}.
 */
import assert from "node:assert/strict";
import { appendFile, chmod, copyFile, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { resticPath } from "../harness/restic.ts";
import { type RunResult, run } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";

/** What stands in the README, and what it means here; the rest of a command is run as it is. */
const PLACES = (): [string, string][] => [
  ["/var/backups/chatkeep", folder.at("var/backups/chatkeep")],
  ["/etc/chatkeep", folder.at("etc/chatkeep")],
  ["/mnt/other-building", folder.at("mnt")],
  ["/srv/", `${folder.at("srv")}/`],
  ["postgresql://chatwoot@localhost/", `postgresql://chatwoot@${server.address.host}:${server.address.port}/`],
  // Where cwctl would have put it, `init` finds Chatwoot by itself.
  ["chatkeep init --yes", `chatkeep init --yes --root ${demo.codeRoot}`],
];

let server: TestServer;
let folder: TestFolder;
let demo: DemoInstallation;
let blocks: string[];
/** What the README has the configuration say about retention. */
let retention: string;

before(async () => {
  server = await startPostgres();
  folder = await temporaryFolder();
  demo = await buildInstallation({
    root: folder.at("home"),
    address: server.address,
    size: { messages: 120, conversations: 20, files: 12 },
    signal: new AbortController().signal,
  });
  for (const made of ["bin", "etc", "mnt", "srv", "var"]) await mkdir(folder.at(made));
  await writeFile(folder.at("bin/chatkeep"), `#!/bin/sh\nexec '${process.execPath}' '${CHATKEEP}' "$@"\n`);
  await chmod(folder.at("bin/chatkeep"), 0o755);
  const readme = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");
  blocks = [...readme.matchAll(/^<!-- run -->\n```sh\n(.*?)^```$/gms)].map(([, block]) => block ?? "");
  retention = /^```yaml\n(retention: .*\n)```$/m.exec(readme)?.[1] ?? "";
});

after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

interface Ran {
  /** Each command as it stands in the README, and its exit status. */
  statuses: [string, number][];
  result: RunResult;
}

/** Runs the block of that number, line by line in one shell; `typed` is what a person types. */
async function runBlock(number: number, typed = ""): Promise<Ran> {
  const lines = (blocks[number] ?? "").trim().split("\n");
  const script = lines.map(
    (line) => `${PLACES().reduce((text, [from, to]) => text.replaceAll(from, to), line)}
    echo "$?" >> '${folder.at(`statuses-${number}`)}'`,
  );
  const programs = [folder.at("bin"), join(resticPath(), ".."), server.programs, process.env["PATH"] ?? ""];
  const result = await run("bash", ["-c", script.join("\n")], {
    cwd: folder.path,
    input: typed,
    env: {
      PATH: programs.join(delimiter),
      HOME: folder.path,
      CHATKEEP_CONFIG: folder.at("etc/chatkeep/chatkeep.yaml"),
      PGHOST: server.address.host,
      PGPORT: String(server.address.port),
      PGUSER: demo.database.user,
      PGPASSWORD: demo.database.password,
      NODE_TEST_CONTEXT: undefined,
    },
  });
  const written = (await readFile(folder.at(`statuses-${number}`), "utf8")).trim().split("\n").map(Number);
  return { result, statuses: lines.map((line, at) => [line, written[at] ?? -1]) };
}

function assertAllWell({ statuses, result }: Ran, expected: (line: string) => number = () => 0): void {
  for (const [line, status] of statuses)
    assert.equal(status, expected(line), `${line}\n${result.stderr}${result.stdout}`);
}

async function assertRestored(database: string, storage: string): Promise<void> {
  await assertSameDatabase(demo.database, { ...demo.database, database });
  assert.deepEqual(await readFolder(folder.at(storage)), await readFolder(demo.storageRoot));
}

/** Puts the restored things aside, so that the next block finds its places as new as the README has them. */
async function clearAway(): Promise<void> {
  await rm(folder.at("srv/restored"), { recursive: true });
  await server.query("drop database chatwoot_restored");
}

/** Names change by a restore into its own place; what has the name now? */
async function ownDatabase(): Promise<unknown> {
  return await server.query(`select oid::int from pg_database where datname = '${demo.database.database}'`);
}

test("the README's commands work in the order in which it has them", async (t) => {
  assert.equal(blocks.length, 9, "each block that is marked to be run is run below");

  await t.test("the first real backup", async () => {
    const ran = await runBlock(0);
    // There is no restore point yet, which is an alarm.
    assertAllWell(ran, (line) => (line === "chatkeep doctor" ? 3 : 0));
    assert.match(ran.result.stdout, /^alarm: .* holds no restore point/m);
    assert.match(ran.result.stdout, /^✓ proven: /m);
  });

  await t.test("every day", async () => {
    await appendFile(folder.at("etc/chatkeep/chatkeep.yaml"), `state-dir: ${folder.at("var/state")}\n`);
    const ran = await runBlock(1);
    assertAllWell(ran);
    assert.match(ran.result.stdout, /^ +drill +- left out +next in /m);
    assert.match(ran.result.stdout, /^ +prune in primary +- left out +the configuration has no retention$/m);
  });

  await t.test("a second place", async () => {
    const ran = await runBlock(2);
    // Both lie on one disk here, which is a warning and no alarm; the second point is copied by the backup itself.
    assertAllWell(ran);
    assert.match(ran.result.stdout, /offsite/);
  });

  await t.test("restoring", async () => {
    assertAllWell(await runBlock(3));
    await assertRestored("chatwoot_restored", "srv/restored/storage");
    await clearAway();
  });

  await t.test("the database, back in its own place, and away again", async () => {
    const before = await ownDatabase();
    assertAllWell(await runBlock(4));
    assert.deepEqual(await ownDatabase(), before, "after the rollback it is the same database");
  });

  await t.test("on an empty machine, with the password of the kit in a file", async () => {
    await rename(folder.at("etc/chatkeep"), folder.at("lost"));
    const kit = await readFile(folder.at("lost/chatkeep-recovery-kit.txt"), "utf8");
    const password = /^ *Password +(\S+)$/m.exec(kit)?.[1] ?? "";
    assertAllWell(await runBlock(5, `${password}\n`));
    assert.equal((await stat(folder.at("etc/chatkeep/chatkeep.password"))).mode & 0o777, 0o600);
    await assertRestored("chatwoot_restored", "srv/restored/storage");
    await clearAway();
  });

  await t.test("without Chatkeep", async () => {
    await rename(folder.at("bin/chatkeep"), folder.at("put-aside"));
    assertAllWell(await runBlock(6));
    await assertRestored("chatwoot_by_hand", "srv/by-hand/uploads");
    await rename(folder.at("put-aside"), folder.at("bin/chatkeep"));
  });

  await t.test("keeping it tidy, with the retention that it says", async () => {
    assert.notEqual(retention, "");
    // From the second place's own kit.
    await copyFile(folder.at("lost/chatkeep-offsite.password"), folder.at("etc/chatkeep/chatkeep-offsite.password"));
    await appendFile(folder.at("etc/chatkeep/chatkeep.yaml"), `\n${retention}`);
    assertAllWell(await runBlock(7));
  });

  await t.test("who can open a repository, and how large it is", async () => {
    const ran = await runBlock(8);
    assertAllWell(ran);
    const kit = await readFile(folder.at("kit/chatkeep-recovery-kit.html"), "utf8");
    assert.match(kit, /^<!doctype html>/i);
  });
});
