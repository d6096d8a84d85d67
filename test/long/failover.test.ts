/** The server fails over in the middle of a restore or a drill: it ends loudly with nothing half, and the next one goes on from there. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type FailingDesk, LOST, openFailingDesk } from "../scenario/failing-desk.ts";
import { assertRefused } from "../scenario/refusal.ts";

let desk: FailingDesk;

before(async () => {
  desk = await openFailingDesk();
  await desk.summary("backup");
});
after(async () => await desk[Symbol.asyncDispose]());

test("a restore into the live place fails loudly and touches nothing; the next one removes what it left", async () => {
  const live = desk.live;
  const query = "select from pg_stat_activity where datname ~ '_restoring_' and query ~* '^copy'";
  assertRefused(await desk.failOverWhile(["restore", "latest", "--only", "database", "--yes"], query), LOST);
  const { rows } = await desk.onServer(async (client) => await client.query("select from messages limit 1"), live);
  assert.equal(rows.length, 1);
  await desk.summary("restore", "latest", "--only", "database", "--yes");
  const left = (await desk.databases()).filter((name) => name !== live);
  assert.equal(left.length, 1, left.join(", "));
  assert.match(left[0] ?? "", /_before_/);
});

test("a drill on the server fails loudly and proves nothing, neither way; the next one removes what it left", async () => {
  // By pg_restore, whose words for it are others.
  const query =
    "select from pg_stat_activity where datname ~ '^chatkeep_drill_' and query ~* 'create (table|function)'";
  const drills = ["drill", "latest", "--in-place-server"];
  const before = await desk.filesOf("snapshots");
  assertRefused(await desk.failOverWhile(drills, query), LOST);
  assert.deepEqual(await desk.filesOf("snapshots"), before, "a proof was written");
  assert.equal((await desk.summary(...drills))["proven"], true);
  assert.deepEqual(
    (await desk.databases()).filter((name) => name.startsWith("chatkeep_drill_")),
    [],
  );
});
