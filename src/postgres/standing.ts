/**
 * A server that stands as the database was at a moment, to be looked at: it goes on after the command that recovered it, and
 * nobody can write into it. It is a standby that follows nobody: PostgreSQL itself refuses every change then, to a superuser too.
 */
import { chown, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { removeContainer } from "../system/containers.ts";
import { isProcessOver, isProcessSeen } from "../system/known-process.ts";
import { runProgram } from "../system/process.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { MAY_STAY, neededSettings, QUIET } from "./recovery-place.ts";
import { FEED_FILES } from "./recovery-wal.ts";
import { SCRATCH_PORT, serverArguments } from "./scratch-process.ts";
import type { RestingServer, ScratchServer, StandingProcess } from "./scratch-source.ts";

export type { StandingProcess } from "./scratch-source.ts";

/** Who may look, and at which database first. */
export interface Looker {
  user: string;
  password: string;
  database: string;
}

export interface StandingOptions {
  looker: Looker;
  /** A port of 127.0.0.1; undefined: one that is free. */
  port: number | undefined;
  /** Of the cluster, by name; those that matter are taken. */
  settings: Readonly<Record<string, string>>;
  /** Told what runs as soon as it does: whoever is killed then has it written down. */
  onStart: (standing: StandingProcess) => Promise<void>;
  signal: AbortSignal;
}

export interface Standing {
  readonly process: StandingProcess;
  /** Where the looker is let in; a password is needed. */
  readonly address: ServerAddress;
}

/** The first port that somebody other than root may take. */
export const LOWEST_PORT = 1024;
const LOOPBACK = "127.0.0.1";
const POLL_MS = 50;
const START_TIMEOUT_MS = 60_000;
/** Between finding a port and taking it somebody else may take it. */
const PORT_ATTEMPTS = 5;

/**
 * Makes a role that may read everything and change nothing, ends the server, and starts it as a standby on loopback.
 * @param server one that was given its folder, and to which nothing is connected.
 * @param address a role of it, by which any other may come in.
 * @throws Failure `recovery/failed` where it has no superuser; `program/failed` with what it logged; `target/unsuitable` where the
 * port is taken. Nothing runs then.
 */
export async function standOn(
  server: ScratchServer,
  address: ServerAddress,
  options: StandingOptions,
): Promise<Standing> {
  const { looker, signal } = options;
  if (server.rest === undefined) throw new Failure("program/missing", `${server.where} is none that can stay`);
  await makeLooker(address, looker, { signal });
  const resting = await server.rest();
  await makeStandby(resting, looker.user);
  if (!resting.isNetworked) {
    if (options.port !== undefined) throw noPort(server.where);
    return await startOn(resting, undefined, options);
  }
  for (let attempt = 1; ; attempt += 1) {
    const port = await findPort(options.port);
    try {
      return await startOn(resting, port, options);
    } catch (error) {
      const isTaken = isFailure(error, "target/unsuitable");
      if (!isTaken || options.port !== undefined || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

function noPort(where: string): Failure {
  return new Failure("target/unsuitable", `${where} has no network, and so no port`, {
    hint: "Leave out --port: it is reached by its socket.",
  });
}

/** @throws Failure `target/unsuitable` where the wanted one is taken. */
export async function findPort(wanted: number | undefined): Promise<number> {
  const probe = createServer();
  try {
    probe.listen({ host: LOOPBACK, port: wanted ?? 0, exclusive: true });
    await once(probe, "listening");
    const at = probe.address();
    return typeof at === "object" && at !== null ? at.port : SCRATCH_PORT;
  } catch (cause) {
    throw portTaken(wanted ?? 0, cause);
  } finally {
    probe.close();
  }
}

function portTaken(port: number, cause?: unknown): Failure {
  return new Failure("target/unsuitable", `port ${port} of ${LOOPBACK} cannot be had: something else uses it`, {
    hint: "Name another with --port, or leave that out: then a free one is taken.",
    cause,
  });
}

/** Passwords are compared by SCRAM, whatever the cluster was set to. */
async function makeLooker(
  address: ServerAddress,
  { user, password, database }: Looker,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const superuser = await findSuperuser(address, { signal });
  await using connection = await connect({ ...address, user: superuser, database }, { signal });
  const role = quoteIdentifier(user);
  // Triggers of the cluster's own have no part in what we do.
  await connection.query(
    "set session_replication_role = replica; set password_encryption = 'scram-sha-256'; set default_transaction_read_only = off",
  );
  await connection.query(`create role ${role} login bypassrls password ${quoteLiteral(password)}`);
  // What a database was told counts less: a standby refuses serializable transactions, and libraries may not be here.
  await connection.query(`alter role ${role} set default_transaction_isolation = 'read committed'`);
  for (const name of ["session_preload_libraries", "local_preload_libraries"]) {
    // Written down as '', it would name a library without a name.
    await connection.query(
      `select pg_catalog.set_config('${name}', '', false); alter role ${role} set ${name} from current`,
    );
  }
  const databases = await connection.query<{ name: string }>(
    "select datname as name from pg_catalog.pg_database where datallowconn",
  );
  for (const { name } of databases)
    await connection.query(`grant connect on database ${quoteIdentifier(name)} to ${role}`);
  const [all] = await connection.query("select from pg_catalog.pg_roles where rolname = 'pg_read_all_data'");
  if (all === undefined) await grantEach(connection, role);
  else await connection.query(`grant pg_read_all_data to ${role}`);
}

async function findSuperuser(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<string> {
  await using connection = await connect(address, { signal });
  const [found] = await connection.query<{ name: string }>(
    "select rolname as name from pg_catalog.pg_roles where rolsuper and rolcanlogin order by oid limit 1",
  );
  if (found !== undefined) return found.name;
  throw new Failure("recovery/failed", "the recovered cluster has no superuser who may sign in", {
    hint: "Nobody could be let in to look. A restore of the same moment needs none.",
  });
}

/** Before PostgreSQL 14, which has a role for it: in this database alone. */
async function grantEach(connection: Connection, role: string): Promise<void> {
  const schemas = await connection.query<{ name: string }>(
    "select nspname as name from pg_catalog.pg_namespace where nspname !~ '^pg_(toast|temp)'",
  );
  for (const { name } of schemas) {
    const schema = quoteIdentifier(name);
    await connection.query(`grant usage on schema ${schema} to ${role}`);
    await connection.query(`grant select on all tables in schema ${schema} to ${role}`);
    await connection.query(`grant select on all sequences in schema ${schema} to ${role}`);
  }
}

/** It follows nobody and is given no log: so it stays where it is. */
async function makeStandby({ data, user }: RestingServer, looker: string): Promise<void> {
  for (const name of FEED_FILES) await rm(join(dirname(data), name), { recursive: true, force: true });
  const role = quoteIdentifier(looker);
  const lines = [`local all ${role} scram-sha-256`, `host all ${role} ${LOOPBACK}/32 scram-sha-256`];
  await writeFile(join(data, "pg_hba.conf"), `${lines.join("\n")}\n`);
  await writeFile(join(data, "standby.signal"), "", { mode: 0o600 });
  if (user !== undefined) await chown(join(data, "standby.signal"), user.uid, user.gid);
}

async function startOn(
  resting: RestingServer,
  port: number | undefined,
  { looker, settings, onStart, signal }: StandingOptions,
): Promise<Standing> {
  const { data, socket, major } = resting;
  const log = join(dirname(data), "log");
  await rm(log, { force: true });
  const args = serverArguments({ data, socket }, standingSettings({ settings, port, major }));
  const standing = await resting.start(args, log, signal);
  const at = port === undefined ? { host: socket, port: SCRATCH_PORT } : { host: LOOPBACK, port };
  const address = { ...at, user: looker.user, password: looker.password, database: looker.database };
  try {
    await onStart(standing);
    await untilStanding(standing, address, { log, port, signal });
    await refuseWriting(address, { signal });
    return { process: standing, address };
  } catch (error) {
    await endStanding(standing, { isOurs: true });
    throw error;
  }
}

async function refuseWriting(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<void> {
  await using connection = await connect(address, { signal });
  const [row] = await connection.query<{ follows: boolean }>("select pg_catalog.pg_is_in_recovery() as follows");
  if (row?.follows === true) return;
  throw new Failure("program/failed", "the recovered server could be written to, and was ended");
}

function standingSettings({
  settings,
  port,
  major,
}: {
  settings: Readonly<Record<string, string>>;
  port: number | undefined;
  major: number;
}): Record<string, string> {
  return {
    ...neededSettings(settings, major),
    ...MAY_STAY,
    ...QUIET,
    ...(port === undefined ? {} : { listen_addresses: LOOPBACK, port: String(port) }),
    hot_standby: "on",
    primary_conninfo: "",
    restore_command: "",
    default_transaction_read_only: "on",
    // Large objects have no right that could be given for all of them.
    lo_compat_privileges: "on",
    // Where a user's shared memory is removed when he signs out (logind's RemoveIPC), this kind is not.
    dynamic_shared_memory_type: "mmap",
    // It need not look for more of a log that never comes.
    wal_retrieve_retry_interval: "1h",
    // What the cluster does when somebody signs in is no business of a look.
    ...(major >= 17 ? { event_triggers: "off" } : {}),
  };
}

async function untilStanding(
  standing: StandingProcess,
  address: ServerAddress,
  { log, port, signal }: { log: string; port: number | undefined; signal: AbortSignal },
): Promise<void> {
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await using connection = await connect(address, { signal });
      await connection.query("select");
      return;
    } catch (error) {
      signal.throwIfAborted();
      const isOver = (await isStandingOver(standing, { signal })) === true;
      if (!isOver && systemClock.monotonic() < deadline) {
        await systemClock.sleep(POLL_MS, signal);
        continue;
      }
      const said = (await readFile(log, "utf8").catch(() => "")).trim().slice(-LIMITS.stderrKeptBytes);
      if (port !== undefined && /could not bind .*address/i.test(said)) throw portTaken(port, error);
      throw new Failure("program/failed", "the recovered server did not start to be looked at", {
        hint: said === "" ? "It logged nothing that explains it." : `It said: ${said.split("\n").slice(-5).join("\n")}`,
        cause: error,
      });
    }
  }
}

/** Undefined where nobody says it: an engine that does not answer. */
export async function isStandingOver(
  standing: StandingProcess,
  { signal }: { signal: AbortSignal },
): Promise<boolean | undefined> {
  if (standing.kind === "process") return isProcessOver(standing);
  const args = ["container", "inspect", "--format", "{{.State.Running}}", standing.id];
  try {
    const { status, stdout, stderr } = await runProgram(standing.program, args, { signal, allowStatus: [1, 125] });
    if (status === 0) return stdout.toString("utf8").trim() !== "true";
    return /no such container/i.test(stderr) ? true : undefined;
  } catch (error) {
    if (!isFailure(error) || signal.aborted) throw error;
    return undefined;
  }
}

/** False where its number may be another process's here: of a server of another machine or container with the same records. */
export function isStandingSeen(standing: StandingProcess): boolean {
  return standing.kind === "container" || isProcessSeen(standing);
}

/**
 * Returns when it has ended. Whoever is connected is cut off.
 * @param options.isOurs it was started by this process, which has not yet been told of its end: its number is no other's.
 * @throws Failure `program/failed` where it is somebody else's, `target/unsuitable` where it cannot be seen from here. Nothing is ended then.
 */
export async function endStanding(standing: StandingProcess, { isOurs = false } = {}): Promise<void> {
  const { signal } = new AbortController();
  if (standing.kind === "container") {
    await removeContainer(standing.program, standing.id, { signal });
    return;
  }
  for (const how of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    const until = systemClock.monotonic() + LIMITS.containerStopMs;
    if (isProcessOver(standing)) return;
    if (!isOurs && !isProcessSeen(standing)) {
      throw new Failure("target/unsuitable", `process ${standing.pid} cannot be seen from here`, {
        hint: "It was started on another machine, or in another container: end it there.",
      });
    }
    send(standing.pid, how);
    while (!isProcessOver(standing) && systemClock.monotonic() < until) await systemClock.sleep(POLL_MS, signal);
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ESRCH") return;
    throw new Failure("program/failed", `process ${pid} is a server of another user's, and may not be ended`, {
      hint: "Say it again as the user who started it, or as root.",
      cause,
    });
  }
}
