/** A server lets in only so many sessions: how many are left for us, and what to do when there are none. */
import { systemClock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";

/** Others' sessions are known by their role only, and what is not a session of a client has none. */
const CLIENTS = "a.usesysid is not null and coalesce(a.backend_type, 'client backend') = 'client backend'";

const SPARE = `
  select least(
    pg_catalog.current_setting('max_connections')::int
      - case when r.rolsuper then 0 else pg_catalog.current_setting('superuser_reserved_connections')::int
          + coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) end
      - (select count(*) from pg_catalog.pg_stat_activity a where ${CLIENTS}),
    case when r.rolconnlimit >= 0 and not r.rolsuper
      then r.rolconnlimit - (select count(*) from pg_catalog.pg_stat_activity a where a.usesysid = r.oid and ${CLIENTS}) end,
    case when d.datconnlimit >= 0 and not r.rolsuper
      then d.datconnlimit - (select count(*) from pg_catalog.pg_stat_activity a where a.datid = d.oid and ${CLIENTS}) end
  )::int as spare
  from pg_catalog.pg_roles r, pg_catalog.pg_database d
  where r.rolname = session_user and d.datname = pg_catalog.current_database()`;

/**
 * How many more sessions the server would let us open now, by the limits that it tells: of itself, of the role and of the
 * database. Others may take them first, and a provider or a pooler may have limits of its own. Never below 0.
 */
export async function countSpareSessions(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ spare: number }>(SPARE);
  return Math.max(0, row?.spare ?? 0);
}

const POLL_MS = 250;

/**
 * Opens a session; where the server has none left, for a while again and again: one of ours that was ended may not have
 * gone yet, and somebody else's may go. @throws Failure `database/full` when that did not help.
 */
export async function connectPatiently(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<Connection> {
  const until = systemClock.monotonic() + LIMITS.sessionWaitMs;
  for (;;) {
    try {
      return await connect(address, { signal });
    } catch (error) {
      if (!isFailure(error, "database/full") || systemClock.monotonic() >= until) throw error;
    }
    await systemClock.sleep(POLL_MS, signal);
  }
}

/**
 * Opens so many, or fewer where the server has no more: one at least. What was opened is closed when it fails.
 * @param open Is given what to connect with: only the first is worth waiting for.
 */
export async function openUpTo<T extends AsyncDisposable>(
  count: number,
  open: (connectBy: typeof connect) => Promise<T>,
): Promise<T[]> {
  const opened: T[] = [];
  try {
    while (opened.length < Math.max(1, count))
      opened.push(await open(opened.length === 0 ? connectPatiently : connect));
  } catch (error) {
    if (isFailure(error, "database/full") && opened.length > 0) return opened;
    // A pooler that has no more lets one wait until we give up. A server that is gone is told by the two.
    if (isFailure(error, "database/unreachable") && opened.length > 1) return opened;
    for (const one of opened) await one[Symbol.asyncDispose]();
    throw error;
  }
  return opened;
}
