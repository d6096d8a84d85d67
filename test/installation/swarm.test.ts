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

const IMAGE = {
  ...IMAGES[0],
  Id: IMAGES[0]?.Id ?? "",
  RepoTags: ["chatwoot/chatwoot:v4.15.1"],
  Config: {
    Env: [`PATH=${ENVIRONMENT["PATH"]}`, "CW_EDITION=ee"],
    Entrypoint: ["docker/entrypoints/rails.sh"],
    WorkingDir: "/app",
  },
};

type TaskSpec = NonNullable<NonNullable<ServiceDetails["Spec"]["TaskTemplate"]>["ContainerSpec"]>;

/** What `docker stack deploy` writes of such a container. */
function asSpec({ Config, Mounts }: StandInContainer): TaskSpec {
  const { "com.docker.stack.namespace": stackName = "" } = Config.Labels ?? {};
  return {
    Image: Config.Image,
    Args: Config.Cmd ?? null,
    Env: (Config.Env ?? []).filter((line) => !/^(?:PATH|CW_EDITION)=/.test(line)),
    Labels: { "com.docker.stack.namespace": stackName },
    Mounts: (Mounts ?? []).map(({ Type, Name = "", Destination }) => ({ Type, Source: Name, Target: Destination })),
  };
}

function serviceOf(
  name: string,
  alias?: string,
  ports: { TargetPort: number; PublishedPort: number }[] = [],
  container?: StandInContainer,
): ServiceDetails {
  return {
    ID: `id-of-${name}`,
    Version: { Index: 7 },
    Spec: {
      Name: name,
      Mode: { Replicated: { Replicas: 2 } },
      TaskTemplate: {
        // What a task's container has of its image is not said again.
        ...(container === undefined ? {} : { ContainerSpec: asSpec(container) }),
        Networks: alias === undefined ? [] : [{ Target: "id-of-network", Aliases: [alias] }],
      },
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
    images: [IMAGE],
    volumes: { desk_storage_data: { Mountpoint: STORAGE } },
    services: Object.entries(named).map(([service, container]) =>
      serviceOf(
        `${name}_${service}`,
        service,
        service === "redis" ? [{ TargetPort: 6379, PublishedPort: 6400 }] : [],
        container,
      ),
    ),
    networks: {
      "id-of-network": { Name: "desk_default" },
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

/** How many tasks each service of the stack is meant to have: web, worker, PostgreSQL, Redis. */
function countsOf({ services = [] }: StandInWorld): (number | undefined)[] {
  return services.map(({ Spec }) => Spec.Mode.Replicated?.Replicas);
}

test("web and worker are scaled to none, and back to what they had", async () => {
  const world = stack();
  await using engine = await startStandInEngine(world);
  const { web: own, worker: other } = (await find(engine)).installation.processes;
  for (const step of [...(other?.stop ?? []), ...(own?.stop ?? [])]) await runStep(step, { signal });
  assert.deepEqual(countsOf(world), [0, 0, 2, 2]);
  for (const step of own?.start ?? []) await runStep(step, { signal });
  assert.deepEqual(countsOf(world), [2, 0, 2, 2]);
  await assert.rejects(
    runStep(
      { how: "service", engine: { kind: "socket", path: engine.socket }, service: "none", replicas: 0 },
      { signal },
    ),
    (error) => isFailure(error, "program/failed"),
  );
});

test("services that are scaled to none are the same installation, and started with what they had, by whomever they are looked at next", async () => {
  const world = stack();
  await using engine = await startStandInEngine(world);
  const running = (await find(engine)).installation;
  const { web: own, worker: other } = running.processes;
  for (const step of other?.stop ?? []) await runStep(step, { signal });
  // Somebody changes the service meanwhile: what it was before is not what it had.
  const [rails, sidekiq] = world.services ?? [];
  assert(rails !== undefined && sidekiq !== undefined);
  sidekiq.PreviousSpec = sidekiq.Spec;
  const half = await find(engine);
  assert.deepEqual(
    half.findings.map(({ kind, subject, message, hint }) => [kind, subject, message, hint]),
    [
      [
        "container-stopped",
        "desk_sidekiq",
        "the service desk_sidekiq does not run: it is scaled to none",
        "Start it: docker service scale desk_sidekiq=2",
      ],
    ],
  );
  assert.equal(half.installation.version, "4.15.1");
  for (const step of own?.stop ?? []) await runStep(step, { signal });
  const { installation } = await find(engine);
  // Its files cannot be read, and its web process is at no address.
  assert.equal(installation.version, undefined);
  assert.equal(installation.processes.health, undefined);
  assert.deepEqual(installation.choice, running.choice);
  assert.deepEqual(installation.environment, running.environment);
  assert.deepEqual(installation.storage, running.storage);
  assert.deepEqual(installation.image, running.image);
  assert.equal(installation.edition, "ee");
  assert.equal(installation.reach?.("postgres", 5432).host, "172.18.0.9");
  assert.match(installation.notes[1] ?? "", /^web: desk_rails; worker: desk_sidekiq$/);
  // A stop that is done again forgets nothing.
  for (const step of installation.processes.web?.stop ?? []) await runStep(step, { signal });
  for (const { start = [] } of [installation.processes.web ?? {}, installation.processes.worker ?? {}])
    for (const step of start) await runStep(step, { signal });
  assert.deepEqual(countsOf(world), [2, 2, 2, 2]);
  assert.deepEqual([rails.Spec.Labels, sidekiq.Spec.Labels], [{}, {}], "nothing of ours is left on them");
});

test("a service that was scaled to none by hand is started with what the Swarm says it had, or with one task", async () => {
  const world = stack();
  const [rails, sidekiq] = world.services ?? [];
  assert(rails !== undefined && sidekiq !== undefined);
  rails.PreviousSpec = { ...rails.Spec, Mode: { Replicated: { Replicas: 3 } } };
  for (const { Spec } of [rails, sidekiq]) Spec.Mode = { Replicated: { Replicas: 0 } };
  await using engine = await startStandInEngine(world);
  const { web: own, worker: other } = (await find(engine)).installation.processes;
  for (const step of [...(own?.start ?? []), ...(other?.start ?? [])]) await runStep(step, { signal });
  assert.deepEqual(countsOf(world), [3, 1, 2, 2]);
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
