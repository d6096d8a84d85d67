/**
 * A session on a server, with our settings. It belongs to one signal: when that is aborted, the session is cut and
 * whatever waits for it fails with the signal's reason.
 */
import { randomBytes } from "node:crypto";
import type { EventEmitter } from "node:events";
import type { ConnectionOptions } from "node:tls";
import { Client, type ClientConfig, type QueryResult, type QueryResultRow } from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type { Writable } from "node:stream";
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import { CopyOut } from "./copy-out.ts";
import { mayDifferWithoutSsl, sslAttempts } from "./encryption.ts";
import { readPasswordFile } from "./password-file.ts";
import { withPassword } from "./password.ts";
import { isRemembered, serverFailure, SQLSTATE, sqlState } from "./server-errors.ts";
import { sessionStatement } from "./session.ts";
import { timeoutBehind, withoutTimeouts } from "./timeouts.ts";

export interface ConnectOptions {
  signal: AbortSignal;
  applicationName?: string;
}

/** PgBouncer remembers a refusal for 15 seconds, unless it was told otherwise. */
const CONNECT_TIMEOUT_MS = 20_000;
/** Load balancers and firewalls of providers wait for 4 minutes and more. */
export const KEEP_ALIVE_SECONDS = 60;
const REMEMBERED_POLL_MS = 500;

export class Connection implements AsyncDisposable {
  readonly address: ServerAddress;
  #client: Client;
  #mark = randomBytes(8).toString("hex");
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #closed = false;
  /** What the server said when it ended the session. */
  #end: Error | undefined;

  /** Use {@link connect}. */
  constructor(client: Client, address: ServerAddress, signal: AbortSignal) {
    this.address = address;
    this.#client = client;
    this.#signal = signal;
    this.#onAbort = () => this.destroy();
    this.#adopt(client);
  }

  #adopt(client: Client): void {
    this.#client = client;
    this.#signal.addEventListener("abort", this.#onAbort, { once: true });
    client.on("error", (error: Error) => {
      if (client === this.#client) this.#end ??= error;
    });
    client.once("end", () => {
      if (client === this.#client) this.#forget();
    });
  }

  #forget(): void {
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
  }

  /** Of this session alone, kept by the server as the setting `chatkeep.session`: hex. */
  get mark(): string {
    return this.#mark;
  }

  /** The server's process, as whoever let us in says: a pooler says a number of its own. */
  get announcedProcess(): unknown {
    return Reflect.get(this.#client, "processID");
  }

  /** True until the session was ended by either side. */
  get isOpen(): boolean {
    return !this.#closed && this.#end === undefined;
  }

  /**
   * Begins a new session in place of one that the server ended; nothing where it goes on.
   * @throws Failure of the `database/` codes.
   */
  async reopen(): Promise<void> {
    if (this.isOpen) return;
    this.destroy();
    const other = await connect(this.address, { signal: this.#signal });
    other.#forget();
    this.#end = undefined;
    this.#closed = false;
    this.#mark = other.#mark;
    this.#adopt(other.#client);
  }

  /**
   * Runs one statement (with parameters) or several (without), and returns the last one's rows.
   * 64-bit integers come as strings.
   * @throws Failure of the `database/` codes, or the signal's reason.
   */
  async query<T extends QueryResultRow = QueryResultRow>(sql: string, params?: readonly unknown[]): Promise<T[]> {
    return (await this.#run<T>(sql, params)).rows;
  }

  /** Runs statements like {@link query}, and says of what types the last one's columns are: by name, of a domain its base type. */
  async typesOf(sql: string): Promise<Map<string, number>> {
    const { fields } = await this.#run(sql);
    return new Map(fields.map(({ name, dataTypeID }) => [name, dataTypeID]));
  }

  async #run<T extends QueryResultRow>(sql: string, params?: readonly unknown[]): Promise<QueryResult<T>> {
    try {
      const result: unknown = await this.#client.query(sql, params === undefined ? undefined : [...params]);
      const last: unknown = Array.isArray(result) ? result.at(-1) : result;
      return last as QueryResult<T>;
    } catch (error) {
      throw this.failure(error);
    }
  }

  /**
   * The data of `COPY … TO STDOUT` as it comes. Read it to its end, or {@link destroy} the session; `rowCount` is right
   * once the next query has ended.
   */
  copyTo(sql: string): CopyOut {
    return this.#client.query(new CopyOut(sql));
  }

  /** Takes the data of `COPY … FROM STDIN`. */
  copyFrom(sql: string): Writable & { rowCount: number } {
    return this.#client.query(copyFrom(sql));
  }

  /** An error of this session as a failure; the signal's reason when it was aborted. */
  failure(error: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    if (error instanceof Error && Reflect.get(error, "severity") === "FATAL") this.#end ??= error;
    // The next query only says that the session is gone.
    return serverFailure(sqlState(error) === undefined ? (this.#end ?? error) : error, this.address);
  }

  /** Ends the session at once; the server notices when it next sends. */
  destroy(): void {
    this.#forget();
    streamOf(this.#client)?.destroy();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#forget();
    // A session that is cut already has nothing to say good-bye to.
    await this.#client.end().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function streamOf(client: Client): { destroy(): void } | undefined {
  return (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream;
}

/**
 * Opens a session with our settings ({@link sessionStatement}).
 * @throws Failure `database/unreachable`, `database/denied` or `database/unsuitable` (no such database), with a hint.
 */
export async function connect(address: ServerAddress, options: ConnectOptions): Promise<Connection> {
  try {
    return await openPatiently(address, options);
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    const failure = serverFailure(error, address);
    throw sqlState(failure) === SQLSTATE.databaseMissing ? await nameOthers(failure, address, options) : failure;
  }
}

async function openPatiently(address: ServerAddress, options: ConnectOptions): Promise<Connection> {
  const until = systemClock.monotonic() + CONNECT_TIMEOUT_MS;
  for (;;) {
    try {
      return await openEitherWay(address, options);
    } catch (error) {
      if (!isRemembered(error) || systemClock.monotonic() >= until) throw error;
    }
    await systemClock.sleep(REMEMBERED_POLL_MS, options.signal);
  }
}

/** With and without encryption, as the mode says. What the server itself refuses tells more than a missing SSL. */
async function openEitherWay(address: ServerAddress, options: ConnectOptions): Promise<Connection> {
  const errors: unknown[] = [];
  for (const ssl of sslAttempts(address)) {
    options.signal.throwIfAborted();
    try {
      return await open(address, ssl, options);
    } catch (error) {
      if (!mayDifferWithoutSsl(error)) throw error;
      errors.push(error);
    }
  }
  throw errors.find((error) => sqlState(error) !== undefined) ?? errors.at(-1);
}

/** A password that a command printed may have run out since: then it is asked for once more. */
async function open(
  address: ServerAddress,
  ssl: ConnectionOptions | false,
  options: ConnectOptions,
): Promise<Connection> {
  const first = await withPassword(address, options);
  try {
    return await openWithout([], first, ssl, options);
  } catch (error) {
    if (address.passwordCommand === undefined || !isLogin(error)) throw error;
    const again = await withPassword(address, { ...options, refused: first.password });
    if (again.password === first.password) throw error;
    return await openWithout([], again, ssl, options);
  }
}

/** As servers refuse a password: their own, or what PAM, LDAP and the like check for them. */
function isLogin(error: unknown): boolean {
  return sqlState(error)?.startsWith("28") === true;
}

/** Timeouts that end sessions before they can be switched off are switched off from the start. */
async function openWithout(
  timeouts: readonly string[],
  address: ServerAddress,
  ssl: ConnectionOptions | false,
  options: ConnectOptions,
): Promise<Connection> {
  try {
    return await openWith(timeouts, address, ssl, options);
  } catch (error) {
    const timeout = timeoutBehind(error);
    if (timeout === undefined || timeouts.includes(timeout)) throw error;
    return await openWithout([...timeouts, timeout], address, ssl, options);
  }
}

async function openWith(
  timeouts: readonly string[],
  address: ServerAddress,
  ssl: ConnectionOptions | false,
  options: ConnectOptions,
): Promise<Connection> {
  const password = address.password ?? (process.env["PGPASSWORD"] || (await readPasswordFile(address)));
  const config: ClientConfig = {
    host: address.host,
    port: address.port,
    user: address.user,
    database: address.database,
    ...(password === undefined ? {} : { password }),
    ssl,
    enableChannelBinding: address.channelBinding === "prefer" || address.channelBinding === "require",
    application_name: options.applicationName ?? "chatkeep",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    // What stands in between forgets connections that are silent for some minutes, and ours may wait for hours.
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_SECONDS * 1000,
    ...(timeouts.length === 0 ? {} : { options: withoutTimeouts(timeouts) }),
  };
  const client = new Client(config);
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
    const connection = new Connection(client, address, options.signal);
    try {
      // By itself, as it does not yet apply to the message that it comes in.
      await connection.query("set statement_timeout = 0");
      await connection.query(sessionStatement(connection.mark));
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  } catch (error) {
    cut();
    if (binding?.isRefused() === true) throw notBound(address);
    // What is asked afterwards only says that the session is gone.
    throw sqlState(error) === undefined && sqlState(ended) !== undefined ? ended : error;
  } finally {
    options.signal.removeEventListener("abort", cut);
  }
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

/** Adds the databases that do exist: most often the name is nearly right. */
async function nameOthers(failure: Failure, address: ServerAddress, options: ConnectOptions): Promise<Failure> {
  for (const database of ["postgres", "template1"]) {
    if (database === address.database) continue;
    try {
      await using connection = await openEitherWay({ ...address, database }, options);
      const rows = await connection.query<{ name: string }>(
        "select datname as name from pg_catalog.pg_database where not datistemplate and datname <> 'postgres' order by 1",
      );
      const names = rows.map((row) => row.name).join(", ");
      return new Failure(failure.code, failure.message, {
        hint: `${names === "" ? "The server has no database of any user." : `The server has these databases: ${names}.`} ${failure.hint ?? ""}`.trim(),
        cause: failure.cause,
      });
    } catch {
      // The list only helps the reader: without it the failure stands as it is.
    }
  }
  return failure;
}
