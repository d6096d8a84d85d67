/** Files of an S3 bucket over a line that breaks, from a service that refuses, slows down, or gives what it should not. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { Clock } from "../../src/base/clock.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import type { BlobSource, S3Spec } from "../../src/source/source.ts";
import { type S3Proxy, startS3Proxy } from "../harness/s3-proxy.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { quick } from "./quick-clock.ts";
import { readFrom } from "./reading.ts";

const { signal } = new AbortController();
const BUCKET = "acme";
const LARGE = randomBytes(2.5 * LIMITS.chunkMaxBytes);

let s3: TestS3;
let proxy: S3Proxy;
let client: S3Client;

before(async () => {
  s3 = await startS3();
  proxy = await startS3Proxy(s3.endpoint);
  await s3.createBucket(BUCKET);
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  client = new S3Client({ endpoint: s3.endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  await put("small", Buffer.from("hello"));
  await put("empty", Buffer.alloc(0));
  await put("large", LARGE);
  await put("whole", LARGE.subarray(0, LIMITS.chunkMaxBytes));
});

after(async () => {
  client.destroy();
  await proxy[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});

afterEach(() => {
  proxy.fault = () => undefined;
  proxy.requests.length = 0;
});

async function put(key: string, bytes: Buffer): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: bytes }));
}

/** Waits take no time, and are counted: patience comes to an end. */
function passing(): Clock {
  let waitedMs = 0;
  return {
    ...quick,
    monotonic: () => quick.monotonic() + waitedMs,
    async sleep(ms, stop) {
      if (ms <= LIMITS.retryLongestWaitMs) waitedMs += ms;
      await quick.sleep(ms, stop);
    },
  };
}

async function open(changes: Partial<S3Spec> = {}, clock: Clock = quick): Promise<BlobSource> {
  const url = new URL(proxy.endpoint);
  const spec: S3Spec = {
    kind: "s3",
    service: "s3_compatible",
    bucket: BUCKET,
    names: { credentials: "THE KEYS", bucket: "THE BUCKET", address: "THE ENDPOINT" },
    scheme: "http",
    host: url.host,
    basePath: "",
    isAmazon: false,
    isPathStyle: true,
    region: undefined,
    credentials: { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" },
    ...changes,
  };
  return await openSource(spec, { clock });
}

const reads = () => proxy.requests.filter(({ method }) => method === "GET").map(({ headers }) => headers.range);

test("files come whole, whatever their length, and those that are not there are told so", async () => {
  // s3rver never answers such a request; S3 does so.
  proxy.fault = ({ path, headers }) =>
    path.endsWith("/empty") && headers.range !== undefined
      ? { status: 416, body: "<Error><Code>InvalidRange</Code></Error>" }
      : undefined;
  const source = await open();
  await source.probe({ signal });
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  assert.equal((await readFrom(source, "empty", 0)).length, 0);
  assert.equal((await readFrom(source, "empty", 5)).length, 0, "one that is shorter than the database says");
  assert.equal((await readFrom(source, "small", 0)).toString(), "hello", "one that is longer");
  assert.deepEqual(await readFrom(source, "whole", LIMITS.chunkMaxBytes), LARGE.subarray(0, LIMITS.chunkMaxBytes));
  assert.deepEqual(await readFrom(source, "large", LARGE.length), LARGE);
  assert.equal(await source.size("large", { expectedBytes: 1, signal }), LARGE.length);
  assert.equal(await source.size("gone", { expectedBytes: 1, signal }), undefined);
  await assert.rejects(readFrom(source, "gone", 5), { code: "store/not-found" });
  assert.equal(source.outage, undefined);
  await source.close();
});

test("a download that is cut off goes on where it was, and asks for the same object", async () => {
  let cuts = 0;
  proxy.fault = ({ headers }) =>
    headers.range?.startsWith(`bytes=${LIMITS.chunkMaxBytes}-`) && cuts++ < 2 ? { cutAfter: 1000 } : undefined;
  const source = await open();
  assert.deepEqual(await readFrom(source, "large", LARGE.length), LARGE);
  const [first, second, again, , third] = reads();
  assert.equal(reads().length, 5, "three parts, one of them three times");
  assert.match(first ?? "", /^bytes=0-/);
  assert.equal(second, again);
  assert.match(third ?? "", new RegExp(`^bytes=${2 * LIMITS.chunkMaxBytes}-`));
  const conditions = proxy.requests.map(({ headers }) => headers["if-match"]);
  assert.equal(conditions[0], undefined);
  assert.ok(conditions.slice(1).every((etag) => etag !== undefined && etag === conditions[1]));
  await source.close();
});

test("an object that is replaced while it is read is not put together of two", async () => {
  proxy.fault = ({ headers }) =>
    headers["if-match"] === undefined
      ? undefined
      : { status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>" };
  const source = await open();
  await assert.rejects(readFrom(source, "large", LARGE.length), { code: "source/unreadable", message: /was replaced/ });
  assert.equal(source.outage, undefined);
  await source.close();
});

test("a service that asks to slow down, or fails for a moment, is asked again", async () => {
  let times = 0;
  const answers = [
    { status: 503, body: "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>" },
    { status: 500, body: "<Error><Code>InternalError</Code></Error>" },
    { cutAfter: 0 },
  ];
  proxy.fault = () => answers[times++];
  const source = await open();
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  assert.equal(proxy.requests.length, 4);
  await source.close();
});

test("an answer that leaves out the end of an object without a word is as long as it is", async () => {
  proxy.fault = () => ({ truncateTo: 3 });
  const source = await open();
  assert.equal((await readFrom(source, "small", 5)).toString(), "hel");
  await source.close();
});

test("one file that is forbidden is told with its reason, and the others are given", async () => {
  proxy.fault = ({ path }) =>
    path.endsWith("/large") ? { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } : undefined;
  const source = await open();
  await assert.rejects(readFrom(source, "large", 5), { code: "source/unreadable", message: /access denied/ });
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  assert.equal(source.outage, undefined);
  await source.close();
});

test("a file for which the service always fails is told as that, and the others are given", async () => {
  proxy.fault = ({ path }) =>
    path.endsWith("/large") ? { status: 500, body: "<Error><Code>InternalError</Code></Error>" } : undefined;
  const source = await open({}, passing());
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  await assert.rejects(readFrom(source, "large", LARGE.length), {
    code: "source/unreadable",
    message: /^the service fails for this file alone: /,
  });
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  assert.equal(source.outage, undefined);
  await source.close();
});

test("a service that fails for everything is down", async () => {
  const source = await open({}, passing());
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  proxy.fault = () => ({ status: 500, body: "<Error><Code>InternalError</Code></Error>" });
  await assert.rejects(readFrom(source, "small", 5), { code: "store/unreachable" });
  assert.match(source.outage?.hint ?? "", /THE ENDPOINT/);
  await source.close();
});

test("where every file is forbidden, the service is asked no more", async () => {
  proxy.fault = () => ({ status: 403, body: "<Error><Code>AccessDenied</Code></Error>" });
  const source = await open();
  for (let n = 0; n < LIMITS.objectsDenied + 20; n += 1) await assert.rejects(readFrom(source, `key${n}`, 5));
  assert.equal(proxy.requests.length, LIMITS.objectsDenied);
  assert.match(source.outage?.message ?? "", /access denied.*every file/);
  assert.match(source.outage?.hint ?? "", /THE KEYS/);
  await source.close();
});

test("credentials that are refused and a bucket that is not there end the service, in Chatwoot's own words", async () => {
  const nobody = await open({ credentials: { accessKeyId: "NOBODY", secretAccessKey: "a secret" } });
  await assert.rejects(nobody.probe({ signal }), { code: "store/denied", message: /does not know this access key/ });
  assert.match(nobody.outage?.hint ?? "", /THE KEYS/);
  await assert.rejects(readFrom(nobody, "small", 5), { message: nobody.outage?.message ?? "" });
  const nowhere = await open({ bucket: "nowhere" });
  await assert.rejects(nowhere.probe({ signal }), { code: "store/not-found", message: /no bucket 'nowhere'/ });
  assert.match(nowhere.outage?.hint ?? "", /THE BUCKET/);
  for (const source of [nobody, nowhere]) await source.close();
});

test("a bucket in another region is followed to where it says that it is", async () => {
  const body =
    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The region 'us-east-1' is wrong; expecting 'eu-central-1'</Message><Region>eu-central-1</Region></Error>";
  proxy.fault = ({ headers }) =>
    headers.authorization?.includes("/eu-central-1/s3/") === true ? undefined : { status: 400, body };
  const source = await open();
  assert.equal((await readFrom(source, "small", 5)).toString(), "hello");
  assert.equal(proxy.requests.length, 2);
  await source.close();
});
