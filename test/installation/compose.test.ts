/** Chatwoot in containers, found through an engine that says what real ones say. No Docker is needed. */
import assert from "node:assert/strict";
import { mkdir, truncate, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { Finding } from "../../src/base/findings.ts";
import { type Found, findInstallation, type InstallationSettings } from "../../src/installation/find.ts";
import { runStep } from "../../src/installation/processes.ts";
import { isAckable } from "../../src/job/quiet.ts";
import { type StandInContainer, startStandInEngine, type StandInWorld } from "../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import {
  bind,
  container,
  DIGEST,
  ENVIRONMENT,
  IMAGES,
  PASSWORD,
  postgres,
  production,
  redis,
  SECRET,
  type Shape,
  volume,
  web,
  worker,
} from "./compose-shapes.ts";

const signal = new AbortController().signal;
const STORAGE = "/var/lib/docker/volumes/chatwoot_storage_data/_data";

let machine: TestFolder;

before(async () => {
  machine = await temporaryFolder();
  await put(
    "/opt/chatwoot/docker-compose.yaml",
    "services:\n  rails:\n    env_file: .env\n  sidekiq:\n    env_file: [.env, { path: extra.env }]\n",
  );
  await put("/opt/chatwoot/.env", `SECRET_KEY_BASE=${SECRET}\n`, 0o600);
  await put("/opt/chatwoot/extra.env", "EXTRA=1\n");
  await put(`${STORAGE}/ab/cd/abcdef`, "a file");
});

after(async () => await machine[Symbol.asyncDispose]());

async function put(path: string, text: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(machine.at(path.slice(1))), { recursive: true });
  await writeFile(machine.at(path.slice(1)), text, { mode });
}

async function find(
  containers: readonly StandInContainer[],
  settings: InstallationSettings = {},
  filesystemRoot = machine.path,
): Promise<Found> {
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  return await findInstallation(settings, { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot });
}

function kinds(findings: readonly Finding[], level?: Finding["level"]): string[] {
  return findings.filter((finding) => level === undefined || finding.level === level).map(({ kind }) => kind);
}

function finding({ findings }: Found, kind: string): Finding {
  const found = findings.find((one) => one.kind === kind);
  assert(found, `${kind} is not among ${kinds(findings).join(", ")}`);
  return found;
}

/** Chatwoot's production file with another database. */
async function withDatabase(shape: Shape): Promise<Found> {
  const without = production(STORAGE).filter(({ Name }) => !Name.includes("postgres"));
  return await find([...without, postgres({ project: "chatwoot", ...shape })]);
}

async function reachOf(shape: Shape): Promise<NonNullable<Found["installation"]["reach"]>> {
  return (await withDatabase(shape)).installation.reach ?? assert.fail("there is no way to the database");
}

function inMachine(path: string): string {
  return machine.at(path.slice(1));
}

test("Chatwoot's production file is found by itself, with all that belongs to it, and nothing worries", async () => {
  const { installation, findings } = await find(production(STORAGE));
  assert.deepEqual(findings, []);
  assert.equal(installation.kind, "docker-compose");
  assert.deepEqual(installation.choice, { project: "chatwoot" });
  assert.equal(installation.version, "4.15.1");
  assert.equal(installation.edition, "ee");
  assert.equal(installation.commit, "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432");
  assert.deepEqual(installation.image, {
    name: "chatwoot/chatwoot:v4.15.1",
    id: IMAGES[0]?.Id,
    digest: `chatwoot/chatwoot@${DIGEST}`,
  });
  assert.equal(installation.environment.get("SECRET_KEY_BASE"), SECRET);
  assert.deepEqual(installation.storage, [{ serviceName: "local", kind: "local", roots: [inMachine(STORAGE)] }]);
  assert.deepEqual(installation.dataFolders, [
    { server: "PostgreSQL", path: inMachine("/var/lib/docker/volumes/chatwoot_postgres_data/_data") },
    { server: "Redis", path: inMachine("/var/lib/docker/volumes/chatwoot_redis_data/_data") },
  ]);
  // The application's database, and not the one that the database's own container names (F27).
  assert.deepEqual(installation.database, {
    host: "postgres",
    port: 5432,
    user: "postgres",
    password: PASSWORD,
    database: "chatwoot_production",
  });
  assert.deepEqual(installation.reach?.("postgres", 5432), {
    host: "127.0.0.1",
    port: 5432,
    through: "port 5432, which the container chatwoot-postgres-1 publishes",
  });
  assert.equal(installation.redis?.password, "another-password");
  assert.equal(installation.envFile, inMachine("/opt/chatwoot/.env"));
  assert.deepEqual(
    installation.systemFiles,
    ["docker-compose.yaml", "extra.env"].map((name) => inMachine(`/opt/chatwoot/${name}`)),
  );
  assert.deepEqual(installation.processes.health, { how: "http", url: "http://127.0.0.1:3000" });
  const said = installation.notes.join("\n");
  assert.match(said, /the Compose project 'chatwoot' at .*docker\.sock, made by Compose 2\.40\.3/);
  assert.match(said, /web: chatwoot-rails-1; worker: chatwoot-sidekiq-1/);
  assert.match(said, /the database is in the container chatwoot-postgres-1/);
  assert.equal(said.includes(PASSWORD) || said.includes(SECRET), false);
});

test("what the containers were made of can be read from the point even where the Compose files are lost", async () => {
  const { installation } = await find(production(STORAGE));
  const [made] = installation.madeFiles;
  assert.equal(made?.path, "containers.json");
  const described = JSON.parse(made?.text ?? "[]") as { name: string; environment: Record<string, string> }[];
  assert.deepEqual(
    described.map(({ name }) => name),
    ["chatwoot-postgres-1", "chatwoot-rails-1", "chatwoot-redis-1", "chatwoot-sidekiq-1"],
  );
  assert.equal(described[0]?.environment["POSTGRES_DB"], "chatwoot");
});

test("web and worker are stopped and started one by one", async () => {
  const containers = production(STORAGE);
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  const options = { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: machine.path };
  const { processes } = (await findInstallation({}, options)).installation;
  for (const step of [...(processes.worker?.stop ?? []), ...(processes.web?.stop ?? [])])
    await runStep(step, { signal });
  // It runs: the engine says so, and that is no failure.
  for (const step of processes.web?.start ?? []) await runStep(step, { signal });
  assert.deepEqual(engine.acts, ["stop chatwoot-sidekiq-1", "stop chatwoot-rails-1", "start chatwoot-rails-1"]);
});

test("what version 1 made is found, too: underscores, and Compose files named from its own folder", async () => {
  const { installation, findings } = await find(production(STORAGE, { compose: "1.29.2" }));
  assert.deepEqual(findings, []);
  assert.deepEqual(installation.processes.web?.stop, [
    { ...(installation.processes.web?.stop[0] as object), container: "chatwoot_rails_1" },
  ]);
  assert.ok(installation.systemFiles.includes(inMachine("/opt/chatwoot/docker-compose.yaml")));
});

test("it is known which files each process's environment comes from, which counts first, and how containers are made again", async () => {
  const mount = { Type: "bind", Source: "/opt/chatwoot/extra.env", Destination: "/extra", RW: true } as const;
  await put("/opt/chatwoot/own.yaml", "services: { rails: { environment: [FORCE_SSL=true] } }\n");
  const configFiles = "/opt/chatwoot/docker-compose.yaml,/opt/chatwoot/own.yaml";
  const { installation } = await find([
    ...production(STORAGE, { configFiles }).filter(({ Name }) => !Name.includes("sidekiq")),
    worker({ project: "chatwoot", configFiles, mounts: [mount] }),
  ]);
  const envFile = { path: inMachine("/opt/chatwoot/.env"), isMounted: false, isReadAtStart: false };
  const extra = { path: inMachine("/opt/chatwoot/extra.env"), isMounted: true, isReadAtStart: false };
  const sources = installation.environmentFrom ?? [];
  assert.deepEqual(
    sources.map(({ of, files, fixed }) => ({ of, files, fixed })),
    [
      { of: "chatwoot-rails-1", files: [envFile], fixed: new Set(["FORCE_SSL"]) },
      { of: "chatwoot-sidekiq-1", files: [extra, envFile], fixed: new Set() },
    ],
  );
  assert.equal(
    sources[0]?.remake,
    "docker compose --project-name=chatwoot --project-directory=/opt/chatwoot --file=/opt/chatwoot/docker-compose.yaml --file=/opt/chatwoot/own.yaml '--profile=*' up --no-start --no-deps --no-build --pull=never rails sidekiq",
  );
  assert.equal(sources[0]?.remakeAndStart, sources[0]?.remake?.replace("--no-start", "--detach"));
  // Started with a file of its own for the variables, and more workers than the file says.
  const labels = { "com.docker.compose.project.environment_file": "/etc/chat room.env" };
  const [second] = [worker({ project: "chatwoot", labels })].map((one) => ({ ...one, Name: "/chatwoot-sidekiq-2" }));
  assert(second !== undefined);
  const more = await find([...production(STORAGE, { labels }), second]);
  assert.equal(
    more.installation.environmentFrom?.[0]?.remake,
    "docker compose --project-name=chatwoot --project-directory=/opt/chatwoot --file=/opt/chatwoot/docker-compose.yaml '--env-file=/etc/chat room.env' '--profile=*' up --no-start --no-deps --no-build --pull=never --scale=sidekiq=2 rails sidekiq",
  );
  // Nobody has the file that was piped into Compose.
  const piped = await find(production(STORAGE, { configFiles: "-" }));
  assert.equal(piped.installation.environmentFrom?.[0]?.remake, undefined);
  const alone = await find([web({})]);
  assert.deepEqual(
    alone.installation.environmentFrom?.map(({ files, fixed, remake }) => ({ files, fixed, remake })),
    [{ files: [], fixed: "all", remake: undefined }],
  );
});

test("override files are saved, and one that is not here is told", async () => {
  await put("/opt/chatwoot/docker-compose.override.yaml", "services: { rails: { env_file: only-web.env } }\n");
  const configFiles = ["docker-compose.yaml", "docker-compose.override.yaml"]
    .map((name) => `/opt/chatwoot/${name}`)
    .join(",");
  const found = await find(production(STORAGE, { configFiles }));
  assert.ok(found.installation.systemFiles.includes(inMachine("/opt/chatwoot/docker-compose.override.yaml")));
  const { level, message } = finding(found, "compose-file-missing");
  assert.equal(level, "note");
  assert.match(message, /1 file .* is not on this machine: \/opt\/chatwoot\/only-web\.env/);
});

test("Portainer's files are found in its volume", async () => {
  const portainer = container("portainer", {
    image: "portainer/portainer-ce:2.33",
    environment: {},
    mounts: [volume("portainer_data", "/data")],
  });
  const folder = "/data/compose/7";
  await put("/var/lib/docker/volumes/portainer_data/_data/compose/7/docker-compose.yml", "services: {}\n");
  const shape = { project: "chatwoot", folder, configFiles: `${folder}/docker-compose.yml` };
  const { installation, findings } = await find([...production(STORAGE, shape), portainer]);
  assert.deepEqual(findings, []);
  assert.deepEqual(installation.systemFiles, [
    inMachine("/var/lib/docker/volumes/portainer_data/_data/compose/7/docker-compose.yml"),
  ]);
});

function inCoolify(service: string): Shape {
  return {
    project: "x8k4gs0",
    folder: "/data/coolify/services/x8k4gs0",
    labels: { "coolify.managed": "true", "coolify.name": `${service}-x8k4gs0`, "coolify.type": "service" },
    environment: { ...ENVIRONMENT, POSTGRES_DATABASE: "chatwoot" },
  };
}

test("Coolify's old template: web and worker keep their files apart, both are saved and it is told (F13)", async () => {
  const volumes = "/var/lib/docker/volumes";
  await put("/data/coolify/services/x8k4gs0/docker-compose.yaml", "services: { chatwoot: {} }\n");
  for (const name of ["rails", "sidekiq"]) await put(`${volumes}/x8k4gs0_${name}-data/_data/.keep`, "");
  const found = await find([
    web({ ...inCoolify("chatwoot"), mounts: [volume("x8k4gs0_rails-data", "/app/storage")] }, "chatwoot"),
    worker({ ...inCoolify("sidekiq"), mounts: [volume("x8k4gs0_sidekiq-data", "/app/storage")] }),
    postgres({ project: "x8k4gs0" }),
    redis({ project: "x8k4gs0" }),
  ]);
  const roots = [`${volumes}/x8k4gs0_rails-data/_data`, `${volumes}/x8k4gs0_sidekiq-data/_data`].map(inMachine);
  assert.deepEqual(found.installation.storage, [{ serviceName: "local", kind: "local", roots }]);
  assert.deepEqual(kinds(found.findings), ["storage-split"]);
  assert.match(finding(found, "storage-split").hint ?? "", /Chatkeep saves both/);
  assert.match(found.installation.notes[0] ?? "", /in Coolify: chatwoot-x8k4gs0/);
});

test("an image of somebody's own is told by what it is given and runs; another Rails application is none", async () => {
  const own = {
    image: "registry.example.com/desk:7",
    mounts: [volume("chatwoot_storage_data", "/app/storage", STORAGE)],
  };
  const mastodon = container("mastodon", {
    image: "ghcr.io/mastodon/mastodon:v4.5",
    environment: { RAILS_ENV: "production", SECRET_KEY_BASE: "x", LOCAL_DOMAIN: "social.example" },
    command: ["bundle", "exec", "puma"],
  });
  mastodon.Config.Entrypoint = ["/usr/bin/tini", "--"];
  const database = container("pgvector", { image: "ghcr.io/chatwoot/pgvector:17", environment: {} });
  const { installation } = await find([
    web({ project: "desk", ...own }),
    worker({ project: "desk", ...own }),
    postgres({ project: "desk" }),
    redis({ project: "desk" }),
    mastodon,
    database,
    container("bot", { image: "example/chatwoot-bot:1", environment: { CHATWOOT_URL: "https://chat.example.com" } }),
  ]);
  assert.equal(installation.image?.name, "registry.example.com/desk:7");
});

test("containers that no Compose made are one installation when they share the secret", async () => {
  const shape = { project: undefined, network: "chat" };
  const { installation } = await find(production(STORAGE, shape));
  assert.deepEqual(installation.choice, { container: "rails" });
  assert.equal(installation.processes.worker?.stop.length, 1);
});

test("a run that will end by itself is no process of Chatwoot's", async () => {
  const prepare = web({ project: "chatwoot", labels: { "com.docker.compose.oneoff": "True" } }, "rails-run");
  const migrate = web(
    { project: "chatwoot", command: ["bundle", "exec", "rails", "db:chatwoot_prepare"], isStopped: true },
    "migrate",
  );
  const { installation, findings } = await find([...production(STORAGE), prepare, migrate]);
  assert.deepEqual(findings, []);
  assert.equal(installation.processes.web?.stop.length, 1);
});

test("two are listed, with how to choose, and one is taken when it is named", async () => {
  const containers = [...production(STORAGE), ...production(STORAGE, { project: "staging" })];
  await assert.rejects(find(containers), (error) => {
    assert(isFailure(error, "installation/several"));
    assert.match(error.message, /^2 installations .*the Compose project 'chatwoot'; the Compose project 'staging'$/);
    assert.match(
      error.hint ?? "",
      /--project chatwoot, in the configuration 'compose-project: chatwoot', or --project staging/,
    );
    return true;
  });
  const { installation } = await find(containers, { project: "staging" });
  assert.deepEqual(installation.choice, { project: "staging" });
  const byContainer = await find(containers, { kind: "docker-compose", container: "staging-sidekiq-1" });
  assert.deepEqual(byContainer.installation.choice, { project: "staging" });
  await assert.rejects(find(containers, { project: "other" }), (error) => {
    return isFailure(error, "installation/not-found") && /'chatwoot'; .*'staging'/.test(error.hint ?? "");
  });
});

test("one in containers beside one of cwctl's are two, and what the configuration says counts", async () => {
  await using other = await temporaryFolder();
  const root = other.at("home/chatwoot/chatwoot");
  await mkdir(`${root}/config`, { recursive: true });
  await writeFile(`${root}/.env`, "RAILS_ENV=production\n", { mode: 0o600 });
  await assert.rejects(find(production(STORAGE), {}, other.path), (error) => isFailure(error, "installation/several"));
  const { installation } = await find(production(STORAGE), { kind: "linux-vm" }, other.path);
  assert.equal(installation.root, root);
});

test("without DOCKER_HOST and Docker's usual socket, those of a user's own engine and of Podman are tried", async () => {
  await using other = await temporaryFolder();
  const env = { XDG_RUNTIME_DIR: "/run/user/1000" };
  // From the last resort to the first choice: each counts before those that are there already.
  const sockets = [
    "run/podman/podman.sock",
    "run/user/1000/podman/podman.sock",
    "run/user/1000/docker.sock",
    "var/run/docker.sock",
  ].map((path) => other.at(path));
  await using running = new AsyncDisposableStack();
  for (const socket of sockets) {
    await mkdir(dirname(socket), { recursive: true });
    running.use(await startStandInEngine({ containers: production(STORAGE), images: IMAGES }, socket));
    const { installation } = await findInstallation({}, { signal, env, filesystemRoot: other.path });
    assert.ok(installation.notes[0]?.includes(`'chatwoot' at ${socket}`));
    // Nobody looks below a folder that is not named.
    if (socket.includes("user")) {
      const found = await findInstallation({}, { signal, env: {}, filesystemRoot: other.path });
      assert.ok(found.installation.notes[0]?.includes(`'chatwoot' at ${sockets[0]}`));
    }
  }
});

test("none is found: what was looked for is said, and what kept it from being looked for", async () => {
  await using empty = await temporaryFolder();
  await assert.rejects(find([redis({ project: "x" })], {}, empty.path), (error) => {
    assert(isFailure(error, "installation/not-found"));
    assert.match(
      error.hint ?? "",
      /systemd units chatwoot\*\.service .*; for containers of Chatwoot at the Docker Engine .*docker\.sock/,
    );
    return true;
  });
  const env = { DOCKER_HOST: `unix://${empty.at("none.sock")}` };
  const options = { signal, env, filesystemRoot: empty.path };
  await assert.rejects(findInstallation({}, options), (error) => isFailure(error, "installation/not-found"));
  await assert.rejects(findInstallation({ kind: "docker-compose" }, options), (error) => {
    return isFailure(error, "source/unreadable") && /no Docker Engine listens/.test(error.message);
  });
  const wrong = { ...options, env: { DOCKER_HOST: "ssh://elsewhere" } };
  await assert.rejects(findInstallation({}, wrong), (error) => isFailure(error, "config/invalid"));
});

const DATABASE = "/var/lib/docker/volumes/chatwoot_postgres_data/_data";

/** Trap 1: until 4.1 the Compose file used folders of the machine. */
async function machineOfBefore(): Promise<TestFolder> {
  const other = await temporaryFolder();
  for (const folder of [STORAGE, DATABASE, "/data/storage/ab", "/data/postgres/global"])
    await mkdir(other.at(folder.slice(1)), { recursive: true });
  await writeFile(other.at("data/postgres/PG_VERSION"), "12\n");
  await writeFile(other.at("data/postgres/global/pg_control"), "");
  return other;
}

/** By the folder of before. */
async function replacedIn(other: TestFolder, containers = production(STORAGE)): Promise<Finding[]> {
  const { findings } = await find(containers, {}, other.path);
  return findings.filter(({ kind }) => kind === "volumes-replaced");
}

test("volumes that are empty beside the folders of before are told, with how to look first (F21)", async () => {
  await using other = await machineOfBefore();
  const [files, data] = await replacedIn(other);
  assert.deepEqual([files?.level, files?.subject], ["warning", "/data/storage"]);
  assert.match(files?.message ?? "", /_storage_data\/_data, is empty, and \/data\/storage holds files/);
  assert.match(files?.hint ?? "", /'ls \/data\/storage'.*cp --archive \/data\/storage\/\. \/var\/lib/);
  assert.deepEqual([data?.level, data?.subject], ["warning", "/data/postgres"]);
  assert.match(
    data?.message ?? "",
    /_postgres_data\/_data, is empty, and \/data\/postgres holds data of PostgreSQL 12/,
  );
  assert.match(data?.hint ?? "", /leave both as they are.*If it has, it is the live one/);
  for (const { kind, hint } of [files, data].filter((one) => one !== undefined)) {
    assert.doesNotMatch(hint ?? "", /mount \/data/);
    assert.ok(isAckable(kind));
  }
});

test("files in a bucket, and a database that may be the live one, make folders of before a note (F21)", async () => {
  await using other = await machineOfBefore();
  await mkdir(other.at(`${DATABASE.slice(1)}/base/5`), { recursive: true });
  await writeFile(other.at(`${DATABASE.slice(1)}/PG_VERSION`), "16\n");
  await writeFile(other.at(`${DATABASE.slice(1)}/base/5/1259`), "rows");
  const bucket = { ...ENVIRONMENT, ACTIVE_STORAGE_SERVICE: "amazon", S3_BUCKET_NAME: "uploads" };
  const inBucket = production(STORAGE, { environment: bucket });
  const [files, data] = await replacedIn(other, inBucket);
  assert.equal(files?.level, "note");
  assert.equal(data?.level, "warning");
  assert.match(data?.message ?? "", /is newer and holds little \(4 B\)/);
  // Written to after the other was made: nobody has replaced it.
  const later = new Date(Date.now() + 60_000);
  await utimes(other.at("data/postgres/global/pg_control"), later, later);
  assert.equal((await replacedIn(other, inBucket))[1]?.level, "note");
  await utimes(other.at("data/postgres/global/pg_control"), 1, 1);
  await truncate(other.at(`${DATABASE.slice(1)}/base/5/1259`), 100 * 1024 * 1024);
  const notes = await replacedIn(other, inBucket);
  assert.deepEqual(
    notes.map(({ level, message }) => `${level}: ${message}`),
    ["/data/storage", "/data/postgres"].map(
      (path) => `note: ${path} holds data of before that no container uses any more`,
    ),
  );
});

test("a volume of uploaded files that has some makes the folder of before a note", async () => {
  await using other = await machineOfBefore();
  await mkdir(other.at(`${STORAGE.slice(1)}/ab`));
  assert.equal((await replacedIn(other))[0]?.level, "note");
});

test("the folders of before are no worry while they are what is used", async () => {
  await using other = await temporaryFolder();
  await mkdir(other.at("data/storage/ab"), { recursive: true });
  await mkdir(other.at("data/postgres"), { recursive: true });
  await writeFile(other.at("data/postgres/PG_VERSION"), "12\n");
  const mounts = [bind("/data/storage", "/app/storage")];
  const { installation, findings } = await find(
    [
      web({ project: "chatwoot", mounts }),
      worker({ project: "chatwoot", mounts }),
      postgres({ project: "chatwoot", mounts: [bind("/data/postgres", "/var/lib/postgresql/data")] }, "12"),
      redis({ project: "chatwoot" }),
    ],
    {},
    other.path,
  );
  assert.deepEqual(kinds(findings, "alarm"), []);
  assert.deepEqual(installation.storage[0]?.kind === "local" && installation.storage[0].roots, [
    other.at("data/storage"),
  ]);
});

/** Trap 2. */
test("an image of another major than the data is an alarm, also while the server cannot start (F20)", async () => {
  const project = "chatwoot";
  const found = await find([
    ...production(STORAGE).filter(({ Name }) => !Name.includes("postgres")),
    postgres({ project, isStopped: true }, "16", "12"),
  ]);
  const { level, message, hint } = finding(found, "postgres-major-differs");
  assert.equal(level, "alarm");
  assert.match(message, /written by PostgreSQL 12, and the image pgvector\/pgvector:pg16 is of 16/);
  assert.match(hint ?? "", /pgvector\/pgvector:pg12/);
  assert.equal(finding(found, "container-stopped").subject, "chatwoot-postgres-1");
  assert.throws(
    () => found.installation.reach?.("postgres", 5432),
    (error) => isFailure(error, "database/unreachable") && /docker start chatwoot-postgres-1/.test(error.hint ?? ""),
  );
});

/** Trap 4: the development file mounts its volumes where the images keep nothing. */
test("data of PostgreSQL in a volume without a name, or in none, is an alarm (F21)", async () => {
  const anonymous = volume("d".repeat(64), "/var/lib/postgresql/data");
  const development = finding(
    await withDatabase({ mounts: [volume("chatwoot_postgres", "/data/postgres"), anonymous] }),
    "postgres-not-on-volume",
  );
  assert.equal(development.level, "alarm");
  assert.match(development.message, /what is mounted is \/data\/postgres, where this image keeps nothing/);
  assert.match(
    finding(await withDatabase({ mounts: [] }), "postgres-not-on-volume").message,
    /in the container itself/,
  );
  // What holds the folder above is as good.
  assert.deepEqual((await withDatabase({ mounts: [volume("data", "/var/lib/postgresql")] })).findings, []);
});

test("uploads on no volume are being lost: an alarm, and what a running container has is read meanwhile (F13)", async () => {
  const database = production(STORAGE).slice(2);
  const mounts = [volume("chatwoot_storage_data", "/app/storage", STORAGE)];
  const found = await find([web({ project: "chatwoot" }), worker({ project: "chatwoot", mounts }), ...database]);
  const { level, message, hint } = finding(found, "storage-ephemeral");
  assert.equal(level, "alarm");
  assert.match(message, /no volume is mounted at \/app\/storage in chatwoot-rails-1,/);
  assert.match(hint ?? "", /docker cp chatwoot-rails-1:\/app\/storage/);
  const [local] = found.installation.storage;
  assert.match(
    local?.kind === "local" ? local.roots.join() : "",
    /\/proc\/\d+\/root\/app\/storage,.*chatwoot_storage_data/,
  );
  // Files that go to a bucket need no volume.
  const environment = { ...ENVIRONMENT, ACTIVE_STORAGE_SERVICE: "amazon", S3_BUCKET_NAME: "files" };
  const inBucket = await find([
    web({ project: "chatwoot", environment }),
    worker({ project: "chatwoot", environment }),
    ...database,
  ]);
  assert.equal(kinds(inBucket.findings).includes("storage-ephemeral"), false);
});

test("each of the smaller worries is told once", async () => {
  const environment = {
    ...ENVIRONMENT,
    POSTGRES_PASSWORD: "postgres",
    SECRET_KEY_BASE: "replace_with_lengthy_secure_hex",
  };
  const mounts = [volume("chatwoot_storage_data", "/app/storage", STORAGE), volume("chatwoot_public", "/app/public")];
  const [, , database, cache] = production(STORAGE) as [unknown, unknown, StandInContainer, StandInContainer];
  const shape = { project: "chatwoot", image: "chatwoot/chatwoot", mounts };
  const sidekiq = worker({
    ...shape,
    environment: { ...environment, REDIS_URL: "redis://other:6379" },
    isStopped: true,
  });
  sidekiq.Image = `sha256:${"b".repeat(64)}`;
  const found = await find([web({ ...shape, environment }), sidekiq, database, cache]);
  assert.deepEqual(kinds(found.findings).toSorted(), [
    "container-stopped",
    "default-secrets",
    "environment-differs",
    // The file of this machine has another SECRET_KEY_BASE.
    "environment-not-in-force",
    "image-tag-latest",
    "images-differ",
    "public-on-volume",
    "secret-key-base-example",
  ]);
  assert.match(finding(found, "environment-differs").message, /do not agree in REDIS_URL$/);
  assert.match(finding(found, "public-on-volume").hint ?? "", /neither saves nor restores/);
  assert.equal(JSON.stringify(found.findings).includes("replace_with"), false);
});

async function networkFound(settings: InstallationSettings, shape: Shape = {}) {
  const containers = production(STORAGE).filter(({ Name }) => !Name.includes("postgres"));
  const server = postgres({ project: "chatwoot", ...shape });
  server.State.Pid = 4711;
  await using engine = await startStandInEngine({ containers: [...containers, server], images: IMAGES });
  const env = { DOCKER_HOST: engine.host };
  const { installation } = await findInstallation(settings, { signal, env, filesystemRoot: machine.path });
  const network = installation.databaseNetwork;
  return network && { name: network.name, port: network.port, pid: await network.pid() };
}

/** As the configuration names the database. */
function namedAt(port: number): InstallationSettings {
  return { kind: "docker-compose", databaseUrl: `postgres://u@127.0.0.1:${port}/chatwoot` };
}

test("the network that the database has to itself is known, by Chatwoot's name for it and by this machine's", async () => {
  const expected = { name: "chatwoot-postgres-1", port: 5432, pid: 4711 };
  assert.deepEqual(await networkFound({}), expected);
  const ports = { "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: "6543" }] };
  assert.deepEqual(await networkFound(namedAt(6543), { ports }), expected);
  assert.equal(await networkFound(namedAt(6544), { ports }), undefined);
  await assert.rejects(networkFound({}, { isStopped: true }), (error) => isFailure(error, "database/unreachable"));
});

test("the network of a container that was made anew is its new one, by the same name", async () => {
  const containers = () => [...production(STORAGE).filter(({ Name }) => !Name.includes("postgres")), made()];
  let pid = 4711;
  const made = () => {
    const server = postgres({ project: "chatwoot" });
    server.State.Pid = pid;
    return server;
  };
  const world: StandInWorld = { containers: containers(), images: IMAGES };
  await using engine = await startStandInEngine(world);
  const env = { DOCKER_HOST: engine.host };
  const { installation } = await findInstallation({}, { signal, env, filesystemRoot: machine.path });
  assert.equal(await installation.databaseNetwork?.pid(), 4711);
  pid = 4712;
  world.containers = containers();
  assert.equal(await installation.databaseNetwork?.pid(), 4712);
});

test("a server is reached where its container publishes it, else at the container's address, else it is said what to publish", async () => {
  const both = ["0.0.0.0", "::"].map((HostIp) => ({ HostIp, HostPort: "6000" }));
  const published = (await reachOf({ ports: { "5432/tcp": both } }))("postgres", 5432);
  assert.deepEqual([published.host, published.port], ["127.0.0.1", 6000]);
  const overBoth = (await reachOf({ ports: { "5432/tcp": both.toReversed() } }))("postgres", 5432);
  assert.equal(overBoth.host, "127.0.0.1");
  // What is published by IPv6 alone does not answer at an address of IPv4.
  const sixth = (await reachOf({ ports: { "5432/tcp": both.slice(1) } }))("postgres", 5432);
  assert.deepEqual([sixth.host, sixth.port], ["::1", 6000]);
  const unpublished = { ports: { "5432/tcp": null }, address: "172.30.0.77", aliases: ["db"] };
  for (const name of ["postgres", "db", "172.30.0.77", "chatwoot-postgres-1"]) {
    const at = (await reachOf(unpublished))(name, 5432);
    assert.deepEqual([at.host, at.port], ["172.30.0.77", 5432], name);
  }
  const nowhere = { ports: {}, address: "", aliases: ["db"] };
  await assert.rejects(
    async () => (await reachOf(nowhere))("postgres", 5432),
    (error) =>
      isFailure(error, "database/unreachable") && error.hint?.includes('ports: ["127.0.0.1:5432:5432"]') === true,
  );
  const reach = await reachOf(unpublished);
  assert.throws(
    () => reach("gone", 5432),
    (error) => isFailure(error, "database/unreachable"),
  );
  assert.throws(
    () => reach("/var/run/postgresql", 5432),
    (error) => isFailure(error, "database/unreachable"),
  );
  // A server elsewhere is where it is.
  assert.deepEqual(reach("db.example.com", 5432), { host: "db.example.com", port: 5432 });
});

test("what DATABASE_URL names is resolved, too, and so is a server of the machine itself", async () => {
  const environment = { ...ENVIRONMENT, DATABASE_URL: `postgres://chat:${PASSWORD}@postgres:5432/desk` };
  const found = await find(production(STORAGE, { environment }));
  assert.deepEqual(found.findings, []);
  assert.match(found.installation.notes.join("\n"), /the database is in the container chatwoot-postgres-1/);
  const containers = production(STORAGE);
  for (const one of containers)
    one.HostConfig = { ...one.HostConfig, ExtraHosts: ["host.docker.internal:host-gateway", "old:10.0.0.5"] };
  const { reach } = (await find(containers)).installation;
  assert.equal(reach?.("host.docker.internal", 5432).host, "172.30.0.1");
  assert.equal(reach?.("old", 5432).host, "10.0.0.5");
});

test("files that somebody mounted into Chatwoot's folder are saved; uploads, logs and built files are not", async () => {
  await put("/opt/chatwoot/logo.svg", "<svg/>");
  const mounts = [
    volume("chatwoot_storage_data", "/app/storage", STORAGE),
    bind("/opt/chatwoot/logo.svg", "/app/app/assets/logo.svg"),
    bind("/opt/chatwoot/log", "/app/log"),
    bind("/etc/localtime", "/etc/localtime"),
  ];
  const { installation } = await find([
    web({ project: "chatwoot", mounts }),
    worker({ project: "chatwoot", mounts }),
    ...production(STORAGE).slice(2),
  ]);
  assert.ok(installation.systemFiles.includes(inMachine("/opt/chatwoot/logo.svg")));
  assert.equal(
    installation.systemFiles.some((path) => /localtime|\/log$/.test(path)),
    false,
  );
});

test("a .env that is mounted into Chatwoot's folder is read as the application reads it", async () => {
  await put("/opt/chatwoot/app.env", "FRONTEND_URL=https://not-this.example\nSMTP_ADDRESS=mail.example.com\n");
  const mounts = [volume("chatwoot_storage_data", "/app/storage", STORAGE), bind("/opt/chatwoot/app.env", "/app/.env")];
  const { installation } = await find([
    web({ project: "chatwoot", mounts }),
    worker({ project: "chatwoot", mounts }),
    ...production(STORAGE).slice(2),
  ]);
  assert.equal(installation.environment.get("SMTP_ADDRESS"), "mail.example.com");
  assert.equal(installation.environment.get("FRONTEND_URL"), "https://chat.example.com");
});
