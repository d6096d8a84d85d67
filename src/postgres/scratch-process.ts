/**
 * A server process that is thrown away: everything in it lies in one temporary folder, and it ends, and its folder goes,
 * when the one who started it is gone, however that came about.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "./address.ts";
import { connect } from "./connect.ts";
import type { User } from "./scratch-place.ts";

export const SCRATCH_PORT = 5432;
export const SCRATCH_SUPERUSER = "postgres";

/** Everything in it is thrown away, so nothing is done for its safety. */
const SETTINGS = {
  listen_addresses: "",
  port: String(SCRATCH_PORT),
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

/** The server's arguments for a data folder and the folder of its socket, with what a cluster asks for besides. */
export function serverArguments(
  places: { data: string; socket: string },
  others: Readonly<Record<string, string>> = {},
): string[] {
  const settings = { ...SETTINGS, ...others, unix_socket_directories: places.socket };
  return ["-D", places.data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
}

/** What `initdb` is told: its folder lets nobody else in, so it need not ask who connects. */
export function initdbArguments(data: string, encoding: string): string[] {
  return [
    `--pgdata=${data}`,
    `--username=${SCRATCH_SUPERUSER}`,
    "--auth=trust",
    `--encoding=${encoding}`,
    "--locale=C",
    "--no-sync",
  ];
}

/** In the folder of a server that is to be started again. */
export const STAYS = "stays";

/**
 * Runs the server, and ends it and removes its folder when standard input ends: that happens when we close it, and
 * also when we are killed. Where the folder holds a file {@link STAYS}, the server is ended cleanly and the folder is left.
 * More than one signal, as a shell's background process ignores this one until it is a server that
 * listens to it. Arguments: the folder, the program and its arguments.
 */
export const KEEPER = `
folder=$1; shift
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
{ cat <&3 >/dev/null; how=QUIT; [ -e "$folder/${STAYS}" ] && how=INT
  while kill -"$how" "$server"; do sleep 1; done; } >/dev/null 2>&1 &
exec 3<&-
wait "$server"
[ -e "$folder/${STAYS}" ] || { cd / && rm -rf -- "$folder"; }
`;

export interface Started {
  child: ChildProcess;
  log(): string;
  hasEnded(): boolean;
}

/** Where programs, libraries, locales and time zones are found. */
const FOR_SERVERS = ["PATH", "LD_LIBRARY_PATH", "LOCPATH", "LOCALE_ARCHIVE", "ICU_DATA", "TZ", "TZDIR"] as const;

/** What a server is given of our environment: passwords in it could be read by whatever else runs as the server's user. */
export function serverEnvironment(): Record<string, string | undefined> {
  return { ...Object.fromEntries(FOR_SERVERS.map((name) => [name, process.env[name]])), LC_ALL: "C" };
}

/**
 * Starts a program that ends when its standard input does, and gathers what it prints.
 * @param options.env all of its environment. @param options.user whom it runs as, where that is not us.
 */
export function startKept(
  program: string,
  args: readonly string[],
  { env, user }: { env: Readonly<Record<string, string | undefined>>; user?: User | undefined },
): Started {
  const child = spawn(program, args, {
    cwd: "/",
    env: { ...env },
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

/**
 * @param socket The folder of the server's socket.
 * @returns where it answers.
 * @throws Failure `program/failed` with what it logged.
 */
export async function untilReady(socket: string, started: Started, signal: AbortSignal): Promise<ServerAddress> {
  const address = { host: socket, port: SCRATCH_PORT, user: SCRATCH_SUPERUSER, database: "postgres" };
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await using connection = await connect(address, { signal });
      await connection.query("select");
      return address;
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

/** Closes its standard input, and waits until it has ended. */
export async function stopKept(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.stdin?.end();
  await ended;
}
