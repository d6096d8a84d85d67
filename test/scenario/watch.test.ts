/**
 * A support desk is watched while somebody commits numbered rows. Its watch is killed and another goes on; then its server is killed and
 * its data are gone. What comes back is what an account that was kept outside says: everything acknowledged by then, nothing half, and at
 * earlier moments exactly what was there.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { ListSummary } from "../../src/job/summaries.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { assertAsOf, lastIn, startAccount } from "../harness/account.ts";
import { VARIED_SETTINGS } from "../harness/account-varied.ts";
import { FLUSH, startPostgres } from "../harness/postgres.ts";
import { readFolder } from "../harness/tree.ts";
import { isReady, openWatchedDesk, purgeBeforeCopy, startWatch } from "./watched-desk.ts";

/** What was acknowledged longer before the end than the time to flush and this is safe. */
const SLACK_MS = 2_000;

test("a desk that dies comes back as it was seconds before, and as it was while its watch was dead, with its files", async () => {
  const size = { messages: 60, conversations: 10, files: 6 };
  await using desk = await openWatchedDesk({ size, server: { settings: VARIED_SETTINGS } });
  const args = ["--mode", "stream", "--flush-every", "1s"];
  await using first = startWatch(desk, args);
  await first.until("a base and a point are there", isReady);
  const { database, storageRoot } = desk.installation;
  const account = await startAccount(database, { isVaried: true });
  await sleep(500);
  const file = await onDatabase(database, async (client) => {
    return await attachFile(client, seededRandom("a watched desk"), storageRoot);
  });
  // Whether those of before are among them depends on which comes first, a look or the first point.
  await first.until("files are followed", ({ repositories }) => (repositories[0]?.files ?? 0) > 0);
  // A look that sees this one's row has kept the one before.
  await purgeBeforeCopy(desk, first);
  const list = async () => (await desk.summary(["list"])) as unknown as ListSummary;
  // It is made beside the base, and may take longer.
  while ((await list()).points.length === 0) await sleep(100);
  await first.kill();
  const middleMs = Date.now();
  await desk.server.query(FLUSH);
  const [row] = await desk.server.query("select pg_current_wal_flush_lsn()::text as lsn");
  const missed = parseLsn(String(row?.["lsn"]));
  await using watching = startWatch(desk, args);
  await watching.until("another goes on", ({ log }) => log !== null && parseLsn(log.durable) >= missed);
  await sleep(1_000);
  const killedMs = Date.now();
  process.kill(desk.server.pid, "SIGKILL");
  await account.stop();
  await watching.until("the loss of the server is an alarm", ({ findings }) => {
    return findings.some(({ kind }) => kind === "log-not-received");
  });
  await watching.kill();
  await desk.server.stop();
  const [window] = (await list()).windows;
  assert.deepEqual([window?.ranges.length, window?.gaps], [1, []]);

  await using other = await startPostgres();
  const back = async (moment: string, name: string) => {
    const target = await other.createDatabase(name);
    const url = `postgres://postgres@127.0.0.1:${other.address.port}/${name}`;
    const args = ["restore", moment, "--yes", "--database-url", url, "--to", `${desk.root}/${name}`];
    const result = await desk.chatkeep([...args, "--only", "database,storage"]);
    assert.equal(result.status, 0, result.stderr);
    return target;
  };
  const now = await lastIn(await back("now", "newest"));
  const safe = account.entries.filter(({ acknowledgedMs = Infinity }) => acknowledgedMs < killedMs - 1_000 - SLACK_MS);
  assert.ok(safe.length > 0 && now >= safe.length, `${now} of ${safe.length} that were safe`);
  assert.ok(now <= account.entries.length);
  const middle = await lastIn(await back(new Date(middleMs).toISOString(), "middle"));
  assertAsOf(account.entries, middle, { atMs: middleMs, what: "in the middle" });
  const sum = `file ${createHash("sha256").update(file.content).digest("hex")}`;
  const there = Object.values(await readFolder(`${desk.root}/middle`));
  assert.ok(there.includes(sum), "the file that was uploaded meanwhile is there");
});
