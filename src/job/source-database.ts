/** The database that is backed up: connected to, and looked at, while the repository is being locked. */
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { type ClientPrograms, findPrograms } from "../postgres/programs.ts";
import { readServerFacts, type ServerFacts } from "../postgres/server-facts.ts";
import { longTransactionFindings } from "./long-transactions.ts";
import { inspectChatwoot } from "./inspect-chatwoot.ts";

export interface OpenedDatabase {
  connection: Connection;
  /** What is worth telling of a database that is Chatwoot's. */
  findings: Finding[];
  server: ServerFacts;
  programs: ClientPrograms;
  /** About how many chunks its rows make, should all be new. */
  expectedChunks: number;
}

export interface SourceOptions {
  address: ServerAddress;
  signal: AbortSignal;
}

/** Begins when it is made. Disposing of it closes the connection, whether anybody asked for it or not. */
export class SourceDatabase implements AsyncDisposable {
  readonly #connection: Promise<Connection>;
  readonly #opened: Promise<OpenedDatabase>;

  constructor(options: SourceOptions) {
    this.#connection = connect(options.address, { signal: options.signal });
    this.#opened = this.#look(options);
    // Asked for later, or never when the repository cannot be locked.
    this.#opened.catch(() => {});
  }

  /** @throws Failure when it cannot be reached, is not Chatwoot's, or the client programs are missing. */
  get opened(): Promise<OpenedDatabase> {
    return this.#opened;
  }

  async #look({ address, signal }: SourceOptions): Promise<OpenedDatabase> {
    const connection = await this.#connection;
    await refuseSharedSessions(connection, { signal });
    return await withConflictRetries(async () => {
      const { failure, findings } = await inspectChatwoot(connection, address, { signal });
      if (failure !== undefined) throw failure;
      const open = await longTransactionFindings(connection);
      const server = await readServerFacts(connection);
      const programs = await findPrograms(server.major, { signal });
      const expectedChunks = await expectChunks(connection);
      return { connection, findings: [...findings, ...open], server, programs, expectedChunks };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.catch(() => {});
    const connection = await this.#connection.catch(() => undefined);
    await connection?.[Symbol.asyncDispose]();
  }
}

/** Rows are cut about this fine: enough for two threads to agree on. */
async function expectChunks(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ bytes: string }>("select pg_database_size(current_database())::text as bytes");
  return Math.ceil(Number(row?.bytes ?? 0) / (LIMITS.rangeChunkBytes / 4)) + 10_000;
}
