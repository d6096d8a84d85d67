/** Debian's Redis, installed where it is not yet: servers of a test's own, and sentinels, ended by their process ids. */
import { chownSync, existsSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectRedis, type RedisAddress, type RedisSession } from "../../src/system/redis.ts";
import { freePort, serverUser, startKept } from "./postgres.ts";
import { mustRun } from "./run.ts";

export const REDIS = "/usr/bin/redis-server";

const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");

export async function installRedis(): Promise<void> {
  if (!existsSync(REDIS)) await mustRun(process.execPath, [SET_UP, "redis-server"]);
}

export interface TestRedis extends AsyncDisposable {
  readonly port: number;
  /** Of the default user, on database 0. */
  readonly address: RedisAddress;
  /** `redis://…`, as REDIS_URL has it. */
  readonly url: string;
  log(): string;
  /** A session of the test's own, which ends with the server. */
  readonly session: RedisSession;
  stop(): Promise<void>;
}

export interface TestRedisOptions {
  password?: string;
  /** Lines of its configuration. */
  settings?: readonly string[];
  /** Where it listens; a free port otherwise. */
  port?: number;
  /** Files that it reads, by name in its folder. */
  files?: Readonly<Record<string, string>>;
}

/** Starts one whose data is in memory alone, on loopback. */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  await installRedis();
  const { password } = options;
  const port = options.port ?? (await freePort());
  const started = await start(
    [
      `port ${port}`,
      ...(password === undefined ? [] : [`requirepass ${password}`]),
      'save ""',
      ...(options.settings ?? []),
    ],
    options.files ?? {},
  );
  const address: RedisAddress = {
    host: "127.0.0.1",
    port,
    isSecure: false,
    isVerified: true,
    database: 0,
    sentinels: [],
    ...(password === undefined ? {} : { password }),
  };
  const ended = new AbortController();
  const session = await untilItAnswers(address, { started, signal: ended.signal });
  const stop = async () => {
    await session[Symbol.asyncDispose]();
    ended.abort();
    await started.stop();
  };
  return {
    port,
    address,
    url: `redis://127.0.0.1:${port}`,
    log: () => started.log(),
    session,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** A sentinel that watches over one master, which is called `name`. */
export async function startSentinel(
  master: TestRedis,
  { name, password, masterPassword }: { name: string; password?: string; masterPassword?: string },
): Promise<{ port: number } & AsyncDisposable> {
  await installRedis();
  const port = await freePort();
  const started = await start(
    [
      `port ${port}`,
      `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
      ...(masterPassword === undefined ? [] : [`sentinel auth-pass ${name} ${masterPassword}`]),
      ...(password === undefined ? [] : [`requirepass ${password}`]),
    ],
    {},
    "--sentinel",
  );
  const ended = new AbortController();
  const address = { ...master.address, port, password: password ?? "" };
  const { password: _, ...open } = address;
  const session = await untilItAnswers(password === undefined ? open : address, { started, signal: ended.signal });
  await session[Symbol.asyncDispose]();
  return { port, [Symbol.asyncDispose]: async () => await started.stop() };
}

interface Started {
  hasEnded(): boolean;
  log(): string;
  stop(): Promise<void>;
}

async function start(
  lines: readonly string[],
  files: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<Started> {
  const folder = await mkdtemp(join(tmpdir(), "chatkeep-redis-"));
  const all = { ...files, "redis.conf": `${["bind 127.0.0.1", `dir ${folder}`, ...lines].join("\n")}\n` };
  for (const [name, text] of Object.entries(all)) await writeFile(join(folder, name), text);
  const user = serverUser();
  if (user !== undefined) {
    for (const name of ["", ...Object.keys(all)]) chownSync(join(folder, name), user.uid, user.gid);
  }
  const { child, log } = startKept([REDIS, join(folder, "redis.conf"), ...args], { folder, user });
  const ended = new Promise<void>((done) => child.once("close", () => done()));
  return {
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    log,
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

async function untilItAnswers(
  address: RedisAddress,
  { started, signal }: { started: Started; signal: AbortSignal },
): Promise<RedisSession> {
  for (;;) {
    try {
      return await connectRedis(address, { signal, patienceMs: 0 });
    } catch (error) {
      if (started.hasEnded()) throw new Error(`Redis did not start:\n${started.log()}`, { cause: error });
      await sleep(20);
    }
  }
}
