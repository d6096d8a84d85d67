/** Chatwoot as a stack of a Swarm of one machine, on a real engine: found, saved, proven, and stopped for as long as it is meant to be. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findInstallation } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { readFolder } from "../harness/tree.ts";
import { type ComposeDesk, openComposeDesk, PROJECT } from "./compose-desk.ts";

const signal = new AbortController().signal;

/** The same containers on the same volumes, as `docker stack` takes them. No port of the database is published. */
const STACK = `
services:
  rails: &chatwoot
    image: chatwoot/chatwoot:v4.15.1
    env_file: stack.env
    environment: { RAILS_ENV: production, INSTALLATION_ENV: docker }
    entrypoint: docker/entrypoints/rails.sh
    command: ["bundle", "exec", "rails", "s", "-p", "3000", "-b", "0.0.0.0"]
    volumes: ["storage_data:/app/storage"]
  sidekiq:
    <<: *chatwoot
    command: ["bundle", "exec", "sidekiq", "-C", "config/sidekiq.yml"]
  postgres:
    image: pgvector/pgvector:pg17
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    environment: { POSTGRES_DB: chatwoot, POSTGRES_PASSWORD: of-the-superuser }
    deploy: { endpoint_mode: dnsrr }
  redis:
    image: redis:7
    command: ["--requirepass", "of-redis"]
    volumes: ["redis_data:/data"]
    deploy: { endpoint_mode: dnsrr }
volumes: { storage_data: , postgres_data: , redis_data: }
`;

let desk: ComposeDesk;

/** The container of a service's running task; empty where none runs. */
async function taskOf(service: string): Promise<string> {
  const filter = `label=com.docker.swarm.service.name=${PROJECT}_${service}`;
  const { stdout } = await desk.engine.docker(["ps", "--quiet", "--filter", filter]);
  return stdout.trim();
}

/** Where a service's running task is reached from the machine: nothing is published. */
async function addressOf(service: string): Promise<string> {
  const format = "{{range .Containers}}{{.Name}} {{.IPv4Address}}\n{{end}}";
  const { stdout } = await desk.engine.docker(["network", "inspect", "docker_gwbridge", "--format", format]);
  const { stdout: found } = await desk.engine.docker([
    "inspect",
    "--format",
    "{{.NetworkSettings.SandboxID}}",
    await taskOf(service),
  ]);
  // The bridge names whom it joins by the beginning of its sandbox.
  const line = stdout.split("\n").find((text) => text.startsWith(`gateway_${found.trim().slice(0, 12)} `));
  assert.ok(line !== undefined, stdout);
  return line.split(" ")[1]?.split("/")[0] ?? "";
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; !(await isSo().catch(() => false)); attempt += 1) {
    assert.ok(attempt < 200, `${what} in time`);
    await sleep(300);
  }
}

async function processes() {
  return (await findInstallation({}, { signal, env: { DOCKER_HOST: desk.engine.host } })).installation.processes;
}

before(async () => {
  desk = await openComposeDesk();
  const { engine, site } = desk;
  await engine.compose(site, ["down"]);
  await engine.docker(["swarm", "init", "--advertise-addr", "127.0.0.1"]);
  await writeFile(join(site, "stack.yaml"), STACK);
  // Here quotes would be part of the values.
  const environment = readFileSync(join(site, ".env"), "utf8").replaceAll(/='(.*)'$/gm, "=$1");
  await writeFile(join(site, "stack.env"), environment, { mode: 0o600 });
  await engine.docker([
    "stack",
    "deploy",
    "--resolve-image=never",
    "--detach=true",
    `--compose-file=${join(site, "stack.yaml")}`,
    PROJECT,
  ]);
  await until("the database takes connections", async () => {
    await engine.docker(["exec", await taskOf("postgres"), "pg_isready", "--host=127.0.0.1"]);
    return true;
  });
  await until("the worker runs", async () => (await taskOf("sidekiq")) !== "");
});

after(async () => {
  await desk.engine.docker(["swarm", "leave", "--force"]);
  await desk[Symbol.asyncDispose]();
});

test("the stack is found by itself, its database at the machine's bridge; a backup is whole and proven", async () => {
  const { status, stdout, stderr } = await desk.chatkeep([
    "init",
    "--yes",
    "--name",
    "desk",
    "--location",
    desk.folder.at("repository"),
  ]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /the stack 'desk' at /);
  assert.match(readFileSync(desk.folder.at("chatkeep.yaml"), "utf8"), /kind: swarm\n {2}compose-project: desk\n/);
  await until("web and worker are well", async () =>
    /answers, Chatwoot 4\.15\.1/.test((await desk.chatkeep(["doctor"])).stdout),
  );
  const summary = await desk.summary(["backup"]);
  assert.equal((summary["storage"] as { missing: number }).missing, 0);
  const drill = await desk.summary(["drill"]);
  assert.equal(drill["proven"], true, JSON.stringify(drill["checks"]));
  const services = await desk.chatkeep(["dump", "latest", "config/services.json"]);
  assert.equal((JSON.parse(services.stdout) as unknown[]).length, 4);
});

test("what is restored is what was there: rows, files, and the environment that the Swarm keeps", async () => {
  // Nothing is written between the backup and the comparison.
  const { worker } = await processes();
  for (const step of worker?.stop ?? []) await runStep(step, { signal });
  const made = await desk.summary(["backup"], { status: 3 });
  const said = (made["findings"] as { kind: string; message: string }[]).map(({ kind, message }) => [kind, message]);
  assert.deepEqual(said, [["container-stopped", `the service ${PROJECT}_sidekiq does not run: it is scaled to none`]]);
  const { user, password = "" } = desk.seeded.database;
  const source = { host: await addressOf("postgres"), port: 5432, user, password, database: "chatwoot_production" };
  const to = desk.folder.at("restored");
  const url = `postgresql://${user}:${password}@${source.host}:${source.port}/restored`;
  await desk.summary(["restore", "latest", "--to", to, "--database-url", url, "--yes"]);
  await assertSameDatabase(source, { ...source, database: "restored" }, { programs: desk.programs });
  const files = await readFolder(await desk.volume("storage_data"));
  assert.ok(Object.keys(files).length > 60, "there are files to compare");
  assert.deepEqual(await readFolder(join(to, "storage")), files);
  // No file of the machine has the environment: the service has it.
  const services = JSON.parse(readFileSync(join(to, "config/services.json"), "utf8")) as {
    Name: string;
    TaskTemplate: { ContainerSpec: { Env?: string[] } };
  }[];
  const saved = services.find(({ Name }) => Name === `${PROJECT}_rails`)?.TaskTemplate.ContainerSpec.Env ?? [];
  // What the stack file says itself counts more than the file of variables.
  const given = readFileSync(join(desk.site, "stack.env"), "utf8").replace(/^INSTALLATION_ENV=.*$/m, "");
  const lines = [...given.split("\n").filter(Boolean), "RAILS_ENV=production", "INSTALLATION_ENV=docker"];
  assert.deepEqual(new Set(lines).difference(new Set(saved)), new Set());
  assert.ok(lines.length > 5, "there are variables to compare");
  // Whoever looks next knows how it is started, though no container of it is left.
  for (const step of (await processes()).worker?.start ?? []) await runStep(step, { signal });
  await until("the worker runs again", async () => (await taskOf("sidekiq")) !== "");
});

test("the worker is stopped until it is started: the Swarm does not start it again meanwhile", async () => {
  const { worker } = await processes();
  for (const step of worker?.stop ?? []) await runStep(step, { signal });
  assert.equal(await taskOf("sidekiq"), "");
  // As long as a Swarm takes to start a task again that has merely ended.
  await sleep(8_000);
  assert.equal(await taskOf("sidekiq"), "");
  for (const step of worker?.start ?? []) await runStep(step, { signal });
  await until("the worker runs again", async () => (await taskOf("sidekiq")) !== "");
});
