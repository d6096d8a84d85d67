/** The daily run as a timer starts it: all goes well, people cannot be told, the backup fails, two at once, killed, stopped. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { stringify } from "yaml";
import type { RunStatus, RunSummary } from "../../src/job/run-summary.ts";
import { CHATKEEP, startCli, summaryOf } from "../harness/cli.ts";
import { type MailServer, startMailServer } from "../harness/mail-server.ts";
import { parseMetrics } from "../harness/metrics.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { type RunResult } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Listener, startListener } from "../harness/told.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

const PASSWORD = "mail-passw0rd-canary";
const TOKEN = "/hook/canary-0123456789abcdef";

let desk: Desk;
let folder: TestFolder;
let listener: Listener;
let mail: MailServer;
/** As `init` wrote it. */
let base: string;

before(async () => {
  [desk, folder, listener] = await Promise.all([
    openDesk({ isCheckout: true, hasProcesses: true }),
    temporaryFolder(),
    startListener(),
  ]);
  await makeCheapToOpen(desk);
  mail = await startMailServer({ onAuth: ({ username }, _session, done) => done(null, { user: username ?? "" }) });
  base = await readFile(desk.config, "utf8");
  await writeFile(folder.at("url"), `${listener.url}${TOKEN}\n`);
});

after(async () => {
  await mail[Symbol.asyncDispose]();
  await listener[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

/** The configuration of the day, with other settings where a test has some. */
async function configure(more: object = {}): Promise<void> {
  const daily = {
    retention: { daily: 3 },
    "state-dir": folder.at("state"),
    "status-file": folder.at("status.json"),
    "metrics-file": folder.at("chatkeep.prom"),
    notify: [
      {
        kind: "email",
        to: "ops@example.com",
        from: "chatkeep@example.com",
        server: "127.0.0.1",
        port: mail.port,
        security: "none",
        user: "ops",
        password: PASSWORD,
        on: "always",
      },
      { kind: "generic", "url-file": folder.at("url"), on: ["failure", "finding"] },
    ],
    ping: `${listener.url}/ping`,
    ...more,
  };
  await writeFile(desk.config, `${base}${stringify(daily)}`);
}

async function dayRun(status: number): Promise<{ summary: RunSummary; result: RunResult }> {
  const result = await desk.chatkeep(["--json", "run"]);
  assert.equal(result.status, status, `${result.stderr}${result.stdout}`);
  for (const canary of [PASSWORD, TOKEN]) assert.ok(!`${result.stdout}${result.stderr}`.includes(canary), canary);
  return { summary: summaryOf(result.stdout) as unknown as RunSummary, result };
}

async function statusFile(): Promise<RunStatus> {
  return JSON.parse(await readFile(folder.at("status.json"), "utf8")) as RunStatus;
}

function outcomes({ stages }: RunSummary): Record<string, string> {
  return Object.fromEntries(stages.map(({ stage, status }) => [stage, status]));
}

function pinged(): string[] {
  return listener.told.map(({ path }) => path).filter((path) => path.startsWith("/ping"));
}

test("a day on which all goes well", async () => {
  const hooks = {
    before: `echo before >> '${folder.at("hooks")}'; echo the token is ${PASSWORD}`,
    after: `echo "$CHATKEEP_VERB $CHATKEEP_HOOK $CHATKEEP_INSTALLATION $CHATKEEP_EXIT $CHATKEEP_OUTCOME $CHATKEEP_POINT" >> '${folder.at("hooks")}'`,
  };
  await configure({ hooks });
  const { summary } = await dayRun(0);
  assert.deepEqual(outcomes(summary), {
    "hook before": "done",
    backup: "done",
    drill: "done",
    forget: "done",
    prune: "done",
    scrub: "skipped",
    doctor: "skipped",
    "hook after": "done",
  });
  const made = summary.stages.find(({ stage }) => stage === "backup")?.summary;
  const point = made !== null && made !== undefined && "point" in made ? String(made.point) : "";
  assert.equal(await readFile(folder.at("hooks"), "utf8"), `before\nrun after desk 0 success ${point}\n`);
  assert.deepEqual(pinged(), ["/ping/start", "/ping"]);
  assert.match(mail.mails[0]?.source ?? "", /^Subject: \[chatkeep\] desk: backed up, all is well\r$/m);
  assert.ok(
    listener.told.every(({ path }) => !path.startsWith("/hook")),
    "it is told of failures and findings alone",
  );

  const status = await statusFile();
  assert.equal(status.lastSuccess, summary.endedAt);
  assert.equal(status.repositories[0]?.newest?.point, point);
  assert.equal(status.repositories[0]?.proven?.point, point);
  const metrics = parseMetrics(await readFile(folder.at("chatkeep.prom"), "utf8"));
  assert.equal(metrics.get("chatkeep_last_run_exit_status")?.samples[0]?.value, 0);
  assert.ok(!JSON.stringify([status, mail.mails, [...metrics]]).includes(PASSWORD));
});

test("a day on which nobody can be told: the backup is good, and what was to be told is kept", async () => {
  await configure({ schedule: { drill: "never" } });
  await mail.stop();
  listener.told.length = 0;
  listener.answer = ({ path }) => ({ status: path.startsWith("/hook") ? 500 : 200 });
  const { summary } = await dayRun(3);
  assert.equal(outcomes(summary)["backup"], "done");
  assert.deepEqual(
    [outcomes(summary)["drill"], outcomes(summary)["prune"]],
    ["skipped", "skipped"],
    "neither is due: one never, the other after a week",
  );
  assert.deepEqual(
    summary.findings.filter(({ level }) => level !== "note").map(({ kind, subject }) => [kind, subject]),
    [["notice-failed", "email"]],
  );
  assert.deepEqual(pinged(), ["/ping/start", "/ping"], "the backup was made");
  assert.deepEqual((await desk.summary(["notify"]))["channels"], [
    { ...channel("email", ["failure", "finding", "success"]), waiting: 1 },
    channel("generic", ["failure", "finding"]),
    { ...channel("ping", ["start", "success", "failure"]) },
  ]);
});

function channel(name: string, on: string[]): object {
  return { name, kind: name, on, waiting: 0, delivered: null, message: null, hint: null };
}

test("a day on which the backup fails: nothing is forgotten, everybody is told, and what was kept arrives first", async () => {
  mail = await startMailServer({ onAuth: ({ username }, _session, done) => done(null, { user: username ?? "" }) });
  await configure();
  listener.told.length = 0;
  listener.answer = () => ({ status: 200 });
  const { lastSuccess } = await statusFile();
  await rename(desk.repository, `${desk.repository}.away`);
  try {
    const { summary } = await dayRun(10);
    assert.deepEqual(outcomes(summary), {
      backup: "failed",
      drill: "skipped",
      forget: "skipped",
      prune: "skipped",
      scrub: "skipped",
      doctor: "skipped",
    });
    assert.equal(summary.lastSuccess, lastSuccess);
    assert.equal(summary.failingSince, summary.startedAt);
  } finally {
    await rename(`${desk.repository}.away`, desk.repository);
  }
  assert.deepEqual(pinged(), ["/ping/start", "/ping/fail"]);
  const subjects = mail.mails.map(({ source }) => /^Subject: (.*)\r$/m.exec(source)?.[1]);
  assert.deepEqual(subjects, ["[chatkeep] desk: backed up, all is well (late)", "[chatkeep] desk: NO BACKUP was made"]);
  assert.match(mail.mails[1]?.text ?? "", /backup: FAILED: .*\n[^]*This is the first run that failed\./);
  const told = JSON.parse(listener.told.find(({ path }) => path === TOKEN)?.body ?? "") as {
    outcome: string;
    exit: number;
  };
  assert.deepEqual([told.outcome, told.exit], ["failure", 10]);
  const status = await statusFile();
  assert.deepEqual([status.lastRun.exit, status.lastSuccess], [10, lastSuccess]);
  assert.notEqual(status.repositories[0]?.newest, null, "what was known before");
});

/** Waits until the run's hook is under way; it ends when the file `go` is there. */
async function startWaitingRun(): Promise<ReturnType<typeof startCli>> {
  await rm(folder.at("begun"), { force: true });
  await configure({
    hooks: { before: `touch '${folder.at("begun")}'; until [ -e '${folder.at("go")}' ]; do sleep 0.1; done` },
  });
  const child = startCli(["--config", desk.config, "run"], { cwd: desk.root });
  while (!existsSync(folder.at("begun"))) await new Promise((resolve) => setTimeout(resolve, 20));
  return child;
}

test("two runs at once: the second says whom it met; the lock of one that was killed is taken over", async () => {
  const first = await startWaitingRun();
  try {
    const second = await desk.chatkeep(["run"]);
    assert.equal(second.status, 11);
    assert.match(
      second.stderr,
      new RegExp(`^error: another run is under way: process ${first.pid}, since 2\\d{3}-`, "m"),
    );
  } finally {
    first.kill("SIGKILL");
    await once(first, "close");
    await writeFile(folder.at("go"), "");
  }
  await configure({ hooks: { before: "echo no; exit 4" } });
  listener.told.length = 0;
  const { summary, result } = await dayRun(1);
  assert.match(result.stderr, /the run that began \S+ never ended: its process is gone/);
  assert.match(result.stderr, /^hook before: no$/m);
  assert.deepEqual(outcomes(summary), { "hook before": "failed" }, "nothing was begun");
  assert.deepEqual(pinged(), ["/ping/start", "/ping/fail"]);
});

test("a run that is stopped ends what it started, and says so", async () => {
  await rm(folder.at("go"), { force: true });
  listener.told.length = 0;
  const child = await startWaitingRun();
  child.kill("SIGTERM");
  const [status] = (await once(child, "close")) as [number];
  assert.equal(status, 130);
  assert.equal((await statusFile()).lastRun.exit, 130);
  assert.deepEqual(pinged(), ["/ping/start", "/ping/fail"]);
});

/** So that both looks are due. */
async function forgetLooks(): Promise<void> {
  const { installation } = await statusFile();
  const path = folder.at("state", installation.id, "status.json");
  const status = JSON.parse(await readFile(path, "utf8")) as RunStatus;
  const long = "2020-01-01T00:00:00Z";
  await writeFile(path, JSON.stringify({ ...status, looks: { scrub: long, doctor: long } }));
}

longTest("a day on which live files and the installation are looked at: what no backup sees is told", async () => {
  await configure();
  await forgetLooks();
  const [live] = (await readdir(desk.installation.storageRoot, { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile(),
  );
  assert.ok(live !== undefined);
  const path = join(live.parentPath, live.name);
  const right = await readFile(path);
  await writeFile(path, Buffer.alloc(right.length, "x"));
  try {
    const { summary } = await dayRun(3);
    assert.deepEqual([outcomes(summary)["scrub"], outcomes(summary)["doctor"]], ["done", "done"]);
    assert.deepEqual(
      summary.findings.filter(({ kind }) => kind === "blobs-altered").map(({ level }) => level),
      ["alarm"],
    );
  } finally {
    await writeFile(path, right);
  }
  const { looks } = await statusFile();
  for (const at of [looks?.scrub, looks?.doctor]) assert.ok(at !== undefined && at > "2021");
});

test("where no systemd runs, 'schedule install' says what else there is, and writes nothing", async (t) => {
  const reason = await cannotMount();
  if (reason !== undefined) {
    t.skip(reason);
    return;
  }
  await configure();
  const call = [process.execPath, CHATKEEP, "--config", desk.config, "schedule", "install"];
  const result = await runWithMounts('mount -t tmpfs tmpfs /run; exec "$@"', call, { cwd: desk.root });
  assert.equal(result.status, 1);
  assert.equal(
    result.stderr,
    "error: no systemd runs on this machine\nhint: Use 'chatkeep schedule install --crontab' where cron runs, or 'chatkeep schedule --print compose' for a container.\n",
  );
  assert.deepEqual((await desk.summary(["schedule"], 3))["installed"], []);
});
