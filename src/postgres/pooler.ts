/**
 * Recognises a pooler that gives each transaction, or each statement, another session of the server. Ours need the settings
 * that they were given at first: rows read without them would be other text, and nobody would be told.
 *
 * What speaks PostgreSQL's protocol by itself hands out a number of its own for a session, where the server names the process.
 * If it does, two of our sessions look at which process they are in: both in the same one, or one of them in another one
 * than before, can only be when they share processes. A pooler hands a process on as soon as its transaction has ended, so
 * one look shows it where nobody else is there; more looks are for pools that others use meanwhile. As the last guard, no
 * table is read without the mark of its own session being found (`table-guard.ts`).
 */
import { Failure } from "../base/errors.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { sqlState } from "./server-errors.ts";
import { connectPatiently } from "./spare-sessions.ts";

const LOOKS = 12;

/**
 * @param connection Outside a transaction.
 * @returns whether something stands between here and the server that hands out sessions, each of which stays ours.
 * @throws Failure `database/unsuitable` when sessions do not stay ours.
 */
export async function refuseSharedSessions(
  connection: Connection,
  { signal }: { signal: AbortSignal },
): Promise<boolean> {
  const first = await processOf(connection);
  if (connection.announcedProcess === first) return false;
  await using other = await connectPatiently(connection.address, { signal });
  for (let look = 0; look < LOOKS; look += 1) {
    // Twice: a pool of two that takes turns gives each of us its own again and again, while we take turns too.
    const own = await processOf(connection);
    const next = await processOf(connection);
    await beginAnything(other);
    const [theirs, again] = [await processOf(other), await processOf(connection)];
    await other.query("commit");
    if (own !== first || next !== own || theirs === own || again !== own) throw sharedSessions(connection.address);
  }
  return true;
}

async function processOf(connection: Connection): Promise<number | undefined> {
  const [row] = await connection.query<{ pid: number }>("select pg_catalog.pg_backend_pid() as pid");
  return row?.pid;
}

/** A pooler that gives each statement another session lets no transaction begin. */
async function beginAnything(connection: Connection): Promise<void> {
  try {
    await connection.query("begin");
  } catch (error) {
    if (sqlState(error)?.startsWith("08") !== true) throw error;
    throw sharedSessions(connection.address, error);
  }
}

/** Sessions that are not ours alone. */
export function sharedSessions(address: ServerAddress, cause?: unknown): Failure {
  return new Failure(
    "database/unsuitable",
    `a pooler gives each transaction another session of the server (${describeAddress(address)})`,
    {
      hint: "Give Chatkeep the server's own address: without '-pooler' at Neon, port 5432 and not 6543 at Supabase, for PgBouncer the host and port in its [databases]. A pooler in session mode will do too.",
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

/** How addresses of poolers look at those who offer them, and PgBouncer's own port. */
export function looksLikePooler({ host, port }: ServerAddress): boolean {
  return port === 6432 || (port === 6543 && /\.supabase\.(co|com)$/.test(host)) || /^[^.]+-pooler\./.test(host);
}
