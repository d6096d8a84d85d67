/** A server whose log may not be had: `watch` says why, makes restore points instead, and follows uploaded files all the same. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { listPoints } from "../../src/job/points.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { followedIn } from "../harness/followed.ts";
import { openWatchedDesk, purgeBeforeCopy, readWatchStatus, startWatch } from "./watched-desk.ts";

const PATIENCE_MS = 120_000;
const { signal } = new AbortController();

test("a role that may not replicate, and a server that lets nobody replicate, get restore points, and are told what would change it", async () => {
  await using desk = await openWatchedDesk({ size: { messages: 60, conversations: 10, files: 6 } });
  const { database, storageRoot } = desk.installation;
  const [hba] = await desk.server.query("show hba_file");
  const file = String(hba?.["hba_file"]);
  const lines = await readFile(file, "utf8");
  await writeFile(file, lines.replaceAll(/^(local|host)\s+replication.*$/gm, ""));
  await desk.server.query(`alter role "${database.user}" nosuperuser noreplication; select pg_reload_conf()`);

  await using watching = startWatch(desk, ["--mode", "auto", "--interval", "1m"]);
  const status = await watching.until(
    "a point is made",
    ({ points }) => points?.last !== undefined && points?.last !== null,
  );
  assert.equal(status.mode, "interval");
  assert.match(status.why ?? "", /does not let '\w+' replicate from 127\.0\.0\.1/);
  assert.equal(status.log, null);
  assert.match(watching.told(), /what would change that: host replication /);
  const { content } = await onDatabase(database, async (client) => {
    return await attachFile(client, seededRandom("watched by points"), storageRoot);
  });
  const password = (await readFile(desk.passwordFile, "utf8")).trim();
  const repository = await openRepository(openLocalStore(desk.repository), { password, signal });
  const { points } = await listPoints(repository, { signal });
  assert.ok(points.length > 0);
  const id = points[0]?.installationId ?? "";
  const sum = createHash("sha256").update(content).digest("hex");
  for (const end = performance.now() + PATIENCE_MS; !(await followedIn(repository, id)).has(sum); await sleep(500)) {
    assert.ok(performance.now() < end, `the file is followed: ${JSON.stringify(await readWatchStatus(desk))}`);
  }
  await purgeBeforeCopy(desk, watching);
  await watching.kill();

  // Whoever comes is let in now, and the role may not.
  await writeFile(file, lines);
  await desk.server.query("select pg_reload_conf()");
  await using second = startWatch(desk, ["--mode", "auto", "--interval", "1m"]);
  const { mode } = await second.until("what is in the way is said", () => {
    return /what would change that: ALTER ROLE "chatwoot" REPLICATION;/.test(second.told());
  });
  assert.equal(mode, "interval");
});
