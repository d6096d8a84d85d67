/** A restore in place beside a watch: it goes on with the log of what took the place, and rings nobody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { FLUSH } from "../harness/postgres.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";
import { isReady, openWatchedDesk, startWatch } from "../scenario/watched-desk.ts";

test("databases that are swapped end the watch's session, and nobody is told of it", async () => {
  await using desk = await openWatchedDesk({ size: { messages: 60, conversations: 12, files: 4 } });
  await makeCheapToOpen(desk);
  await using watching = startWatch(desk, ["--mode", "stream", "--flush-every", "1s"]);
  await watching.until("it is ready", isReady);
  await desk.summary(["backup"]);
  for (const args of [
    ["restore", "latest", "--only", "database", "--yes"],
    ["rollback", "--yes"],
  ]) {
    await desk.summary(args);
    // It asks its session every ten seconds, and learns then that it has ended.
    const asked = new Date(Date.now() + 2 * LIMITS.watchLookMs).toISOString();
    await watching.until("it has asked", ({ at }) => at > asked);
    await onDatabase(desk.installation, async (client) => await sendMessage(client, seededRandom(args.join(" "))));
    await desk.server.query(FLUSH);
    const [row] = await desk.server.query("select pg_current_wal_flush_lsn()::text as lsn");
    const to = parseLsn(String(row?.["lsn"]));
    const { findings } = await watching.until("it goes on", ({ log }) => log !== null && parseLsn(log.durable) >= to);
    assert.deepEqual(
      findings.filter(({ level }) => level === "alarm"),
      [],
    );
  }
  assert.doesNotMatch(watching.told(), /alarm|log is not received/);
  assert.equal(await watching.stop(), 130);
});
