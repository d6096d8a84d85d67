/** A repository in a bucket, from `init` to the restored files, and judged by stock restic over S3. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { callCli, summaryOf } from "../harness/cli.ts";
import { judges, runRestic } from "../harness/restic.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { type Desk, openDesk } from "./desk.ts";

let s3: TestS3;
let desk: Desk;
let folder: TestFolder;
let location: string;
let config: string;

before(async () => {
  s3 = await startS3();
  folder = await temporaryFolder();
  desk = await openDesk({
    size: { messages: 200, conversations: 20, files: 20 },
  });
  location = s3.location("backups", "acme/chatwoot");
  config = folder.at("chatkeep.yaml");
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});

async function chatkeep(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return await callCli(["--config", config, "--json", ...args], { cwd: folder.path, env: { ...s3.env, ...env } });
}

async function summary(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await chatkeep(args);
  assert.equal(status, 0, `chatkeep ${args.join(" ")}\n${stderr}${stdout}`);
  return summaryOf(stdout);
}

test("init makes the bucket and the repository in it, and what is backed up there is listed, verified and restored", async () => {
  const root = desk.installation.codeRoot;
  const made = await summary("init", "--yes", "--name", "desk", "--root", root, "--location", location);
  assert.equal(made["repository"], location);
  assert.equal(made["created"], true);
  const { point } = await summary("backup");
  const again = await summary("backup");
  assert.equal(again["parent"], point);
  const { points } = (await summary("list")) as unknown as { points: { point: string }[] };
  assert.deepEqual(new Set(points.map((known) => known.point)), new Set([point, again["point"]]));
  assert.equal((await summary("verify", "--read-data"))["errors"], 0);

  await summary("restore", "latest", "--to", folder.at("restored"), "--yes");
  const restored = await readFolder(folder.at("restored", "storage"));
  assert.ok(Object.keys(restored).length > 10);
  const live = await readFolder(desk.installation.storageRoot);
  for (const [path, content] of Object.entries(restored)) assert.equal(live[path], content, path);
  const text = await readFile(config, "utf8");
  assert.ok(text.includes(location) && !text.includes("S3RVER"), "a configuration holds no key");
});

test("doctor tries the bucket, says how fast it is, and leaves nothing there", async () => {
  const { status, stdout } = await chatkeep(["doctor"]);
  assert.equal(status, 3, "nothing was proven yet");
  const { places, findings } = summaryOf(stdout) as {
    places?: Record<string, unknown>[];
    findings?: { kind: string }[];
  };
  const [place = {}] = places ?? [];
  const kept = ["canDelete", "putsOnce", "left"].map((name) => place[name]);
  // s3rver knows no condition on a put.
  assert.deepEqual(kept, [true, false, null]);
  assert.ok(Number(place["writeBytesPerSecond"]) > 0 && Number(place["readBytesPerSecond"]) > 0);
  assert.ok(Math.abs(Number(place["clockAheadSeconds"])) < 60);
  assert.ok(findings?.some(({ kind }) => kind === "store-overwrites"));
  // s3rver answers everybody.
  assert.deepEqual([place["anybodyReads"], place["anybodyLists"]], [true, true]);
  assert.ok(findings?.some(({ kind }) => kind === "store-public"));
  const own = Object.keys(await readFolder(s3.folder)).filter((path) => path.includes("/chatkeep/probe"));
  assert.deepEqual(own, []);
  // Where nothing can be deleted one would stay: restic must pass it over.
  await s3.fill("backups", ["acme/chatwoot/chatkeep/probe/2026-11-24T18_00_00.000Z-5f0c7a11"]);
});

for (const restic of judges()) {
  test(`restic ${restic.version} checks every byte of the bucket and adds to it, and Chatkeep goes on`, async () => {
    const password = (await readFile(folder.at("chatkeep.password"), "utf8")).trim();
    const options = { repo: location, password, restic: restic.path, env: s3.env };
    assert.match((await runRestic(["check", "--read-data"], options)).stdout, /no errors were found/);
    await runRestic(["backup", "--tag", "own", config], options);
    assert.equal((await summary("verify"))["errors"], 0);
  });
}

test("credentials that the service does not know end in one line and one hint, with nothing secret in them", async () => {
  const { status, stdout, stderr } = await chatkeep(["list"], {
    AWS_ACCESS_KEY_ID: "NOBODY",
    AWS_SECRET_ACCESS_KEY: "a secret that nobody may see",
  });
  assert.equal(status, 20);
  assert.match(stdout + stderr, /does not know this access key/);
  assert.match(stdout + stderr, /AWS_ACCESS_KEY_ID/);
  assert.doesNotMatch(stdout + stderr, /nobody may see/);
});

test("a bucket that is not there, and one without a repository, are exit 10", async () => {
  await s3.createBucket("empty");
  for (const bucket of ["empty", "missing"]) {
    const { status, stderr, stdout } = await chatkeep(["--repository", s3.location(bucket), "list"], {
      CHATKEEP_PASSWORD: "x",
    });
    assert.equal(status, 10, stderr + stdout);
  }
});
