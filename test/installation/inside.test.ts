/** Chatkeep in a container itself: beside Chatwoot in its Compose project, with the engine's socket or without. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { captureConfig } from "../../src/installation/config.ts";
import { type Found, findInstallation } from "../../src/installation/find.ts";
import { containerIdIn, mountPointsIn } from "../../src/system/own-container.ts";
import { type StandInContainer, startStandInEngine } from "../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import {
  bind,
  container,
  ENVIRONMENT,
  IMAGES,
  postgres,
  production,
  SECRET,
  type Shape,
  volume,
  web,
} from "./compose-shapes.ts";

const signal = new AbortController().signal;
const STORAGE = "/var/lib/docker/volumes/chatwoot_storage_data/_data";
const MOUNTS = [bind("/opt/chatwoot", "/chatwoot"), volume("chatwoot_storage_data", "/app/storage", STORAGE)];

/** What the file system of our own container is. */
let inside: TestFolder;

before(async () => {
  inside = await temporaryFolder();
  await put("/chatwoot/docker-compose.yaml", "services: { rails: { env_file: .env } }\n");
  await put("/chatwoot/.env", `SECRET_KEY_BASE=${SECRET}\n`, 0o600);
  await put("/app/storage/ab/cd/abcdef", "a file");
  // Not the machine's, though it has the same name there.
  await put("/data/postgres/PG_VERSION", "16\n");
});

after(async () => await inside[Symbol.asyncDispose]());

async function put(path: string, text: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(inside.at(path.slice(1))), { recursive: true });
  await writeFile(inside.at(path.slice(1)), text, { mode });
}

function ownContainer(shape: Shape = {}): StandInContainer {
  return container("chatkeep", {
    project: "chatwoot",
    image: "chatkeep:0.1.0",
    environment: {},
    mounts: MOUNTS,
    command: ["run"],
    ...shape,
  });
}

async function find(own: StandInContainer, containers = production(STORAGE)): Promise<Found> {
  await using engine = await startStandInEngine({ containers: [...containers, own], images: IMAGES });
  const env = { DOCKER_HOST: engine.host };
  return await findInstallation({}, { signal, env, filesystemRoot: inside.path, containerId: own.Id });
}

function kinds({ findings }: Found): string[] {
  return findings.map(({ kind }) => kind);
}

test("what is mounted into our own container is read there, and saved under the machine's own names", async () => {
  const found = await find(ownContainer());
  const { installation } = found;
  assert.deepEqual(kinds(found), []);
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [inside.at("app/storage")] }]);
  assert.equal(installation.envFile, inside.at("chatwoot/.env"));
  const { files } = await captureConfig(installation, { signal, filesystemRoot: inside.path });
  assert.deepEqual(
    files.map(({ path }) => path),
    ["env", "files/opt/chatwoot/docker-compose.yaml"],
  );
});

test("the database is reached on the network that both have, whatever the machine publishes", async () => {
  const { installation } = await find(ownContainer());
  const database = production(STORAGE).find(({ Name }) => Name.includes("postgres"));
  assert.equal(database?.NetworkSettings?.Ports?.["5432/tcp"]?.[0]?.HostIp, "127.0.0.1");
  const reached = installation.reach?.("postgres", 5432);
  assert.match(reached?.host ?? "", /^172\.30\.0\.\d+$/);
  assert.equal(reached?.port, 5432);
  assert.equal(reached?.through, "the container chatwoot-postgres-1 on the network chatwoot_default");
  const { health } = installation.processes;
  assert.match(health?.how === "http" ? health.url : "", /^http:\/\/172\.30\.0\.\d+:3000$/);
});

test("without a network in common a port that the machine opens to all will do, and one of its own will not", async () => {
  const own = ownContainer({ project: undefined, network: "elsewhere" });
  const { installation } = await find(own);
  assert.throws(
    () => installation.reach?.("postgres", 5432),
    (error) =>
      isFailure(error, "database/unreachable") && /a network of postgres \(chatwoot_default\)/.test(error.hint ?? ""),
  );
  const opened = postgres({
    project: "chatwoot",
    ports: { "5432/tcp": [{ HostIp: "0.0.0.0", HostPort: "6432" }] },
    mounts: [volume("postgres_data", "/var/lib/postgresql/data")],
  });
  const others = production(STORAGE).filter(({ Name }) => !Name.includes("postgres"));
  const reached = (await find(own, [...others, opened])).installation.reach?.("postgres", 5432);
  assert.deepEqual([reached?.host, reached?.port], ["172.30.0.1", 6432]);
});

test("on the machine's own network it reaches what the machine reaches", async () => {
  const own = ownContainer();
  own.HostConfig = { NetworkMode: "host" };
  const { installation } = await find(own);
  assert.equal(installation.reach?.("postgres", 5432).host, "127.0.0.1");
});

test("a volume of uploaded files that is not mounted into our own container is an alarm that says how", async () => {
  const found = await find(ownContainer({ mounts: [bind("/opt/chatwoot", "/chatwoot")] }));
  assert.deepEqual(kinds(found), ["storage-not-mounted"]);
  const [finding] = found.findings;
  assert.equal(finding?.level, "alarm");
  assert.match(finding.message, /lie in chatwoot_storage_data, which Chatkeep's own container chatwoot-chatkeep-1/);
  assert.match(finding.hint, /the service chatkeep needs under 'volumes' what rails has for \/app\/storage, with :ro/);
});

test("Compose files that are not mounted are told by their name on the machine", async () => {
  const found = await find(ownContainer({ mounts: MOUNTS.slice(1) }));
  assert.deepEqual(kinds(found), ["compose-file-missing"]);
  assert.match(found.findings[0]?.message ?? "", /\/opt\/chatwoot\/docker-compose\.yaml/);
});

test("what a container keeps in itself cannot be read from another one, and that is said", async () => {
  const containers = production(STORAGE).filter(({ Name }) => !Name.includes("rails"));
  const found = await find(ownContainer(), [...containers, web({ project: "chatwoot" })]);
  const hint = found.findings.find(({ kind }) => kind === "storage-ephemeral")?.hint ?? "";
  assert.match(hint, /Until then none of them is saved/);
  const [storage] = found.installation.storage;
  assert.deepEqual(storage?.kind === "local" ? storage.roots : [], [inside.at("app/storage")]);
});

test("a container that was made for one command is no part of what is saved", async () => {
  const own = ownContainer({ labels: { "com.docker.compose.oneoff": "True" } });
  const [made] = (await find(own)).installation.madeFiles;
  assert.equal(made?.text.includes("chatkeep"), false);
});

test("without the socket, the environment that Chatkeep was given is Chatwoot's, and what is mounted is saved", async () => {
  const env = {
    ...ENVIRONMENT,
    HOME: "/var/lib/chatkeep",
    HOSTNAME: "0123456789ab",
    CHATKEEP_CONFIG: "/etc/chatkeep/chatkeep.yaml",
    DOCKER_HOST: `unix://${inside.at("no.sock")}`,
  };
  const found = await findInstallation({}, { signal, env, filesystemRoot: inside.path });
  const { installation } = found;
  assert.deepEqual(kinds(found), []);
  assert.equal(installation.kind, "environment");
  assert.deepEqual(installation.database, {
    host: "postgres",
    port: 5432,
    user: "postgres",
    password: ENVIRONMENT["POSTGRES_PASSWORD"],
    database: "chatwoot_production",
  });
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [inside.at("app/storage")] }]);
  assert.deepEqual(
    installation.systemFiles,
    [".env", "docker-compose.yaml"].map((name) => inside.at(`chatwoot/${name}`)),
  );
  for (const name of ["HOME", "HOSTNAME", "CHATKEEP_CONFIG", "PATH"])
    assert.equal(installation.environment.has(name), false);
  assert.equal(installation.environment.get("FRONTEND_URL"), ENVIRONMENT["FRONTEND_URL"]);
  // It is found again by its kind, and says what is not mounted.
  await using empty = await temporaryFolder();
  const again = await findInstallation({ kind: "environment" }, { signal, env, filesystemRoot: empty.path });
  assert.deepEqual(kinds(again), ["storage-folder-missing"]);
  assert.match(again.findings[0]?.hint ?? "", /Mount Chatwoot's volume of uploaded files there/);
});

test("a container in the database's network, which has that one's names, is told by what is mounted", async () => {
  const others = production(STORAGE);
  const database = others.find(({ Name }) => Name.includes("postgres"));
  assert.ok(database !== undefined);
  const own = ownContainer();
  own.HostConfig = { ...own.HostConfig, NetworkMode: `container:${database.Id}` };
  await using engine = await startStandInEngine({ containers: [...others, own], images: IMAGES });
  const world = { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: inside.path, containerId: database.Id };
  const mountPoints = ["/", "/etc/hosts", "/chatwoot", "/app/storage"];
  const { installation } = await findInstallation({}, { ...world, mountPoints });
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [inside.at("app/storage")] }]);
  assert.deepEqual(installation.reach?.("postgres", 5432), { host: "127.0.0.1", port: 5432 });
  assert.equal(installation.databaseService, "postgres");
  // Its own network is no other's that would have to be entered.
  assert.equal(installation.databaseNetwork, undefined);
});

test("where the engine may be asked, what it says counts, and the given environment is not a second Chatwoot", async () => {
  await using engine = await startStandInEngine({ containers: production(STORAGE), images: IMAGES });
  const env = { ...ENVIRONMENT, DOCKER_HOST: engine.host };
  const { installation } = await findInstallation({}, { signal, env, filesystemRoot: inside.path });
  assert.equal(installation.kind, "docker-compose");
});

const ID = "4f".repeat(32);

test("the container that a process runs in is told by what its engine mounts, and by nothing else", () => {
  const docker = `1 2 254:0 /var/lib/docker/containers/${ID}/hostname /etc/hostname rw - ext4 /dev/vda rw`;
  const podman = `1 2 0:25 /containers/storage/overlay-containers/${ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw`;
  const ofMachine = `1 2 0:25 / /var/lib/docker/containers/${ID}/mounts/shm rw - tmpfs shm rw`;
  assert.equal(containerIdIn(docker), ID);
  assert.equal(containerIdIn(`x\n${podman}\n`), ID);
  assert.equal(containerIdIn(ofMachine), undefined);
  assert.equal(containerIdIn(""), undefined);
  assert.deepEqual(mountPointsIn(`1 2 8:1 /a /with\\040blank rw - ext4 /dev/vda rw\n`), ["/with blank"]);
});
