/**
 * Being let in by a server: with and without encryption as the address says, with its password, patiently where a pooler
 * remembers a refusal, and without the timeouts that would end a session before it has begun. What is made of the session
 * then, its caller says: one for statements (`connect.ts`) or for replication (`replication.ts`).
 */
import type { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { Client, type ClientConfig } from "pg";
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import { openBlockSocket } from "./block-socket.ts";
import { mayDifferWithoutSsl, sslAttempts } from "./encryption.ts";
import { readPasswordFile } from "./password-file.ts";
import { withPassword } from "./password.ts";
import { isRemembered, sqlState } from "./server-errors.ts";
import { timeoutBehind, withoutTimeouts } from "./timeouts.ts";

export interface SignInOptions {
  signal: AbortSignal;
  applicationName?: string;
  /** Asks for a session of physical replication, which takes commands and no SQL. */
  isReplication?: boolean;
}

/** What becomes of a session that was let in; one that throws is cut. */
export type Begin<T> = (client: Client, address: ServerAddress) => Promise<T>;

/** PgBouncer remembers a refusal for 15 seconds, unless it was told otherwise. */
const CONNECT_TIMEOUT_MS = 20_000;
/** Load balancers and firewalls of providers wait for 4 minutes and more. */
export const KEEP_ALIVE_SECONDS = 60;
const REMEMBERED_POLL_MS = 500;

/** The socket of a session. */
export function streamOf(client: Client): { destroy(): void } | undefined {
  return (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream;
}

/**
 * Signs in, and again while a pooler repeats an old refusal.
 * @throws what the server, the network or the library says, not yet a failure; or the signal's reason.
 */
export async function signIn<T>(address: ServerAddress, options: SignInOptions, begin: Begin<T>): Promise<T> {
  const until = systemClock.monotonic() + CONNECT_TIMEOUT_MS;
  for (;;) {
    try {
      return await signInOnce(address, options, begin);
    } catch (error) {
      if (!isRemembered(error) || systemClock.monotonic() >= until) throw error;
    }
    await systemClock.sleep(REMEMBERED_POLL_MS, options.signal);
  }
}

/** With and without encryption, as the mode says. What the server itself refuses tells more than a missing SSL. */
export async function signInOnce<T>(address: ServerAddress, options: SignInOptions, begin: Begin<T>): Promise<T> {
  const errors: unknown[] = [];
  for (const ssl of sslAttempts(address)) {
    options.signal.throwIfAborted();
    try {
      return await open(address, { ssl, ...options }, begin);
    } catch (error) {
      if (!mayDifferWithoutSsl(error)) throw error;
      errors.push(error);
    }
  }
  throw errors.find((error) => sqlState(error) !== undefined) ?? errors.at(-1);
}

interface OpenOptions extends SignInOptions {
  ssl: ConnectionOptions | false;
}

/** A password that a command printed may have run out since: then it is asked for once more. */
async function open<T>(address: ServerAddress, options: OpenOptions, begin: Begin<T>): Promise<T> {
  const first = await withPassword(address, options);
  try {
    return await openWithout([], first, options, begin);
  } catch (error) {
    if (address.passwordCommand === undefined || !isLogin(error)) throw error;
    const again = await withPassword(address, { ...options, refused: first.password });
    if (again.password === first.password) throw error;
    return await openWithout([], again, options, begin);
  }
}

/** As servers refuse a password: their own, or what PAM, LDAP and the like check for them. */
function isLogin(error: unknown): boolean {
  return sqlState(error)?.startsWith("28") === true;
}

/** Timeouts that end sessions before they can be switched off are switched off from the start. */
async function openWithout<T>(
  timeouts: readonly string[],
  address: ServerAddress,
  options: OpenOptions,
  begin: Begin<T>,
): Promise<T> {
  try {
    return await openWith(timeouts, address, options, begin);
  } catch (error) {
    const timeout = timeoutBehind(error);
    if (timeout === undefined || timeouts.includes(timeout)) throw error;
    return await openWithout([...timeouts, timeout], address, options, begin);
  }
}

async function openWith<T>(
  timeouts: readonly string[],
  address: ServerAddress,
  options: OpenOptions,
  begin: Begin<T>,
): Promise<T> {
  const config = await configOf(timeouts, address, options);
  const stream = await address.passage?.open(address, options);
  const client = new Client({ ...config, ...streamFor(stream, options) });
  // A session that is lost while idle is told by the next query; without a listener it would end the process.
  let ended: Error | undefined;
  client.on("error", (error: Error) => {
    ended ??= error;
  });
  const cut = () => streamOf(client)?.destroy();
  const binding = address.channelBinding === "require" ? watchBinding(client, cut) : undefined;
  options.signal.addEventListener("abort", cut, { once: true });
  try {
    await client.connect();
    if (binding?.isBound() === false) throw notBound(address);
    return await begin(client, address);
  } catch (error) {
    cut();
    if (binding?.isRefused() === true) throw notBound(address);
    // What is asked afterwards only says that the session is gone.
    throw sqlState(error) === undefined && sqlState(ended) !== undefined ? ended : error;
  } finally {
    options.signal.removeEventListener("abort", cut);
  }
}

/** What a session is read from, where that is not a socket as the library makes it. TLS reads by itself. */
function streamFor(passage: Socket | undefined, { ssl, isReplication }: OpenOptions): Pick<ClientConfig, "stream"> {
  if (passage !== undefined) return { stream: () => connected(passage) };
  return isReplication === true && ssl === false ? { stream: openBlockSocket } : {};
}

/** A socket that is connected already, as the library begins with one. */
function connected(stream: Socket): Socket {
  return Object.assign(stream, {
    connect() {
      process.nextTick(() => stream.emit("connect"));
      return stream;
    },
  });
}

async function configOf(
  timeouts: readonly string[],
  address: ServerAddress,
  options: OpenOptions,
): Promise<ClientConfig & { replication?: string }> {
  const password = address.password ?? (process.env["PGPASSWORD"] || (await readPasswordFile(address)));
  return {
    host: address.host,
    port: address.port,
    user: address.user,
    database: address.database,
    ...(password === undefined ? {} : { password }),
    ssl: options.ssl,
    enableChannelBinding: address.channelBinding === "prefer" || address.channelBinding === "require",
    application_name: options.applicationName ?? "chatkeep",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    // What stands in between forgets connections that are silent for some minutes, and ours may wait for hours.
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_SECONDS * 1000,
    ...startupOptions(timeouts, address),
    ...(options.isReplication === true ? { replication: "true" } : {}),
  };
}

function startupOptions(timeouts: readonly string[], { options = "" }: ServerAddress): Pick<ClientConfig, "options"> {
  const all = `${options} ${withoutTimeouts(timeouts)}`.trim();
  return all === "" ? {} : { options: all };
}

/**
 * Whether signing in was bound to the encryption. A server that asks for the password in another way gets nothing: whoever
 * stands in between could ask so.
 */
function watchBinding(client: Client, cut: () => void): { isBound(): boolean; isRefused(): boolean } {
  const protocol = (client as unknown as { connection: EventEmitter }).connection;
  let state: "begun" | "offered" | "bound" | "refused" = "begun";
  const refuse = () => {
    state = "refused";
    cut();
  };
  for (const way of ["authenticationCleartextPassword", "authenticationMD5Password"]) protocol.on(way, refuse);
  protocol.on("authenticationSASL", ({ mechanisms }: { mechanisms: string[] }) => {
    if (mechanisms.includes("SCRAM-SHA-256-PLUS")) state = "offered";
    else refuse();
  });
  protocol.on("authenticationSASLFinal", () => {
    if (state === "offered") state = "bound";
  });
  return { isBound: () => state === "bound", isRefused: () => state === "refused" };
}

function notBound(address: ServerAddress): Failure {
  return new Failure(
    "database/denied",
    `the server does not bind signing in to the encryption (${describeAddress(address)})`,
    {
      hint: "channel_binding=require asks for it: it takes encryption, and a password of SCRAM. Without the parameter it is used where it can be.",
    },
  );
}
