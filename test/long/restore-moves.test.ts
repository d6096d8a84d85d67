/**
 * Whole restores of a desk whose uploaded files lie in a folder and in a bucket at once: each into its own service, all of them
 * into a container of Azure, a bucket of Google or the bucket of S3, and from the last two back into the folder;
 * and what lacks of them put back alone. Each is killed while files are put, gone on with, and undone.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { appendFile, rm } from "node:fs/promises";
import { after, before, beforeEach, test } from "node:test";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { startAzure, type TestAzure } from "../harness/azure.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { startMoto, type TestMoto } from "../harness/moto.ts";
import {
  blobRows,
  done,
  killedAndResumed,
  listed,
  localKeys,
  md5,
  type Objects,
  setEnvironment,
} from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, rolledBack, type WholeDesk } from "../scenario/whole-desk.ts";

const BUCKET = "acme-uploads";
const CONTAINER = "acme";
const GOOGLE_BUCKET = "acme-google";

let moto: TestMoto;
let azure: TestAzure;
let gs: TestGs;
let whole: WholeDesk;
let saved: DeskState;
/** The restore point in which each file lies where it was uploaded. */
let uploaded: string;
/** What was uploaded into each service. */
let ofFolder: Objects;
let ofBucket: Objects;

before(async () => {
  [moto, azure, gs] = await Promise.all([startMoto(), startAzure(), startGs()]);
  await moto.createBucket(BUCKET);
  const everybody = { Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: `arn:aws:s3:::${BUCKET}/*` };
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement: [everybody] });
  await moto.client.send(new PutBucketPolicyCommand({ Bucket: BUCKET, Policy }));
  await azure.client.createContainer(CONTAINER, { access: "blob" });
  gs.buckets.set(GOOGLE_BUCKET, new Map());
  const endpoint = moto.location("").replace(/^s3:/, "").replace(/\/$/, "");
  whole = await openWholeDesk(
    { messages: 120, conversations: 20, files: 40 },
    {
      buckets: {
        s3_compatible: `${endpoint}/${BUCKET}`,
        microsoft: `${azure.endpoint}/${CONTAINER}`,
        google: `${gs.endpoint}/${GOOGLE_BUCKET}`,
      },
    },
  );
  const connection = azure.env["AZURE_STORAGE_CONNECTION_STRING"] ?? "";
  await setEnvironment(whole, {
    STORAGE_BUCKET_NAME: BUCKET,
    STORAGE_ENDPOINT: endpoint,
    STORAGE_REGION: "us-east-1",
    STORAGE_ACCESS_KEY_ID: moto.env["AWS_ACCESS_KEY_ID"] ?? "",
    STORAGE_SECRET_ACCESS_KEY: moto.env["AWS_SECRET_ACCESS_KEY"] ?? "",
    STORAGE_FORCE_PATH_STYLE: "true",
    AZURE_STORAGE_ACCOUNT_NAME: /AccountName=([^;]+)/.exec(connection)?.[1] ?? "",
    AZURE_STORAGE_ACCESS_KEY: /AccountKey=([^;]+)/.exec(connection)?.[1] ?? "",
    AZURE_STORAGE_CONTAINER: CONTAINER,
    GCS_PROJECT: "acme",
    GCS_BUCKET: GOOGLE_BUCKET,
    GCS_CREDENTIALS: '{"type":"service_account"}',
    STORAGE_EMULATOR_HOST: gs.endpoint,
  });
  await appendFile(whole.desk.config, `\nstorage:\n  microsoft: { endpoint: "${azure.endpoint}" }\n`);
  await moveHalfIntoBucket();
  uploaded = String((await done(whole, ["backup"]))["point"]);
  saved = await whole.state();
  [ofFolder, ofBucket] = [await listed(whole, "local"), await listed(whole, "s3_compatible")];
  assert.ok(ofFolder.size > 0 && ofBucket.size > 0);
});
beforeEach(async () => {
  await loseFiles();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
  await gs[Symbol.asyncDispose]();
  await azure[Symbol.asyncDispose]();
  await moto[Symbol.asyncDispose]();
});

async function moveHalfIntoBucket(): Promise<void> {
  const { database, storageRoot } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query(
      "update active_storage_blobs set created_at = now() - interval '1 day', service_name = case id % 2 when 0 then 's3_compatible' else 'local' end",
    );
  });
  for (const { key, service } of await blobRows(whole)) {
    if (service === "local") continue;
    const Body = readFileSync(blobPath(storageRoot, key));
    await moto.client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body }));
    await rm(blobPath(storageRoot, key));
  }
}

/** Somebody emptied a part of each. */
async function loseFiles(): Promise<void> {
  for (const key of [...ofFolder.keys()].slice(0, -2))
    await rm(blobPath(whole.desk.installation.storageRoot, key), { force: true });
  for (const Key of [...ofBucket.keys()].slice(0, -2))
    await moto.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key }));
}

async function bucket(): Promise<Objects> {
  const { Contents = [] } = await moto.client.send(new ListObjectsV2Command({ Bucket: BUCKET }));
  const objects = new Map<string, string>();
  for (const { Key = "" } of Contents) {
    const { Body } = await moto.client.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
    objects.set(Key, md5((await Body?.transformToByteArray()) ?? new Uint8Array()));
  }
  return objects;
}

async function container(): Promise<Objects> {
  const client = azure.client.getContainerClient(CONTAINER);
  const objects = new Map<string, string>();
  for await (const { name } of client.listBlobsFlat())
    objects.set(name, md5(await client.getBlobClient(name).downloadToBuffer()));
  return objects;
}

function googleBucket(): Objects {
  return new Map([...(gs.buckets.get(GOOGLE_BUCKET) ?? [])].map(([name, bytes]) => [name, md5(bytes)]));
}

interface Everything {
  state: DeskState;
  bucket: Objects;
  container: Objects;
  google: Objects;
}

async function everything(): Promise<Everything> {
  return { state: await whole.state(), bucket: await bucket(), container: await container(), google: googleBucket() };
}

function assertSame(is: Everything, was: Everything, what: string): void {
  assertSameState(is.state, was.state, what);
  assert.deepEqual([is.bucket, is.container, is.google], [was.bucket, was.container, was.google], what);
}

test("files of two services come back each into its own", async () => {
  const lost = await everything();
  assert.ok(lost.bucket.size < ofBucket.size);
  await killedAndResumed(whole, "files", ["restore", "latest", "--yes"]);
  assertSame(
    await everything(),
    { state: saved, bucket: ofBucket, container: new Map(), google: new Map() },
    "restored",
  );
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["rollback", "--yes"]);
  const listedStay = { ...lost, state: rolledBack(lost.state, saved), bucket: ofBucket };
  assertSame(await everything(), listedStay, "rolled back");
});

test("files of a bucket and of a folder move into a container of Azure, and every row says so", async () => {
  const lost = await everything();
  await killedAndResumed(whole, "files", ["restore", "latest", "--storage", "microsoft", "--yes"]);
  const moved = await everything();
  assert.deepEqual(moved.container, new Map([...ofFolder, ...ofBucket]));
  assert.deepEqual(new Set((await blobRows(whole)).map(({ service }) => service)), new Set(["microsoft"]));
  assert.deepEqual([moved.bucket, moved.state.files], [lost.bucket, lost.state.files], "what is elsewhere stays");
  assert.match(moved.state.environment, /^ACTIVE_STORAGE_SERVICE=microsoft$/m);
  await done(whole, ["backup"]);
  await done(whole, ["rollback", "--yes"]);
  assertSame(await everything(), lost, "rolled back");
});

test("of a container of Azure the files come back into a bucket", async () => {
  const lost = await everything();
  await killedAndResumed(whole, "files", ["restore", "latest", "--storage", "s3_compatible", "--yes"]);
  assert.deepEqual(await bucket(), new Map([...ofFolder, ...ofBucket]));
  assert.deepEqual(new Set((await blobRows(whole)).map(({ service }) => service)), new Set(["s3_compatible"]));
  await done(whole, ["rollback", "--yes"]);
  assertSame(await everything(), { ...lost, bucket: ofBucket }, "rolled back");
});

test("what lacks of two services is put back alone, by a point in which all lay elsewhere, and nothing else is touched", async () => {
  const lost = await everything();
  await killedAndResumed(whole, "files", ["restore", "latest", "--only", "storage", "--missing", "--yes"]);
  const back = await everything();
  assert.deepEqual(await localKeys(whole), [...ofFolder.keys()].toSorted());
  assert.deepEqual(back.bucket, ofBucket);
  assert.deepEqual(back.container, new Map());
  assertSameState({ ...back.state, files: {} }, { ...lost.state, files: {} }, "but for the files");
  await done(whole, ["rollback", "--yes"]);
  assertSame(await everything(), back, "rolled back: the database lists all of them");
});

/** Of where all of them lie by the newest point, they come back into the folder, killed on the way; and that is undone. */
async function backIntoFolder(lost: Everything): Promise<void> {
  await killedAndResumed(whole, "files", ["restore", "latest", "--storage", "local", "--yes"]);
  const back = await everything();
  const all = new Map([...ofFolder, ...ofBucket]);
  assert.deepEqual(await localKeys(whole), [...all.keys()].toSorted());
  for (const [key, checksum] of all)
    assert.equal(md5(readFileSync(blobPath(whole.desk.installation.storageRoot, key))), checksum, key);
  assert.deepEqual(await listed(whole, "local"), all);
  assert.deepEqual(back.state.code, saved.code);
  assert.match(back.state.environment, /^ACTIVE_STORAGE_SERVICE=local$/m);
  assertSame({ ...back, state: lost.state }, lost, "what is elsewhere stays");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["rollback", "--yes"]);
  assertSame(await everything(), { ...lost, state: rolledBack(lost.state, saved) }, "rolled back");
}

test("files of a folder move into a bucket, and of the bucket all come back into the folder", async () => {
  await killedAndResumed(whole, "files", ["restore", uploaded, "--storage", "s3_compatible", "--yes"]);
  const all = new Map([...ofFolder, ...ofBucket]);
  assert.deepEqual([await bucket(), await listed(whole, "s3_compatible")], [all, all]);
  await done(whole, ["backup"]);
  await done(whole, ["rollback", "--yes"]);
  await loseFiles();
  await backIntoFolder(await everything());
});

test("killed while Google takes a file, a move into its bucket is gone on with; and of the bucket all come back into the folder", async () => {
  const lost = await everything();
  const held = Promise.withResolvers<void>();
  gs.gate = async () => {
    if (googleBucket().size >= 3) await held.promise;
  };
  assert.ok(
    await whole.killWhen(["restore", uploaded, "--storage", "google", "--yes"], () => googleBucket().size >= 3),
    "killed",
  );
  gs.gate = async () => {};
  held.resolve();
  const all = new Map([...ofFolder, ...ofBucket]);
  assert.ok(googleBucket().size < all.size, "in the middle");
  await done(whole, ["restore", "--resume", "--yes", "--outbound", "allow"]);
  const moved = await everything();
  assert.deepEqual([moved.google, await listed(whole, "google")], [all, all]);
  assert.match(moved.state.environment, /^ACTIVE_STORAGE_SERVICE=google$/m);
  assertSame({ ...moved, state: lost.state, google: lost.google }, lost, "what is elsewhere stays");
  assert.deepEqual(moved.state.files, lost.state.files);
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["backup"]);
  await done(whole, ["rollback", "--yes"]);
  assertSame(await everything(), lost, "rolled back");
  await backIntoFolder(lost);
});
