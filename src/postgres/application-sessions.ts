/** Who of the application is connected to its database: a database is not taken from under somebody. */
import type { ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { connectIfThere } from "./connect-if-there.ts";
import { quoteLiteral } from "./names.ts";
import { sqlState } from "./server-errors.ts";
import { connectBeside } from "./target.ts";

export interface ApplicationSession {
  /** The server's process. */
  readonly process: number;
  readonly role: string;
  /** What the program calls itself; empty where it does not. */
  readonly program: string;
  /** The address that it came from; undefined for one of the server's own machine, by a socket. */
  readonly client: string | undefined;
  /** Milliseconds since 1970; undefined where our role may not know. */
  readonly sinceMs: number | undefined;
}

/** What Chatwoot's processes call themselves, whatever role they come as. */
const RAILS = "puma|sidekiq|rails|rake";
/** Programs of people and of monitoring, which write nothing by themselves. They may come as the application's own role. */
const TOOLS = "^(psql|pg_dump|pg_dumpall|pg_restore|pgAdmin|DBeaver|DataGrip|chatkeep|postgres_exporter|pg_activity)";

interface Row {
  process: number;
  role: string;
  program: string;
  client: string | null;
  since: string | null;
  [key: string]: unknown;
}

/**
 * The sessions of clients on this database that are the application's: those of its role, and those that call themselves
 * as Rails' processes do; none where there is no such database. Changes nothing; every role may ask.
 * @param options.role The application's own; the address may name another one.
 * @throws Failure of the `database/` codes.
 */
export async function applicationSessions(
  address: ServerAddress,
  { role, signal }: { role: string; signal: AbortSignal },
): Promise<ApplicationSession[]> {
  await using connection = await connectSomewhere(address, { signal });
  if (connection === undefined) return [];
  const rows = await connection.query<Row>(
    `select a.pid as process, a.usename as role, a.application_name as program, pg_catalog.host(a.client_addr) as client,
       (extract(epoch from a.backend_start) * 1000)::bigint::text as since
     from pg_catalog.pg_stat_activity a
     where a.datname = ${quoteLiteral(address.database)} and a.pid <> pg_catalog.pg_backend_pid()
       and coalesce(a.backend_type, 'client backend') = 'client backend' and a.usename is not null
       and (a.application_name ~* '${RAILS}'
         or a.usename = ${quoteLiteral(role)} and a.application_name !~* '${TOOLS}')
     order by a.pid`,
  );
  return rows.map(({ process, role: of, program, client, since }) => ({
    process,
    role: of,
    program,
    client: client ?? undefined,
    sinceMs: since === null ? undefined : Number(since),
  }));
}

/** A database that lets nobody in any more has sessions all the same: then another one of the server tells. */
async function connectSomewhere(
  address: ServerAddress,
  options: { signal: AbortSignal },
): Promise<Connection | undefined> {
  try {
    return await connectIfThere(address, options);
  } catch (error) {
    // Without an answer of the server no other will do.
    if (sqlState(error) === undefined) throw error;
    return await connectBeside(address, options);
  }
}
