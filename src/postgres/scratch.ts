/**
 * A PostgreSQL server that is made for one drill and thrown away: in a temporary folder, reached through a private
 * socket only, run by a user that is not root, and gone when its owner is, even when that was killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chown, mkdir, readFile } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { runProgram } from "../system/process.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import type { ServerAddress } from "./address.ts";
import { connect } from "./connect.ts";
import { chooseParent, refuseWithoutSpace, type User } from "./scratch-place.ts";
import { findServers, type ServerPrograms } from "./server-programs.ts";

export interface ScratchOptions {
  /** The major version that the data came from. */
  major: number;
  /** Names of the extensions that the data needs. */
  extensions: readonly string[];
  /** Encoding of its databases; UTF8 when left out. */
  encoding?: string;
  /** What will be loaded into it, as text; it refuses to begin on a disk that cannot hold that. */
  neededBytes?: number;
  signal: AbortSignal;
}

export interface ScratchServer extends AsyncDisposable {
  /** Its superuser, on an empty database. */
  readonly address: ServerAddress;
  readonly major: number;
  readonly version: string;
  /** For people: what it was made from. */
  readonly where: string;
}

/** The newest major of which a server could be started here. @throws Failure `program/missing`. */
export async function findServerMajor({ signal }: { signal: AbortSignal }): Promise<number> {
  const majors = (await findServers(signal)).map((server) => server.major);
  if (majors.length > 0) return Math.max(...majors);
  throw new Failure("program/missing", "no PostgreSQL server is installed on this machine", {
    hint: "Install the package postgresql (Debian, Ubuntu) or postgresql-server (Red Hat).",
  });
}

/**
 * Says from what a scratch server would be made. @throws Failure `program/missing` naming what to install.
 */
export async function findScratchServer(options: ScratchOptions): Promise<string> {
  return (await choose(options)).where;
}

async function choose({ major, extensions, signal }: ScratchOptions): Promise<ServerPrograms> {
  const servers = (await findServers(signal)).filter((server) => server.major === major);
  const lacking = (server: ServerPrograms) => extensions.filter((name) => server.extensions?.has(name) === false);
  const fit = servers.find((server) => lacking(server).length === 0);
  if (fit !== undefined) return fit;
  const [first] = servers;
  if (first === undefined) {
    throw new Failure("program/missing", `no server of PostgreSQL ${major} is installed on this machine`, {
      hint: `Install the package postgresql-${major} (Debian, Ubuntu; apt.postgresql.org has every version) or postgresql${major}-server (Red Hat); it need not be running.`,
    });
  }
  throw new Failure("program/missing", `${first.where} lacks the extension ${lacking(first).join(", ")}`, {
    hint: lacking(first).includes("vector")
      ? `Install the package postgresql-${major}-pgvector (Debian, Ubuntu) or pgvector_${major} (Red Hat).`
      : `Install the package that brings it: postgresql-contrib for most (Red Hat: postgresql${major}-contrib).`,
  });
}

/**
 * Starts a scratch server.
 * @throws Failure `program/missing` naming what to install; `program/failed` with what it logged; `store/full`.
 */
export async function openScratchServer(options: ScratchOptions): Promise<ScratchServer> {
  const { signal } = options;
  const programs = await choose(options);
  const user = await serverUser();
  const parent = await chooseParent(user);
  await refuseWithoutSpace(parent, options.neededBytes ?? 0);
  const folder = await openTemporaryFolder("chatkeep-server", parent, { owner: user?.uid });
  let server: ChildProcess | undefined;
  const dispose = async () => {
    await stop(server);
    await folder[Symbol.asyncDispose]();
  };
  try {
    const socket = join(folder.path, "s");
    await mkdir(socket, { mode: 0o700 });
    if (user !== undefined) for (const path of [socket, folder.path]) await chown(path, user.uid, user.gid);
    const data = join(folder.path, "data");
    await initialise(programs, data, user, options);
    const started = start(programs, { folder: folder.path, data, socket }, user);
    server = started.child;
    const address: ServerAddress = { host: socket, port: PORT, user: SUPERUSER, database: "postgres" };
    await untilReady(address, started, signal);
    return {
      address,
      major: programs.major,
      version: programs.version,
      where: programs.where,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

const PORT = 5432;
const SUPERUSER = "postgres";

/** PostgreSQL refuses to run as root: then as `postgres`, which its packages bring, or as `nobody`. */
async function serverUser(): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  const user = users.find(([name]) => name === "postgres") ?? users.find(([name]) => name === "nobody");
  if (user !== undefined) return { uid: Number(user[2]), gid: Number(user[3]) };
  throw new Failure("program/failed", "a scratch server may not run as root, and there is no user postgres or nobody", {
    hint: "Run Chatkeep as a user that is not root, or make one named postgres.",
  });
}

async function initialise(
  programs: ServerPrograms,
  data: string,
  user: User | undefined,
  options: ScratchOptions,
): Promise<void> {
  const args = [
    `--pgdata=${data}`,
    `--username=${SUPERUSER}`,
    // The folder lets nobody else in.
    "--auth=trust",
    `--encoding=${options.encoding ?? "UTF8"}`,
    "--locale=C",
    "--no-sync",
  ];
  const env = { LC_ALL: "C", PGDATA: undefined };
  try {
    await runProgram(programs.initdb, args, { signal: options.signal, env, cwd: "/", ...user });
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    throw new Failure("program/failed", "the scratch server's data folder could not be made", {
      hint: `${sentence(error.hint ?? "")} Is there space below ${data}, and may the server's user go there?`.trim(),
      cause: error,
    });
  }
}

function sentence(text: string): string {
  return text === "" || /[.?!]$/.test(text) ? text : `${text}.`;
}

/** Everything in it is thrown away, so nothing is done for its safety. */
const SETTINGS = {
  listen_addresses: "",
  port: String(PORT),
  unix_socket_permissions: "0700",
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "off",
  wal_level: "minimal",
  max_wal_senders: "0",
  max_wal_size: "2GB",
  checkpoint_timeout: "1h",
  autovacuum: "off",
  shared_buffers: "128MB",
  max_connections: "40",
  // Indexes are built beside each other instead; small containers have no shared memory for more.
  max_parallel_maintenance_workers: "0",
  jit: "off",
  timezone: "UTC",
  log_timezone: "UTC",
  log_min_messages: "warning",
  logging_collector: "off",
} as const;

/**
 * Runs the server, and ends it and removes its folder when standard input ends: that happens when we close it, and
 * also when we are killed. More than one signal, as a shell's background process ignores this one until it is a server that
 * listens to it.
 */
const KEEPER = `
folder=$1; shift
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
{ cat <&3 >/dev/null; while kill -QUIT "$server"; do sleep 1; done; } >/dev/null 2>&1 &
exec 3<&-
wait "$server"
cd / && rm -rf -- "$folder"
`;

interface Started {
  child: ChildProcess;
  log(): string;
  hasEnded(): boolean;
}

interface Places {
  folder: string;
  data: string;
  socket: string;
}

function start(programs: ServerPrograms, places: Places, user: User | undefined): Started {
  const settings = { ...SETTINGS, unix_socket_directories: places.socket };
  const args = ["-D", places.data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
  const child = spawn("/bin/sh", ["-c", KEEPER, "sh", places.folder, programs.postgres, ...args], {
    cwd: "/",
    env: { ...process.env, LC_ALL: "C", PGDATA: undefined },
    stdio: ["pipe", "pipe", "pipe"],
    // Ctrl-C is for us: we end the server when we have ended our work.
    detached: true,
    ...user,
  });
  let kept = "";
  const keep = (text: Buffer) => {
    kept = (kept + text.toString("utf8")).slice(-LIMITS.stderrKeptBytes);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  child.stdin.on("error", () => {});
  child.on("error", (error) => keep(Buffer.from(error.message)));
  return {
    child,
    log: () => kept.trim(),
    hasEnded: () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined,
  };
}

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;

async function untilReady(address: ServerAddress, started: Started, signal: AbortSignal): Promise<void> {
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await using connection = await connect(address, { signal });
      await connection.query("select");
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (started.hasEnded() || systemClock.monotonic() > deadline) {
        throw new Failure("program/failed", "the scratch server did not start", {
          hint: started.log() === "" ? "It logged nothing that explains it." : `It said: ${started.log()}`,
          cause: error,
        });
      }
    }
    await systemClock.sleep(POLL_MS, signal);
  }
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.stdin?.end();
  await ended;
}
