/** What a bucket of S3 says of itself, on moto: versions, locks, rules that delete, copies, and who may not ask. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { openSource } from "../../src/source/open-source.ts";
import type { BucketFacts } from "../../src/source/bucket-facts.ts";
import { type S3Proxy, startS3Proxy } from "../harness/s3-proxy.ts";
import { factsOf } from "../source/reading.ts";
import { startMoto, type TestMoto } from "../harness/moto.ts";

let moto: TestMoto;
let proxy: S3Proxy;

before(async () => {
  moto = await startMoto();
  proxy = await startS3Proxy(moto.location("").replace(/^s3:/, ""));
  for (const [bucket, isLocking] of [
    ["plain", false],
    ["locked", true],
  ] as const) {
    await moto.createBucket(bucket, { isLocking });
    await moto.client.send(new PutObjectCommand({ Bucket: bucket, Key: "key", Body: "hello" }));
  }
});

after(async () => {
  await proxy[Symbol.asyncDispose]();
  await moto[Symbol.asyncDispose]();
});

async function ask(bucket: string): Promise<BucketFacts> {
  const source = await openSource({
    kind: "s3",
    service: "amazon",
    bucket,
    names: { credentials: "", bucket: "", address: "" },
    scheme: "http",
    host: new URL(proxy.endpoint).host,
    basePath: "",
    isAmazon: false,
    isPathStyle: true,
    region: "us-east-1",
    credentials: {
      accessKeyId: moto.env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: moto.env["AWS_SECRET_ACCESS_KEY"] ?? "",
    },
  });
  return await factsOf(source);
}

test("a bucket without anything says so", async () => {
  const { versioning, lock, expiring, archiving, replication, rights } = await ask("plain");
  assert.deepEqual([versioning, lock, expiring, archiving, replication, rights], [false, false, [], [], false, []]);
});

test("versions, object lock, and rules that delete or archive are told, and rules for something else are not", async () => {
  await moto.client.send(
    new PutBucketVersioningCommand({ Bucket: "plain", VersioningConfiguration: { Status: "Enabled" } }),
  );
  await moto.client.send(
    new PutBucketLifecycleConfigurationCommand({
      Bucket: "plain",
      LifecycleConfiguration: {
        Rules: [
          { ID: "a", Status: "Enabled", Filter: { Prefix: "" }, Expiration: { Days: 30 } },
          { ID: "b", Status: "Disabled", Filter: { Prefix: "" }, Expiration: { Days: 1 } },
          { ID: "c", Status: "Enabled", Filter: { Prefix: "logs/" }, Expiration: { Days: 2 } },
          {
            ID: "d",
            Status: "Enabled",
            Filter: { Prefix: "" },
            Transitions: [{ Days: 90, StorageClass: "GLACIER" }],
          },
          { ID: "e", Status: "Enabled", Filter: { Prefix: "" }, NoncurrentVersionExpiration: { NoncurrentDays: 7 } },
        ],
      },
    }),
  );
  const facts = await ask("plain");
  assert.equal(facts.versioning, true);
  assert.deepEqual(facts.expiring, ["files are deleted after 30 days"]);
  assert.deepEqual(facts.archiving, ["files are moved to GLACIER after 90 days"]);
  const locked = await ask("locked");
  assert.deepEqual([locked.versioning, locked.lock], [true, true]);
});

test("who may not ask is told which rights are lacking, once, and the rest is known all the same", async () => {
  const denied = { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" };
  proxy.fault = ({ query }) => (/^(lifecycle|replication)/.test(query) ? denied : undefined);
  const facts = await ask("plain");
  assert.deepEqual(facts.rights, ["s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration"]);
  assert.deepEqual([facts.expiring, facts.replication, facts.versioning], ["unknown", "unknown", true]);
});
