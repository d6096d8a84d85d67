/** A whole restore that moves uploaded files from a folder into a bucket, and one that moves them back. */
import assert from "node:assert/strict";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { isWhole } from "../harness/whole.ts";
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
import { assertSameState, openWholeDesk, rolledBack, type WholeDesk } from "../scenario/whole-desk.ts";

const BUCKET = "acme";
const OBJECT = "._S3rver_object";

let s3: TestS3;
let whole: WholeDesk;

before(async () => {
  s3 = await startS3();
  await s3.createBucket(BUCKET);
  whole = await openWholeDesk(
    { messages: 60, conversations: 10, files: 12 },
    { buckets: { s3_compatible: `${s3.endpoint}/${BUCKET}` } },
  );
});
after(async () => {
  await whole[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});

/** What the server has on its disk. */
async function bucket(): Promise<Objects> {
  const names = (await readdir(join(s3.folder, BUCKET))).filter((name) => name.endsWith(OBJECT));
  const read = async (name: string) => md5(await readFile(join(s3.folder, BUCKET, name)));
  return new Map(
    await Promise.all(names.map(async (name) => [name.slice(0, -OBJECT.length), await read(name)] as const)),
  );
}

/** In the long run it is killed while files are put, and gone on with. */
async function restore(to: readonly string[]): Promise<void> {
  const args = ["restore", "latest", ...to, "--yes", "--outbound", "allow"];
  if (isWhole) await killedAndResumed(whole, "files", args);
  else await done(whole, args);
}

test("files of a folder that is lost come back in a bucket, and from there into a folder; the rows say where, and a rollback undoes it", async () => {
  const { desk } = whole;
  const { storageRoot } = desk.installation;
  await done(whole, ["backup"]);
  const saved = await whole.state();
  const uploaded = await listed(whole, "local");
  assert.ok(uploaded.size > 0);

  // The disk with the uploads is gone, and new ones shall lie in a bucket.
  for (const name of await readdir(storageRoot)) await rm(join(storageRoot, name), { recursive: true });
  await setEnvironment(whole, {
    STORAGE_BUCKET_NAME: BUCKET,
    STORAGE_ENDPOINT: s3.endpoint,
    STORAGE_ACCESS_KEY_ID: "S3RVER",
    STORAGE_SECRET_ACCESS_KEY: "S3RVER",
    STORAGE_FORCE_PATH_STYLE: "true",
  });
  const lost = await whole.state();
  await restore(["--storage", "s3_compatible"]);
  assert.deepEqual(await bucket(), uploaded, "in the bucket is what was uploaded");
  assert.deepEqual(new Set((await blobRows(whole)).map(({ service }) => service)), new Set(["s3_compatible"]));
  const inBucket = await whole.state();
  assert.deepEqual(inBucket.code, saved.code);
  assert.match(inBucket.environment, /^ACTIVE_STORAGE_SERVICE=s3_compatible$/m);
  assert.deepEqual(inBucket.files, {});
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  await done(whole, ["backup"]);

  await done(whole, ["rollback", "--yes"]);
  assertSameState(await whole.state(), lost, "rolled back");
  assert.deepEqual(await bucket(), new Map(), "nothing is left in the bucket");

  await restore(["--storage", "local"]);
  assert.deepEqual(await listed(whole, "local"), uploaded);
  assert.deepEqual(await localKeys(whole), [...uploaded.keys()].toSorted());
  for (const [key, checksum] of uploaded) assert.equal(md5(await readFile(blobPath(storageRoot, key))), checksum, key);
  const back = await whole.state();
  assert.deepEqual(back.database, saved.database, "but for where files lie nothing has changed");
  assert.deepEqual(back.code, saved.code);
  assert.match(back.environment, /^ACTIVE_STORAGE_SERVICE=local$/m);
  assert.deepEqual(await bucket(), new Map());
  if (!isWhole) return;
  await done(whole, ["rollback", "--yes"]);
  assertSameState(await whole.state(), rolledBack(lost, saved), "rolled back again");
});
