/** A desk whose application runs: a stand-in for its web process and its worker, stopped and started by commands of the configuration. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { watch } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseDocument } from "yaml";
import { onDatabase } from "../../src/demo/database.ts";
import type { DemoSize } from "../../src/demo/seed/seed.ts";
import type { JournalValue } from "../../src/job/stages/journal.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { startCli } from "../harness/cli.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { freePort } from "../harness/postgres.ts";
import { startRedis, type TestRedis } from "../harness/redis.ts";
import { mustRun } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, type DeskOptions, openDesk } from "./desk.ts";

const STAND_IN = resolve(import.meta.dirname, "../harness/stand-in-chatwoot.ts");

/** All that a restore brings back, so that two moments can be compared. */
export interface DeskState {
  database: string[];
  files: Record<string, string>;
  environment: string;
  code: Record<string, string>;
}

/** Of somebody who pulls the plug, and of somebody who types Ctrl-C once. */
export type KillSignal = "SIGKILL" | "SIGINT";

export interface WholeDesk extends AsyncDisposable {
  readonly desk: Desk;
  readonly redis: TestRedis;
  readonly web: string;
  /** The folder with a folder for each restore. */
  readonly home: string;
  /** An empty Redis in the place of the one that was stopped. */
  startRedis(): Promise<void>;
  state(): Promise<DeskState>;
  /** True for those of the two processes that run. */
  running(): Promise<{ web: boolean; worker: boolean }>;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** The newest journal of the desk; undefined before there is one. */
  journal(): Promise<JournalValue | undefined>;
  /**
   * Runs the command in a process of its own and kills it, or sends it the other signal, as soon as the newest journal is so, or a
   * while after; returns false if it came to its end nevertheless.
   */
  killWhen(
    args: readonly string[],
    isSo: (journal: JournalValue) => boolean,
    options?: { env?: Readonly<Record<string, string>>; afterMs?: number; signal?: KillSignal },
  ): Promise<boolean>;
}

export interface WholeDeskOptions extends Pick<DeskOptions, "server" | "seed" | "isCheckout" | "hasServerForDrills"> {
  /** Where a browser finds the files of each service that is none of a folder, without the key: they are open to everybody. */
  buckets?: Readonly<Record<string, string>>;
  /** The release that the web process says it is. Default: the demo's. */
  version?: string;
}

export async function openWholeDesk(
  size?: Partial<DemoSize>,
  { buckets = {}, version, ...options }: WholeDeskOptions = {},
): Promise<WholeDesk> {
  let redis = await startRedis();
  const desk = await openDesk({ isCheckout: true, ...options, ...(size === undefined ? {} : { size }) });
  await makeCheapToOpen(desk);
  const { envFile, codeRoot, storageRoot } = desk.installation;
  const port = await freePort();
  const web = `http://127.0.0.1:${port}`;
  const places = join(desk.root, "processes");
  await mkdir(places);
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^REDIS_URL=.*$/m, `REDIS_URL=${redis.url}`));
  const commands = (process: "web" | "worker") =>
    commandsFor(process, { places, envFile, storageRoot, port, buckets, version });
  await configure(desk.config, {
    stop: { web: commands("web").stop, worker: commands("worker").stop },
    start: { web: commands("web").start, worker: commands("worker").start },
    health: web,
  });
  const each = async (what: "start" | "stop") => {
    for (const name of ["worker", "web"] as const) await mustRun("/bin/sh", ["-c", commands(name)[what]]);
  };
  const home = await homeOf(desk);
  const journal = async () => await newestJournal(home);
  return {
    desk,
    get redis() {
      return redis;
    },
    web,
    home,
    async startRedis() {
      redis = await startRedis({ port: redis.port });
    },
    async state() {
      return {
        database: await dumpLines(desk.installation.database),
        files: await readFolder(storageRoot),
        environment: await readFile(envFile, "utf8"),
        code: await readFolder(codeRoot, { except: (path) => /^(?:\.git|\.env|storage|tmp|log)(?:$|\/)/.test(path) }),
      };
    },
    async running() {
      return { web: await isRunning(join(places, "web.pid")), worker: await isRunning(join(places, "worker.pid")) };
    },
    start: async () => await each("start"),
    stop: async () => await each("stop"),
    journal,
    killWhen: async (args, isSo, options) => await killWhen(desk, { args, home, isSo, journal, ...options }),
    async [Symbol.asyncDispose]() {
      await each("stop");
      await redis[Symbol.asyncDispose]();
      await desk[Symbol.asyncDispose]();
    },
  };
}

interface Processes {
  places: string;
  envFile: string;
  storageRoot: string;
  port: number;
  buckets: Readonly<Record<string, string>>;
  version: string | undefined;
}

function commandsFor(
  name: "web" | "worker",
  { places, envFile, storageRoot, port, buckets, version }: Processes,
): { start: string; stop: string } {
  const pid = join(places, `${name}.pid`);
  const program = `'${process.execPath}' --env-file='${envFile}' '${STAND_IN}' ${name === "web" ? "rails server" : "sidekiq"}`;
  const says = version === undefined ? "" : ` STAND_IN_VERSION=${version}`;
  const settings = `PORT=${port} STAND_IN_HOST=127.0.0.1 STAND_IN_IS_IDLE=1 STORAGE_ROOT='${storageRoot}' STAND_IN_BUCKETS='${JSON.stringify(buckets)}'${says} NODE_TEST_CONTEXT=`;
  const runs = `[ -e '${pid}' ] && kill -0 "$(cat '${pid}')" 2>/dev/null`;
  return {
    start: `if ${runs}; then exit 0; fi; ${settings} setsid ${program} >'${pid}.log' 2>&1 </dev/null & echo $! >'${pid}'`,
    stop: `if ${runs}; then kill "$(cat '${pid}')"; while kill -0 "$(cat '${pid}')" 2>/dev/null; do sleep 0.05; done; fi; rm -f '${pid}'`,
  };
}

async function isRunning(pidFile: string): Promise<boolean> {
  const pid = Number(await readFile(pidFile, "utf8").catch(() => "0"));
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Adds to the section `installation`, and keeps the state beside the desk. */
async function configure(path: string, settings: object): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  for (const [name, value] of Object.entries(settings)) document.setIn(["installation", name], value);
  document.set("state-dir", join(path, "..", "state"));
  await writeFile(path, document.toString());
}

async function homeOf({ config }: Desk): Promise<string> {
  const id: unknown = parseDocument(await readFile(config, "utf8")).getIn(["installation", "id"]);
  const home = join(config, "..", "state", String(id), "restore");
  await mkdir(home, { recursive: true, mode: 0o700 });
  return home;
}

async function newestJournal(home: string): Promise<JournalValue | undefined> {
  for (const id of (await readdir(home)).toSorted().toReversed()) {
    const text = await readFile(join(home, id, "journal.json"), "utf8").catch(() => undefined);
    if (text !== undefined) return JSON.parse(text) as JournalValue;
  }
  return undefined;
}

interface Kill {
  args: readonly string[];
  home: string;
  isSo: (journal: JournalValue) => boolean;
  journal: () => Promise<JournalValue | undefined>;
  env?: Readonly<Record<string, string>>;
  afterMs?: number;
  signal?: KillSignal;
}

/** How a command ends that was interrupted. */
const INTERRUPTED = 130;

async function killWhen(
  desk: Desk,
  { args, home, isSo, journal, env, afterMs = 0, signal = "SIGKILL" }: Kill,
): Promise<boolean> {
  // What a killed run leaves of temporary files goes with the desk.
  const temporary = join(desk.root, "temporary");
  await mkdir(temporary, { recursive: true });
  const child = startCli(["--config", desk.config, ...args], { cwd: desk.root, env: { ...env, TMPDIR: temporary } });
  child.stdout?.resume();
  child.stderr?.resume();
  const closed = once(child, "close");
  const ended = new AbortController();
  void closed.then(() => ended.abort());
  const changes = watch(home, { recursive: true });
  try {
    while (!ended.signal.aborted) {
      // Before it is read: what changes while it is read counts. In a folder that is new a change may go unseen.
      const changed = once(changes, "change", { signal: AbortSignal.any([ended.signal, AbortSignal.timeout(100)]) });
      changed.catch(() => {});
      const now = await journal();
      if (now !== undefined && isSo(now)) {
        await Promise.race([sleep(afterMs), closed]);
        child.kill(signal);
        break;
      }
      await changed.catch(() => {});
    }
  } finally {
    changes.close();
  }
  const [status, killedBy] = (await closed) as [number | null, string | null];
  await rm(temporary, { recursive: true, force: true });
  return signal === "SIGKILL" ? killedBy === signal : status === INTERRUPTED;
}

/** True where the stage of the newest journal has come to that state. */
export function stageIs(name: StageName, state: JournalValue["stages"][number]["state"]) {
  return ({ stages }: JournalValue) => stages.find((stage) => stage.name === name)?.state === state;
}

/** What a rollback leaves: the state of before, with the files that its database lists and that the restore has brought back. */
export function rolledBack(before: DeskState, saved: DeskState): DeskState {
  return { ...before, files: { ...before.files, ...saved.files } };
}

export function assertSameState(is: DeskState, was: DeskState, what: string): void {
  const at = was.database.findIndex((line, index) => line !== is.database[index]);
  assert.deepEqual(is.database.slice(at, at + 3), at < 0 ? [] : was.database.slice(at, at + 3), `${what}: database`);
  assert.equal(is.database.length, was.database.length, `${what}: database`);
  assert.deepEqual(is.files, was.files, `${what}: files`);
  assert.equal(is.environment, was.environment, `${what}: environment`);
  assert.deepEqual(is.code, was.code, `${what}: code`);
}

/**
 * A folder of uploaded files is lost, another file is not what it was, and their rows are gone: a restore brings all of it back, and a
 * rollback leaves nothing of that, since no row lists them then.
 */
export async function loseListedFiles({ installation: { storageRoot, database } }: Desk): Promise<void> {
  const [folder = "", other = ""] = await readdir(storageRoot);
  const filesIn = async (name: string) =>
    (await readdir(join(storageRoot, name), { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
  const [lost, [wrong]] = [await filesIn(folder), await filesIn(other)];
  assert.ok(wrong && lost.length > 0);
  await rm(join(storageRoot, folder), { recursive: true });
  await writeFile(join(wrong.parentPath, wrong.name), "another");
  const keys = [...lost, wrong].map(({ name }) => name);
  await onDatabase(database, async (client) => {
    const blobs = "select id from active_storage_blobs where key = any($1)";
    await client.query(`delete from active_storage_attachments where blob_id in (${blobs})`, [keys]);
    await client.query(`delete from active_storage_variant_records where blob_id in (${blobs})`, [keys]);
    await client.query("delete from active_storage_blobs where key = any($1)", [keys]);
  });
}
