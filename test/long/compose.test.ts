/** Chatwoot in Docker Compose, from nothing to a restored copy, on a real engine: what is not known of stand-ins. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { findInstallation } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { run } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { type ComposeDesk, openComposeDesk, PROJECT } from "./compose-desk.ts";

const signal = new AbortController().signal;

let desk: ComposeDesk;

before(async () => {
  desk = await openComposeDesk();
});

after(async () => await desk[Symbol.asyncDispose]());

interface Said {
  kind: string;
  level: string;
  message: string;
}

function findingsOf(summary: Record<string, unknown>): Said[] {
  return summary["findings"] as Said[];
}

/** The kinds of what somebody must look at. */
function worriesOf(summary: Record<string, unknown>): string[] {
  return findingsOf(summary)
    .filter(({ level }) => level !== "note")
    .map(({ kind }) => kind)
    .toSorted();
}

/** Restores the newest point beside the running database, and holds it to what runs. */
async function restoreAndCompare(name: string, storage: Record<string, string>): Promise<string> {
  const { user, password = "", port } = desk.seeded.database;
  const source = { host: "127.0.0.1", port, user, password, database: "chatwoot_production" };
  const to = desk.folder.at(name);
  const url = `postgresql://${user}:${password}@127.0.0.1:${port}/${name}`;
  await desk.summary(["restore", "latest", "--to", to, "--database-url", url, "--yes"]);
  await assertSameDatabase(source, { ...source, database: name }, { programs: desk.programs });
  assert.deepEqual(await readFolder(join(to, "storage")), storage);
  return to;
}

async function processes() {
  return (await findInstallation({}, { signal, env: { DOCKER_HOST: desk.engine.host } })).installation.processes;
}

/** A line of the README as it stands there, in a shell of its own; only its places are others. */
async function typeLine(line: string) {
  const [program = "", ...within] = desk.engine.within;
  const places = { "/var/backups/chatkeep": "newcomer/repository", "/etc/chatkeep": "newcomer/etc" };
  const script = Object.entries(places).reduce((text, [from, to]) => text.replaceAll(from, desk.folder.at(to)), line);
  return await run(program, [...within, "bash", "-c", script], {
    cwd: desk.folder.path,
    env: {
      PATH: `${desk.folder.at("newcomer/bin")}:${process.env["PATH"] ?? ""}`,
      HOME: desk.folder.at("newcomer"),
      CHATKEEP_CONFIG: desk.folder.at("newcomer/etc/chatkeep.yaml"),
      DOCKER_HOST: desk.engine.host,
      NODE_TEST_CONTEXT: undefined,
    },
  });
}

test("the README's ten minutes: its lines, one after the other, end with a proof and the kit away", async () => {
  await mkdir(desk.folder.at("newcomer/bin"), { recursive: true });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${CHATKEEP}' "$@"\n`;
  await writeFile(desk.folder.at("newcomer/bin/chatkeep"), program, { mode: 0o755 });
  const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
  const blocks = [...readme.matchAll(/^<!-- run: compose -->\n```sh\n(.*?)^```$/gms)];
  const lines = blocks.flatMap(([, block = ""]) => block.trim().split("\n"));
  assert.equal(lines.length, 6);
  for (const line of lines) {
    const { status, stdout, stderr } = await typeLine(line);
    // There is no restore point yet, which is an alarm.
    assert.equal(status, line === "chatkeep doctor" ? 3 : 0, `${line}\n${stderr}${stdout}`);
    if (line === "chatkeep drill") assert.match(stdout, /^✓ proven: /m);
  }
  const { stdout } = await typeLine("chatkeep doctor");
  const worries = stdout.match(/^(?:alarm|warning): [a-z ]+/gm);
  assert.deepEqual(worries, ["warning: every restore point lies in repository "]);
});

test("init finds it by itself, says what it found, and writes how it is found again", async () => {
  const location = desk.folder.at("repository");
  const { status, stdout, stderr } = await desk.chatkeep(["init", "--yes", "--name", "desk", "--location", location]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, new RegExp(`the Compose project '${PROJECT}' at .*docker\\.sock, made by Compose 2\\.\\d+`));
  assert.match(stdout, /web: desk-rails-1; worker: desk-sidekiq-1/);
  const config = readFileSync(desk.folder.at("chatkeep.yaml"), "utf8");
  assert.match(config, /kind: docker-compose\n {2}compose-project: desk\n/);
  assert.equal(config.includes("root:") || config.includes("env-file:"), false);
});

test("doctor reaches the database through the published port, and asks the web process", async () => {
  const summary = await desk.summary(["doctor"], { status: 3 });
  const facts = Object.fromEntries(
    (summary["facts"] as { name: string; value: string }[]).map(({ name, value }) => [name, value]),
  );
  assert.match(facts["database"] ?? "", /^PostgreSQL 17\./);
  assert.equal(facts["Chatwoot"], "4.15.1");
  assert.equal(facts["web"], "answers, Chatwoot 4.15.1");
  assert.deepEqual(worriesOf(summary), ["kit-not-kept", "no-restore-point", "same-disk"]);
});

test("a backup taken while the worker goes on receiving files is whole, and proven", async () => {
  const summary = await desk.summary(["backup"]);
  const storage = summary["storage"] as { blobs: number; missing: number };
  assert.equal(storage.missing, 0);
  assert.ok(storage.blobs > 60, `${storage.blobs} files`);
  const drill = await desk.summary(["drill"]);
  assert.equal(drill["proven"], true, JSON.stringify(drill["checks"]));
});

test("what is restored is what was there: rows, files, environment, Compose file, and what the engine says", async () => {
  // A worker that is stopped is not started again by its restart policy.
  for (const step of (await processes()).worker?.stop ?? []) await runStep(step, { signal });
  const summary = await desk.summary(["backup"], { status: 3 });
  assert.deepEqual(worriesOf(summary), ["container-stopped"]);
  const to = await restoreAndCompare("restored", await readFolder(await desk.volume("storage_data")));
  const config = join(to, "config");
  assert.equal(readFileSync(join(config, "files", desk.site, "docker-compose.yaml"), "utf8").includes("sidekiq"), true);
  assert.equal(readFileSync(join(config, "env"), "utf8"), readFileSync(join(desk.site, ".env"), "utf8"));
  const containers = JSON.parse(readFileSync(join(config, "containers.json"), "utf8")) as { service: string }[];
  assert.deepEqual(
    containers.map(({ service }) => service),
    ["postgres", "rails", "redis", "sidekiq"],
  );
});

test("the worker has its own volume, as in Coolify's old file: both are saved, and restored as one (F13)", async () => {
  const split =
    'services: { sidekiq: { volumes: !override ["sidekiq_data:/app/storage"] } }\nvolumes: { sidekiq_data: }\n';
  await writeFile(join(desk.site, "docker-compose.override.yaml"), split);
  await desk.engine.compose(desk.site, ["up", "--detach", "sidekiq"]);
  const ofWorker = await desk.volume("sidekiq_data");
  while (Object.keys(await readFolder(ofWorker)).length < 5) continue;
  for (const step of (await processes()).worker?.stop ?? []) await runStep(step, { signal });
  const summary = await desk.summary(["backup"], { status: 3 });
  assert.deepEqual(worriesOf(summary), ["container-stopped", "storage-split"]);
  assert.equal((summary["storage"] as { missing: number }).missing, 0);
  const all = { ...(await readFolder(await desk.volume("storage_data"))), ...(await readFolder(ofWorker)) };
  const to = await restoreAndCompare(
    "merged",
    Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
  assert.ok(existsSync(join(to, "config/files", desk.site, "docker-compose.override.yaml")), "overrides are saved");
});

test("a machine without any program of the server's version uses its image: backup, drill and restore", async () => {
  const bare = { isBare: true };
  const { stdout } = await desk.chatkeep(["doctor"], bare);
  assert.match(stdout, /client programs +PostgreSQL 17 +\(the image pgvector\/pgvector:pg17\)/);
  // What is known stays a note from here on.
  for (const kind of ["container-stopped", "storage-split"]) await desk.summary(["ack", kind]);
  await desk.summary(["backup", "--full"], bare);
  const drill = await desk.summary(["drill"], bare);
  assert.equal(drill["proven"], true, JSON.stringify(drill["checks"]));
  assert.match(String(drill["server"]), /in a container of pgvector\/pgvector:pg17/);
  const { user, password = "", port } = desk.seeded.database;
  const url = `postgresql://${user}:${password}@127.0.0.1:${port}/bare`;
  await desk.summary(["restore", "latest", "--only", "database", "--database-url", url, "--yes"], bare);
  const own = { host: "127.0.0.1", port, user, password };
  const [source, restored] = ["chatwoot_production", "bare"].map((database) => ({ ...own, database }));
  assert(source !== undefined && restored !== undefined);
  await assertSameDatabase(source, restored, { programs: desk.programs });
  const left = await desk.engine.docker(["ps", "--all", "--quiet", "--filter", "label=chatkeep.owner"]);
  assert.equal(left.stdout, "");
});

test("files in a container itself are an alarm, and are saved while it runs", async () => {
  await writeFile(join(desk.site, "docker-compose.override.yaml"), "services: { sidekiq: { volumes: !reset [] } }\n");
  await desk.engine.compose(desk.site, ["up", "--detach", "sidekiq"]);
  const inContainer = async () => {
    const { stdout } = await desk.engine.compose(desk.site, [
      "exec",
      "-T",
      "sidekiq",
      "find",
      "/app/storage",
      "-type",
      "f",
    ]);
    return stdout.split("\n").filter(Boolean).length;
  };
  while ((await inContainer().catch(() => 0)) < 5) continue;
  const result = await desk.chatkeep(["--json", "backup"]);
  const findings = (JSON.parse(result.stdout.trimEnd().split("\n").at(-1) ?? "{}") as { findings: Said[] }).findings;
  assert.equal(result.status, 3, result.stderr);
  assert.match(findings.find(({ kind }) => kind === "storage-ephemeral")?.message ?? "", /in desk-sidekiq-1,/);
  // Those of the worker's volume, which nothing mounts any more, are known from the point before: none is missed.
  assert.equal(
    findings.some(({ kind }) => kind === "blobs-missing"),
    false,
  );
});

test("the empty database that Compose makes is refused, and the one with the accounts is named (F27)", async () => {
  const environment =
    "{ POSTGRES_DATABASE: chatwoot, POSTGRES_USERNAME: postgres, POSTGRES_PASSWORD: of-the-superuser }";
  await writeFile(
    join(desk.site, "docker-compose.override.yaml"),
    `services: { rails: { environment: ${environment} } }\n`,
  );
  await desk.engine.compose(desk.site, ["up", "--detach", "rails"]);
  const { status, stderr } = await desk.chatkeep(["backup"]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /error: the database 'chatwoot' holds no tables\nhint: .*'chatwoot_production'/);
});

test("a database that is not published is reached at its container's address; one that is stopped is named", async () => {
  await writeFile(join(desk.site, "docker-compose.override.yaml"), "services: { postgres: { ports: !reset [] } }\n");
  await desk.engine.compose(desk.site, ["up", "--detach"]);
  await desk.databaseReady();
  const { stdout } = await desk.chatkeep(["doctor"]);
  assert.match(stdout, /database +PostgreSQL 17\..*@172\.\d+\.\d+\.\d+:5432/);
  await desk.engine.compose(desk.site, ["stop", "postgres"]);
  const { status, stderr } = await desk.chatkeep(["backup"]);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /error: the container desk-postgres-1, which Chatwoot needs, is not running\nhint: .*docker start desk-postgres-1/,
  );
});
