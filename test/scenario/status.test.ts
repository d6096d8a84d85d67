/** What people see of a desk that is watched: while it is, after the watch died, and with nothing but the repository left. */
import assert from "node:assert/strict";
import { appendFile, readFile } from "node:fs/promises";
import { test } from "node:test";
import type { DoctorSummary, ListSummary } from "../../src/job/summaries.ts";
import type { StatusSummary } from "../../src/job/status-summary.ts";
import { runCli } from "../harness/cli.ts";
import { parseMetrics } from "../harness/metrics.ts";
import type { Desk } from "./desk.ts";
import { isReady, openWatchedDesk, startWatch } from "./watched-desk.ts";

const PATIENCE_MS = 120_000;

/** The last line of `--json`. */
async function ask(desk: Desk, args: readonly string[]): Promise<{ summary: unknown; exit: number | null }> {
  const result = await desk.chatkeep([...args, "--json"]);
  return { summary: lastLine(result), exit: result.status };
}

function lastLine({ stdout, stderr }: { stdout: string; stderr: string }): unknown {
  const last = stdout.trim().split("\n").at(-1) ?? "";
  assert.match(last, /^\{/, stderr);
  return JSON.parse(last);
}

async function askStatus(desk: Desk) {
  const { summary, exit } = await ask(desk, ["status"]);
  return { summary: summary as StatusSummary, exit };
}

const kindsOf = ({ findings }: StatusSummary | DoctorSummary) =>
  findings.filter(({ level }) => level !== "note").map(({ kind }) => kind);

test("status, list and doctor know the window, while a watch runs and after it died", async () => {
  await using desk = await openWatchedDesk({ size: { messages: 60, conversations: 10, files: 6 } });
  await appendFile(
    desk.config,
    `schedule: { drill: never, moment: weekly, scrub: never, doctor: never }\nobjectives: { rpo: 1h }\nmetrics-file: ${desk.root}/desk.prom\n`,
  );
  const before = await askStatus(desk);
  assert.equal(before.exit, 3);
  assert.deepEqual(kindsOf(before.summary), ["no-restore-point"]);
  assert.equal(before.summary.watch, null, "nobody asked for one");

  await using watching = startWatch(desk, ["--mode", "stream", "--flush-every", "1s"]);
  await watching.until("a base and a point are there", isReady);
  await watching.until("all is in the repository", ({ log }) => log !== null && log.lagBytes === 0);
  // Its first point is made beside the base, and may take longer.
  let during = await askStatus(desk);
  for (const end = performance.now() + PATIENCE_MS; during.summary.lastBackup === null;) {
    assert.ok(performance.now() < end, "a point is there");
    during = await askStatus(desk);
  }
  assert.deepEqual(kindsOf(during.summary), []);
  assert.equal(during.exit, 0);
  const { watch, repositories, newestMoment, lastBackup } = during.summary;
  assert.equal(watch?.isRunning, true);
  assert.equal(watch.report?.pid, watching.pid);
  assert.equal(watch.report?.mode, "stream");
  const [one] = repositories[0]?.installations ?? [];
  assert.equal(one?.window?.ranges.length, 1);
  assert.deepEqual(one.window.gaps, []);
  assert.ok((one.window.recovery?.bytes.base ?? 0) > 1_000_000 && one.window.recovery?.loadSeconds === null);
  assert.equal(one.window.recovery.rates.base.measurements, 0);
  assert.ok(newestMoment !== null && lastBackup !== null);
  const shown = await desk.chatkeep(["status"]);
  assert.match(shown.stdout, /^✓ installation .*: nothing needs attention\n[^]*runs +yes[^]*any moment/);
  assert.match((await desk.chatkeep(["list"])).stdout, /\ncontinuous protection\n.* any moment/);
  const doctor = (await ask(desk, ["doctor"])).summary as DoctorSummary;
  assert.ok(!kindsOf(doctor).some((kind) => /^(?:watch|window|backup)-/.test(kind)), JSON.stringify(doctor.findings));
  const metrics = parseMetrics(await readFile(`${desk.root}/desk-watch.prom`, "utf8"));
  assert.equal(metrics.get("chatkeep_watch_repository_up")?.samples[0]?.value, 1);
  assert.ok(metrics.has("chatkeep_watch_lag_bytes") && metrics.has("chatkeep_watch_report_timestamp_seconds"));

  await watching.kill();
  const after = await askStatus(desk);
  assert.equal(after.exit, 3);
  assert.deepEqual(kindsOf(after.summary), ["watch-not-running"]);
  assert.deepEqual(after.summary.repositories[0]?.installations[0]?.window?.ranges.length, 1);
  // A day's run makes a point, and says all the same that nobody follows the log.
  const run = (await ask(desk, ["run"])).summary as {
    findings: { kind: string }[];
    stages: { stage: string; status: string; summary: { proven?: boolean } | null }[];
  };
  assert.ok(run.findings.some(({ kind }) => kind === "watch-not-running"));
  // And proves a moment of the window.
  const drill = run.stages.find(({ stage }) => stage === "drill of a moment");
  assert.deepEqual([drill?.status, drill?.summary?.proven], ["done", true], JSON.stringify(drill));
  // How long that took is what is said from now on, and that it was proven.
  const proven = (await askStatus(desk)).summary;
  assert.equal(proven.lastProof, null, "no restore point was");
  assert.equal(proven.lastMomentProof?.point, proven.repositories[0]?.installations[0]?.provenMoment?.point);
  assert.ok(proven.lastMomentProof !== undefined);
  const back = proven.repositories[0]?.installations[0]?.window?.recovery;
  assert.equal(back?.rates.base.measurements, 1);
  assert.ok((back.saveSeconds ?? 0) > 0 && back.loadSeconds !== null, JSON.stringify(back));
  assert.match((await desk.chatkeep(["status"])).stdout, /a base at .* a second, by 1\s+recovery here/);
  const daily = parseMetrics(await readFile(`${desk.root}/desk.prom`, "utf8"));
  const [start, end] = ["start", "end"].map((name) => {
    return daily.get(`chatkeep_window_${name}_timestamp_seconds`)?.samples[0]?.value ?? 0;
  });
  assert.ok(start !== undefined && end !== undefined && start > 1e9 && end >= start);

  const list = (await ask(desk, ["list"])).summary as ListSummary;
  assert.equal(list.windows[0]?.ranges.length, 1);
  assert.equal(list.otherSnapshots, 0);
  // On a machine that has nothing but the repository and its password.
  const env = { HOME: desk.root, XDG_CONFIG_HOME: desk.root, CHATKEEP_PASSWORD_FILE: desk.passwordFile };
  const bare = await runCli(["status", "--json", "--repository", desk.repository], { cwd: desk.root, env });
  assert.equal(bare.status, 0, bare.stderr);
  const place = lastLine(bare) as StatusSummary;
  assert.deepEqual([place.installation, place.watch, place.run], [null, null, null]);
  assert.deepEqual(place.repositories[0]?.installations[0]?.window?.ranges, list.windows[0]?.ranges);
});
