/** The server fails over in the middle of a backup: it ends loudly with nothing half, and the next one goes on from there. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type FailingDesk, LOST, openFailingDesk } from "./failing-desk.ts";
import { assertRefused } from "./refusal.ts";

let desk: FailingDesk;

before(async () => {
  desk = await openFailingDesk();
});
after(async () => await desk[Symbol.asyncDispose]());

test("a backup fails loudly and leaves no point; the next one uses what it stored, and reads every row after a restart", async () => {
  const live = desk.live;
  const failed = await desk.onServer(async (client) => {
    // The backup waits for this table: all files are stored by then.
    await client.query("begin; lock table messages in access exclusive mode");
    return await desk.failOverWhile(["backup"], "select from pg_locks where not granted and mode = 'AccessShareLock'");
  }, live);
  assertRefused(failed, LOST);
  assert.deepEqual(await desk.filesOf("snapshots"), []);
  const stored = await desk.filesOf("data");
  assert.notEqual(stored.length, 0);
  const first = await desk.summary("backup");
  assert.equal((await desk.summary("verify", "--read-data"))["errors"], 0);
  const bytes = (first["storage"] as { bytes: number }).bytes;
  assert.ok((first["added"] as { bytes: number }).bytes < bytes, "the uploaded files were stored a second time");
  await desk.failOver();
  const next = await desk.chatkeep("backup");
  assert.equal(next.status, 0, next.stderr);
  assert.match(next.stderr, /reading every row: the server was restarted/);
});
