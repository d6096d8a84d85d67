/** Files are put into a folder and into buckets whole, checked and once; what refuses says why. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmod, chown, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { openTarget } from "../../src/source/open-target.ts";
import { inParts } from "../../src/source/parts.ts";
import type { BlobTarget } from "../../src/source/target.ts";
import { startGs } from "../harness/gs.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { type S3Proxy, startS3Proxy } from "../harness/s3-proxy.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { assertPuts, md5, pieces, s3SpecOf } from "./putting.ts";
import { quick } from "./quick-clock.ts";
import { gcsSpecOf } from "./reading.ts";

const { signal } = new AbortController();
let s3: TestS3;
let proxy: S3Proxy;
let folder: TestFolder;

before(async () => {
  [s3, folder] = await Promise.all([startS3(), temporaryFolder("chatkeep-targets")]);
  proxy = await startS3Proxy(s3.endpoint);
  await s3.createBucket("acme");
});
after(async () => {
  await proxy[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function local(root: string): Promise<BlobTarget> {
  return await openTarget({ kind: "local", service: "local", roots: [root] });
}

async function ownerOf(at: string): Promise<(number | string)[]> {
  const { uid, gid, mode } = await stat(at);
  return [uid, gid, (mode & 0o7777).toString(8)];
}

test("parts have one length, whatever the pieces have", async () => {
  const bytes = randomBytes(1000);
  for (const [piece, part] of [
    [7, 100],
    [1000, 100],
    [333, 1000],
    [100, 100],
  ] as const) {
    const parts = await Array.fromAsync(inParts(pieces(bytes, piece), part));
    assert.deepEqual(Buffer.concat(parts), bytes);
    assert.ok(parts.slice(0, -1).every(({ length }) => length === part));
  }
  assert.deepEqual(await Array.fromAsync(inParts(pieces(Buffer.alloc(0)), 10)), [Buffer.alloc(0)]);
});

test("files are put into a folder whole, and nothing that is there is overwritten", async () => {
  const root = folder.at("storage");
  await mkdir(root);
  const target = await local(root);
  await assertPuts(target);
  await target.tidy({ signal });
  assert.deepEqual(await readdir(root), ["ab"]);
});

test("files are put into a bucket of S3 whole, and nothing that is there is overwritten", async () => {
  const target = await openTarget(s3SpecOf(proxy.endpoint), { clock: quick });
  // s3rver does not know the condition that S3 knows.
  const there = new Set<string>();
  proxy.fault = ({ method, path, query, headers }) => {
    const isWritten =
      (method === "PUT" && !query.includes("uploadId=")) || (method === "POST" && query.includes("uploadId="));
    if (isWritten && headers["if-none-match"] === "*" && there.has(path))
      return { status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>" };
    // s3rver never answers such a request; S3 does so.
    if (path.endsWith("empty") && headers.range !== undefined)
      return { status: 416, body: "<Error><Code>InvalidRange</Code></Error>" };
    if (isWritten) there.add(path);
    if (method === "DELETE" && !query.includes("uploadId=")) there.delete(path);
    return undefined;
  };
  // s3rver cannot put parts together either: that is tried on moto.
  await assertPuts(target, { hasParts: false });
  const puts = proxy.requests.filter(({ method }) => method === "PUT");
  assert.ok(puts.every(({ headers }) => headers["content-md5"] !== undefined));
  await target.close();
});

test("files are put into a bucket of Google whole, in one request or in parts, and nothing that is there is overwritten", async () => {
  await using gs = await startGs();
  gs.buckets.set("acme", new Map());
  const target = await openTarget(gcsSpecOf(gs.endpoint), { clock: quick });
  await assertPuts(target);
  await target.close();
});

test("of a file in parts Google has what it says it has, and one that came meanwhile stays", async () => {
  await using gs = await startGs();
  const bucket = new Map<string, Buffer>();
  gs.buckets.set("acme", bucket);
  const target = await openTarget(gcsSpecOf(gs.endpoint), { clock: quick });
  const bytes = randomBytes(1.25 * LIMITS.objectPartBytes);
  const put = async (key: string) => {
    await target.put(key, pieces(bytes), { bytes: bytes.length, md5: md5(bytes), type: "image/png", signal });
  };
  gs.takesOfPart = 256 * 1024;
  await put("large");
  assert.ok(bucket.get("large")?.equals(bytes));
  assert.equal((await target.stat("large", { signal }))?.type, "image/png");
  const other = Buffer.from("somebody was quicker");
  let asked = 0;
  // Opened, one part, and before the last: it comes between two requests.
  gs.gate = () => {
    asked += 1;
    if (asked === 3) bucket.set("late", other);
    return Promise.resolve();
  };
  await assert.rejects(put("late"), { code: "store/exists" });
  assert.equal(bucket.get("late"), other);
  await target.close();
});

test("a service that slows down, or fails for a moment, is asked again", async () => {
  const target = await openTarget(s3SpecOf(proxy.endpoint), { clock: quick });
  const bytes = Buffer.from("hello");
  let times = 0;
  const answers = [
    { status: 503, body: "<Error><Code>SlowDown</Code></Error>" },
    { status: 500, body: "<Error><Code>InternalError</Code></Error>" },
  ];
  proxy.fault = ({ method }) => (method === "PUT" ? answers[times++] : undefined);
  await target.put("slow", pieces(bytes), { bytes: bytes.length, md5: md5(bytes), signal });
  proxy.fault = () => undefined;
  assert.equal(times, 3);
  assert.deepEqual(Buffer.concat(await Array.fromAsync(target.read("slow", { expectedBytes: 1, signal }))), bytes);
  await target.close();
});

test("a service that takes no files says so in Chatwoot's words, and what changes on its way is not kept", async () => {
  const target = await openTarget(s3SpecOf(proxy.endpoint), { clock: quick });
  proxy.fault = ({ method }) =>
    method === "PUT" ? { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } : undefined;
  await assert.rejects(target.probe({ signal }), { code: "store/denied", hint: /THE KEYS.*docs\/storage\.md/ });
  // An object of other bytes than were sent, and no word about it.
  const other = Buffer.from("olleh");
  proxy.fault = ({ method }) =>
    method === "GET" ? { truncateTo: 3 } : method === "PUT" ? { status: 200, body: "" } : undefined;
  const put = target.put("changed", pieces(Buffer.from("hello")), { bytes: other.length, signal });
  await assert.rejects(put, { code: "store/unreachable", message: /came back different/ });
  proxy.fault = () => undefined;
  await target.close();
});

test(
  "files and folders get the owner and the mode of the storage's own folder",
  { skip: process.getuid?.() !== 0 },
  async () => {
    const root = folder.at("owned");
    await mkdir(root);
    await chown(root, 1234, 2345);
    await chmod(root, 0o2750);
    const target = await local(root);
    const bytes = Buffer.from("hello");
    assert.deepEqual(await target.foldersFor(["abcdkey", "abxykey"]), ["ab", "ab/cd", "ab/xy"]);
    await target.put("abcdkey", pieces(bytes), { bytes: 5, signal });
    const path = blobPath(root, "abcdkey");
    assert.deepEqual(await ownerOf(path), [1234, 2345, "640"]);
    for (const at of [dirname(path), dirname(dirname(path))]) assert.deepEqual(await ownerOf(at), [1234, 2345, "2750"]);
    await target.remove("abcdkey", { signal });
    await writeFile(`${dirname(path)}/another`, "");
    for (const at of ["ab/cd", "ab"]) await target.removeFolder(at);
    assert.deepEqual(await readdir(`${root}/ab/cd`), ["another"], "a folder that is not empty stays");
  },
);

test("a folder of another user, and one that cannot be written, are refused before anything is put", async () => {
  const root = folder.at("refused");
  await chmod(folder.path, 0o755);
  await mkdir(root);
  await chmod(root, 0o500);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(root, 4321, 4321);
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const target = await local(root);
  try {
    if (isRoot) {
      await chmod(root, 0o777);
      process.setegid?.(65534);
      process.seteuid?.(65534);
    }
    await assert.rejects(
      target.probe({ signal }),
      isRoot ? { code: "target/unsuitable", message: /cannot be given to user 4321/ } : { code: "store/denied" },
    );
  } finally {
    if (isRoot) {
      process.seteuid?.(uid);
      process.setegid?.(gid);
    }
  }
  assert.deepEqual(await readdir(root), []);
});
