/**
 * A real PostgreSQL server for one test file: its own data, socket and port, run by a user that is not root,
 * ended by its process id. Its data is thrown away, so nothing is synced to disk.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { chownSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { createCluster, SUPERUSER_PASSWORD } from "./cluster.ts";
import { mustRun } from "./run.ts";

/** Has the fields of `ServerAddress` in src/postgres. */
export interface TestAddress {
  host: string;
  port: number;
  user: string;
  password?: string | undefined;
  database: string;
}

export interface TestServer extends AsyncDisposable {
  /** The superuser, on the database `postgres`, over loopback. */
  readonly address: TestAddress;
  readonly major: number;
  /** The folder of its programs (`initdb`, `psql`, `pg_dump` …). */
  readonly programs: string;
  readonly socketFolder: string;
  readonly pid: number;
  /** Where the small disk is, if one was asked for. */
  readonly smallDisk: string;
  /** What the server logged so far. */
  log(): string;
  /** Makes an empty database of the superuser, or of `owner`, and returns its address. */
  createDatabase(name: string, owner?: string): Promise<TestAddress>;
  /** Runs one statement as the superuser, on `database` where one is named. */
  query(sql: string, database?: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

export interface TestServerOptions {
  /** `scram`: every connection needs the password, which is in the address. Default `trust`. */
  auth?: "trust" | "scram";
  /** Lines of postgresql.conf, as `name=value`. */
  settings?: readonly string[];
  /** Another server's programs, for example of a newer major. */
  programs?: string;
  /** The size of the log's files; PostgreSQL's own choice (16) where nothing is said. */
  segmentMib?: number;
  /** True: its pages carry checksums, whatever the major does by itself. */
  hasChecksums?: boolean;
  /** A disk of so many bytes, empty, at {@link TestServer.smallDisk}, that only the server sees; takes root. */
  smallDiskBytes?: number;
  /** True: the server's log lies on that disk. */
  isLogOnSmallDisk?: boolean;
  /** Makes it a standby of that server, which streams from it. */
  standbyOf?: TestServer;
  /** Puts the server's data into a folder that is not there yet. */
  data?: (folder: string) => Promise<void>;
}

const PROGRAMS = "/usr/lib/postgresql";

/** The folders with the server programs of each installed major, newest first. */
export function installedServers(): { major: number; programs: string }[] {
  const majors = existsSync(PROGRAMS) ? readdirSync(PROGRAMS).map(Number) : [];
  return majors
    .filter((major) => existsSync(join(PROGRAMS, String(major), "bin/initdb")))
    .map((major) => ({ major, programs: join(PROGRAMS, String(major), "bin") }))
    .toSorted((a, b) => b.major - a.major);
}

/** PostgreSQL refuses to run as root: then `postgres`, which Debian's package brings, or `nobody`. */
export function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const user = users.find(([name]) => name === "postgres") ?? users.find(([name]) => name === "nobody");
  if (user === undefined) throw new Error("no user to run PostgreSQL as: neither postgres nor nobody exists");
  return { uid: Number(user[2]), gid: Number(user[3]) };
}

/** Well above those that servers have by custom. */
const LOWEST_PORT = 10_000;

/** Where the system's own choice begins: a connection that goes out, or a server that asks for any port, takes one from there. */
function lowestOfTheSystem(): number {
  const path = "/proc/sys/net/ipv4/ip_local_port_range";
  const lowest = existsSync(path) ? Number(readFileSync(path, "utf8").split(/\s/)[0]) : 0;
  return lowest > LOWEST_PORT ? lowest : 32_768;
}

/**
 * A port of loopback that nobody listens on now, and that the system gives to nobody before a test's server takes it, or while that
 * server is away: chosen by chance below those that it chooses from.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = randomInt(LOWEST_PORT, lowestOfTheSystem());
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
  throw new Error("no free port");
}

async function onDatabase<T>(address: TestAddress, act: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/**
 * When it returns, what was committed before it is in the server's files, and `pg_current_wal_flush_lsn()` lies behind it. With the
 * settings below a commit by itself waits for nothing.
 */
export const FLUSH =
  "begin; set local synchronous_commit = on; select pg_logical_emit_message(true, 'test', 'flush'); commit";

export const SETTINGS = [
  "fsync=off",
  "full_page_writes=off",
  "synchronous_commit=off",
  "shared_buffers=64MB",
  "max_connections=60",
  "autovacuum=off",
  // Many statements are of catalogues that were never analysed, and compiling them takes longer than running them.
  "jit=off",
  "listen_addresses=127.0.0.1",
  "timezone=UTC",
];

/**
 * Ends the server and removes its folder when its standard input ends: when it is stopped, and when the process that
 * started it is gone, however that came about. Arguments: the folder, the program and its arguments.
 */
const KEEPER = `folder=$1; shift
exec 3<&0
"$@" 3<&- & server=$!
{ cat <&3 >/dev/null; kill -INT $server; } 2>/dev/null &
wait $server
rm -rf "$folder"`;

/** Starts a server, and gathers what it logs. The folder is removed at its end; one of no name is none. */
export function startKept(
  server: readonly string[],
  { folder, user }: { folder: string; user: { uid: number; gid: number } | undefined },
): { child: ChildProcessWithoutNullStreams; log: () => string } {
  const child = spawn("/bin/sh", ["-c", KEEPER, "sh", folder, ...server], {
    ...user,
    cwd: "/",
    stdio: ["pipe", "pipe", "pipe"],
  });
  let logged = "";
  child.stdout.on("data", (text: Buffer) => (logged += text.toString()));
  child.stderr.on("data", (text: Buffer) => (logged += text.toString()));
  // Its end is told by its exit, not by a broken pipe.
  child.stdin.on("error", () => {});
  return { child, log: () => logged };
}

interface SmallDisk {
  path: string;
  bytes: number;
  /** A folder that is moved onto it. */
  log: string | undefined;
  user: { uid: number; gid: number } | undefined;
}

/** The server's command with a disk mounted that goes when the server ends; root mounts it and then is the server's user. */
function withSmallDisk(server: readonly string[], { path, bytes, log, user }: SmallDisk): string[] {
  if (user === undefined) throw new Error("only root can mount a disk for the server");
  const { uid, gid } = user;
  const move = log === undefined ? "" : '; mv "$2" "$1/log"; ln -s "$1/log" "$2"';
  const mount = `mount -t tmpfs -o size=${bytes},mode=700,uid=${uid},gid=${gid} tmpfs "$1"${move}; shift 2; exec setpriv --reuid=${uid} --regid=${gid} --clear-groups "$@"`;
  return ["unshare", "--mount", "sh", "-eu", "-c", mount, "sh", path, log ?? "", ...server];
}

export async function untilReady(child: ChildProcess, address: TestAddress, log: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`PostgreSQL did not start:\n${log()}`);
    try {
      await onDatabase(address, async (client) => await client.query("select 1"));
      return;
    } catch (error) {
      const { code } = error as { code?: string };
      // Refused: not listening yet. 57P03: starting up.
      if (code !== "ECONNREFUSED" && code !== "57P03" && code !== "ECONNRESET") throw error;
      await sleep(30);
    }
  }
}

export async function initialise(
  folder: string,
  programs: string,
  { auth = "trust", segmentMib, hasChecksums }: Pick<TestServerOptions, "auth" | "segmentMib" | "hasChecksums"> = {},
) {
  const user = serverUser();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = await createCluster(folder, {
    programs,
    auth: auth === "scram" ? "scram-sha-256" : "trust",
    user,
    ...(segmentMib === undefined ? {} : { segmentMib }),
    ...(hasChecksums === undefined ? {} : { hasChecksums }),
  });
  return { data, user };
}

/** The data of a standby: a copy of its primary's, and where to go on from. */
async function copyPrimary({ address, programs }: TestServer, folder: string) {
  const user = serverUser();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = join(folder, "data");
  const from = `host=${address.host} port=${address.port} user=${address.user}`;
  const args = ["-D", data, "-d", from, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"];
  await mustRun(join(programs, "pg_basebackup"), args, { ...user, cwd: folder });
  return { data, user };
}

async function makeData(folder: string, programs: string, options: TestServerOptions) {
  if (options.standbyOf !== undefined) return await copyPrimary(options.standbyOf, folder);
  if (options.data === undefined) return await initialise(folder, programs, options);
  const user = serverUser();
  const data = join(folder, "data");
  await options.data(data);
  if (user !== undefined) await mustRun("chown", ["-R", `${user.uid}:${user.gid}`, folder]);
  return { data, user };
}

/** Starts a server; use it with `await using`, or `stop` it in an `after` hook. */
export async function startPostgres(options: TestServerOptions = {}): Promise<TestServer> {
  const programs = options.programs ?? installedServers()[0]?.programs;
  if (programs === undefined) throw new Error("PostgreSQL is not installed: run 'npm test', which installs it");
  const folder = await mkdtemp(join(tmpdir(), "chatkeep-pg-"));
  const { data, user } = await makeData(folder, programs, options);
  const socketFolder = join(folder, "socket");
  await mkdir(socketFolder, { mode: 0o777 });
  if (user !== undefined) chownSync(socketFolder, user.uid, user.gid);
  const port = await freePort();
  const settings = [
    ...SETTINGS,
    ...(options.settings ?? []),
    `port=${port}`,
    `unix_socket_directories=${socketFolder}`,
  ];
  const server = [join(programs, "postgres"), "-D", data, ...settings.flatMap((setting) => ["-c", setting])];
  const smallDisk = join(folder, "small");
  const movedLog = options.isLogOnSmallDisk === true ? join(data, "pg_wal") : undefined;
  if (options.smallDiskBytes !== undefined) await mkdir(smallDisk);
  const { child, log } =
    options.smallDiskBytes === undefined
      ? startKept(server, { folder, user })
      : startKept(withSmallDisk(server, { path: smallDisk, bytes: options.smallDiskBytes, log: movedLog, user }), {
          folder,
          user: undefined,
        });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stop = async () => {
    child.stdin.end();
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const address: TestAddress = {
    host: "127.0.0.1",
    port,
    user: "postgres",
    database: "postgres",
    ...(options.auth === "scram" ? { password: SUPERUSER_PASSWORD } : {}),
  };
  try {
    await untilReady(child, address, log);
  } catch (error) {
    await stop();
    throw error;
  }
  const query = async (sql: string, database = "postgres") =>
    await onDatabase(
      { ...address, database },
      async (client) => (await client.query<Record<string, unknown>>(sql)).rows,
    );
  return {
    address,
    programs,
    socketFolder,
    smallDisk,
    pid: Number.parseInt(await readFile(join(data, "postmaster.pid"), "utf8"), 10),
    major: Number.parseInt(await readFile(join(data, "PG_VERSION"), "utf8"), 10),
    log,
    query,
    async createDatabase(name, owner = "postgres") {
      await query(`create database "${name}" owner "${owner}" template template0 encoding 'UTF8'`);
      return { ...address, database: name };
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
