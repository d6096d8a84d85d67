/**
 * What keeps dead rows from being cleaned away: transactions of others that have been open for long, and replication slots whose
 * readers may still want to see them.
 */
import type { Connection } from "./connect.ts";

export interface LongTransaction {
  /** Its session; undefined for one that was prepared and belongs to no session. */
  pid: number | undefined;
  /** The name of a prepared one. */
  prepared: string | undefined;
  /** Undefined where the server does not tell it to our role. */
  user: string | undefined;
  /** `active`, `idle in transaction` …; undefined for a prepared one. */
  state: string | undefined;
  seconds: number;
  /** It holds a lock on a table that even a reader waits for. */
  isExclusive: boolean;
}

interface Row {
  pid: number | null;
  gid: string | null;
  username: string | null;
  state: string | null;
  seconds: number;
  exclusive: boolean;
  [key: string]: unknown;
}

/** Of a table, and of whoever holds it: prepared transactions hold locks without a session, by their virtual number. */
const EXCLUSIVE = "l.granted and l.mode = 'AccessExclusiveLock' and l.locktype = 'relation' and l.relation >= 16384";

/**
 * What is older than so many seconds in this database, the oldest first. Of other roles' sessions a role without rights
 * over statistics is told nothing. What they run is not asked for: it may hold anything.
 */
export async function readLongTransactions(
  connection: Connection,
  { olderThanSeconds }: { olderThanSeconds: number },
): Promise<LongTransaction[]> {
  const rows = await connection.query<Row>(
    `select t.* from (
       select a.pid, null::text as gid, a.usename::text as username, a.state,
         extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::float8 as seconds,
         exists (select from pg_catalog.pg_locks l where l.pid = a.pid and ${EXCLUSIVE}) as exclusive
       from pg_catalog.pg_stat_activity a
       where a.datname = pg_catalog.current_database() and a.backend_type = 'client backend' and a.xact_start is not null
         and a.pid <> pg_catalog.pg_backend_pid()
       union all
       select null, p.gid, p.owner::text, null,
         extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::float8,
         exists (select from pg_catalog.pg_locks x join pg_catalog.pg_locks l using (virtualtransaction)
           where x.locktype = 'transactionid' and x.transactionid = p.transaction and ${EXCLUSIVE})
       from pg_catalog.pg_prepared_xacts p where p.database = pg_catalog.current_database()) t
     where t.seconds >= $1 order by t.seconds desc`,
    [olderThanSeconds],
  );
  return rows.map(({ pid, gid, username, state, seconds, exclusive }) => ({
    pid: pid ?? undefined,
    prepared: gid ?? undefined,
    user: username ?? undefined,
    state: state ?? undefined,
    seconds,
    isExclusive: exclusive,
  }));
}

/** A replication slot for whose reader the server keeps rows that are dead. */
export interface HoldingSlot {
  name: string;
  isLogical: boolean;
  /** Somebody reads from it now. */
  isActive: boolean;
  /** Of every table of the server; false: of its catalogues alone. */
  isOfAllTables: boolean;
  /** So many transactions have begun since the oldest of what it keeps was of use to others. */
  transactions: number;
}

/**
 * Those that keep rows of this database, or of its catalogues, which died before so many transactions; the worst first. Every role
 * may ask.
 */
export async function readHoldingSlots(
  connection: Connection,
  { olderThanTransactions }: { olderThanTransactions: number },
): Promise<HoldingSlot[]> {
  return await connection.query<HoldingSlot & { [key: string]: unknown }>(
    `select t.* from (
       select s.slot_name::text as name, s.slot_type = 'logical' as "isLogical", s.active as "isActive",
         s.xmin is not null and pg_catalog.age(s.xmin) >= coalesce(pg_catalog.age(s.catalog_xmin), 0) as "isOfAllTables",
         greatest(pg_catalog.age(s.xmin), pg_catalog.age(s.catalog_xmin))::float8 as transactions
       from pg_catalog.pg_replication_slots s
       where s.xmin is not null or s.database is null or s.database = pg_catalog.current_database()) t
     where t.transactions >= $1 order by t.transactions desc, t.name`,
    [olderThanTransactions],
  );
}
