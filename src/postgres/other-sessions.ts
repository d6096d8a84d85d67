/** Sessions of others on a database that is to be renamed or dropped: those that our role may end, and those that it may not. */
import type { Connection } from "./connect.ts";
import { readHolders } from "./holders.ts";
import { quoteLiteral } from "./names.ts";

/**
 * True where our role may end the session, as `pg_signal_backend` of src/backend/storage/ipc/signalfuncs.c decides: it has the
 * rights of the session's role, or those of the role for that; and a superuser's are ended by superusers alone. It must be
 * exact: one call that is refused ends the whole statement, and whoever comes behind it stays.
 */
const MAY_END = `((select rolsuper from pg_catalog.pg_roles where rolname = current_user)
  or coalesce(not (select rolsuper from pg_catalog.pg_roles where oid = a.usesysid)
    and (pg_catalog.pg_has_role(a.usesysid, 'USAGE') or pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')), false))`;

/** What a session is, is told only to whoever may look at it; one of a client has a role in any case. */
const OF_CLIENTS = `coalesce(a.backend_type, 'client backend') = 'client backend' and a.usesysid is not null`;

function ofOthers(databases: readonly string[]): string {
  return `from pg_catalog.pg_stat_activity a
    where a.datname in (${databases.map(quoteLiteral).join(", ")}) and a.pid <> pg_catalog.pg_backend_pid()`;
}

/** Ends the sessions that our role may end. */
export function terminateStatement(databases: readonly string[]): string {
  return `select pg_catalog.pg_terminate_backend(a.pid) ${ofOthers(databases)} and ${OF_CLIENTS} and ${MAY_END}`;
}

interface SessionRow {
  pid: number;
  role: string | null;
  program: string;
  client: string | null;
  type: string | null;
  [key: string]: unknown;
}

const SESSION = `a.pid, a.usename as role, a.application_name as program, a.client_addr::text as client, a.backend_type as type`;

/** `process 4711 of role 'postgres' (psql, 192.0.2.7)`. */
function describe({ pid, role, program, client, type }: SessionRow): string {
  const of = role === null ? (type ?? "the server") : `role '${role}'`;
  const from = client === null ? [] : [client.replace(/\/(?:32|128)$/, "")];
  return `process ${pid} of ${of} (${[program || "no name", ...from].join(", ")})`;
}

/** Sessions of clients, three at most. Changes nothing. */
export async function describeClients(connection: Connection, database: string): Promise<string[]> {
  const rows = await connection.query<SessionRow>(
    `select ${SESSION} ${ofOthers([database])} and ${OF_CLIENTS} order by a.pid limit 3`,
  );
  return rows.map(describe);
}

/** Sessions of clients that our role may not end. Changes nothing. */
export async function sessionsToStay(connection: Connection, databases: readonly string[]): Promise<string[]> {
  const rows = await connection.query<SessionRow>(
    `select ${SESSION} ${ofOthers(databases)} and ${OF_CLIENTS} and not ${MAY_END} order by a.pid`,
  );
  return rows.map(describe);
}

/** What uses the databases: at most three sessions, first those that our role may not end, and as many prepared transactions. */
export async function describeUsers(connection: Connection, databases: readonly string[]): Promise<string[]> {
  const sessions = await connection.query<SessionRow>(
    `select ${SESSION} ${ofOthers(databases)} order by ${MAY_END}, a.pid limit 3`,
  );
  const { prepared } = await readHolders(connection, databases);
  return [
    ...sessions.map(describe),
    ...prepared.slice(0, 3).map((name) => `prepared transaction '${name}' (COMMIT PREPARED or ROLLBACK PREPARED)`),
  ];
}
