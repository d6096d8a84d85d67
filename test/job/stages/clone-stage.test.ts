/** The stage that makes what was loaded a copy: nothing without being asked, the same after a kill, and undone to the file. */
import assert from "node:assert/strict";
import { appendFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { RENEWED_SECRETS } from "../../../src/chatwoot/clone-environment.ts";
import { findSignedBlobIds, signBlobId, verifySignedBlobId } from "../../../src/chatwoot/signed-id.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import { cloneStage, type CloneKept } from "../../../src/job/stages/clone-stage.ts";
import type { StageContext } from "../../../src/job/stages/stage.ts";
import { makeCheapToOpen } from "../../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../../scenario/desk.ts";
import { savedPoints } from "../../scenario/saved-point.ts";
import { contextFor, memoryRecord } from "./stage-context.ts";

let desk: Desk;
let reader: PointReader;
const FRESH = "fresh_copy";

before(async () => {
  desk = await openDesk({ size: { messages: 60, conversations: 12, files: 4 } });
  const { repository } = await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const [point] = await savedPoints(repository);
  assert.ok(point);
  await point.repository.loadIndex({ signal: new AbortController().signal });
  reader = point;
  await desk.server.query(`create database ${FRESH} template chatwoot_production`);
});
after(async () => await desk[Symbol.asyncDispose]());

async function contextOf(changes: Record<string, string>, anonymise: boolean): Promise<StageContext> {
  const environment = new Map([
    ...desk.installation.environment,
    ["FRONTEND_URL", "https://old.staging.example"] as const,
    ...RENEWED_SECRETS.map((name) => [name, `of-the-place-${name}`] as const),
    ...Object.entries(changes),
  ]);
  const storage = [{ serviceName: "local", kind: "local", roots: [desk.installation.storageRoot] }];
  const installation = { environment, storage } as unknown as Installation;
  const clone = { frontendUrl: "https://staging.example.com", anonymise };
  const context = await contextFor(reader, installation, { folder: join(desk.root, "restoring"), options: { clone } });
  return { ...context, fresh: { ...desk.server.address, database: FRESH } };
}

async function files(): Promise<string[]> {
  const entries = await readdir(desk.installation.storageRoot, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .toSorted();
}

test("without being asked for a copy there is nothing to do", async () => {
  const context = await contextOf({}, false);
  const plan = await cloneStage.plan({ ...context, options: { ...context.options, clone: undefined } });
  assert.deepEqual(plan, { lines: [], blockers: [], findings: [] });
});

async function blockersOf(context: StageContext): Promise<string[]> {
  return (await cloneStage.plan(context)).blockers.map(({ kind }) => kind);
}

test("a place that is what is copied, or has no folder for the files of nobody, stands in the way", async () => {
  assert.deepEqual(await blockersOf(await contextOf({}, true)), []);
  assert.deepEqual(await blockersOf(await contextOf({ FRONTEND_URL: "https://support.acme.example" }, false)), [
    "clone-shares",
  ]);
  const { environment } = desk.installation;
  const key = { SECRET_KEY_BASE: environment.get("SECRET_KEY_BASE") ?? "" };
  assert.deepEqual(await blockersOf(await contextOf(key, false)), ["clone-shares"]);
  assert.deepEqual(await blockersOf(await contextOf({ SECRET_KEY_BASE: "" }, false)), ["clone-no-key"]);
  assert.deepEqual(await blockersOf(await contextOf({ ACTIVE_STORAGE_SERVICE: "amazon" }, true)), ["clone-no-folder"]);
});

test("the database beside the live one reaches nobody, and an anonymised one's files are taken away by an undo", async () => {
  const { environment } = desk.installation;
  const signed = signBlobId(1, environment.get("SECRET_KEY_BASE") ?? "");
  const url = `${environment.get("FRONTEND_URL") ?? ""}/rails/active_storage/blobs/redirect/${signed}/a.png`;
  await desk.server.query(`update messages set content = '${url}' where id = 1`, FRESH);
  const was = await files();
  const record = memoryRecord<CloneKept>();
  await cloneStage.apply(await contextOf({}, false), record);
  assert.deepEqual(await desk.server.query("select count(*)::int as count from webhooks", FRESH), [{ count: 0 }]);
  assert.notDeepEqual(await desk.server.query("select count(*)::int as count from webhooks", "chatwoot_production"), [
    { count: 0 },
  ]);

  const [message] = await desk.server.query("select content from messages where id = 1", FRESH);
  const [link] = findSignedBlobIds(String(message?.["content"]));
  assert.ok(link !== undefined && verifySignedBlobId(link.token, "of-the-place-SECRET_KEY_BASE"));
  assert.match(String(message?.["content"]), /^https:\/\/staging\.example\.com\/rails/);

  const context = await contextOf({}, true);
  const first = await cloneStage.apply(context, record);
  assert.match(first.next?.[0] ?? "", /^sign in as /);
  const between = await files();
  // As after a kill behind the last file: what was written is replaced, and nothing stays twice.
  await cloneStage.apply(context, record);
  const written = await files();
  assert.equal(written.length, between.length);
  const rows = await desk.server.query("select key from active_storage_blobs", FRESH);
  assert.ok(rows.length >= 4 && rows.every(({ key }) => written.includes(String(key))));
  // A power cut has cut the last line: what it would tell of was not written, and what it seems to name is left alone.
  await appendFile(join(context.folder, "clone-files.jsonl"), '{"path":"/');
  await cloneStage.undo(context, record);
  assert.deepEqual(await files(), was);
});
