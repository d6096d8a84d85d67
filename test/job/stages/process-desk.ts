/** What the stages about processes are tested on: a real PostgreSQL, Redis and web process, and an engine that says what real ones say. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { Client } from "pg";
import { silent } from "../../../src/base/progress.ts";
import { findInstallation, type InstallationSettings } from "../../../src/installation/find.ts";
import { ALL_STAGES } from "../../../src/job/stages/all.ts";
import {
  behind,
  NOTHING_DONE,
  type Stage,
  type StageContext,
  type StageName,
  type StageOptions,
  type StageRecord,
} from "../../../src/job/stages/stage.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { freePort, startPostgres, type TestAddress, type TestServer } from "../../harness/postgres.ts";
import { startRedis, type TestRedis } from "../../harness/redis.ts";
import { type StandInEngine, type StandInWorld, startStandInEngine } from "../../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { ENVIRONMENT, IMAGES, production } from "../../installation/compose-shapes.ts";

const { signal } = new AbortController();
const STAND_IN = resolve(import.meta.dirname, "../../harness/stand-in-chatwoot.ts");
export const FILES = ["first.txt", "ünder way.png", "last one.pdf"];

export let server: TestServer;
export let redis: TestRedis;
export let machine: TestFolder;
export let database: TestAddress;
export let port: number;
export let world: StandInWorld;
export let engine: StandInEngine;
export let folder: string;
export let count = 0;
/** What is open or runs, and is ended after each test. */
let clients: Client[] = [];
export let web: ChildProcess | undefined;

const SCHEMA = `
  create table accounts (id serial primary key);
  insert into accounts select from generate_series(1, 3);
  create table schema_migrations (version varchar primary key);
  insert into schema_migrations values ('20230426130150'), ('20260601000000');
  create table ar_internal_metadata (key varchar primary key, value varchar);
  insert into ar_internal_metadata values ('environment', 'production');
  create table active_storage_blobs (id bigserial primary key, key varchar, filename varchar, byte_size bigint, checksum varchar,
    service_name varchar default 'local');`;

/** Puts uploaded files where the web process looks for them. */
async function upload(storage: string): Promise<void> {
  for (const [index, filename] of FILES.entries()) {
    const [key, text] = [`abcd${index}`, `the text of ${filename}`];
    const at = join(storage, "ab/cd");
    await mkdir(at, { recursive: true });
    await writeFile(join(at, key), text);
    const checksum = createHash("md5").update(text).digest("base64");
    // Ids from far apart, as a restored database has them.
    await server.query(
      `insert into active_storage_blobs (id, key, filename, byte_size, checksum) values (${[7, 70_000, 9_000_000][index]}, '${key}', '${filename}', ${Buffer.byteLength(text)}, '${checksum}')`,
      database.database,
    );
  }
}

/** As Chatwoot's processes come. */
export async function connectAs(program: string): Promise<Client> {
  const client = new Client({ ...database, application_name: program });
  client.on("error", () => {});
  await client.connect();
  clients.push(client);
  return client;
}

export async function disconnect(client: Client): Promise<void> {
  clients = clients.filter((one) => one !== client);
  await client.end();
}

/** What the engine's containers do when they are started. */
export async function startReal(act: string): Promise<void> {
  if (act === "start chatwoot-rails-1" && web === undefined) await startWeb();
  if (act === "start chatwoot-sidekiq-1") await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
}

export async function startWeb(): Promise<void> {
  const [rails] = world.containers;
  const given = (rails?.Config.Env ?? []).map((line) => [
    line.slice(0, line.indexOf("=")),
    line.slice(line.indexOf("=") + 1),
  ]);
  const env = { ...process.env, ...(Object.fromEntries(given) as Record<string, string>), REDIS_PASSWORD: "none" };
  web = spawn(process.execPath, [STAND_IN, "rails"], { env: { ...env, PATH: process.env["PATH"] }, stdio: "ignore" });
  await once(web, "spawn");
}

export async function stopWeb(): Promise<void> {
  if (web === undefined) return;
  const ended = once(web, "exit");
  web.kill("SIGKILL");
  await ended;
  web = undefined;
}

/** Patience is over after a few looks. */
class FastClock extends HandClock {
  override async sleep(ms: number, aborted?: AbortSignal): Promise<void> {
    await super.sleep(20 * ms, aborted);
  }
}

export interface Changes {
  options?: Partial<StageOptions>;
  settings?: InstallationSettings;
  version?: string;
  /** Called with what a stage says that it does. */
  onSaid?: (text: string) => void;
}

export async function contextOf({
  options = {},
  settings = {},
  version = "4.15.1",
  onSaid = () => {},
}: Changes = {}): Promise<StageContext> {
  const look = async () => {
    const at = { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: machine.path };
    return (await findInstallation(settings, at)).installation;
  };
  return {
    place: { installation: await look(), address: database, look },
    folder,
    fresh: undefined,
    clock: new FastClock({ wakesAtOnce: true }),
    progress: { ...silent, say: onSaid },
    signal,
    manifest: { storage: [], chatwoot: { version } },
    options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined, ...options },
    // What is asked of the repository is asked by other stages.
  } as unknown as StageContext;
}

/** What a stage keeps goes through JSON, as in the journal. */
export function recordOf<T>(): StageRecord<T> & { text?: string } {
  const record: StageRecord<T> & { text?: string } = {
    get kept() {
      return record.text === undefined ? undefined : (JSON.parse(record.text) as T);
    },
    keep(value) {
      record.text = JSON.stringify(value);
      return Promise.resolve();
    },
  };
  return record;
}

export function isRunning(): Record<string, boolean> {
  return Object.fromEntries(world.containers.slice(0, 2).map(({ Name, State }) => [Name.slice(1), State.Running]));
}

export function stageOf(name: StageName): Stage {
  const found = ALL_STAGES.find((stage) => stage.name === name);
  assert(found !== undefined);
  return found;
}

/** As the runner does it: what must be so before is seen to first. */
export async function applied(name: StageName, changes: Changes = {}) {
  const context = await contextOf(changes);
  const stage = stageOf(name);
  const seen = (await stage.before?.(context, { isFirst: true })) ?? NOTHING_DONE;
  return behind(seen, await stage.apply(context, recordOf<unknown>()));
}

/** Every test of the file that calls it has a database, a folder and an engine of its own. */
export function useProcessDesk(): void {
  before(async () => {
    [server, redis, machine] = await Promise.all([startPostgres(), startRedis(), temporaryFolder()]);
    port = await freePort();
  });
  after(async () => {
    await Promise.all([server.stop(), redis.stop()]);
    await machine[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    count += 1;
    database = await server.createDatabase(`chat${count}`);
    await server.query(SCHEMA, database.database);
    folder = machine.at(`restore${count}`);
    const storage = machine.at(`storage${count}`);
    await mkdir(folder);
    await upload(storage);
    const environment = {
      ...ENVIRONMENT,
      POSTGRES_HOST: "127.0.0.1",
      POSTGRES_PORT: String(database.port),
      POSTGRES_USERNAME: database.user,
      POSTGRES_DATABASE: database.database,
      REDIS_URL: redis.url,
      REDIS_PASSWORD: "",
      PORT: String(port),
      STORAGE_ROOT: storage,
    };
    // On the machine's own network, so that the servers are where the environment has them.
    const containers = production(storage.slice(machine.path.length), { environment });
    for (const container of containers) container.HostConfig = { NetworkMode: "host" };
    world = { containers, images: IMAGES };
    engine = await startStandInEngine(world);
  });
  afterEach(async () => {
    for (const client of clients) await client.end();
    clients = [];
    await stopWeb();
    await engine[Symbol.asyncDispose]();
  });
}
