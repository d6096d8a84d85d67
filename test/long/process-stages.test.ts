/** The processes of Chatwoot's Compose file on a real engine: stopped, migrated, started and seen to be well, as a restore does it. */
import assert from "node:assert/strict";
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

/** Runs a stage where the engine's networks are. */
async function drive(call: Call): Promise<DriverAnswer> {
  const [program = "", ...within] = desk.engine.within;
  const { user, password } = desk.seeded.database;
  const address = { host: "127.0.0.1", port: 5432, user, password, database: "chatwoot_production" };
  const whole = { act: "apply", project: PROJECT, folder, address, ...call };
  const args = [...within, process.execPath, DRIVER, JSON.stringify(whole)];
  const { stdout } = await mustRun(program, args, { env: { DOCKER_HOST: desk.engine.host } });
  return JSON.parse(stdout) as DriverAnswer;
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

test("'restart: always' does not bring back what is stopped; who is still connected from elsewhere is named", async () => {
  await done({ stage: "stop" });
  // Longer than the engine waits before it starts one again that has ended.
  await sleep(5_000);
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

test("a machine that was restarted brings them back: they are stopped once more before anything is swapped", async () => {
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
