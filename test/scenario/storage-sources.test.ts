/** A Chatwoot whose files lie in a folder, in buckets of three kinds, or on their way from one to another. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { startS3, type TestS3 } from "../harness/s3.ts";
import { startS3Proxy, type S3Proxy } from "../harness/s3-proxy.ts";
import { type Desk, openDesk } from "./desk.ts";

let s3: TestS3;
let gs: TestGs;
let proxy: S3Proxy;
let desk: Desk;
let client: S3Client;

interface Blob {
  id: string;
  key: string;
  service: string;
  bytes: Buffer;
}

const BUCKETS: Record<string, string> = { amazon: "acme-amazon", s3_compatible: "acme-compatible" };
/** All files that there are, by key. */
const files = new Map<string, Buffer>();

before(async () => {
  [s3, gs, desk] = await Promise.all([
    startS3(),
    startGs(),
    openDesk({ hasServerForDrills: true, size: { messages: 120, conversations: 12, files: 32 } }),
  ]);
  proxy = await startS3Proxy(s3.endpoint);
  for (const bucket of Object.values(BUCKETS)) await s3.createBucket(bucket);
  gs.buckets.set("acme-google", new Map());
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  client = new S3Client({ endpoint: s3.endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  await appendFile(
    desk.installation.envFile,
    [
      "",
      "AWS_ACCESS_KEY_ID=S3RVER",
      "AWS_SECRET_ACCESS_KEY=S3RVER",
      "S3_BUCKET_NAME=acme-amazon",
      "STORAGE_ACCESS_KEY_ID=S3RVER",
      "STORAGE_SECRET_ACCESS_KEY=S3RVER",
      "STORAGE_BUCKET_NAME=acme-compatible",
      `STORAGE_ENDPOINT=${proxy.endpoint}`,
      "STORAGE_FORCE_PATH_STYLE=true",
      "GCS_BUCKET=acme-google",
      `GCS_CREDENTIALS='{"type": "service_account"}'`,
      `STORAGE_EMULATOR_HOST=${gs.endpoint}`,
      "",
    ].join("\n"),
  );
  await appendFile(desk.config, `\nstorage:\n  amazon: { endpoint: ${proxy.endpoint}, limit-download: 1000000 }\n`);
  for (const { key, bytes } of await blobs()) files.set(key, bytes);
});

after(async () => {
  client.destroy();
  await desk[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
  await gs[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});

async function blobs(): Promise<Blob[]> {
  return await onDatabase(desk.installation.database, async (db) => {
    const { rows } = await db.query<{ id: string; key: string; service: string }>(
      "select id::text, key, service_name as service from active_storage_blobs order by active_storage_blobs.id",
    );
    return rows.map((row) => ({
      ...row,
      bytes: files.get(row.key) ?? readFileSync(blobPath(desk.installation.storageRoot, row.key)),
    }));
  });
}

async function upload(service: string, { key, bytes }: Pick<Blob, "key" | "bytes">): Promise<void> {
  if (service === "google") gs.buckets.get("acme-google")?.set(key, bytes);
  else await client.send(new PutObjectCommand({ Bucket: BUCKETS[service], Key: key, Body: bytes }));
}

/** As an operator moves them: copies, tells the rows, removes the originals. */
async function move(from: string, to: string, which: (blob: Blob) => boolean): Promise<number> {
  const moved = (await blobs()).filter((blob) => blob.service === from && which(blob));
  for (const blob of moved) await upload(to, blob);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("update active_storage_blobs set service_name = $1 where id = any($2::bigint[])", [
      to,
      moved.map(({ id }) => id),
    ]);
  });
  if (from === "local") for (const { key } of moved) rmSync(blobPath(desk.installation.storageRoot, key));
  return moved.length;
}

function kinds(summary: Record<string, unknown>): string[] {
  return (summary["findings"] as { kind: string }[]).map(({ kind }) => kind);
}

function copied(summary: Record<string, unknown>): number {
  return (summary["storage"] as { copied: number }).copied;
}

async function assertRestores(to: string): Promise<void> {
  await desk.summary(["restore", "latest", "--only", "storage", "--to", join(desk.root, to), "--yes"]);
  for (const { key, service, bytes } of await blobs()) {
    const path =
      service === "local"
        ? blobPath(join(desk.root, to, "storage"), key)
        : join(desk.root, to, "storage", service, key);
    assert.deepEqual(readFileSync(path), bytes, `${service} ${key}`);
  }
}

test("files of a folder and of three services at once are saved, restored to the byte, and proven", async () => {
  await move("local", "s3_compatible", ({ id }) => Number(id) % 4 === 1);
  await move("local", "amazon", ({ id }) => Number(id) % 4 === 2);
  await move("local", "google", ({ id }) => Number(id) % 4 === 3);
  const all = await blobs();
  assert.deepEqual(new Set(all.map(({ service }) => service)), new Set(["local", "s3_compatible", "amazon", "google"]));
  const summary = await desk.summary(["backup"]);
  assert.equal(copied(summary), all.length);
  await assertRestores("mixed");
  await desk.summary(["drill"]);
  assert.deepEqual((await desk.summary(["scrub", "--all"]))["problems"], []);
});

test("where no file is new, no service is asked for anything", async () => {
  const [asked, atGoogle] = [proxy.requests.length, gs.requests];
  assert.equal(copied(await desk.summary(["backup"])), 0);
  assert.deepEqual([proxy.requests.length, gs.requests], [asked, atGoogle]);
});

test("files that were moved to another service cost one look each, and are not fetched", async () => {
  proxy.requests.length = 0;
  const moved = await move("local", "amazon", () => true);
  assert.ok(moved > 3);
  const summary = await desk.summary(["backup"]);
  assert.equal(copied(summary), 0);
  const ofObjects = proxy.requests.filter(({ path }) => (path.split("/")[2] ?? "") !== "");
  assert.equal(ofObjects.length, moved);
  assert.ok(ofObjects.every(({ method }) => method === "HEAD"));
});

test("doctor looks at each service, at a few of its files, and at what the bucket says of itself", async () => {
  const { findings, facts } = (await desk.summary(["doctor"], 3)) as unknown as {
    findings: { kind: string; message: string }[];
    facts: { name: string; value: string }[];
  };
  const about = (kind: string) => findings.filter((finding) => finding.kind === kind).map(({ message }) => message);
  // s3rver answers everybody.
  assert.equal(about("bucket-public").length, 2, JSON.stringify(findings));
  assert.equal(about("bucket-protection").length, 3);
  assert.deepEqual([...about("storage-files-lost"), ...about("storage-not-read")], []);
  assert.ok(
    facts.some(({ name }) => name === "bucket of 'google'"),
    JSON.stringify(facts),
  );
});

test("a moved file that is not at its new service is told as missing, and the copy that was right is kept", async () => {
  const [gone] = (await blobs()).filter(({ service }) => service === "google");
  assert.ok(gone);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("update active_storage_blobs set service_name = 'amazon' where id = $1", [gone.id]);
  });
  const summary = await desk.summary(["backup"], 3);
  assert.ok(kinds(summary).includes("blobs-missing"), JSON.stringify(summary["findings"]));
  await assertRestores("kept");
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("update active_storage_blobs set service_name = 'google' where id = $1", [gone.id]);
  });
});

test("a service that throttles is waited for: the backup is whole, and nobody is alarmed", async () => {
  const bytes = Buffer.from("a picture");
  await upload("amazon", { key: "throttled", bytes });
  await onDatabase(desk.installation.database, async (db) => {
    await db.query(
      `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
       values ('throttled', 'new.png', $1, $2, 'amazon', now() - interval '1 day')`,
      [bytes.length, createHash("md5").update(bytes).digest("base64")],
    );
  });
  let refused = 0;
  proxy.fault = ({ method }) => {
    if (method !== "GET" || refused === 2) return undefined;
    refused += 1;
    return {
      status: 503,
      body: "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    };
  };
  const summary = await desk.summary(["backup"]);
  proxy.fault = () => undefined;
  assert.deepEqual([refused, copied(summary), (summary["storage"] as { missing: number }).missing], [2, 1, 0]);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("delete from active_storage_blobs where key = 'throttled'");
  });
});

test("variables that are empty, a bucket that is gone and a service that nobody defines are one alarm each", async () => {
  const env = await readFile(desk.installation.envFile, "utf8");
  const broken = env
    .replace("STORAGE_SECRET_ACCESS_KEY=S3RVER", "STORAGE_SECRET_ACCESS_KEY=")
    .replace("S3_BUCKET_NAME=acme-amazon", "S3_BUCKET_NAME=nowhere");
  await writeFile(desk.installation.envFile, broken);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query(
      `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
       select service || n, 'new.png', 3, 'aaaaaaaaaaaaaaaaaaaaaa==', service, now() - interval '1 day'
       from generate_series(1, 3) n, unnest(array['s3_compatible', 'amazon', 'r2']) service`,
    );
  });
  const { findings } = (await desk.summary(["backup"], 3)) as unknown as {
    findings: { kind: string; subject: string; message: string; hint: string }[];
  };
  const told = findings.filter(({ kind }) => kind.startsWith("storage-") || kind.startsWith("blobs-"));
  assert.equal(told.length, 3, JSON.stringify(told));
  const of = (service: string) => {
    const found = told.find(({ subject }) => subject === service);
    return `${found?.kind}: ${found?.message} ${found?.hint}`;
  };
  assert.match(of("s3_compatible"), /storage-not-read: 3 uploaded files .*STORAGE_SECRET_ACCESS_KEY is empty/);
  assert.match(of("amazon"), /storage-not-read: 3 uploaded files .*no bucket 'nowhere'.*S3_BUCKET_NAME/);
  assert.match(of("r2"), /storage-service-unknown: 3 uploaded files of storage 'r2' are not saved/);
  await writeFile(desk.installation.envFile, env);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("delete from active_storage_blobs where filename = 'new.png'");
  });
});
