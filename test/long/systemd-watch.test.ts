/** A service that runs for good: `watch --install` under a systemd of its own, killed and started anew, and everything removed again. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import type { WatchServiceSummary } from "../../src/job/watch-service-summary.ts";
import { summaryOf } from "../harness/cli.ts";
import { CHATKEEP, PROJECT, startSystemd } from "../harness/systemd.ts";
import { openDesk } from "../scenario/desk.ts";
import { FOLLOWED } from "../scenario/protected-desk.ts";

/** Neither below /tmp, of which the service has its own, nor below /run, where systemd lets it write. */
const PLACE = "/srv/chatkeep-watch-test";
const UNIT = "chatkeep-desk-watch.service";

async function statusIn(state: string): Promise<WatchStatus | undefined> {
  for (const id of await readdir(state).catch(() => [])) {
    const text = await readFile(join(state, id, "watch.json"), "utf8").catch(() => "");
    if (text !== "") return JSON.parse(text) as WatchStatus;
  }
  return undefined;
}

test("a service follows the log behind its walls, is started anew when it is killed, ends cleanly, and leaves no slot", async () => {
  await mkdir(PLACE, { recursive: true });
  process.env["TMPDIR"] = PLACE;
  try {
    await using desk = await openDesk({
      isCheckout: true,
      server: { settings: [...FOLLOWED, "max_slot_wal_keep_size=1GB"] },
    });
    const state = `${desk.root}/state`;
    await appendFile(desk.config, stringify({ "state-dir": state, watch: { "flush-every": "1s" } }));
    await using systemd = await startSystemd([PROJECT, { from: desk.root, to: desk.root }]);
    const chatkeep = async (...args: string[]) => {
      const call = [...CHATKEEP, "--config", desk.config, "--json", ...args];
      const result = await systemd.run("env", ["HOME=/root", ...call]);
      assert.equal(result.status, 0, result.stderr);
      return summaryOf(result.stdout) as unknown as WatchServiceSummary;
    };
    const journal = async () =>
      (await systemd.run("journalctl", [`--unit=${UNIT}`, "--output=cat", "--no-pager"])).stdout;
    const until = async (holds: (status: WatchStatus) => boolean) => {
      for (let look = 0; look < 1_200; look += 1) {
        const status = await statusIn(state);
        if (status !== undefined && holds(status)) return status;
        await sleep(100);
      }
      return assert.fail(`${JSON.stringify(await statusIn(state))}\n${await journal()}`);
    };
    const installed = await chatkeep("watch", "--install", "--mode", "stream");
    assert.deepEqual([installed.by, installed.findings], ["systemd", []]);
    assert.ok(installed.installed[0]?.endsWith(UNIT));
    const first = await until(({ mode, log, base }) => mode === "stream" && log !== null && base !== null);
    assert.equal(first.log?.slot.permanent, true);

    await systemd.run("systemctl", ["kill", "--signal=KILL", UNIT]);
    const second = await until(({ since, log }) => since > first.since && log !== null);
    assert.equal(second.log?.slot.name, first.log?.slot.name);

    const removed = await chatkeep("watch", "--remove", "--yes");
    assert.deepEqual(removed.removed, installed.installed);
    assert.deepEqual([removed.slot?.isDropped, removed.findings], [true, []]);
    assert.deepEqual(await desk.server.query("select slot_name from pg_replication_slots"), []);
    assert.equal(existsSync(join(state, "watch.json")), false);
    assert.equal(await statusIn(state), undefined);
    const shown = await systemd.run("systemctl", ["list-units", "--all", "--no-legend", "chatkeep*"]);
    assert.equal(shown.stdout.trim(), "");
    // Told to end, it ended cleanly.
    assert.doesNotMatch(await journal(), /Failed with result 'exit-code'/);
  } finally {
    delete process.env["TMPDIR"];
    await rm(PLACE, { recursive: true, force: true });
  }
});
