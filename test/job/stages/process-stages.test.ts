/** Stopping, starting, seeing that all is well, and migrating: on a real PostgreSQL, Redis and web process, with an engine that says what real ones say. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Client } from "pg";
import { systemClock } from "../../../src/base/clock.ts";
import { isFailure } from "../../../src/base/errors.ts";
import { silent } from "../../../src/base/progress.ts";
import { findInstallation, type InstallationSettings } from "../../../src/installation/find.ts";
import { ALL_STAGES } from "../../../src/job/stages/all.ts";
import { healthStage } from "../../../src/job/stages/health-stage.ts";
import { judgeMigration, migrateStage, type MigrationLook } from "../../../src/job/stages/migrate-stage.ts";
import { seeNobody } from "../../../src/job/stages/nobody.ts";
import type { RanBefore } from "../../../src/job/stages/ran-before.ts";
import type { Stage, StageContext, StageName, StageOptions, StageRecord } from "../../../src/job/stages/stage.ts";
import { stopStage } from "../../../src/job/stages/stop-stage.ts";
import { webStage } from "../../../src/job/stages/web-stage.ts";
import { workerStage } from "../../../src/job/stages/worker-stage.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { freePort, startPostgres, type TestAddress, type TestServer } from "../../harness/postgres.ts";
import { startRedis, type TestRedis } from "../../harness/redis.ts";
import { type StandInEngine, type StandInWorld, startStandInEngine } from "../../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { ENVIRONMENT, IMAGES, production, SECRET } from "../../installation/compose-shapes.ts";

const { signal } = new AbortController();
const STAND_IN = resolve(import.meta.dirname, "../../harness/stand-in-chatwoot.ts");
const FILES = ["first.txt", "ünder way.png", "last one.pdf"];

let server: TestServer;
let redis: TestRedis;
let machine: TestFolder;
let database: TestAddress;
let port: number;
let world: StandInWorld;
let engine: StandInEngine;
let folder: string;
let count = 0;
/** What is open or runs, and is ended after each test. */
let clients: Client[] = [];
let web: ChildProcess | undefined;

before(async () => {
  [server, redis, machine] = await Promise.all([startPostgres(), startRedis(), temporaryFolder()]);
  port = await freePort();
});

after(async () => {
  await Promise.all([server.stop(), redis.stop()]);
  await machine[Symbol.asyncDispose]();
});

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

/** As Chatwoot's processes come. */
async function connectAs(program: string): Promise<Client> {
  const client = new Client({ ...database, application_name: program });
  client.on("error", () => {});
  await client.connect();
  clients.push(client);
  return client;
}

async function disconnect(client: Client): Promise<void> {
  clients = clients.filter((one) => one !== client);
  await client.end();
}

async function startWeb(): Promise<void> {
  const [rails] = world.containers;
  const given = (rails?.Config.Env ?? []).map((line) => [
    line.slice(0, line.indexOf("=")),
    line.slice(line.indexOf("=") + 1),
  ]);
  const env = { ...process.env, ...(Object.fromEntries(given) as Record<string, string>), REDIS_PASSWORD: "none" };
  web = spawn(process.execPath, [STAND_IN, "rails"], { env: { ...env, PATH: process.env["PATH"] }, stdio: "ignore" });
  await once(web, "spawn");
}

async function stopWeb(): Promise<void> {
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

interface Changes {
  options?: Partial<StageOptions>;
  settings?: InstallationSettings;
  version?: string;
}

async function contextOf({ options = {}, settings = {}, version = "4.15.1" }: Changes = {}): Promise<StageContext> {
  const look = async () => {
    const at = { signal, env: { DOCKER_HOST: engine.host }, filesystemRoot: machine.path };
    return (await findInstallation(settings, at)).installation;
  };
  return {
    place: { installation: await look(), address: database, look },
    folder,
    fresh: undefined,
    clock: new FastClock({ wakesAtOnce: true }),
    progress: silent,
    signal,
    manifest: { storage: [], chatwoot: { version } },
    options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined, ...options },
    // What is asked of the repository is asked by other stages.
  } as unknown as StageContext;
}

/** What a stage keeps goes through JSON, as in the journal. */
function recordOf<T>(): StageRecord<T> & { text?: string } {
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

function isRunning(): Record<string, boolean> {
  return Object.fromEntries(world.containers.slice(0, 2).map(({ Name, State }) => [Name.slice(1), State.Running]));
}

test("worker, then web are stopped; whoever is still connected is waited for; an undo starts what ran, and nothing else", async () => {
  const [, sidekiq] = world.containers;
  assert(sidekiq !== undefined);
  const puma = await connectAs("puma 6.4.3 (tcp://0.0.0.0:3000) [app]");
  // A person who looks is nobody's application.
  await connectAs("psql");
  world.onAct = async (act) => {
    if (act === "stop chatwoot-rails-1") await disconnect(puma);
  };
  const record = recordOf<RanBefore>();
  const context = await contextOf();
  const plan = await stopStage.plan(context);
  assert.deepEqual(plan, {
    lines: [
      "stop the worker: container chatwoot-sidekiq-1",
      "stop the web process: container chatwoot-rails-1",
      "see that nobody is connected to the database any more",
    ],
    blockers: [],
    findings: [],
  });
  assert.deepEqual(engine.acts, [], "a plan changes nothing");
  sidekiq.State.Running = false;
  await stopStage.apply(context, record);
  assert.deepEqual(engine.acts, ["stop chatwoot-sidekiq-1", "stop chatwoot-rails-1"]);
  const { keys, ...ran } = record.kept ?? {};
  assert.deepEqual(ran, {
    web: [{ what: "container chatwoot-rails-1", ran: true }],
    worker: [{ what: "container chatwoot-sidekiq-1", ran: false }],
  });
  const kept = { ...ran, keys };
  // The stages that start them read it, whichever process goes on.
  assert.deepEqual(JSON.parse(await readFile(join(folder, "processes.json"), "utf8")), kept);
  // Again after a kill: what is stopped now did run.
  await stopStage.apply(await contextOf(), record);
  assert.deepEqual(record.kept, kept);
  world.onAct = async (act) => {
    if (act === "start chatwoot-rails-1") await startWeb();
  };
  const { lines } = await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  assert.deepEqual(lines, ["the web process runs again: container chatwoot-rails-1"]);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": false });
});

test("a stop that the engine refuses half-way is done again, and undone to what was", async () => {
  const record = recordOf<RanBefore>();
  for (const refused of ["stop chatwoot-sidekiq-1", "stop chatwoot-rails-1"]) {
    world.onAct = (act) => {
      if (act === refused) throw new Error("killed");
    };
    // The stand-in lets go of the line without an answer, as an engine that was killed.
    await assert.rejects(stopStage.apply(await contextOf(), record), (error) => isFailure(error, "program/failed"));
  }
  delete world.onAct;
  await stopStage.undo(await contextOf(), record);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true });
  // Never begun: nothing to undo.
  assert.deepEqual(await stopStage.undo(await contextOf(), recordOf<RanBefore>()), { lines: [], findings: [] });
});

test("whoever stays connected is named, with where from, and nothing goes on: in the database and in Redis", async () => {
  const sidekiq = await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
  await assert.rejects(stopStage.apply(await contextOf(), recordOf<RanBefore>()), (error) => {
    assert(isFailure(error, "restore/in-use"));
    assert.match(
      error.message,
      /^Chatwoot is still connected .*process \d+ of role 'postgres' \(sidekiq 7\.3\.1 app .*, 127\.0\.0\.1\), since 20/,
    );
    assert.match(error.hint ?? "", /--resume/);
    return true;
  });
  await disconnect(sidekiq);
  await redis.session.command("CLIENT", "SETNAME", "sidekiq");
  await assert.rejects(
    seeNobody(await contextOf()),
    (error) => isFailure(error, "restore/in-use") && /the worker in Redis \(127\.0\.0\.1:\d+\)$/.test(error.message),
  );
  await redis.session.command("CLIENT", "SETNAME", "");
  await seeNobody(await contextOf());
});

test("what was started again meanwhile is stopped once more; what comes back even then is told", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  const context = await contextOf();
  await stopStage.apply(context, recordOf<RanBefore>());
  // The machine was restarted: 'restart: always' has brought it back.
  rails.State.Running = true;
  await seeNobody(context);
  assert.equal(isRunning()["chatwoot-rails-1"], false);
  world.onAct = (act) => {
    if (act === "stop chatwoot-rails-1") rails.State.Running = true;
  };
  rails.State.Running = true;
  await assert.rejects(
    seeNobody(context),
    (error) => isFailure(error, "restore/in-use") && /starts again .*container chatwoot-rails-1$/.test(error.message),
  );
});

function stageOf(name: StageName): Stage {
  const found = ALL_STAGES.find((stage) => stage.name === name);
  assert(found !== undefined);
  return found;
}

test("what came back while a restore held behind the swap is stopped once more by the next stage, and told", async () => {
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  for (const name of ["environment", "redis", "migrate"] as const) {
    rails.State.Running = sidekiq.State.Running = true;
    const { lines, findings } = await stageOf(name).apply(
      await contextOf({ options: { migrate: true } }),
      recordOf<unknown>(),
    );
    assert.deepEqual(isRunning(), { "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false }, name);
    const what = "container chatwoot-sidekiq-1, container chatwoot-rails-1 ran again after it was stopped";
    assert.equal(lines[0], `${what}, and was stopped once more`);
    assert.deepEqual(
      findings.map(({ kind, level }) => [kind, level]),
      [["ran-again", "warning"]],
    );
  }
  // Then the web process runs, and is connected; the worker alone must not be.
  const puma = await connectAs("puma 6.4.3 (tcp://0.0.0.0:3000) [app]");
  rails.State.Running = sidekiq.State.Running = true;
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  for (const [name, options] of [
    ["outbound", {}],
    ["worker", { clone }],
  ] as const) {
    sidekiq.State.Running = true;
    const { findings } = await stageOf(name).apply(await contextOf({ options }), recordOf<unknown>());
    assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": false }, name);
    assert.match(findings[0]?.message ?? "", /^container chatwoot-sidekiq-1 ran again/);
  }
  await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
  await assert.rejects(
    stageOf("outbound").apply(await contextOf(), recordOf<unknown>()),
    (error) => isFailure(error, "restore/in-use") && !error.message.includes("puma"),
  );
  await disconnect(puma);
});

function policies(): (string | undefined)[] {
  return world.containers.slice(0, 2).map(({ HostConfig }) => HostConfig?.RestartPolicy?.Name);
}

function setPolicies(...names: string[]): void {
  for (const [index, Name] of names.entries()) {
    const container = world.containers[index];
    if (container !== undefined) container.HostConfig = { ...container.HostConfig, RestartPolicy: { Name } };
  }
}

test("no container starts by itself until its own stage, or an undo, and then as it did before; a clone's worker stays off", async () => {
  setPolicies("always", "unless-stopped");
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  assert.deepEqual(policies(), ["no", "no"]);
  // A hold asked for containers that are made anew: they have their file's policy again.
  setPolicies("always", "unless-stopped");
  await stageOf("redis").apply(await contextOf(), recordOf<unknown>());
  assert.deepEqual(policies(), ["no", "no"]);
  await webStage.apply(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["always", "no"]);
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  const { next } = await stageOf("worker").apply(await contextOf({ options: { clone } }), recordOf<unknown>());
  assert.match(next?.[0] ?? "", /until this is called: docker update --restart=unless-stopped chatwoot-sidekiq-1$/);
  assert.deepEqual(policies(), ["always", "no"]);
  await workerStage.apply(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["always", "unless-stopped"]);
  await workerStage.undo(await contextOf(), recordOf());
  await webStage.undo(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["no", "no"]);
});

test("an undo starts nothing with other keys than before, and goes on once they are what they were", async () => {
  setPolicies("always", "always");
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  const before = [rails.Config.Env ?? [], sidekiq.Config.Env ?? []] as const;
  for (const { Config } of [rails, sidekiq]) {
    Config.Env = (Config.Env ?? []).map((line) => line.replace(/^SECRET_KEY_BASE=.*/, "SECRET_KEY_BASE=of-the-point"));
  }
  const { PATH } = process.env;
  // Without Docker's program they are not made again here.
  process.env["PATH"] = "/nowhere";
  const held = await stopStage.undo(await contextOf(), record);
  process.env["PATH"] = PATH;
  assert.match(
    held.holds ?? "",
    /^Chatwoot is not started, for it has another SECRET_KEY_BASE than before the restore/,
  );
  assert.equal(JSON.stringify([held, record.kept]).includes(SECRET), false);
  assert.deepEqual(
    [isRunning(), policies()],
    [{ "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false }, ["no", "no"]],
  );
  [rails.Config.Env, sidekiq.Config.Env] = before;
  world.onAct = async (act) => {
    if (act === "start chatwoot-rails-1") await startWeb();
  };
  const { holds, lines, findings } = await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  assert.deepEqual([holds, lines.length, findings], [undefined, 2, []]);
  assert.deepEqual(
    [isRunning(), policies()],
    [{ "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true }, ["always", "always"]],
  );
});

test("what an undo starts, and does not become well, is told with its last lines", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  rails.printed = "Could not find rails-7.1 in locally installed gems\n";
  const { lines, findings, next } = await stopStage.undo(await contextOf(), record);
  assert.deepEqual([lines, next], [["the worker runs again: container chatwoot-sidekiq-1"], undefined]);
  const [finding] = findings;
  assert.deepEqual([finding?.kind, finding?.level], ["not-well-again", "alarm"]);
  assert.match(finding?.message ?? "", /does not become well: .*ECONNREFUSED/);
  assert.match(finding?.hint ?? "", /Could not find rails-7\.1[^]*Everything else is as it was before the restore\.$/);
  assert.doesNotMatch(finding?.hint ?? "", /--resume/);
});

test("that Redis does not tell who is connected is told, and not taken for nobody", async () => {
  await redis.session.command("ACL", "SETUSER", "default", "-client|list");
  try {
    const { lines, findings } = await stopStage.apply(await contextOf(), recordOf<RanBefore>());
    assert.deepEqual(lines, ["web and worker are stopped, and nobody is connected to the database"]);
    assert.deepEqual(
      findings.map(({ kind, message }) => [kind, message]),
      [["redis-not-asked", "Redis could not be asked who is connected: it does not tell (CLIENT LIST is not allowed)"]],
    );
  } finally {
    await redis.session.command("ACL", "SETUSER", "default", "+client|list");
  }
  const { lines, findings } = await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  assert.deepEqual([lines, findings], [["web and worker are stopped, and nobody is connected"], []]);
});

test("who cannot be stopped stands in the way while somebody is connected, and is a note else", async () => {
  const settings: InstallationSettings = {
    kind: "manual",
    databaseUrl: `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`,
  };
  const quiet = await stopStage.plan(await contextOf({ settings }));
  assert.deepEqual(
    [quiet.blockers, quiet.findings.map(({ kind, level }) => [kind, level])],
    [[], [["processes-unknown", "note"]]],
  );
  await connectAs("puma");
  const { blockers } = await stopStage.plan(await contextOf({ settings }));
  assert.match(
    blockers[0]?.message ?? "",
    /how to stop the worker and the web process, and somebody is connected: process/,
  );
  assert.match(blockers[0]?.hint ?? "", /stop\.worker and start\.worker, stop\.web and start\.web, and 'health'/);
});

test("web is started and well, files come through it as they were, and its version is told; then the worker", async () => {
  world.onAct = async (act) => {
    if (act === "start chatwoot-rails-1") await startWeb();
  };
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  assert.deepEqual((await webStage.apply(await contextOf(), recordOf())).lines, [
    "the web process was started: container chatwoot-rails-1",
  ]);
  assert.deepEqual(await healthStage.apply({ ...(await contextOf()), clock: systemClock }, recordOf()), {
    lines: [
      `the web process is well: http://127.0.0.1:${port}, Chatwoot 4.15.1`,
      "3 uploaded files came through the application as they were",
    ],
    findings: [],
  });
  // What is saved is of another version, and a file is not what it was.
  await writeFile(join(machine.path, `storage${count}`, "ab/cd/abcd1"), `the tixt of ${FILES[1]}`);
  const { findings } = await healthStage.apply(await contextOf({ version: "3.16.0" }), recordOf());
  assert.deepEqual(
    findings.map(({ kind, level, message }) => [kind, level, message]),
    [
      ["version-differs", "warning", "Chatwoot 4.15.1 runs on a database of version 3.16.0"],
      [
        "files-not-served",
        "alarm",
        "of 3 uploaded files that were asked for through the application 1 did not come: file 70000 (ünder way.png): its content is not what was uploaded",
      ],
    ],
  );
  assert.deepEqual((await workerStage.apply(await contextOf(), recordOf())).lines, [
    "the worker runs: container chatwoot-sidekiq-1",
  ]);
  // Undone the last first: nobody is left on what was restored.
  world.onAct = async (act) => {
    if (act === "stop chatwoot-rails-1") await stopWeb();
  };
  await workerStage.undo(await contextOf(), recordOf());
  await webStage.undo(await contextOf(), recordOf());
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false });
});

test("a web process that does not come up is told with what it said last, without its secrets", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  rails.printed = `Booting Puma\nPG::UndefinedColumn with ${SECRET}\n`;
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  await webStage.apply(await contextOf(), recordOf());
  await assert.rejects(healthStage.apply(await contextOf(), recordOf()), (error) => {
    assert(isFailure(error, "restore/not-well"));
    assert.match(error.message, /does not become well: .* does not answer: .*ECONNREFUSED/);
    assert.match(
      error.hint ?? "",
      /The last lines of container chatwoot-rails-1:\n {2}Booting Puma\n {2}PG::UndefinedColumn with •••\nMore: docker logs --tail 100 chatwoot-rails-1\n/,
    );
    return true;
  });
  rails.State.Running = false;
  await assert.rejects(
    healthStage.apply(await contextOf(), recordOf()),
    (error) => isFailure(error, "restore/not-well") && error.message.endsWith("chatwoot-rails-1 has ended again"),
  );
});

test("a worker that did not run before stays stopped, a copy's never starts, and on a new machine everything does", async () => {
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  sidekiq.State.Running = false;
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  const left = await workerStage.apply(await contextOf(), recordOf());
  assert.match(left.next?.[0] ?? "", /^Start Chatwoot's worker/);
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  await workerStage.apply(await contextOf({ options: { clone, isElsewhere: true } }), recordOf());
  assert.equal(isRunning()["chatwoot-sidekiq-1"], false);
  await workerStage.apply(await contextOf({ options: { isElsewhere: true } }), recordOf());
  assert.equal(isRunning()["chatwoot-sidekiq-1"], true);
});

/** Runs the migrations as the engine's container would. */
function migrateInContainer(statement: string, status = 0, printed = ""): void {
  world.onRun = async () => {
    await server.query(statement, database.database);
    return { status, printed };
  };
}

const MIGRATE: Changes = { options: { migrate: true } };

test("migrations run in a container made as the web process's is, once, with the long statement timeout (F15, F32)", async () => {
  const made: unknown[] = [];
  world.onRun = async ({ Cmd, Env, Labels, HostConfig }) => {
    made.push([Cmd, HostConfig["RestartPolicy"], HostConfig["PortBindings"], Labels["com.docker.compose.oneoff"]]);
    assert.ok(Env.includes("POSTGRES_STATEMENT_TIMEOUT=600s") && Env.includes(`SECRET_KEY_BASE=${SECRET}`));
    await server.query("insert into schema_migrations values ('20991231235959')", database.database);
    return { status: 0, printed: "" };
  };
  const plan = await migrateStage.plan(await contextOf(MIGRATE));
  assert.deepEqual(plan.lines, ["run Chatwoot's migrations in a container of its own, as chatwoot-rails-1 is"]);
  const { lines } = await migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>());
  assert.deepEqual(lines, ["Chatwoot's migrations ended well: 1 migration more than before"]);
  assert.deepEqual(made, [[["bundle", "exec", "rails", "db:chatwoot_prepare"], { Name: "no" }, {}, "True"]]);
  // Not asked for: nothing is planned, and nothing run.
  assert.deepEqual((await migrateStage.plan(await contextOf())).lines, []);
  await migrateStage.apply(await contextOf(), recordOf<MigrationLook>());
  assert.equal(made.length, 1);
});

test("migrations are never begun on a database that their task would make anew (F6)", async () => {
  migrateInContainer("drop table accounts");
  const refusedFor = async (statement: string, named: RegExp) => {
    await server.query(statement, database.database);
    await assert.rejects(
      migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>()),
      (error) => isFailure(error, "restore/not-migrated") && named.test(error.message),
    );
  };
  await refusedFor("delete from ar_internal_metadata", /^ar_internal_metadata .* is not there or empty/);
  await refusedFor("drop table ar_internal_metadata", /^ar_internal_metadata /);
  await refusedFor("delete from schema_migrations", /^schema_migrations and ar_internal_metadata .* are not there/);
  assert.deepEqual(await server.query("select count(*)::int as n from accounts", database.database), [{ n: 3 }]);
});

test("migrations that fail, or leave less than there was, are told with their last lines; what an early initializer prints is noise (F30)", async () => {
  const failsWith = async (statement: string, status: number, printed: string) => {
    migrateInContainer(statement, status, printed);
    const { message, hint = "" } = await migrateStage
      .apply(await contextOf(MIGRATE), recordOf<MigrationLook>())
      .then(() => assert.fail("it ended well"))
      .catch((error: unknown) => (isFailure(error, "restore/not-migrated") ? error : assert.fail(String(error))));
    return { message, hint };
  };
  const noise = `ERROR: relation "installation_configs" does not exist`;
  const timedOut = await failsWith("select 1", 1, `canceling statement due to statement timeout\nkey ${SECRET}\n`);
  assert.equal(timedOut.message, "Chatwoot's migrations ended with status 1");
  assert.match(timedOut.hint, / {2}canceling statement due to statement timeout\n {2}key •••\n.*chatkeep rollback/s);
  assert.match(
    (await failsWith("select 1", 1, noise)).message,
    /status 1, after asking for tables that were not there yet$/,
  );
  // Status 0 with that line: nothing is wrong.
  migrateInContainer("select 1", 0, noise);
  const { lines } = await migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>());
  assert.deepEqual(lines, ["Chatwoot's migrations ended well: nothing was to be migrated"]);
  const gone = await failsWith("delete from schema_migrations where version like '2023%'", 0, "");
  assert.match(gone.message, /^migrations that the database had are gone from it: 20230426130150$/);
  assert.match(
    (await failsWith("delete from accounts where id > 1", 0, "")).message,
    /^3 accounts before the migrations, and 1 afterwards$/,
  );
});

test("what migrations are judged by does not depend on what they print", () => {
  const look = { versions: ["1", "2"], hasMetadata: true, accounts: 2 };
  assert.equal(judgeMigration({ status: 0, lines: [] }, look, { ...look, versions: ["1", "2", "3"] }), undefined);
  assert.match(judgeMigration({ status: 0, lines: [] }, look, { ...look, versions: undefined }) ?? "", /gone/);
  assert.match(
    judgeMigration({ status: 0, lines: [] }, look, { ...look, hasMetadata: false }) ?? "",
    /ar_internal_metadata/,
  );
});

test("a command of the configuration runs the migrations of any kind; without one, being asked for them stands in the way", async () => {
  const url = `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`;
  const migrate = `psql '${url}' --command "insert into schema_migrations values ('3')"; echo done; exit 4`;
  const context = await contextOf({ ...MIGRATE, settings: { kind: "manual", databaseUrl: url, migrate } });
  await assert.rejects(
    migrateStage.apply(context, recordOf<MigrationLook>()),
    (error) =>
      isFailure(error, "restore/not-migrated") &&
      error.message.endsWith("status 4") &&
      / {2}done\n/.test(error.hint ?? ""),
  );
  const { blockers } = await migrateStage.plan(
    await contextOf({ ...MIGRATE, settings: { kind: "manual", databaseUrl: url } }),
  );
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["migrate-unknown"],
  );
});
