/** `schedule` without systemd: a line for cron, and what is printed for containers. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { runSchedule, type ScheduleFlags } from "../../src/app/schedule.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { CRONTAB } from "../harness/crontab.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const FLAGS: ScheduleFlags = { action: "show", crontab: false, print: undefined, image: undefined };

async function openSchedule(more = "", { kind = "manual", env = {} } = {}) {
  const folder = await temporaryFolder();
  const config = folder.at("with blank", "chatkeep.yaml");
  await mkdir(folder.at("with blank"));
  await mkdir(folder.at("bin"));
  await writeFile(folder.at("bin/crontab"), CRONTAB);
  await chmod(folder.at("bin/crontab"), 0o755);
  await writeFile(
    config,
    `installation: { id: 6f1c0000-0000-4000-8000-00000000cafe, name: acme, kind: ${kind}, storage: /srv/uploads }
repositories: [{ name: primary, location: /srv/backups }, { name: offsite, location: "s3:s3.example.com/acme" }]
state-dir: ${folder.at("state")}
${more}`,
  );
  const { signal } = new AbortController();
  const s: Surroundings = {
    signal,
    progress: silent,
    env: { PATH: `${folder.at("bin")}:${process.env["PATH"] ?? ""}`, TABLE: folder.at("table"), NAME: "value", ...env },
    cwd: folder.path,
    clock: systemClock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const schedule = async (flags: Partial<ScheduleFlags>) => await runSchedule({ config }, { ...FLAGS, ...flags }, s);
  return { folder, schedule, table: async () => await readFile(folder.at("table"), "utf8") };
}

test("a line for cron is installed once, shown, brought up to date, and removed", async () => {
  const { folder, schedule, table } = await openSchedule();
  await using _folder = folder;
  await writeFile(folder.at("table"), "5 5 * * * true\n");
  assert.deepEqual(
    (await schedule({})).findings.map(({ kind }) => kind),
    ["not-scheduled"],
  );
  const installed = await schedule({ action: "install", crontab: true });
  assert.equal(installed.by, "crontab");
  assert.match(installed.installed[0] ?? "", /^30 2 \* \* \* .*'.*with blank\/chatkeep\.yaml' --quiet run --delay 30$/);
  await schedule({ action: "install", crontab: true });
  assert.equal((await table()).split("\n").filter((line) => line.includes("chatkeep.yaml")).length, 1);

  const shown = await schedule({});
  assert.deepEqual([shown.by, shown.installed, shown.findings], ["crontab", installed.installed, []]);
  assert.ok(shown.next !== null && Date.parse(shown.next) > Date.now());
  await writeFile(folder.at("table"), (await table()).replace("30 2", "31 3"));
  assert.deepEqual(
    (await schedule({})).findings.map(({ kind }) => kind),
    ["schedule-stale"],
  );

  const removed = await schedule({ action: "remove" });
  assert.equal(removed.removed.length, 1);
  assert.equal(await table(), "5 5 * * * true\n");
  assert.deepEqual((await schedule({ action: "remove" })).removed, []);
});

test("another time zone than cron's, and variables that it does not have, are told", async () => {
  const { folder, schedule } = await openSchedule(
    "schedule: { timezone: Pacific/Chatham }\nnotify: [{ kind: slack, url: 'https://example.com/${NAME}' }]\n",
  );
  await using _folder = folder;
  const { findings } = await schedule({ action: "install", crontab: true });
  assert.deepEqual(
    findings.map(({ kind, level }) => [kind, level]),
    [
      ["crontab-zone", "warning"],
      ["variables-unset", "warning"],
    ],
  );
});

test("what is printed changes nothing, and names what the run reads and writes", async () => {
  const { folder, schedule } = await openSchedule();
  await using _folder = folder;
  const compose = (await schedule({ print: "compose", image: "acme/chatkeep:1" })).manifest ?? "";
  for (const part of ["image: acme/chatkeep:1", "target: /srv/backups", "target: /srv/uploads"])
    assert.ok(compose.includes(part), part);
  assert.ok(!compose.includes("s3.example.com"));
  const { uid, gid } = await stat(folder.at("with blank", "chatkeep.yaml"));
  assert.ok(compose.includes(`user: ${uid}:${gid}`) || compose.includes(`user: "${uid}:${gid}"`), compose);
});

test("what is printed for Compose asks the engine where it listens here", async () => {
  const own = { XDG_RUNTIME_DIR: "/run/user/1000", DOCKER_HOST: "unix:///run/user/1000/docker.sock" };
  const { folder, schedule } = await openSchedule("", { kind: "docker-compose", env: own });
  await using _folder = folder;
  const { manifest } = await schedule({ print: "compose" });
  assert.match(
    manifest ?? "",
    /- type: bind\n +source: \/run\/user\/1000\/docker\.sock\n +target: \/var\/run\/docker\.sock\n +read_only: true/,
  );
});

test("a CronJob says which repositories a pod does not have", async () => {
  const { folder, schedule } = await openSchedule();
  await using _folder = folder;
  const { manifest, findings } = await schedule({ print: "cronjob" });
  assert.match(manifest ?? "", /^kind: CronJob$/m);
  assert.match(manifest ?? "", /^# NOT IN THE POD: the repository 'primary' lies in the folder '\/srv\/backups'\./m);
  assert.ok(!(manifest ?? "").includes("'offsite'"));
  assert.deepEqual(
    findings.map(({ kind, level, subject }) => [kind, level, subject]),
    [["repository-not-in-pod", "warning", "primary"]],
  );
});

test("times that make no sense are refused before anything is written", async () => {
  const { folder, schedule } = await openSchedule('schedule: { backup: "30 25 * * *" }\n');
  await using _folder = folder;
  await assert.rejects(schedule({ action: "install", crontab: true }), (error) => isFailure(error, "config/invalid"));
});
