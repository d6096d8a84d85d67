/** The stage of uploaded files on a real storage: what lacks comes back, killed anywhere it goes on, and an undo leaves what was. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { silent } from "../../../src/base/progress.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { blobPath } from "../../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import { findInstallation } from "../../../src/installation/find.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import { filesStage } from "../../../src/job/stages/files-stage.ts";
import type { StageContext, StageOptions } from "../../../src/job/stages/stage.ts";
import type { KeptFiles } from "../../../src/job/stages/storage-moves.ts";
import { startS3, type TestS3 } from "../../harness/s3.ts";
import { type S3Proxy, startS3Proxy } from "../../harness/s3-proxy.ts";
import { makeCheapToOpen } from "../../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../../scenario/desk.ts";
import { savedPoints } from "../../scenario/saved-point.ts";
import { memoryRecord, PLAIN_OPTIONS } from "./stage-context.ts";

const { signal } = new AbortController();
const BUCKET = "acme";

let desk: Desk;
let s3: TestS3;
let proxy: S3Proxy;
let client: S3Client;
let reader: PointReader;
let environmentAtFirst: string;
let keys: string[];

before(async () => {
  [desk, s3] = await Promise.all([openDesk({ size: { messages: 60, conversations: 12, files: 24 } }), startS3()]);
  proxy = await startS3Proxy(s3.endpoint);
  await s3.createBucket(BUCKET);
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  client = new S3Client({ endpoint: s3.endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  const { repository } = await makeCheapToOpen(desk);
  await onDatabase(desk.installation.database, async (db) => {
    await db.query("update active_storage_blobs set created_at = now() - interval '1 day'");
  });
  await desk.summary(["backup"]);
  const [point] = await savedPoints(repository);
  assert.ok(point);
  await point.repository.loadIndex({ signal });
  reader = point;
  keys = (await rows(live())).map(({ key }) => key);
  environmentAtFirst = await readFile(desk.installation.envFile, "utf8");
});
after(async () => {
  client.destroy();
  await proxy[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

const live = () => desk.installation.database;
const fresh = () => ({ ...live(), database: `${live().database}_restoring` });

async function rows(address: typeof desk.installation.database): Promise<{ key: string; service: string }[]> {
  return await onDatabase(address, async (db) => {
    const answer = await db.query<{ key: string; service: string }>(
      "select key, service_name as service from active_storage_blobs order by key",
    );
    return answer.rows;
  });
}

/** The database that the stage before has loaded. */
async function makeFresh(): Promise<void> {
  await dropFresh();
  await desk.server.query(`create database "${fresh().database}" template "${live().database}"`);
}

async function dropFresh(): Promise<void> {
  await desk.server.query(`drop database if exists "${fresh().database}" with (force)`);
}

class Killed extends Error {}

interface Calling {
  options?: Partial<StageOptions>;
  hasDatabase?: boolean;
  /** Dies when so many files are done. */
  killAt?: number;
}

/** The place gets a second service. */
async function giveBucket(): Promise<void> {
  const settings = `STORAGE_ACCESS_KEY_ID=S3RVER\nSTORAGE_SECRET_ACCESS_KEY=S3RVER\nSTORAGE_BUCKET_NAME=${BUCKET}\nSTORAGE_ENDPOINT=${proxy.endpoint}\nSTORAGE_FORCE_PATH_STYLE=true`;
  await writeFile(desk.installation.envFile, `${environmentAtFirst}\n${settings}\n`);
}

let folders = 0;
/** By the text of its environment. */
const installations = new Map<string, Installation>();

async function find(text: string): Promise<Installation> {
  const { installation } = await findInstallation({ root: desk.installation.codeRoot }, { signal, env: {} });
  installations.set(text, installation);
  return installation;
}

async function newFolder(): Promise<string> {
  folders += 1;
  const folder = join(desk.root, `restore-${folders}`);
  await mkdir(folder);
  return folder;
}

async function contextIn(
  folder: string,
  { options = {}, hasDatabase = true, killAt }: Calling = {},
): Promise<StageContext> {
  const text = await readFile(desk.installation.envFile, "utf8");
  const installation = installations.get(text) ?? (await find(text));
  let done = 0;
  const progress = {
    ...silent,
    advance: () => {
      done += 1;
      if (done === killAt) throw new Killed();
    },
  };
  return {
    reader,
    manifest: await reader.manifest(),
    saved: undefined,
    options: { ...PLAIN_OPTIONS, ...options },
    place: { installation, address: live() },
    folder,
    fresh: hasDatabase ? fresh() : undefined,
    redact: (value) => value,
    clock: systemClock,
    progress,
    signal,
  };
}

/** Every file and folder below the storage, with what it holds, whose it is and what may be done with it. */
async function storage(): Promise<Map<string, string>> {
  const root = desk.installation.storageRoot;
  const files = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const { uid, gid, mode, mtimeMs } = await stat(path);
    const bytes = entry.isFile()
      ? createHash("md5")
          .update(await readFile(path))
          .digest("hex")
      : "";
    files.set(path, [bytes, uid, gid, mode, entry.isFile() ? Math.round(mtimeMs / 1000) : ""].join(" "));
  }
  return files;
}

function pathOf(key: string | undefined): string {
  return blobPath(desk.installation.storageRoot, key ?? "");
}

function contents(files: Map<string, string>): Map<string, string | undefined> {
  return new Map([...files].map(([path, facts]) => [path, facts.split(" ")[0]]));
}

async function bucket(): Promise<Map<string, string>> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET }));
  const objects = new Map<string, string>();
  for (const { Key = "" } of Contents) {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
    objects.set(
      Key,
      createHash("md5")
        .update((await Body?.transformToByteArray()) ?? "")
        .digest("hex"),
    );
  }
  return objects;
}

/** As if other files had been uploaded in the place of these: the database in force does not list them any more. */
async function unlist(wanted: readonly string[]): Promise<void> {
  await onDatabase(live(), async (db) => {
    await db.query("update active_storage_blobs set key = 'x' || key where key = any($1)", [wanted]);
  });
}

async function listAgain(): Promise<void> {
  await onDatabase(live(), async (db) => {
    await db.query("update active_storage_blobs set key = substr(key, 2) where key like 'x%' and length(key) = 29");
  });
}

test("files that are gone come back, a wrong one is put aside, and an undo leaves what was; killed anywhere too", async () => {
  const whole = await storage();
  for (const key of keys.slice(0, 9)) await rm(pathOf(key));
  // Folders of two files are gone as well.
  for (const key of keys.slice(0, 2)) await rm(join(pathOf(key), "../.."), { recursive: true });
  await writeFile(pathOf(keys[10]), "cut short", { mode: 0o600 });
  await utimes(pathOf(keys[10]), 1_700_000_000, 1_700_000_000);
  const damaged = await storage();
  await makeFresh();
  await unlist([...keys.slice(0, 9), keys[10] ?? ""]);
  for (const killAt of [1, 18, undefined]) {
    const folder = await newFolder();
    const record = memoryRecord<KeptFiles>();
    if (killAt !== undefined) {
      await assert.rejects(filesStage.apply(await contextIn(folder, { killAt }), record), Killed);
      // Begun, and undone without having been finished.
      await filesStage.undo(await contextIn(folder), record);
      assert.deepEqual(await storage(), damaged, `killed at ${killAt} and undone`);
      await assert.rejects(filesStage.apply(await contextIn(folder, { killAt }), record), Killed);
    }
    const { lines, findings } = await filesStage.apply(await contextIn(folder), record);
    assert.deepEqual(contents(await storage()), contents(whole), `killed at ${killAt}`);
    assert.deepEqual(findings, []);
    if (killAt === undefined)
      assert.match(
        lines.join("\n"),
        /^10 uploaded files .*put into folder .*; 1 file that was not what the database says put aside$/,
      );
    assert.deepEqual(await filesStage.planUndo?.(await contextIn(folder), record), { blockers: [], findings: [] });
    await filesStage.undo(await contextIn(folder), record);
    await filesStage.undo(await contextIn(folder), record);
    assert.deepEqual(await storage(), damaged, `killed at ${killAt}, finished and undone`);
  }
  await listAgain();
  await filesStage.apply(await contextIn(await newFolder()), memoryRecord());
  await dropFresh();
});

test("an undo takes out no file that the database in force lists, nor a right one for a wrong one", async () => {
  const whole = contents(await storage());
  const [listed = "", unlisted = "", cut = "", wanted = ""] = keys;
  for (const key of [listed, unlisted]) await rm(pathOf(key));
  for (const key of [cut, wanted]) await writeFile(pathOf(key), "cut short");
  await makeFresh();
  await unlist([unlisted]);
  // What is there is what this row says.
  const bytesOf = async (key: string, bytes: string) =>
    await onDatabase(live(), async (db) => {
      await db.query(`update active_storage_blobs set byte_size = ${bytes} where key = $1`, [key]);
    });
  const [size = 0] = await onDatabase(live(), async (db) => {
    const { rows: found } = await db.query<{ bytes: number }>(
      "select byte_size::int as bytes from active_storage_blobs where key = $1",
      [wanted],
    );
    return found.map(({ bytes }) => bytes);
  });
  await bytesOf(wanted, "9");
  const folder = await newFolder();
  const record = memoryRecord<KeptFiles>();
  await filesStage.apply(await contextIn(folder), record);
  assert.deepEqual(contents(await storage()), whole);
  const { lines, findings } = await filesStage.undo(await contextIn(folder), record);
  assert.deepEqual(findings, []);
  assert.match(
    lines.join("\n"),
    /^1 uploaded file taken out of folder .* again, 1 file that was there before put back, 2 files stay, for the database lists them$/,
  );
  const now = contents(await storage());
  assert.deepEqual(
    [now.get(pathOf(listed)), now.get(pathOf(cut))],
    [whole.get(pathOf(listed)), whole.get(pathOf(cut))],
  );
  assert.equal(now.has(pathOf(unlisted)), false);
  assert.equal(await readFile(pathOf(wanted), "utf8"), "cut short");
  // Where nobody can say what is listed nothing is taken out, and it is told.
  const nobody = { ...live(), database: "nobody" };
  await filesStage.apply(await contextIn(folder), record);
  const asked = await contextIn(folder);
  const told = await filesStage.undo({ ...asked, place: { ...asked.place, address: nobody } }, record);
  assert.deepEqual(contents(await storage()), whole);
  assert.deepEqual(
    told.findings.map(({ kind }) => kind),
    ["rollback-left"],
  );
  // What was put aside is gone: nobody is told that it is back.
  await rm(join(folder, "aside"), { recursive: true });
  const lost = await filesStage.undo(await contextIn(folder), record);
  assert.match(lost.findings[0]?.message ?? "", /is no longer put aside in/);
  await bytesOf(wanted, String(size));
  await listAgain();
  await filesStage.apply(await contextIn(await newFolder()), memoryRecord());
  assert.deepEqual(contents(await storage()), whole);
  await dropFresh();
});

test("files go to a bucket, the restored database says so, and an undo empties the bucket; killed in the middle it goes on", async () => {
  const others = new Map(
    ["somebodys", keys[3] ?? ""].map((key) => [key, createHash("md5").update("else").digest("hex")]),
  );
  const asItWas = { Bucket: BUCKET, Key: keys[3], ContentType: "image/x-cut" };
  await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: "somebodys", Body: "else" }));
  await client.send(new PutObjectCommand({ ...asItWas, Body: "else" }));
  await giveBucket();
  await makeFresh();
  const before = await storage();
  const folder = await newFolder();
  const options = { storage: "s3_compatible" };
  const record = memoryRecord<KeptFiles>();
  const { lines, blockers } = await filesStage.plan(await contextIn(folder, { options }));
  assert.deepEqual(blockers, []);
  assert.match(
    lines.join("\n"),
    /^24 uploaded files .* into the bucket 'acme'; 0 are there .*; every row of 'local' says 's3_compatible' then/,
  );
  assert.deepEqual(await bucket(), others, "a plan leaves nothing behind");
  await assert.rejects(filesStage.apply(await contextIn(folder, { options, killAt: 8 }), record), Killed);
  assert.deepEqual(new Set((await rows(fresh())).map(({ service }) => service)), new Set(["local"]));
  proxy.requests.length = 0;
  await filesStage.apply(await contextIn(folder, { options }), record);
  const puts = proxy.requests.filter(({ method }) => method === "PUT");
  assert.ok(puts.length < 24, "what was put before the kill is not put again");
  assert.ok(!proxy.requests.some(({ method }) => method === "HEAD"), "a bucket is listed, not asked for each");
  const moved = await bucket();
  for (const key of keys) {
    const bytes = await readFile(pathOf(key));
    assert.equal(moved.get(key), createHash("md5").update(bytes).digest("hex"), key);
  }
  assert.deepEqual(new Set((await rows(fresh())).map(({ service }) => service)), new Set(["s3_compatible"]));
  assert.deepEqual(new Set((await rows(live())).map(({ service }) => service)), new Set(["local"]));
  // One that refuses is seen before, keeps nobody waiting, and is tried again when what was put aside is dropped.
  proxy.fault = ({ method }) =>
    method === "DELETE" || method === "PUT"
      ? { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" }
      : undefined;
  const planned = await filesStage.planUndo?.(await contextIn(folder, { options }), record);
  assert.deepEqual([planned?.blockers, planned?.findings.map(({ kind }) => kind)], [[], ["rollback-left"]]);
  assert.match(
    planned?.findings[0]?.message ?? "",
    /24 uploaded files of the restore would stay in storage 's3_compatible'/,
  );
  const refused = await filesStage.undo(await contextIn(folder, { options }), record);
  assert.match(refused.findings[0]?.message ?? "", /24 uploaded files of the restore stay in bucket 'acme'/);
  assert.equal((await bucket()).size, moved.size);
  await assert.rejects(async () => await filesStage.planDiscard?.(await contextIn(folder, { options }), record), {
    message: /still cannot be taken out/,
  });
  proxy.fault = () => undefined;
  await filesStage.planDiscard?.(await contextIn(folder, { options }), record);
  await filesStage.discard?.(await contextIn(folder, { options }), record);
  assert.equal(record.kept?.isLeft, false);
  assert.deepEqual(await bucket(), others);
  const { ContentType } = await client.send(new HeadObjectCommand({ Bucket: BUCKET, Key: keys[3] }));
  assert.equal(ContentType, asItWas.ContentType, "what was put aside is back as it was");
  assert.deepEqual(await storage(), before);
  await dropFresh();
});

test("a row whose file could not be brought into the other service goes on naming the one that it named", async () => {
  await giveBucket();
  await makeFresh();
  const [, broken = ""] = keys;
  // What the point has of it is not what the database says.
  await onDatabase(fresh(), async (db) => {
    await db.query("update active_storage_blobs set checksum = 'AAAAAAAAAAAAAAAAAAAAAA==' where key = $1", [broken]);
  });
  const folder = await newFolder();
  const options = { storage: "s3_compatible" };
  const record = memoryRecord<KeptFiles>();
  const { lines, findings } = await filesStage.apply(await contextIn(folder, { options }), record);
  assert.match(lines.join("\n"), /23 uploaded files .*; of 1 file that did not come it goes on saying 'local'$/);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["files-not-restored"],
  );
  assert.equal((await bucket()).has(broken), false);
  const told = new Map((await rows(fresh())).map(({ key, service }) => [key, service]));
  assert.deepEqual(told, new Map(keys.map((key) => [key, key === broken ? "local" : "s3_compatible"])));
  await filesStage.undo(await contextIn(folder, { options }), record);
  await writeFile(desk.installation.envFile, environmentAtFirst);
  await dropFresh();
});

test("what would not work stands in the way before anything is begun", async () => {
  await giveBucket();
  const plan = async (calling: Calling) => await filesStage.plan(await contextIn(desk.root, calling));
  const blockersOf = async (calling: Calling) =>
    (await plan(calling)).blockers.map(({ kind, message, hint }) => `${kind}: ${message}. ${hint}`);
  await makeFresh();
  const [alone] = await blockersOf({ options: { storage: "s3_compatible" }, hasDatabase: false });
  assert.match(alone ?? "", /^storage-moves-alone: files of 'local' would go to 's3_compatible'/);
  const [lacking] = await blockersOf({ options: { storage: "google" } });
  assert.match(lacking ?? "", /^storage-not-writable: storage 'google' .*GCS_BUCKET.*--storage/);
  const [unknown] = await blockersOf({ options: { storage: "r2" } });
  assert.match(unknown ?? "", /^storage-service-unknown: Chatwoot has no storage service 'r2'/);
  proxy.fault = ({ method }) =>
    method === "PUT" ? { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } : undefined;
  const refused = await blockersOf({ options: { storage: "s3_compatible" } });
  proxy.fault = () => undefined;
  assert.equal(refused.length, 1);
  assert.match(refused[0] ?? "", /^storage-not-writable: .*STORAGE_ACCESS_KEY_ID.*docs\/storage\.md/);
  await writeFile(desk.installation.envFile, environmentAtFirst);
  await dropFresh();
});

test("--missing puts back what the live database lists and is not there, and a rollback leaves it, for it is listed", async () => {
  const whole = await storage();
  const [first, second, third] = keys;
  for (const key of [first, second]) await rm(pathOf(key));
  // Neither in the point, nor there: a row of later.
  await onDatabase(live(), async (db) => {
    await db.query(
      `insert into active_storage_blobs (key, filename, byte_size, checksum, service_name, created_at)
       values ('zzlater', 'later.png', 5, 'aaaaaaaaaaaaaaaaaaaaaa==', 'local', now() - interval '1 day'),
              ('zzcoming', 'coming.png', 5, 'aaaaaaaaaaaaaaaaaaaaaa==', 'local', now() at time zone 'UTC')`,
    );
    // What was uploaded a minute ago, and is in the point.
    await db.query("update active_storage_blobs set created_at = now() at time zone 'UTC' where key = $1", [second]);
  });
  const bytes = await readFile(pathOf(third));
  await writeFile(pathOf(third), "cut short");
  const emptied = await storage();
  const args = ["restore", "latest", "--only", "storage", "--missing", "--yes"];
  const summary = await desk.summary(args, 3);
  const findings = (summary["findings"] as { kind: string; message: string; hint: string }[]).map(
    ({ kind, message }) => `${kind}: ${message}`,
  );
  assert.ok(
    findings.some((text) =>
      text.startsWith("files-not-saved: 1 uploaded file is neither there nor in the restore point: later.png"),
    ),
    findings.join("; "),
  );
  assert.ok(
    findings.some((text) => text.startsWith("files-left-wrong: 1 uploaded file is there with another length")),
    findings.join("; "),
  );
  const now = contents(await storage());
  for (const key of [first, second]) assert.equal(now.get(pathOf(key)), contents(whole).get(pathOf(key)));
  assert.equal(await readFile(pathOf(third), "utf8"), "cut short", "what is there is not touched");
  await desk.summary(["rollback", "--yes"]);
  assert.deepEqual(
    contents(await storage()),
    new Map([...contents(whole), [pathOf(third), contents(emptied).get(pathOf(third))]]),
  );
  await writeFile(pathOf(third), bytes);
  await onDatabase(live(), async (db) => await db.query("delete from active_storage_blobs where key like 'zz%'"));
});
