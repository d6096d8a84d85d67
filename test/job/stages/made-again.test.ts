/** Containers of Compose are made again by the stage `environment` itself; a person is asked only where Compose cannot be run. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { readEnvFile } from "../../../src/chatwoot/environment.ts";
import { findInstallation } from "../../../src/installation/find.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import { PointReader } from "../../../src/job/point-reader.ts";
import { listPoints } from "../../../src/job/points.ts";
import { environmentStage, type EnvironmentRecord } from "../../../src/job/stages/environment-stage.ts";
import type { StageContext } from "../../../src/job/stages/stage.ts";
import { makeStandInCompose, type StandInCompose } from "../../harness/stand-in-compose.ts";
import { type StandInContainer, type StandInEngine, startStandInEngine } from "../../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { ENVIRONMENT, IMAGES, production } from "../../installation/compose-shapes.ts";
import { backUpInto, type MemoryDesk, openMemoryDesk } from "../memory-desk.ts";
import { contextFor, memoryRecord } from "./stage-context.ts";

const { signal } = new AbortController();
const { PATH } = process.env;
const NAME = "chatwoot/chatwoot:v4.15.1";
const FILE = "services: { rails: { env_file: .env }, sidekiq: { env_file: .env } }\n";

let desk: MemoryDesk;
let reader: PointReader;
let key: string;
let folder: TestFolder;
let engine: StandInEngine;
let docker: StandInCompose;
let containers: StandInContainer[];

before(async () => {
  desk = await openMemoryDesk();
  key = readEnvFile(await readFile(desk.demo.envFile, "utf8")).values.get("SECRET_KEY_BASE") ?? "";
  await backUpInto(desk.repository, desk);
  await desk.repository.loadIndex({ signal });
  const [point] = (await listPoints(desk.repository, { signal })).points;
  assert(point);
  reader = new PointReader(desk.repository, point, { signal });
});

after(async () => await desk[Symbol.asyncDispose]());

/** Containers that Compose was called for since have what their file says now, and its policy. */
function made(): StandInContainer[] {
  for (const line of docker.newUps()) {
    const { values } = readEnvFile(readFileSync(folder.at(".env"), "utf8"));
    for (const one of containers.filter(({ Config }) => line.includes(` ${serviceOf(Config)}`))) {
      one.Config.Env = [...new Map([...Object.entries(ENVIRONMENT), ...values])].map(
        ([name, value]) => `${name}=${value}`,
      );
      one.HostConfig = { ...one.HostConfig, RestartPolicy: { Name: "always" } };
    }
  }
  return containers;
}

function serviceOf({ Labels }: StandInContainer["Config"]): string {
  return Labels?.["com.docker.compose.service"] ?? "";
}

beforeEach(async () => {
  folder = await temporaryFolder();
  await mkdir(folder.at("restore"));
  docker = await makeStandInCompose(folder, [NAME]);
  process.env["PATH"] = `${docker.path}:${PATH}`;
  await writeFile(folder.at("docker-compose.yaml"), FILE);
  const env = Object.entries(ENVIRONMENT)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
  await writeFile(folder.at(".env"), env);
  containers = production(folder.at("storage"), { folder: folder.path });
  for (const one of containers.slice(0, 2)) one.State.Running = false;
  engine = await startStandInEngine({
    get containers() {
      return made();
    },
    images: IMAGES.map((image) => ({ ...image, RepoTags: [] })),
  });
});

afterEach(async () => {
  process.env["PATH"] = PATH;
  await engine[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function look(): Promise<Installation> {
  return (await findInstallation({}, { signal, env: { DOCKER_HOST: engine.host } })).installation;
}

async function contextOf(): Promise<StageContext> {
  const context = await contextFor(reader, await look(), { folder: folder.at("restore") });
  return { ...context, place: { ...context.place, look } };
}

/** Of both processes. */
function keysNow(): (string | undefined)[] {
  return made()
    .slice(0, 2)
    .map(({ Config }) => Config.Env?.find((line) => line.startsWith("SECRET_KEY_BASE="))?.slice(16));
}

async function applied(record = memoryRecord<EnvironmentRecord>()) {
  return { result: await environmentStage.apply(await contextOf(), record), record };
}

const UP = /^compose --project-name=chatwoot .* up --no-start --no-deps --no-build --pull=never rails sidekiq$/;

test("the plan has the command, and what it merges is in the containers when the stage is through; none of them starts by itself", async () => {
  const context = await contextOf();
  const { lines, findings } = await environmentStage.plan(context);
  const line = lines.find((one) => one.startsWith("the containers of rails, sidekiq are made again with it"));
  assert.match(line ?? lines.join("\n"), /not started yet: docker compose --project-name=chatwoot .* rails sidekiq$/);
  assert.ok(findings.every(({ kind }) => kind !== "containers-to-make-again"));
  assert.deepEqual(docker.newUps(), [], "a plan changes nothing");
  const { result, record } = await applied();
  assert.equal(result.holds, undefined);
  assert.ok(result.lines.includes("the containers of rails, sidekiq have it, and are not started yet"));
  assert.deepEqual(keysNow(), [key, key]);
  const ups = docker.calls().filter((one) => one.includes(" up "));
  assert.equal(ups.length, 1);
  assert.match(ups[0] ?? "", UP);
  assert.deepEqual(
    containers.slice(0, 2).map(({ HostConfig }) => HostConfig?.RestartPolicy?.Name),
    ["no", "no"],
  );
  // Gone on with, it makes nothing twice.
  await applied(record);
  assert.deepEqual(docker.newUps(), []);
});

test("killed before it was seen that all were made, it makes those again that were not", async () => {
  const record = memoryRecord<EnvironmentRecord>();
  await docker.setFailing(true);
  const failed = await applied(record);
  assert.match(
    failed.result.holds ?? "",
    /cannot make them again: 'docker' ended with status 1\. It said: no space left/,
  );
  await docker.setFailing(false);
  // The web process has it already, and the worker not: the first alone would say that all is well.
  const [rails] = containers;
  assert(rails !== undefined);
  rails.Config.Env = (rails.Config.Env ?? []).map((line) =>
    line.replace(/^SECRET_KEY_BASE=.*/, `SECRET_KEY_BASE=${key}`),
  );
  const { result } = await applied(record);
  assert.equal(result.holds, undefined);
  assert.deepEqual(keysNow(), [key, key]);
});

test("a person is asked where Compose would make something else, or its files are gone", async () => {
  process.env["PATH"] = "/nowhere";
  const without = await environmentStage.plan(await contextOf());
  assert.match(
    without.findings.map(({ message }) => message).join("\n"),
    /here: the program 'docker' is not installed$/m,
  );
  process.env["PATH"] = `${docker.path}:${PATH}`;
  await docker.setImages(["chatwoot/chatwoot:v4.16.0"]);
  const { findings, lines } = await environmentStage.plan(await contextOf());
  assert.ok(lines.every((line) => !line.startsWith("the containers of")));
  const told = findings.find(({ kind }) => kind === "containers-to-make-again");
  assert.match(
    told?.message ?? "",
    /rails runs chatwoot\/chatwoot:v4\.15\.1, and by the Compose files .* another image$/,
  );
  const { result } = await applied();
  assert.match(
    result.holds ?? "",
    /^containers still have another .*SECRET_KEY_BASE.* than their files, .* Call: docker compose /,
  );
  assert.deepEqual(
    docker.calls().filter((line) => line.includes(" up ")),
    [],
  );
});
