/**
 * Disks that are really full, at each step of a restore into the own place and of its rollback: one line that says where and how
 * much is lacking, nothing half done, and with more room the same call goes on.
 */
import assert from "node:assert/strict";
import { chmod, chown, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { jsonLines } from "../harness/cli.ts";
import { hasOwnMounts, mountDisk, runAgainWithMounts, type SmallDisk } from "../harness/own-mounts.ts";
import { serverUser } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { assertRefused, secretsOf } from "../scenario/refusal.ts";
import {
  assertSameState,
  type DeskState,
  loseListedFiles,
  openWholeDesk,
  stageIs,
  type WholeDesk,
} from "../scenario/whole-desk.ts";

runAgainWithMounts(import.meta.filename);

const MIB = 1024 ** 2;
const BEGIN = ["restore", "latest", "--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const ROLLBACK = ["rollback", "--yes"];

/** A disk each. */
interface Disks {
  database: SmallDisk;
  files: SmallDisk;
  code: SmallDisk;
  environment: SmallDisk;
  /** Journals, and what is put aside. */
  state: SmallDisk;
}

let whole: WholeDesk;
let place: TestFolder;
let disks: Disks;
let saved: DeskState;
let damaged: DeskState;

async function databaseDisk(): Promise<SmallDisk> {
  const folder = place.at("database");
  await mkdir(folder);
  const disk = await mountDisk(folder, 64 * MIB);
  const { uid, gid } = serverUser() ?? { uid: 0, gid: 0 };
  await chmod(folder, 0o755);
  const own = join(folder, "space");
  await mkdir(own, { mode: 0o700 });
  await chown(own, uid, gid);
  const { server, installation } = whole.desk;
  await server.query(`create tablespace small location '${own}'`);
  await server.query(`alter database "${installation.database.database}" set tablespace small`);
  return disk;
}

/** The environment lies on a disk of its own, behind a link. */
async function environmentDisk(): Promise<SmallDisk> {
  const folder = place.at("environment");
  await mkdir(folder);
  const disk = await mountDisk(folder, 4 * MIB);
  const { envFile } = whole.desk.installation;
  await mustRun("cp", ["-a", envFile, join(folder, "env")]);
  await rm(envFile);
  await symlink(join(folder, "env"), envFile);
  return disk;
}

/** What a bad night does: rows, a key, code, a folder of files, and one file that is another now. */
async function destroy(): Promise<void> {
  const { installation } = whole.desk;
  await onDatabase(installation.database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  await writeFile(join(installation.codeRoot, "README.md"), "# emptied by a slip\n");
  await loseListedFiles(whole.desk);
  const environment = await readFile(installation.envFile, "utf8");
  await writeFile(
    installation.envFile,
    environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`),
  );
}

/** One line with the step and the path, a hint, and how much is free or lacking. */
async function full(args: readonly string[], error: RegExp, status = 1): Promise<void> {
  const result = await whole.desk.chatkeep(args);
  assertRefused(result, { status, error, hint: /\w/ }, await secretsOf(whole.desk));
  assert.match(result.stderr, /lacking|has [\d.]+ \w+ free/);
  told.push(result.stderr);
}

const told: string[] = [];

/** Nothing was swapped, and nothing that Chatwoot is started with was changed. */
async function assertNotSwapped(what: string): Promise<void> {
  const now = await whole.state();
  assertSameState({ ...damaged, database: now.database, environment: now.environment }, damaged, what);
}

async function clearAll(): Promise<void> {
  for (const disk of Object.values(disks) as SmallDisk[]) await disk.clear();
}

if (hasOwnMounts) {
  before(async () => {
    place = await temporaryFolder();
    await chmod(place.path, 0o755);
    whole = await openWholeDesk({ messages: 120, conversations: 20, files: 8 });
    const { installation, config } = whole.desk;
    const state = join(config, "..", "state");
    await mkdir(state, { recursive: true });
    disks = {
      database: await databaseDisk(),
      code: await mountDisk(installation.codeRoot, 64 * MIB),
      files: await mountDisk(installation.storageRoot, 64 * MIB),
      environment: await environmentDisk(),
      state: await mountDisk(state, 16 * MIB),
    };
    await whole.desk.summary(["backup"]);
    saved = await whole.state();
    await destroy();
    damaged = await whole.state();
    await whole.start();
  });
  after(async () => {
    // So that somebody sees what is told.
    for (const said of new Set(told)) console.log(said);
    await whole.stop();
    const mounted = [disks.files, disks.code, disks.environment, disks.state, disks.database];
    for (const disk of mounted) await disk.unmount();
    await whole[Symbol.asyncDispose]();
    await place[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await clearAll();
    assertSameState(await whole.state(), damaged, "after a test");
    assert.equal(await whole.journal(), undefined);
  });

  /** Where each disk is needed, and how it is filled. */
  const STEPS: readonly { disk: keyof Disks; stage: StageName; leaves?: number; error: RegExp; undo?: RegExp }[] = [
    { disk: "database", stage: "database", error: /server's disk has 0 B free/ },
    { disk: "database", stage: "database", leaves: 3 * MIB, error: /'database'.*the database server's disk is full/ },
    {
      disk: "state",
      stage: "database",
      leaves: 4096,
      error: /'database' could not be done: .*cannot .*write.*state\/.*\.json/,
    },
    { disk: "files", stage: "files", error: /'files' could not be done: .*storage/ },
    { disk: "code", stage: "code", error: /'code' could not be done/, undo: /'code' could not be done/ },
    {
      disk: "environment",
      stage: "environment",
      error: /'environment' could not be done: .*environment\/env'/,
      undo: /'environment' could not be done: .*environment\/env'/,
    },
  ];

  test("one restore meets every disk full, goes on with more room each time, and so does its rollback", async () => {
    assert.ok(await whole.killWhen(BEGIN, stageIs("database", "begun")));
    for (const { disk, stage, leaves = 0, error } of STEPS) {
      await disks[disk].leave(leaves);
      await full(RESUME, error);
      assert.ok(stageIs(stage, "begun")((await whole.journal()) ?? assert.fail()), `${disk}: it stands at '${stage}'`);
      if (stage !== "environment") await assertNotSwapped(`${disk} is full`);
      await disks[disk].clear();
    }
    await whole.desk.summary(RESUME);
    assertSameState(await whole.state(), saved, "restored");

    for (const { disk, undo } of STEPS.toReversed()) {
      if (undo === undefined) continue;
      await disks[disk].leave(0);
      await full(ROLLBACK, undo);
      await disks[disk].clear();
    }
    await disks.state.leave(0);
    await full(ROLLBACK, /cannot write '.*run\.lock'/, 2);
    await disks.state.clear();
    await disks.state.leave(4096);
    await full(ROLLBACK, /(?:could not be done|cannot write).*\/state\//);
    await disks.state.clear();
    await whole.desk.summary(ROLLBACK);
    assertSameState(await whole.state(), damaged, "rolled back");
    await whole.desk.summary(["restore", "--discard-previous", "--yes"]);
  });

  test("whichever disk is full, what was begun is undone", async (t) => {
    for (const { disk, stage, leaves = 0, error } of STEPS) {
      await t.test(`${disk}, at ${stage}, ${leaves} bytes left`, async () => {
        assert.ok(await whole.killWhen(BEGIN, stageIs("database", "begun")));
        await disks[disk].leave(leaves);
        await full(RESUME, error);
        // It may need no room for that; where it does, it says so, too.
        const { status, stderr } = await whole.desk.chatkeep(ROLLBACK);
        if (status !== 0) {
          assert.match(stderr, /^error: .*\nhint: .*'chatkeep rollback' goes on/s);
          await disks[disk].clear();
          await whole.desk.summary(ROLLBACK);
        }
        await disks[disk].clear();
        assertSameState(await whole.state(), damaged, `rolled back, ${disk} was full`);
        await whole.desk.summary(["restore", "--discard-previous", "--yes"]);
      });
    }
  });

  test("a disk that has room for the database, and for the files, and not for both, stands in the way", async () => {
    const { storageRoot } = whole.desk.installation;
    const shared = join(disks.database.path, "storage");
    await mkdir(shared);
    await mustRun("cp", ["-a", `${storageRoot}/.`, shared]);
    await mustRun("mount", ["--bind", shared, storageRoot]);
    try {
      const planned = async () => {
        const { stdout } = await whole.desk.chatkeep(["--json", "restore", "latest", "--plan"]);
        const plan = jsonLines(stdout).find(({ type }) => type === "plan");
        const told = (kind: "blockers" | "findings") => (plan?.[kind] ?? []) as { kind: string; message: string }[];
        return [...told("blockers"), ...told("findings")].filter(({ kind }) => /disk-too-small/.test(kind));
      };
      assert.deepEqual(await planned(), []);
      // Room for what is tried out, and not for the rows.
      await disks.database.leave(64 * 1024);
      const [small, ...others] = await planned();
      assert.equal(others.length, 0);
      assert.match(
        small?.message ?? "",
        /^one disk has .* free, and will take the database in '.*space.*' \(about .*\) and uploaded files in '.*storage' \(.*\): .* lacking$/,
      );
      await full(BEGIN, /^error: one disk has/);
    } finally {
      await mustRun("umount", [storageRoot]);
      await rm(shared, { recursive: true });
    }
  });
}
