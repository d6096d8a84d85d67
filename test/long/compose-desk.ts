/** Chatwoot's production Compose file on a real engine: real PostgreSQL with pgvector, real Redis, and a stand-in for Chatwoot. */
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DemoInstallation } from "../../src/demo/installation.ts";
import { CHATKEEP, summaryOf } from "../harness/cli.ts";
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
import { mustRun, run, type RunResult } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

export const PROJECT = "desk";
const ROOT = resolve(import.meta.dirname, "../..");
const MODULES = join(ROOT, "node_modules");
const PORT = 5432;
const PASSWORDS = { postgres: "of-the-superuser", redis: "of-redis" };

const FILE = `
services:
  base: &base
    image: chatwoot/chatwoot:v4.15.1
    pull_policy: never
    env_file: .env
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
    environment: { NODE_ENV: production, RAILS_ENV: production, INSTALLATION_ENV: docker }
    entrypoint: docker/entrypoints/rails.sh
    command: ["bundle", "exec", "sidekiq", "-C", "config/sidekiq.yml"]
    restart: always
  postgres:
    image: pgvector/pgvector:pg17
    pull_policy: never
    restart: always
    ports: ["127.0.0.1:${PORT}:5432"]
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    environment: { POSTGRES_DB: chatwoot, POSTGRES_USER: postgres, POSTGRES_PASSWORD: ${PASSWORDS.postgres} }
  redis:
    image: redis:7
    pull_policy: never
    restart: always
    command: ["--requirepass", "${PASSWORDS.redis}"]
    volumes: ["redis_data:/data"]
volumes: { storage_data: , postgres_data: , redis_data: }
`;

export interface DeskOptions {
  /** The machine has no program of the server's version. */
  isBare?: boolean;
}

export interface ComposeDesk extends AsyncDisposable {
  engine: Docker;
  folder: TestFolder;
  /** Where the Compose file lies. */
  site: string;
  /** What was seeded; its storage is where it was made, and in the volume. */
  seeded: DemoInstallation;
  /** The folder of PostgreSQL's programs, which see the engine's network. */
  programs: string;
  /** With `docker compose`, and with the programs of PostgreSQL. */
  env: Record<string, string | undefined>;
  /** Runs the command line where the engine's networks are. */
  chatkeep(args: readonly string[], options?: DeskOptions): Promise<RunResult>;
  /** The same, which must end with the status; returns the summary. */
  summary(args: readonly string[], options?: DeskOptions & { status?: number }): Promise<Record<string, unknown>>;
  /** Until the server takes connections. */
  databaseReady(): Promise<void>;
  /** The folder of a volume on this machine. */
  volume(name: string): Promise<string>;
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

async function waitFor(engine: Docker, site: string, args: readonly string[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await engine.compose(site, ["exec", "-T", ...args]);
      return;
    } catch (cause) {
      if (attempt === 100) {
        const { stdout } = await engine.compose(site, ["logs", "--tail=20"]);
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
async function seed(engine: Docker, root: string): Promise<DemoInstallation> {
  const [program = "", ...within] = engine.within;
  const address = {
    host: "127.0.0.1",
    port: PORT,
    user: "postgres",
    password: PASSWORDS.postgres,
    database: "postgres",
  };
  const options = { root, address, size: { messages: 3_000, conversations: 200, files: 60 } };
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

/** Starts all of it. It takes root, and about a minute. */
export async function openComposeDesk(): Promise<ComposeDesk> {
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
    const site = folder.at(PROJECT);
    await mkdir(site);
    await writeFile(join(site, "docker-compose.yaml"), FILE);
    await writeFile(join(site, ".env"), "", { mode: 0o600 });
    await engine.compose(site, ["up", "--detach", "postgres", "redis"]);
    await waitFor(engine, site, READY);
    // The database that Chatwoot does not use, as its file makes it.
    await engine.compose(site, ["exec", "-T", "postgres", "createdb", "--username=postgres", "chatwoot"]);
    const seeded = await seed(engine, folder.at("seed"));
    await makePrograms(engine, programs, folder.at("programs"));
    const environment = new Map(seeded.environment);
    for (const [name, value] of [
      ["POSTGRES_HOST", "postgres"],
      ["REDIS_URL", "redis://redis:6379"],
      ["REDIS_PASSWORD", PASSWORDS.redis],
    ] as const) {
      environment.set(name, value);
    }
    environment.delete("POSTGRES_PORT");
    const lines = [...environment].map(([name, value]) => `${name}='${value}'`);
    await writeFile(join(site, ".env"), `${lines.join("\n")}\n`, { mode: 0o600 });
    await mkdir(folder.at("docker/cli-plugins"), { recursive: true });
    await symlink(await composeProgram(), folder.at("docker/cli-plugins/docker-compose"));
    const env = {
      DOCKER_HOST: engine.host,
      DOCKER_CONFIG: folder.at("docker"),
      PATH: `${programs}:${process.env["PATH"] ?? ""}`,
      NO_COLOR: "1",
      NODE_TEST_CONTEXT: undefined,
    };
    const desk = {
      engine,
      env,
      folder,
      site,
      seeded,
      programs: folder.at("programs"),
      async chatkeep(args: readonly string[], { isBare = false }: DeskOptions = {}) {
        const [program = "", ...within] = engine.within;
        const config = ["--config", folder.at("chatkeep.yaml")];
        return await run(program, [...within, process.execPath, CHATKEEP, ...config, ...args], {
          env: isBare ? { ...env, PATH: process.env["PATH"] } : env,
          cwd: folder.path,
        });
      },
      async summary(args: readonly string[], options: DeskOptions & { status?: number } = {}) {
        const { status = 0 } = options;
        const result = await desk.chatkeep(["--json", ...args], options);
        if (result.status !== status)
          throw new Error(`chatkeep ${args.join(" ")} ended with ${result.status}:\n${result.stderr}${result.stdout}`);
        return summaryOf(result.stdout);
      },
      databaseReady: async () => await waitFor(engine, site, READY),
      async volume(name: string) {
        const { stdout } = await engine.docker([
          "volume",
          "inspect",
          "--format",
          "{{.Mountpoint}}",
          `${PROJECT}_${name}`,
        ]);
        return stdout.trim();
      },
      [Symbol.asyncDispose]: dispose,
    };
    await engine.compose(site, ["create", "rails", "sidekiq"]);
    await cp(seeded.storageRoot, await desk.volume("storage_data"), { recursive: true });
    await engine.compose(site, ["up", "--detach"]);
    await waitFor(engine, site, ["rails", "node", "--eval", "fetch('http://127.0.0.1:3000/health')"]);
    return desk;
  } catch (error) {
    await dispose();
    throw error;
  }
}
