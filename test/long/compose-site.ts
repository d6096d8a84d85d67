/** Sites of Chatwoot's production Compose file on an engine of the test's own: real PostgreSQL with pgvector, real Redis, and a stand-in for Chatwoot. */
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DemoInstallation, DemoOptions } from "../../src/demo/installation.ts";
import {
  addNode,
  composeProgram,
  type Docker,
  makeDatabaseImage,
  makeImage,
  makeRedisImage,
  startDocker,
} from "../harness/docker.ts";
import { debianFolder, newerPostgres } from "../harness/newer-postgres.ts";
import { mustRun, type RunResult } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const MODULES = join(ROOT, "node_modules");
const PORT = 5432;

export interface SitePasswords {
  /** Of the server's superuser, whom Chatwoot does not use. */
  postgres: string;
  redis: string;
}

export interface SiteOptions {
  project: string;
  passwords: SitePasswords;
  seed: Pick<DemoOptions, "size" | "seed" | "role" | "database">;
  /** The worker only stays connected: what it received would be in the way of a comparison. */
  isIdle?: boolean;
  /** Its servers are in a profile, and its files are filled from another file than `.env`: each call has to say so. */
  isNamed?: boolean;
  /** Other values in its `.env` than the seed makes. */
  environment?: Readonly<Record<string, string>>;
}

/** What every call of Compose has to say then. */
const NAMED = ["--env-file", "names of files.env", "--profile", "servers"];

function composeFile({ passwords, isIdle = false, isNamed = false }: SiteOptions): string {
  const profile = isNamed ? 'profiles: ["servers"]' : "profiles: []";
  const idle = isIdle ? ', STAND_IN_IS_IDLE: "1"' : "";
  return `
services:
  base: &base
    image: chatwoot/chatwoot:v4.15.1
    pull_policy: never
    env_file: ${isNamed ? "$CHATWOOT_ENV" : ".env"}
    volumes: ["storage_data:/app/storage"]
    profiles: ["never"]
  rails:
    <<: *base
    profiles: []
    depends_on: [postgres, redis]
    ports: ["127.0.0.1:3000:3000"]
    environment: { NODE_ENV: production, RAILS_ENV: production, INSTALLATION_ENV: docker }
    entrypoint: docker/entrypoints/rails.sh
    command: ["bundle", "exec", "rails", "s", "-p", "3000", "-b", "0.0.0.0"]
    restart: always
  sidekiq:
    <<: *base
    profiles: []
    depends_on: [postgres, redis]
    environment: { NODE_ENV: production, RAILS_ENV: production, INSTALLATION_ENV: docker${idle} }
    entrypoint: docker/entrypoints/rails.sh
    command: ["bundle", "exec", "sidekiq", "-C", "config/sidekiq.yml"]
    restart: always
  postgres:
    image: pgvector/pgvector:pg17
    ${profile}
    pull_policy: never
    restart: always
    ports: ["127.0.0.1:${PORT}:5432"]
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    environment: { POSTGRES_DB: chatwoot, POSTGRES_USER: postgres, POSTGRES_PASSWORD: ${passwords.postgres} }
  redis:
    image: redis:7
    ${profile}
    pull_policy: never
    restart: always
    command: ["--requirepass", "${passwords.redis}"]
    volumes: ["redis_data:/data"]
volumes: { storage_data: , postgres_data: , redis_data: }
`;
}

/** What the image of Chatwoot has, as far as Chatkeep looks, and the stand-in. */
async function makeChatwootImage(engine: Docker, debian: string): Promise<void> {
  await using extra = await temporaryFolder();
  const app: Record<string, string> = {
    "app/config/app.yml": "shared: &shared\n  version: '4.15.1'\n",
    "app/.git_sha": "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432\n",
    "app/enterprise/.keep": "",
    "app/package.json": '{ "type": "module" }\n',
    "app/docker/entrypoints/rails.sh": '#!/bin/sh\nexec node /app/stand-in.ts "$@"\n',
  };
  for (const [path, text] of Object.entries(app)) {
    await mkdir(dirname(extra.at(path)), { recursive: true });
    await writeFile(extra.at(path), text, { mode: 0o755 });
  }
  await cp(join(ROOT, "test/harness/stand-in-chatwoot.ts"), extra.at("app/stand-in.ts"));
  const { stdout } = await mustRun("sh", ["-c", "ls -d pg pg-* pgpass postgres-* split2 xtend"], { cwd: MODULES });
  for (const name of stdout.split("\n").filter(Boolean)) {
    await cp(join(MODULES, name), extra.at("app/node_modules", name), { recursive: true });
  }
  await addNode(extra);
  const changes = [
    "WORKDIR /app",
    "ENV LD_LIBRARY_PATH=/usr/local/lib",
    "ENV RAILS_ENV=production",
    "ENV CW_EDITION=ee",
    "EXPOSE 3000",
  ];
  await makeImage(engine, { name: "chatwoot/chatwoot:v4.15.1", folder: debian, extra: extra.path, changes });
}

const READY = ["postgres", "pg_isready", "--host=127.0.0.1"];

async function waitFor(compose: ComposeSite["compose"], args: readonly string[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await compose(["exec", "-T", ...args]);
      return;
    } catch (cause) {
      if (attempt === 100) {
        const { stdout } = await compose(["logs", "--tail=20"]);
        throw new Error(`it does not become ready:\n${stdout}`, { cause });
      }
      await sleep(200);
    }
  }
}

const SEED = `
import { buildInstallation } from ${JSON.stringify(join(ROOT, "src/demo/installation.ts"))};
const options = JSON.parse(process.argv[1]);
const made = await buildInstallation({ ...options, signal: new AbortController().signal });
console.log(JSON.stringify({ ...made, environment: [...made.environment] }));`;

/** Fills the database of the running server; the files are made beside it. */
async function seed(engine: Docker, root: string, { passwords, seed: wanted }: SiteOptions): Promise<DemoInstallation> {
  const [program = "", ...within] = engine.within;
  const address = {
    host: "127.0.0.1",
    port: PORT,
    user: "postgres",
    password: passwords.postgres,
    database: "postgres",
  };
  const options = { root, address, ...wanted };
  const node = [process.execPath, "--input-type=module", "--eval", SEED, JSON.stringify(options)];
  const { stdout } = await mustRun(program, [...within, ...node]);
  const made = JSON.parse(stdout) as DemoInstallation & { environment: [string, string][] };
  return { ...made, environment: new Map(made.environment) };
}

/** Wrappers, so that what looks for programs in a folder finds them, and they find the server. */
async function makePrograms(engine: Docker, programs: string, folder: string): Promise<void> {
  await mkdir(folder);
  for (const name of ["pg_dump", "psql"]) {
    await writeFile(join(folder, name), `#!/bin/sh\nexec ${engine.within.join(" ")} ${programs}/${name} "$@"\n`, {
      mode: 0o755,
    });
  }
}

export interface ComposeEngine extends AsyncDisposable {
  engine: Docker;
  folder: TestFolder;
  /** The folder of PostgreSQL's programs. */
  programs: string;
  /** The same, which see the engine's network. */
  programsWithin: string;
  /** What Docker's program needs to have Compose. */
  env: Readonly<Record<string, string>>;
}

/** Starts an engine that has all images of the file. It takes root, and half a minute. */
export async function openComposeEngine(): Promise<ComposeEngine> {
  const { programs, major } = await newerPostgres(17);
  const debian = debianFolder(17);
  const engine = await startDocker();
  const folder = await temporaryFolder();
  const dispose = async () => {
    await engine[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  };
  try {
    await makeDatabaseImage(engine, { folder: debian, major, name: "pgvector/pgvector:pg17" });
    await makeRedisImage(engine, "redis:7");
    await makeChatwootImage(engine, debian);
    const programsWithin = folder.at("programs");
    await makePrograms(engine, programs, programsWithin);
    await mkdir(folder.at("docker/cli-plugins"), { recursive: true });
    await symlink(await composeProgram(), folder.at("docker/cli-plugins/docker-compose"));
    const env = { DOCKER_CONFIG: folder.at("docker") };
    return { engine, folder, programs, programsWithin, env, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

export interface ComposeSite {
  project: string;
  /** Where the Compose file lies. */
  path: string;
  /** What was seeded; its storage is where it was made. */
  seeded: DemoInstallation;
  /** Runs `docker compose` as it was started; a status other than 0 is an error. */
  compose: (args: readonly string[]) => Promise<RunResult>;
  /** The folder of a volume on this machine. */
  volume(name: string): Promise<string>;
  /** Until the server takes connections. */
  databaseReady(): Promise<void>;
  /** Starts all of it, and returns when the web process answers. */
  up(): Promise<void>;
}

/** Makes a site whose servers run and whose application is made, with an empty volume for its files. One runs at a time: their ports are the same. */
export async function makeComposeSite({ engine, folder }: ComposeEngine, options: SiteOptions): Promise<ComposeSite> {
  const { project, passwords, isNamed = false } = options;
  const path = folder.at(project);
  const compose = async (args: readonly string[]) => await engine.compose(path, [...(isNamed ? NAMED : []), ...args]);
  await mkdir(path);
  await writeFile(join(path, "docker-compose.yaml"), composeFile(options));
  await writeFile(join(path, ".env"), "", { mode: 0o600 });
  if (isNamed) await writeFile(join(path, "names of files.env"), "CHATWOOT_ENV=.env\n");
  await compose(["up", "--detach", "postgres", "redis"]);
  await waitFor(compose, READY);
  // The database that Chatwoot does not use, as its file makes it.
  await compose(["exec", "-T", "postgres", "createdb", "--username=postgres", "chatwoot"]);
  const seeded = await seed(engine, folder.at(`seed-${project}`), options);
  const environment = new Map(seeded.environment);
  for (const [name, value] of [
    ["POSTGRES_HOST", "postgres"],
    ["REDIS_URL", "redis://redis:6379"],
    ["REDIS_PASSWORD", passwords.redis],
    ...Object.entries(options.environment ?? {}),
  ] as const) {
    environment.set(name, value);
  }
  environment.delete("POSTGRES_PORT");
  const lines = [...environment].map(([name, value]) => `${name}='${value}'`);
  await writeFile(join(path, ".env"), `${lines.join("\n")}\n`, { mode: 0o600 });
  await compose(["create", "rails", "sidekiq"]);
  return {
    project,
    path,
    seeded,
    compose,
    async volume(name) {
      const asked = ["volume", "inspect", "--format", "{{.Mountpoint}}", `${project}_${name}`];
      return (await engine.docker(asked)).stdout.trim();
    },
    databaseReady: async () => await waitFor(compose, READY),
    async up() {
      await compose(["up", "--detach"]);
      await waitFor(compose, ["rails", "node", "--eval", "fetch('http://127.0.0.1:3000/health')"]);
    },
  };
}
