/** The processes of Chatwoot's Compose file on a real engine: stopped, migrated, started and seen to be well, as a restore does it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { StageResult } from "../../src/job/stages/stage.ts";
import { mustRun } from "../harness/run.ts";
import { type ComposeDesk, openComposeDesk, PROJECT } from "./compose-desk.ts";
import type { DriverAnswer, DriverCall } from "./stage-driver.ts";

const DRIVER = resolve(import.meta.dirname, "stage-driver.ts");
const [RAILS, SIDEKIQ] = [`${PROJECT}-rails-1`, `${PROJECT}-sidekiq-1`];

let desk: ComposeDesk;
let folder: string;

before(async () => {
  desk = await openComposeDesk();
  folder = desk.folder.at("restore");
  await mkdir(folder);
});

after(async () => await desk[Symbol.asyncDispose]());

type Call = Partial<DriverCall> & Pick<DriverCall, "stage">;

/** What runs a stage where the engine's networks are. */
function commandOf(call: Call): [program: string, args: string[]] {
  const [program = "", ...within] = desk.engine.within;
  const { user, password } = desk.seeded.database;
  const address = { host: "127.0.0.1", port: 5432, user, password, database: "chatwoot_production" };
  const whole = { act: "apply", project: PROJECT, folder, address, ...call };
  return [program, [...within, process.execPath, DRIVER, JSON.stringify(whole)]];
}

async function drive(call: Call): Promise<DriverAnswer> {
  const { stdout } = await mustRun(...commandOf(call), { env: { DOCKER_HOST: desk.engine.host } });
  return JSON.parse(stdout) as DriverAnswer;
}

interface Begun {
  child: ChildProcess;
  ended: Promise<unknown>;
  /** Until it has said so. */
  says(text: string): Promise<void>;
  result(): Promise<StageResult>;
}

/** Likewise, without waiting for its end. */
function begin(call: Call): Begun {
  const env = { ...process.env, DOCKER_HOST: desk.engine.host };
  const child = spawn(...commandOf(call), { env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  const said = { out: "", err: "" };
  child.stdout.on("data", (data: Buffer) => (said.out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (said.err += data.toString()));
  return {
    child,
    ended,
    async says(text) {
      while (!said.err.includes(text)) {
        assert.equal(child.exitCode, null, said.err + said.out);
        await sleep(50);
      }
    },
    async result() {
      await ended;
      const answer = JSON.parse(said.out) as DriverAnswer;
      assert("result" in answer, said.out);
      return answer.result;
    },
  };
}

async function done(call: Call): Promise<StageResult> {
  const answer = await drive(call);
  assert("result" in answer, JSON.stringify(answer));
  return answer.result;
}

async function refused(call: Call): Promise<{ code: string; message: string; hint: string }> {
  const answer = await drive(call);
  assert("failure" in answer, JSON.stringify(answer));
  return answer.failure;
}

async function isRunning(name: string): Promise<boolean> {
  const { stdout } = await desk.engine.docker(["inspect", "--format", "{{.State.Running}}", name]);
  return stdout.trim() === "true";
}

async function sql(statement: string): Promise<string> {
  const { user, password = "" } = desk.seeded.database;
  const url = `postgresql://${user}:${password}@127.0.0.1:5432/chatwoot_production`;
  return (await mustRun(`${desk.programs}/psql`, [url, "-Atc", statement])).stdout.trim();
}

async function policies(): Promise<string[]> {
  const { stdout } = await desk.engine.docker([
    "inspect",
    "--format",
    "{{.HostConfig.RestartPolicy.Name}}",
    RAILS,
    SIDEKIQ,
  ]);
  return stdout.trim().split("\n");
}

test("'restart: always' does not bring back what is stopped, though the machine is restarted; who is still connected from elsewhere is named", async () => {
  assert.deepEqual(await policies(), ["always", "always"]);
  await done({ stage: "stop" });
  assert.deepEqual(await policies(), ["no", "no"]);
  // Stopped by hand as well, and of the same policy: it shows what the engine does when it starts.
  await desk.engine.docker(["run", "--detach", "--restart=always", "--name=witness", "redis:7"]);
  await desk.engine.docker(["stop", "witness"]);
  await desk.engine.restart();
  await desk.databaseReady();
  assert.equal(await isRunning("witness"), true);
  await desk.engine.docker(["rm", "--force", "witness"]);
  assert.deepEqual([await isRunning(RAILS), await isRunning(SIDEKIQ)], [false, false]);
  // By another name and of no image of Chatwoot's, as a container that somebody forgot: with Chatwoot's environment and role.
  await desk.engine.docker(["tag", "chatwoot/chatwoot:v4.15.1", "forgotten:1"]);
  const network = `--network=${PROJECT}_default`;
  // It only stays connected: what it received would lie nowhere.
  const environment = ["--env-file", desk.folder.at("forgotten.env"), "--env=STAND_IN_IS_IDLE=1"];
  const lines = readFileSync(join(desk.site, ".env"), "utf8").replaceAll(/='(.*)'$/gm, "=$1");
  await writeFile(desk.folder.at("forgotten.env"), lines);
  const command = ["--entrypoint=node", "forgotten:1", "/app/stand-in.ts", "sidekiq"];
  await desk.engine.docker(["run", "--detach", "--name=forgotten", network, ...environment, ...command]);
  const { code, message } = await refused({ stage: "nobody", patienceMs: 3_000 });
  assert.equal(code, "restore/in-use");
  assert.match(message, /process \d+ of role '\w+' \(sidekiq 7\.3\.1 app \[0 of 10 busy\], 172\.[\d.]+\), since 20/);
  await desk.engine.docker(["rm", "--force", "forgotten"]);
});

test("somebody starts them again: they are stopped once more before anything is swapped", async () => {
  await desk.engine.docker(["start", RAILS, SIDEKIQ]);
  await done({ stage: "nobody" });
  assert.deepEqual([await isRunning(RAILS), await isRunning(SIDEKIQ)], [false, false]);
});

test("migrations run as 'docker compose run --rm' does them, though the web container is stopped, and leave no container", async () => {
  const before = Number(await sql("select count(*) from schema_migrations"));
  const { lines } = await done({ stage: "migrate", options: { migrate: true } });
  assert.deepEqual(lines, ["Chatwoot's migrations ended well: 1 migration more than before"]);
  assert.equal(Number(await sql("select count(*) from schema_migrations")), before + 1);
  const { stdout } = await desk.engine.docker(["ps", "--all", "--format", "{{.Names}}"]);
  assert.deepEqual(stdout.trim().split("\n").toSorted(), [
    `${PROJECT}-postgres-1`,
    RAILS,
    `${PROJECT}-redis-1`,
    SIDEKIQ,
  ]);
  await sql("alter table schema_migrations rename to elsewhere");
  const { code } = await refused({ stage: "migrate", options: { migrate: true } });
  assert.equal(code, "restore/not-migrated");
  await sql("alter table elsewhere rename to schema_migrations");
});

const ONCE = `${RAILS}-chatkeep-once`;

/** Holds what a migration writes into, until it is let go. */
async function holdMigrations(): Promise<() => Promise<void>> {
  const { user, password = "" } = desk.seeded.database;
  const url = `postgresql://${user}:${password}@127.0.0.1:5432/chatwoot_production`;
  const psql = spawn(`${desk.programs}/psql`, [url, "-At"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(psql, "exit");
  psql.stdin.write("begin; lock table schema_migrations in share row exclusive mode; select 'held';\n");
  for await (const text of psql.stdout.iterator({ destroyOnReturn: false })) if (String(text).includes("held")) break;
  return async () => {
    psql.stdin.end("commit;\n");
    assert.deepEqual(await ended, [0, null]);
  };
}

/** A run that has begun them and is killed. */
async function killInMigrations(): Promise<void> {
  const run = begin({ stage: "migrate", options: { migrate: true } });
  const waiting = "select count(*) from pg_locks where not granted";
  while ((await sql(waiting)) === "0") {
    assert.equal(run.child.exitCode, null, "it ended before they had begun");
    await sleep(50);
  }
  run.child.kill("SIGKILL");
  await run.ended;
  assert.equal(await isRunning(ONCE), true, "they go on");
}

test("migrations that a killed run left are waited for by the next one, and stopped before the database goes back", async () => {
  const release = await holdMigrations();
  await killInMigrations();
  const next = begin({ stage: "migrate", options: { migrate: true } });
  await next.says("waiting for the migrations that an earlier run began");
  await release();
  const { lines } = await next.result();
  assert.deepEqual([lines[0], lines.length], ["the migrations that an earlier run began were waited for", 2]);
  assert.match(lines[1] ?? "", /^Chatwoot's migrations ended well/);

  const releaseAgain = await holdMigrations();
  await killInMigrations();
  const undo = begin({ stage: "migrate", act: "undo" });
  await undo.says("stopping the migrations that an earlier run began");
  while (await isThere(ONCE)) await sleep(50);
  // Their session waits at the server still: nothing is taken from under it.
  assert.equal(await sql("select count(*) from pg_locks where not granted"), "1");
  assert.equal(undo.child.exitCode, null);
  await releaseAgain();
  assert.deepEqual((await undo.result()).lines, ["the migrations that an earlier run began were stopped"]);
});

async function isThere(name: string): Promise<boolean> {
  const { stdout } = await desk.engine.docker(["ps", "--all", "--quiet", `--filter=name=^${name}$`]);
  return stdout.trim() !== "";
}

test("web is well again at its new address, and uploaded files come through it; the worker stays up", async () => {
  await done({ stage: "web" });
  const { lines, findings } = await done({ stage: "health" });
  assert.match(lines[0] ?? "", /^the web process is well: .*, Chatwoot 4\.15\.1$/);
  assert.deepEqual(findings, []);
  assert.equal(lines[1], "5 uploaded files came through the application as they were");
  await done({ stage: "worker" });
  assert.deepEqual([await isRunning(RAILS), await isRunning(SIDEKIQ)], [true, true]);
});

test("undone the last first, web and worker run as they did before", async () => {
  for (const stage of ["worker", "web"] as const) await done({ stage, act: "undo" });
  assert.deepEqual([await isRunning(RAILS), await isRunning(SIDEKIQ)], [false, false]);
  await done({ stage: "stop", act: "undo" });
  assert.deepEqual([await isRunning(RAILS), await isRunning(SIDEKIQ)], [true, true]);
  assert.deepEqual(await policies(), ["always", "always"]);
});

test("a web process that does not come up is told with what it printed last, and no secret", async () => {
  await done({ stage: "stop" });
  const secret = desk.seeded.environment.get("SECRET_KEY_BASE") ?? "";
  assert.ok(secret.length > 20);
  // A patch that somebody mounted: it prints what it should not, and ends.
  await writeFile(desk.folder.at("stand-in.ts"), `console.log("secret ${secret}");\nprocess.exit(3);\n`);
  await desk.engine.docker(["cp", desk.folder.at("stand-in.ts"), `${RAILS}:/app/stand-in.ts`]);
  await done({ stage: "web" });
  const { code, message, hint } = await refused({ stage: "health" });
  assert.equal(code, "restore/not-well");
  assert.match(message, /container desk-rails-1 (?:ends again and again|does not stay up|has ended again)$/);
  assert.match(hint, /The last lines of container desk-rails-1:\n(?: {2}.*\n)* {2}secret •••\n/);
  assert.match(hint, /More: docker logs --tail 100 desk-rails-1/);
});
