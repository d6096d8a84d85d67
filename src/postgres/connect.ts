/**
 * A session on a server, with our settings. It belongs to one signal: when that is aborted, the session is cut and
 * whatever waits for it fails with the signal's reason.
 */
import { randomBytes } from "node:crypto";
import type { Client, QueryResult, QueryResultRow } from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type { Writable } from "node:stream";
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { CopyOut } from "./copy-out.ts";
import { Lifeline } from "./lifeline.ts";
import { serverFailure, SQLSTATE, sqlState } from "./server-errors.ts";
import { sessionStatement } from "./session.ts";
import { type Begin, signIn, signInOnce } from "./sign-in.ts";

export interface ConnectOptions {
  signal: AbortSignal;
  applicationName?: string;
}

export class Connection implements AsyncDisposable {
  readonly address: ServerAddress;
  #client: Client;
  #mark = randomBytes(8).toString("hex");
  readonly #signal: AbortSignal;
  #life: Lifeline;

  /** Use {@link connect}. */
  constructor(client: Client, address: ServerAddress, signal: AbortSignal) {
    this.address = address;
    this.#client = client;
    this.#signal = signal;
    this.#life = new Lifeline(client, signal);
  }

  /** Of this session alone, kept by the server as the setting `chatkeep.session`: hex. */
  get mark(): string {
    return this.#mark;
  }

  /** The server's process, as whoever let us in says: a pooler says a number of its own. */
  get announcedProcess(): unknown {
    return Reflect.get(this.#client, "processID");
  }

  /** As the server said with its last answer, so that nothing has to be sent to know it. */
  get isInTransaction(): boolean {
    return this.#client.getTransactionStatus() !== "I";
  }

  /** True until the session was ended by either side. */
  get isOpen(): boolean {
    return this.#life.isOpen;
  }

  /**
   * Begins a new session in place of one that the server ended; nothing where it goes on.
   * @throws Failure of the `database/` codes.
   */
  async reopen(): Promise<void> {
    if (this.isOpen) return;
    this.destroy();
    const other = await connect(this.address, { signal: this.#signal });
    this.#mark = other.#mark;
    this.#client = other.#client;
    this.#life = other.#life;
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
    if (error instanceof Error && Reflect.get(error, "severity") === "FATAL") this.#life.endedBy(error);
    // The next query only says that the session is gone.
    return serverFailure(sqlState(error) === undefined ? (this.#life.end ?? error) : error, this.address);
  }

  /** Ends the session at once; the server notices when it next sends. */
  destroy(): void {
    this.#life.destroy();
  }

  async close(): Promise<void> {
    await this.#life.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens a session with our settings ({@link sessionStatement}).
 * @throws Failure `database/unreachable`, `database/denied` or `database/unsuitable` (no such database), with a hint.
 */
export async function connect(address: ServerAddress, options: ConnectOptions): Promise<Connection> {
  try {
    return await signIn(address, options, beginWith(options));
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    const failure = serverFailure(error, address);
    throw sqlState(failure) === SQLSTATE.databaseMissing ? await nameOthers(failure, address, options) : failure;
  }
}

/** Our settings, before anything else. */
function beginWith({ signal }: ConnectOptions): Begin<Connection> {
  return async (client, address) => {
    const connection = new Connection(client, address, signal);
    try {
      // By itself, as it does not yet apply to the message that it comes in.
      await connection.query("set statement_timeout = 0");
      await connection.query(sessionStatement(connection.mark));
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  };
}

/** Adds the databases that do exist: most often the name is nearly right. */
async function nameOthers(failure: Failure, address: ServerAddress, options: ConnectOptions): Promise<Failure> {
  for (const database of ["postgres", "template1"]) {
    if (database === address.database) continue;
    try {
      await using connection = await signInOnce({ ...address, database }, options, beginWith(options));
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
