/** Upgrades of Chatwoot's Compose file on a real engine that go wrong under guard, and the way back from each. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuardSummary } from "../../src/job/guard-summary.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { readFolder } from "../harness/tree.ts";
import { type ComposeDesk, openComposeDesk, PROJECT } from "./compose-desk.ts";

const IMAGE = "chatwoot/chatwoot:v4.15.1";
const NEWER = "chatwoot/chatwoot:v4.16.0";
const RAILS = `${PROJECT}-rails-1`;
const SERVICES = ["postgres", "rails", "redis", "sidekiq"];

let desk: ComposeDesk;
/** Before any upgrade. */
let was: Record<string, unknown>;

before(async () => {
  desk = await openComposeDesk();
  // What a worker received meanwhile would be in the way of a comparison.
  await appendFile(join(desk.site, ".env"), "STAND_IN_IS_IDLE=1\n");
  await desk.engine.compose(desk.site, ["up", "--detach"]);
  await makeImages();
  await desk.summary(["init", "--yes", "--name", "desk", "--location", desk.folder.at("repository")]);
  await appendFile(desk.folder.at("chatkeep.yaml"), `\nstate-dir: ${desk.folder.at("state")}\n`);
  was = await state();
});

after(async () => await desk[Symbol.asyncDispose]());

/** The image as it is, with another stand-in: `broken`, whose migration deletes rows and which answers nothing but errors, and a newer release. */
async function makeImages(): Promise<void> {
  const plain = readFileSync(join(import.meta.dirname, "../harness/stand-in-chatwoot.ts"), "utf8");
  const broken = plain
    .replace("writeHead(answer === undefined ? 404 : 200", "writeHead(500")
    .replace("insert into schema_migrations", "delete from messages where id % 2 = 0; insert into schema_migrations");
  const newer = plain.replaceAll("4.15.1", "4.16.0");
  assert.ok(broken.includes("writeHead(500") && broken.includes("delete from messages") && newer !== plain);
  await makeImage("broken:1", { "stand-in.ts": broken });
  await makeImage(NEWER, { "stand-in.ts": newer, "config/app.yml": "shared: &shared\n  version: '4.16.0'\n" });
}

async function makeImage(name: string, files: Record<string, string>): Promise<void> {
  await desk.engine.docker(["create", "--name=made", "--entrypoint=node", IMAGE, "--version"]);
  for (const [path, text] of Object.entries(files)) {
    await writeFile(desk.folder.at("changed"), text);
    await desk.engine.docker(["cp", desk.folder.at("changed"), `made:/app/${path}`]);
  }
  await desk.engine.docker(["commit", "made", name]);
  await desk.engine.docker(["rm", "made"]);
}

async function inspect(what: string, format: string): Promise<string> {
  return (await desk.engine.docker(["inspect", "--format", format, what])).stdout.trim();
}

/** What an upgrade changes of the desk. */
async function state(): Promise<Record<string, unknown>> {
  const { user, password = "", port } = desk.seeded.database;
  const database = { host: "127.0.0.1", port, user, password, database: "chatwoot_production" };
  const images = await Promise.all(
    SERVICES.map(
      async (one) => await inspect(`${PROJECT}-${one}-1`, "{{.Config.Image}} {{.Image}} {{.State.Running}}"),
    ),
  );
  return {
    images,
    tag: await inspect(IMAGE, "{{.Id}}"),
    compose: await readFile(join(desk.site, "docker-compose.yaml"), "utf8"),
    env: await readFile(join(desk.site, ".env"), "utf8"),
    database: await dumpLines(database, { programs: desk.programs }),
    storage: await readFolder(await desk.volume("storage_data")),
  };
}

async function guard(words: readonly string[], status: number): Promise<GuardSummary> {
  return (await desk.summary(["guard", ...words], { status })) as unknown as GuardSummary;
}

/** As somebody types it. */
function upgrade(...lines: readonly string[]): string {
  return [`cd '${desk.site}'`, ...lines].join(" && ");
}

const PREPARE = "docker compose run --rm rails bundle exec rails db:chatwoot_prepare";
const UP = "docker compose up -d";
const BACK = ["--back", "--yes", "--outbound", "allow"];

/** The release in the Compose file is another, and the environment with it. */
const TO_NEWER = [
  `sed -i 's/${IMAGE.replace("/", "\\/")}/${NEWER.replace("/", "\\/")}/' docker-compose.yaml`,
  "echo ADDED_BY_THE_UPGRADE=1 >> .env",
  PREPARE,
  UP,
];

/** Kills a way back when the restore has begun that stage. */
async function killAt(stage: string): Promise<void> {
  const [program = "", ...within] = desk.engine.within;
  const args = [...within, process.execPath, CHATKEEP, "--config", desk.folder.at("chatkeep.yaml"), "guard", ...BACK];
  const child = spawn(program, args, { cwd: desk.folder.path, env: { ...process.env, ...desk.env }, stdio: "ignore" });
  const ended = once(child, "exit");
  while (!(await hasBegun(stage))) {
    assert.equal(child.exitCode, null, `it ended before '${stage}'`);
    await sleep(5);
  }
  child.kill("SIGKILL");
  assert.deepEqual(await ended, [null, "SIGKILL"]);
}

interface KeptJournal {
  state: string;
  stages: { name: string; state: string }[];
}

async function hasBegun(stage: string): Promise<boolean> {
  const names = await readdir(desk.folder.at("state"), { recursive: true });
  const journals = names
    .filter((name) => name.endsWith("journal.json"))
    .map((name) => JSON.parse(readFileSync(desk.folder.at("state", name), "utf8")) as KeptJournal);
  const open = journals.find((journal) => journal.state === "restoring");
  return open?.stages.some(({ name, state: at }) => name === stage && at !== "waiting") ?? false;
}

test("the tag means a broken image: rows, environment and image are as before, without a question", async () => {
  const command = upgrade(
    `docker tag broken:1 ${IMAGE}`,
    "sed -i 's/^SECRET_KEY_BASE=.*/SECRET_KEY_BASE=0123456789abcdef0123456789abcdef/' .env",
    PREPARE,
    UP,
  );
  const words = ["--on-failure", "rollback", "--outbound", "allow", "--wait", "0", "--", command];
  const summary = await guard(words, 1);
  assert.equal(summary.outcome, "back", JSON.stringify(summary, null, 1));
  assert.equal(summary.status, 0);
  const kinds = summary.reasons.map(({ kind }) => kind);
  for (const kind of ["guard-not-well", "guard-rows-lost", "secret-key-base-wrong"])
    assert.ok(kinds.includes(kind), kinds.join());
  assert.match(
    summary.changes.join("\n"),
    /^image of rails: chatwoot\/chatwoot:v4\.15\.1 \([0-9a-f]{12} → [0-9a-f]{12}\)$/m,
  );
  assert.match(summary.back.join("\n"), /^rails runs chatwoot\/chatwoot:v4\.15\.1 as it was \(sha256:[0-9a-f]{12}\)$/m);
  assert.deepEqual(await state(), was);
  assert.equal(await inspect(RAILS, "{{.RestartCount}}"), "0");
});

test("an upgrade that went well is undone, though the way back is killed in the middle, twice", async () => {
  const summary = await guard(["--point", "latest", "--", upgrade(...TO_NEWER)], 0);
  assert.deepEqual(
    [summary.outcome, summary.before, summary.after],
    ["well", "4.15.1", "4.16.0"],
    JSON.stringify(summary, null, 1),
  );
  assert.notDeepEqual(await state(), was);
  for (const stage of ["image", "environment"]) await killAt(stage);
  const back = await guard(BACK, 0);
  assert.equal(back.outcome, "back", JSON.stringify(back, null, 1));
  assert.deepEqual(await state(), was);
});

test("a project that the upgrade took down is made again, though no container is left to say what it was", async () => {
  const summary = await guard(
    ["--point", "latest", "--wait", "0", "--", upgrade(...TO_NEWER, "docker compose down", "exit 4")],
    1,
  );
  assert.deepEqual([summary.outcome, summary.status], ["wrong", 4]);
  assert.ok(summary.reasons.some(({ kind }) => kind === "guard-unseen"));
  const back = await guard(BACK, 0);
  assert.equal(back.outcome, "back", JSON.stringify(back, null, 1));
  assert.deepEqual(await state(), was);
});

test("a database whose volume went with the project is told of before anything is made", async () => {
  const down = upgrade("docker compose down --volumes", "exit 4");
  await guard(["--point", "latest", "--wait", "0", "--", down], 1);
  const { status, stderr } = await desk.chatkeep(["guard", ...BACK]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /^error: the volume desk_postgres_data, in which PostgreSQL kept its data, is no longer there/m);
  const { stdout } = await desk.engine.docker(["ps", "--all", "--quiet"]);
  assert.equal(stdout, "", "no container was made");
});
