/** A standby as what is read: how far it is behind its primary. */
import { withConflictRetries } from "./conflict.ts";
import type { Connection } from "./connect.ts";

export interface StandbyState {
  /** It receives its primary's log over a connection, now. */
  isReceiving: boolean;
  /**
   * How old the newest transaction is that it has applied; 0 when it has applied all that it received. Null when it does
   * not tell.
   */
  lagSeconds: number | null;
}

interface StateRow {
  standby: boolean;
  receiving: boolean;
  applied: boolean | null;
  age: number | null;
  [key: string]: unknown;
}

/** A role without rights over statistics sees of the receiver that it is there, and no more. */
const STATE = `
  select pg_catalog.pg_is_in_recovery() as standby,
    exists (select from pg_catalog.pg_stat_get_wal_receiver() r where r.pid is not null) as receiving,
    pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() as applied,
    extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 as age`;

/** Undefined for a server that is no standby. */
export async function readStandbyState(connection: Connection): Promise<StandbyState | undefined> {
  const [row] = await connection.query<StateRow>(STATE);
  if (row?.standby !== true) return undefined;
  // Nobody writes on an idle primary: the last transaction is old, and nothing is lacking.
  const lagSeconds = row.receiving && row.applied === true ? 0 : row.age;
  return { isReceiving: row.receiving, lagSeconds: lagSeconds === null ? null : Math.max(0, lagSeconds) };
}

/** The same session, whose statements are run again when a standby ended them. Not for transactions. */
export function retrying(connection: Pick<Connection, "query">): Pick<Connection, "query"> {
  return {
    query: async (sql, params) => await withConflictRetries(async () => await connection.query(sql, params)),
  };
}
