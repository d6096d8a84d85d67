/** Chatwoot as services of a Swarm, found through an engine that says what real ones say. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { findInstallation, type InstallationSettings } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import type { ServiceDetails } from "../../src/system/container-details.ts";
import {
  type StandInContainer,
  type StandInEngine,
  type StandInWorld,
  startStandInEngine,
} from "../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { ENVIRONMENT, IMAGES, postgres, production, redis, type Shape, volume, web, worker } from "./compose-shapes.ts";

const { signal } = new AbortController();
const STORAGE = "/var/lib/docker/volumes/desk_storage_data/_data";

let machine: TestFolder;

before(async () => {
  machine = await temporaryFolder();
  await mkdir(machine.at(STORAGE.slice(1)), { recursive: true });
});

after(async () => await machine[Symbol.asyncDispose]());

/** A task's container, of the service of this name. */
function asTask(container: StandInContainer, service: string, stack?: string): StandInContainer {
  container.Name = `/${service}.1.${container.Id.slice(-25)}`;
  container.Config.Labels = {
    "com.docker.swarm.service.id": `id-of-${service}`,
    "com.docker.swarm.service.name": service,
    ...(stack === undefined ? {} : { "com.docker.stack.namespace": stack }),
  };
  container.HostConfig = { NetworkMode: "default" };
  return container;
}

function serviceOf(
  name: string,
  alias?: string,
  ports: { TargetPort: number; PublishedPort: number }[] = [],
): ServiceDetails {
  return {
    ID: `id-of-${name}`,
    Version: { Index: 7 },
    Spec: {
      Name: name,
      Mode: { Replicated: { Replicas: 2 } },
      TaskTemplate: { Networks: alias === undefined ? [] : [{ Aliases: [alias] }] },
    },
    Endpoint: { Ports: ports },
  };
}

/** `docker stack deploy` of Chatwoot's file, on one machine. */
function stack(): StandInWorld {
  const name = "desk";
  const shape: Shape = { network: "desk_default", ports: {} };
  const files = { mounts: [volume("desk_storage_data", "/app/storage", STORAGE)] };
  const named = {
    rails: web({ ...shape, ...files }),
    sidekiq: worker({ ...shape, ...files }),
    postgres: postgres(shape),
    redis: redis(shape),
  };
  const containers = Object.entries(named).map(([service, container]) => asTask(container, `${name}_${service}`, name));
  const [rails, , database] = containers;
  return {
    containers,
    images: IMAGES,
    services: Object.keys(named).map((service) =>
      serviceOf(`${name}_${service}`, service, service === "redis" ? [{ TargetPort: 6379, PublishedPort: 6400 }] : []),
    ),
    networks: {
      docker_gwbridge: {
        Containers: {
          [database?.Id ?? ""]: { IPv4Address: "172.18.0.9/16" },
          [rails?.Id ?? ""]: { IPv4Address: "172.18.0.4/16" },
        },
      },
    },
  };
}

async function find(engine: StandInEngine, settings: InstallationSettings = {}) {
  return await findInstallation(settings, { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: machine.path });
}

test("a stack is found by itself: servers at the machine's bridge or a published port, never at an address of its own network", async () => {
  await using engine = await startStandInEngine(stack());
  const { installation, findings } = await find(engine);
  assert.deepEqual(findings, []);
  assert.equal(installation.kind, "swarm");
  assert.deepEqual(installation.choice, { project: "desk" });
  assert.deepEqual(installation.storage, [
    { serviceName: "local", kind: "local", roots: [machine.at(STORAGE.slice(1))] },
  ]);
  for (const name of ["postgres", "desk_postgres", "tasks.desk_postgres"]) {
    assert.equal(installation.reach?.(name, 5432).host, "172.18.0.9", name);
  }
  const cache = installation.reach?.("redis", 6379);
  assert.deepEqual([cache?.host, cache?.port], ["127.0.0.1", 6400]);
  assert.deepEqual(installation.processes.health, { how: "http", url: "http://172.18.0.4:3000" });
  assert.match(installation.notes[0] ?? "", /^the stack 'desk' at /);
  assert.deepEqual(
    installation.madeFiles.map(({ path }) => path),
    ["containers.json", "services.json"],
  );
});

test("web and worker are scaled to none, and back to what they had", async () => {
  const world = stack();
  await using engine = await startStandInEngine(world);
  const { web: own, worker: other } = (await find(engine)).installation.processes;
  for (const step of [...(other?.stop ?? []), ...(own?.stop ?? [])]) await runStep(step, { signal });
  const replicas = () => world.services?.map(({ Spec }) => Spec.Mode.Replicated?.Replicas);
  assert.deepEqual(replicas(), [0, 0, 2, 2]);
  assert.deepEqual(
    world.containers.map(({ State }) => State.Running),
    [false, false, true, true],
  );
  for (const step of own?.start ?? []) await runStep(step, { signal });
  assert.deepEqual(replicas(), [2, 0, 2, 2]);
  await assert.rejects(
    runStep(
      { how: "service", engine: { kind: "socket", path: engine.socket }, service: "none", replicas: 0 },
      { signal },
    ),
    (error) => isFailure(error, "program/failed"),
  );
});

test("CapRover's services, which no stack has together: one installation, and its uploads on no volume are an alarm", async () => {
  const environment = {
    ...ENVIRONMENT,
    POSTGRES_HOST: "srv-captain--chat-postgres",
    REDIS_URL: "redis://srv-captain--chat-redis:6379",
  };
  const shape: Shape = { network: "captain-overlay-network", ports: {}, environment };
  const { environment: _ours, ...others } = shape;
  const containers = [
    asTask(web(shape), "srv-captain--chat-web"),
    asTask(worker(shape), "srv-captain--chat-worker"),
    asTask(postgres(others), "srv-captain--chat-postgres"),
    asTask(redis(others), "srv-captain--chat-redis"),
    asTask(redis(others), "srv-captain--another-app"),
  ];
  const services = containers.map(({ Config }) => serviceOf(Config.Labels?.["com.docker.swarm.service.name"] ?? ""));
  await using engine = await startStandInEngine({ containers, images: IMAGES, services, networks: {} });
  const { installation, findings } = await find(engine);
  assert.deepEqual(installation.choice, { container: "srv-captain--chat-web" });
  const { level } = findings.find(({ kind }) => kind === "storage-ephemeral") ?? {};
  assert.equal(level, "alarm");
  assert.equal(
    findings.some(({ kind }) => kind === "storage-split"),
    false,
  );
  // What belongs to others is not saved.
  for (const { text } of installation.madeFiles) {
    assert.match(text, /srv-captain--chat-postgres/);
    assert.doesNotMatch(text, /another-app/);
  }
  assert.throws(
    () => installation.reach?.("srv-captain--chat-postgres", 5432),
    (error) =>
      isFailure(error, "database/unreachable") &&
      /docker service update --publish-add .*published=5432.* srv-captain--chat-postgres$/.test(error.hint ?? ""),
  );
});

test("tasks that ended before are passed over, and a machine that does not manage the Swarm says so", async () => {
  const world = stack();
  const [, sidekiq] = world.containers;
  assert(sidekiq !== undefined);
  const ended = {
    ...sidekiq,
    Id: "f".repeat(64),
    Name: "/desk_sidekiq.1.ended",
    Created: "2099-01-01T00:00:00Z",
    State: { Status: "exited", Running: false },
  };
  await using engine = await startStandInEngine({ containers: [ended, ...world.containers], images: IMAGES });
  const { installation, findings } = await find(engine);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["swarm-not-manager"],
  );
  assert.equal(installation.processes.worker, undefined);
});

test("a stack beside a Compose project are two; either is taken by its name", async () => {
  const world = stack();
  await using engine = await startStandInEngine({
    ...world,
    containers: [...world.containers, ...production(STORAGE)],
  });
  await assert.rejects(find(engine), (error) => {
    return (
      isFailure(error, "installation/several") && /the Compose project 'chatwoot'; the stack 'desk'/.test(error.message)
    );
  });
  assert.equal((await find(engine, { project: "desk" })).installation.kind, "swarm");
  assert.equal((await find(engine, { project: "chatwoot" })).installation.kind, "docker-compose");
  assert.deepEqual((await find(engine, { kind: "swarm", container: "desk_rails" })).installation.choice, {
    project: "desk",
  });
});
