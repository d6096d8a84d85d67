/** A timer that really fires: `schedule install` under a systemd of its own, a run by its clock, and everything removed again. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { test } from "node:test";
import { stringify } from "yaml";
import type { RunStatus } from "../../src/job/run-summary.ts";
import type { ScheduleSummary } from "../../src/job/schedule-summary.ts";
import { jsonLines, summaryOf } from "../harness/cli.ts";
import { AT_ONCE, CHATKEEP, PROJECT, startSystemd, untilThere } from "../harness/systemd.ts";
import { openDesk } from "../scenario/desk.ts";

/** Neither below /tmp, of which the service has its own, nor below /run, where systemd lets it write. */
const PLACE = "/srv/chatkeep-timer-test";

test("a systemd timer makes a restore point by itself, may write nowhere else, and is removed as it came", async () => {
  await mkdir(PLACE, { recursive: true });
  process.env["TMPDIR"] = PLACE;
  try {
    await using desk = await openDesk({ isCheckout: true, hasProcesses: true });
    const statusFile = `${desk.root}/out/status.json`;
    await mkdir(`${desk.root}/out`);
    const daily = {
      schedule: { backup: "* * * * *", drill: "daily" },
      retention: { daily: 3 },
      "state-dir": `${desk.root}/state`,
      "status-file": statusFile,
      hooks: {
        after: `for place in /etc /home /root /var/lib '${desk.root}'; do if touch "$place/outside"; then echo it wrote outside; fi; done`,
      },
    };
    await appendFile(desk.config, stringify(daily));
    await using systemd = await startSystemd([PROJECT, { from: desk.root, to: desk.root }]);
    const chatkeep = async (...args: string[]) => {
      const call = [...CHATKEEP, "--config", desk.config, "--json", "schedule", ...args];
      const result = await systemd.run("env", ["HOME=/root", ...call]);
      return {
        status: result.status,
        stderr: result.stderr,
        summary: summaryOf(result.stdout) as unknown as ScheduleSummary,
      };
    };
    const none = await chatkeep();
    assert.deepEqual(
      none.summary.findings.map(({ kind }) => kind),
      ["not-scheduled"],
    );

    const installed = await chatkeep("install");
    assert.equal(installed.status, 0, installed.stderr);
    assert.equal(installed.summary.by, "systemd");
    assert.ok(installed.summary.next !== null);
    await systemd.run("sh", [
      "-ec",
      `mkdir /etc/systemd/system/chatkeep-desk.timer.d
       printf '${AT_ONCE}' > /etc/systemd/system/chatkeep-desk.timer.d/now.conf
       systemctl daemon-reload
       systemctl restart chatkeep-desk.timer`,
    ]);
    await untilThere(statusFile);
    const journal = await systemd.run("journalctl", ["--unit=chatkeep-desk.service", "--output=cat", "--no-pager"]);
    assert.ok(existsSync(statusFile), journal.stdout);

    const status = JSON.parse(await readFile(statusFile, "utf8")) as RunStatus;
    assert.equal(status.lastRun.exit, 0, journal.stdout);
    // A server of the drill's own starts behind the service's walls, too.
    assert.deepEqual(
      status.lastRun.stages.map(({ stage, status: how }) => `${stage} ${how}`),
      ["backup done", "drill done", "forget done", "prune done", "scrub skipped", "doctor skipped", "hook after done"],
    );
    const { points } = (await desk.summary(["list"])) as unknown as { points: { point: string }[] };
    assert.equal(points[0]?.point, status.repositories[0]?.newest?.point);
    const lines = jsonLines(
      journal.stdout
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .join("\n"),
    );
    assert.ok(
      lines.some(({ type, text }) => type === "line" && String(text).includes("/etc/outside")),
      journal.stdout,
    );
    assert.ok(!journal.stdout.includes("it wrote outside"), journal.stdout);
    assert.ok(
      lines.every(({ type }) => type !== "progress"),
      "a journal needs no steps",
    );

    const shown = await chatkeep();
    assert.equal(shown.summary.lastRun?.outcome, "success");
    assert.deepEqual(shown.summary.findings, []);
    const removed = await chatkeep("remove");
    assert.deepEqual(removed.summary.removed, installed.summary.installed);
    const left = await systemd.run("systemctl", ["list-timers", "--all", "--no-legend", "chatkeep*"]);
    assert.equal(left.stdout.trim(), "");
    assert.equal((await chatkeep("remove")).summary.removed.length, 0);
  } finally {
    delete process.env["TMPDIR"];
    await rm(PLACE, { recursive: true, force: true });
  }
});
