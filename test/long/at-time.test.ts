/** A bucket that somebody got at: every object written over and marked as deleted, and the installation still restored. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { startMoto, type TestMoto } from "../harness/moto.ts";
import { readFolder } from "../harness/tree.ts";

const BUCKET = "versions";

let moto: TestMoto;
let desk: Desk;
/** After two backups and before the attack. */
let beforeAttack: string;
let points: string[];

before(async () => {
  moto = await startMoto();
  await moto.createBucket(BUCKET);
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await moto.client.send(new PutBucketVersioningCommand({ Bucket: BUCKET, VersioningConfiguration }));
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 200, conversations: 20, files: 20 },
  });
  const location = moto.location(BUCKET, "acme");
  await desk.summary(["init", "--yes", "--add", "offsite", "--location", location], 0, { env: moto.env });
  points = [await backup(), await backup()];
  await passSecond();
  beforeAttack = new Date().toISOString();
  await passSecond();
  await attack();
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await moto[Symbol.asyncDispose]();
});

async function backup(): Promise<string> {
  return String((await desk.summary(["--repository", "offsite", "backup"], 0, { env: moto.env }))["point"]);
}

/** Services count in whole seconds. */
async function passSecond(): Promise<void> {
  const from = Math.floor(Date.now() / 1000);
  while (Math.floor(Date.now() / 1000) <= from) await new Promise((resolve) => setTimeout(resolve, 50));
}

async function versions(): Promise<{ key: string; size: number | undefined; isLatest: boolean }[]> {
  const {
    Versions = [],
    DeleteMarkers = [],
    IsTruncated,
  } = await moto.client.send(new ListObjectVersionsCommand({ Bucket: BUCKET }));
  assert.notEqual(IsTruncated, true);
  return [
    ...Versions.map(({ Key = "", Size, IsLatest }) => ({ key: Key, size: Size, isLatest: IsLatest === true })),
    ...DeleteMarkers.map(({ Key = "", IsLatest }) => ({ key: Key, size: undefined, isLatest: IsLatest === true })),
  ];
}

/** With the right to write and to delete, and no more: each object gets other bytes of its own length, then goes. */
async function attack(): Promise<void> {
  const now = (await versions()).filter(({ isLatest, size }) => isLatest && size !== undefined);
  assert.ok(now.length > 8, "there is something to be lost");
  for (const { key, size = 0 } of now) {
    await moto.client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: Buffer.alloc(size, 7) }));
    await moto.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: key }));
  }
}

async function then(args: readonly string[], status = 0): Promise<Record<string, unknown>> {
  return await desk.summary(["--repository", "offsite", ...args, "--at-time", beforeAttack], status, { env: moto.env });
}

test("what is there now is nothing, and as it was then everything", async () => {
  const { status } = await desk.chatkeep(["--repository", "offsite", "list"], { env: moto.env });
  assert.equal(status, 10);
  const { points: listed } = (await then(["list"])) as unknown as { points: { point: string }[] };
  assert.deepEqual(new Set(listed.map(({ point }) => point)), new Set(points));
  assert.equal((await then(["verify", "--read-data"]))["errors"], 0);
  await then(["show", points[0] ?? ""]);
});

test("the whole installation is restored as of then, and reading writes nothing into the bucket", async () => {
  const earlier = await versions();
  await then(["restore", "latest", "--to", `${desk.root}/restored`, "--yes"]);
  const restored = await readFolder(`${desk.root}/restored/storage`);
  assert.ok(Object.keys(restored).length > 10);
  const live = await readFolder(desk.installation.storageRoot);
  for (const [path, content] of Object.entries(restored)) assert.equal(live[path], content, path);
  assert.deepEqual(await versions(), earlier);
});

test("its sizes are told, it is drilled and copied as of then; the outcome of the drill is told and not kept", async () => {
  const earlier = await versions();
  assert.equal((await then(["stats"]))["otherSnapshots"], 0);
  const drilled = await then(["drill"]);
  assert.deepEqual([drilled["proven"], drilled["recorded"]], [true, false], JSON.stringify(drilled["checks"]));
  await desk.summary(["init", "--yes", "--add", "saved", "--location", `${desk.root}/saved`]);
  const { copied, failed } = (await then(["copy", "--to", "saved"])) as unknown as {
    copied: { point: string }[];
    failed: unknown[];
  };
  assert.deepEqual([copied.map(({ point }) => point), failed], [points, []]);
  assert.equal((await desk.summary(["verify", "--read-data", "--repository", "saved"]))["errors"], 0);
  assert.deepEqual(await versions(), earlier);
});

test("before the repository was made there was none, and a time without a zone or in the future is no time", async () => {
  const tries: [string, number, RegExp][] = [
    ["2020-01-01T00:00:00Z", 10, /there is no repository/],
    ["2026-11-23T16:58:50", 2, /--at-time cannot be/],
    ["2999-01-01T00:00:00Z", 2, /future/],
  ];
  for (const [time, expected, message] of tries) {
    const args = ["--repository", "offsite", "list", "--at-time", time];
    const { status, stderr } = await desk.chatkeep(args, { env: moto.env });
    assert.equal(status, expected, stderr);
    assert.match(stderr, message);
  }
});

test("a bucket that is not there holds no repository, then as now", async () => {
  const args = ["--repository", moto.location("missing"), "list", "--at-time", beforeAttack];
  const { status, stderr } = await desk.chatkeep(args, { env: { ...moto.env, CHATKEEP_PASSWORD: "x" } });
  assert.equal(status, 10, stderr);
});

test("a folder, and a bucket that never kept versions, have no past", async () => {
  await moto.createBucket("plain");
  assert.equal((await moto.client.send(new GetBucketVersioningCommand({ Bucket: "plain" }))).Status, undefined);
  for (const place of ["desk", moto.location("plain")]) {
    const where = place === "desk" ? [] : ["--repository", place];
    const env = { ...moto.env, CHATKEEP_PASSWORD: "x" };
    const { status, stderr } = await desk.chatkeep([...where, "list", "--at-time", beforeAttack], { env });
    assert.equal(status, 2, stderr);
    assert.match(stderr, /no versions|no old versions/);
  }
});
