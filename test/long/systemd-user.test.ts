/** The same for somebody who is not root: a timer of a user's own manager, which runs only while he is logged in or lingers. */
import assert from "node:assert/strict";
import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { test } from "node:test";
import { stringify } from "yaml";
import type { RunStatus } from "../../src/job/run-summary.ts";
import type { ScheduleSummary } from "../../src/job/schedule-summary.ts";
import { summaryOf } from "../harness/cli.ts";
import { mustRun } from "../harness/run.ts";
import { AT_ONCE, CHATKEEP, PROJECT, startSystemd, untilThere } from "../harness/systemd.ts";
import { openDesk } from "../scenario/desk.ts";

const PLACE = "/run/chatkeep-user-timer-test";
const NOBODY = 65_534;
const RUNTIME = `/run/user/${NOBODY}`;

/** What user@.service does, without PAM. */
const MANAGER = `[Service]
User=nobody
Type=notify
Delegate=yes
Environment=XDG_RUNTIME_DIR=${RUNTIME} HOME=PLACE/user
ExecStart=/lib/systemd/systemd --user
`;

test("a user's own timer makes a restore point, and says that it needs him to linger", async () => {
  await mkdir(PLACE, { recursive: true });
  process.env["TMPDIR"] = PLACE;
  try {
    await using desk = await openDesk();
    const statusFile = `${desk.root}/status.json`;
    await mkdir(`${desk.root}/user`);
    const schedule = { backup: "* * * * *", drill: "never" };
    await appendFile(
      desk.config,
      stringify({ schedule, "state-dir": `${desk.root}/state`, "status-file": statusFile }),
    );
    await mustRun("chown", ["-R", `${NOBODY}:${NOBODY}`, desk.root]);
    await using systemd = await startSystemd([PROJECT, { from: desk.root, to: desk.root }]);
    const asRoot = async (script: string) => {
      const result = await systemd.run("sh", ["-ec", script]);
      assert.equal(result.status, 0, result.stderr);
    };
    const manager = MANAGER.replaceAll("PLACE", desk.root);
    await asRoot(
      `mkdir -p -m 700 ${RUNTIME} && chown ${NOBODY}:${NOBODY} ${RUNTIME}
       printf '%s' '${manager}' > /run/systemd/system/manager.service
       systemctl start manager.service`,
    );
    const asUser = async (...call: string[]) => {
      const become = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
      const env = [`HOME=${desk.root}/user`, `XDG_RUNTIME_DIR=${RUNTIME}`];
      return await systemd.run("setpriv", [...become, "env", ...env, ...call]);
    };
    const chatkeep = async (...args: string[]) => {
      const call = [...CHATKEEP, "--config", desk.config, "--json", "schedule", ...args];
      const { stdout, stderr } = await asUser(...call);
      assert.ok(stdout !== "", stderr);
      return summaryOf(stdout) as unknown as ScheduleSummary;
    };
    const installed = await chatkeep("install");
    assert.equal(installed.by, "systemd user");
    assert.deepEqual(
      installed.findings.map(({ kind }) => kind),
      ["linger-off"],
    );
    const units = `${desk.root}/user/.config/systemd/user`;
    assert.deepEqual(installed.installed, [`${units}/chatkeep-desk.service`, `${units}/chatkeep-desk.timer`]);
    const hurried = await asUser(
      "sh",
      "-ec",
      `mkdir '${units}/chatkeep-desk.timer.d'
       printf '${AT_ONCE}' > '${units}/chatkeep-desk.timer.d/now.conf'
       systemctl --user daemon-reload
       systemctl --user restart chatkeep-desk.timer`,
    );
    assert.equal(hurried.status, 0, hurried.stderr);
    await untilThere(statusFile);
    const status = JSON.parse(await readFile(statusFile, "utf8")) as RunStatus;
    assert.equal(status.lastRun.exit, 0);
    assert.deepEqual((await chatkeep("remove")).removed, installed.installed);
  } finally {
    delete process.env["TMPDIR"];
    await rm(PLACE, { recursive: true, force: true });
  }
});
