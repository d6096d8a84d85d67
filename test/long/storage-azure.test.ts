/** Files in a container of Azure, on azurite: read, looked for, told of, and saved beside those of a folder. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { blobPath } from "../../src/chatwoot/blobs.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import type { AzureSpec, BlobSource } from "../../src/source/source.ts";
import { startAzure, type TestAzure } from "../harness/azure.ts";
import { openDesk } from "../scenario/desk.ts";
import { quick } from "../source/quick-clock.ts";
import { assertNotOfTwo, assertWholeFiles } from "../source/reading.ts";

const { signal } = new AbortController();
const CONTAINER = "acme";
const LARGE = randomBytes(2.5 * LIMITS.chunkMaxBytes);

let azure: TestAzure;
let account: string;
let key: string;

before(async () => {
  azure = await startAzure();
  const connection = azure.env["AZURE_STORAGE_CONNECTION_STRING"] ?? "";
  account = /AccountName=([^;]+)/.exec(connection)?.[1] ?? "";
  key = /AccountKey=([^;]+)/.exec(connection)?.[1] ?? "";
  await azure.client.createContainer(CONTAINER);
  await put("small", Buffer.from("hello"));
  await put("empty", Buffer.alloc(0));
  await put("large", LARGE);
});
after(async () => await azure[Symbol.asyncDispose]());

async function put(name: string, bytes: Buffer): Promise<void> {
  await azure.client.getContainerClient(CONTAINER).getBlockBlobClient(name).uploadData(bytes);
}

async function open(changes: Partial<AzureSpec> = {}): Promise<BlobSource> {
  const names = { credentials: "THE KEY", bucket: "THE CONTAINER", address: "THE ACCOUNT" };
  const spec: AzureSpec = {
    kind: "azure",
    service: "microsoft",
    bucket: CONTAINER,
    names,
    account,
    key,
    endpoint: azure.endpoint,
  };
  return await openSource({ ...spec, ...changes }, { clock: quick });
}

test("files come whole, whatever their length, and those that are not there are told so", async () => {
  await assertWholeFiles(await open(), LARGE);
});

test("a blob that is replaced while it is read is not put together of two", async () => {
  await assertNotOfTwo(await open(), LARGE, async (bytes) => await put("large", bytes));
});

test("a container that is not there and a key that is refused end the service, in Chatwoot's own words", async () => {
  const nowhere = await open({ bucket: "nowhere" });
  await assert.rejects(nowhere.probe({ signal }), { code: "store/not-found" });
  assert.match(nowhere.outage?.hint ?? "", /THE CONTAINER/);
  const nobody = await open({ key: Buffer.from("another key").toString("base64") });
  await assert.rejects(nobody.probe({ signal }), { code: "store/denied" });
  assert.match(nobody.outage?.hint ?? "", /THE KEY/);
  for (const source of [nowhere, nobody]) await source.close();
});

test("a container says who can read it, and how long deleted blobs are kept", async () => {
  await azure.client.setProperties({ deleteRetentionPolicy: { enabled: true, days: 9 } });
  const source = await open();
  const facts = await source.facts({ sample: "small", signal });
  assert.deepEqual([facts?.publicReads, facts?.publicLists, facts?.softDeleteDays], [false, false, 9]);
  assert.deepEqual(facts?.rights, []);
  await azure.client.getContainerClient(CONTAINER).setAccessPolicy("container");
  const open_ = await source.facts({ sample: "small", signal });
  assert.deepEqual([open_?.publicReads, open_?.publicLists], [true, true]);
  await source.close();
});

test("a Chatwoot whose files lie in a folder and in a container is saved, restored to the byte, and proven", async () => {
  await using desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 120, conversations: 12, files: 16 },
  });
  await appendFile(
    desk.installation.envFile,
    `\nAZURE_STORAGE_ACCOUNT_NAME=${account}\nAZURE_STORAGE_ACCESS_KEY=${key}\nAZURE_STORAGE_CONTAINER=${CONTAINER}\n`,
  );
  await appendFile(desk.config, `\nstorage:\n  microsoft: { endpoint: "${azure.endpoint}" }\n`);
  const rows = await onDatabase(desk.installation.database, async (client) => {
    await client.query("update active_storage_blobs set service_name = 'microsoft' where id % 2 = 0");
    const found = await client.query<{ key: string; service: string }>(
      "select key, service_name as service from active_storage_blobs",
    );
    return found.rows;
  });
  const files = new Map<string, Buffer>();
  for (const { key: name, service } of rows) {
    const path = blobPath(desk.installation.storageRoot, name);
    files.set(name, readFileSync(path));
    if (service === "local") continue;
    await put(name, readFileSync(path));
    rmSync(path);
  }
  await desk.summary(["backup"]);
  await desk.summary(["restore", "latest", "--only", "storage", "--to", join(desk.root, "restored"), "--yes"]);
  for (const { key: name, service } of rows) {
    const root = join(desk.root, "restored", "storage");
    const path = service === "local" ? blobPath(root, name) : join(root, service, name);
    assert.deepEqual(readFileSync(path), files.get(name), `${service} ${name}`);
  }
  assert.equal((await desk.summary(["drill"]))["proven"], true);
  assert.deepEqual((await desk.summary(["scrub", "--all"]))["problems"], []);
});
