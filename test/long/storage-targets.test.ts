/** Files are put into buckets of servers that know parts: moto for S3, azurite for Azure; and into a folder whose disk is full. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { test } from "node:test";
import { ListMultipartUploadsCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { LIMITS } from "../../src/base/limits.ts";
import { openTarget } from "../../src/source/open-target.ts";
import { startAzure } from "../harness/azure.ts";
import { startMoto } from "../harness/moto.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { assertPuts, azureSpecOf, md5, pieces, s3SpecOf } from "../source/putting.ts";
import { quick } from "../source/quick-clock.ts";

const { signal } = new AbortController();

async function* broken(): AsyncGenerator<Buffer> {
  yield randomBytes(2.5 * LIMITS.objectPartBytes);
  throw new RangeError("the repository is gone");
}

test("files are put into a container of Azure whole, in one request or in blocks, and nothing that is there is overwritten", async () => {
  await using azure = await startAzure();
  await azure.client.createContainer("acme");
  const target = await openTarget(azureSpecOf(azure), { clock: quick });
  await assertPuts(target);
  await target.close();
});

test("files are put into a bucket of S3 in parts, nothing that is there is overwritten, and no part is left", async () => {
  await using moto = await startMoto();
  await moto.createBucket("acme");
  const credentials = {
    accessKeyId: moto.env["AWS_ACCESS_KEY_ID"] ?? "",
    secretAccessKey: moto.env["AWS_SECRET_ACCESS_KEY"] ?? "",
  };
  const endpoint = moto.location("").replace(/^s3:/, "");
  const target = await openTarget(s3SpecOf(endpoint, { credentials, region: "us-east-1" }), { clock: quick });
  await assertPuts(target);
  const bytes = 3 * LIMITS.objectPartBytes;
  await assert.rejects(target.put("broken", broken(), { bytes, signal }), RangeError);
  const { Uploads = [] } = await moto.client.send(new ListMultipartUploadsCommand({ Bucket: "acme" }));
  const { Contents = [] } = await moto.client.send(new ListObjectsV2Command({ Bucket: "acme" }));
  assert.deepEqual([Uploads, Contents], [[], []]);
  await target.close();
});

test("a disk that is full says so, what was put stays, and nothing half is left", async () => {
  await using folder = await temporaryFolder("chatkeep-full");
  const root = folder.at("storage");
  await mkdir(root);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "none", root]);
  try {
    const target = await openTarget({ kind: "local", service: "local", roots: [root] });
    const [first, second] = [randomBytes(2_500_000), randomBytes(2_500_000)];
    await target.put("abcdfirst", pieces(first, 100_000), { bytes: first.length, md5: md5(first), signal });
    const put = target.put("efghsecond", pieces(second, 100_000), { bytes: second.length, signal });
    await assert.rejects(put, { code: "store/full", hint: /Free some space/ });
    await target.tidy({ signal });
    assert.deepEqual(await readdir(root), ["ab"]);
    assert.equal((await target.stat("abcdfirst", { signal }))?.bytes, first.length);
  } finally {
    execFileSync("umount", [root]);
  }
});
