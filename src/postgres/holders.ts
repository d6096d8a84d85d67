/** What holds a database by other means than a client's session: logical replication and prepared transactions. */
import type { Connection } from "./connect.ts";
import { quoteLiteral } from "./names.ts";

/** By name. All of them stay with the database when it is renamed. */
export interface Holders {
  /** Logical replication slots that somebody reads from now. */
  activeSlots: string[];
  /** Those that nobody reads from: the server keeps its log for them all the same. */
  idleSlots: string[];
  enabledSubscriptions: string[];
  disabledSubscriptions: string[];
  /** Transactions that `PREPARE TRANSACTION` left open, with no session of their own. */
  prepared: string[];
}

const list = (value: string, from: string) =>
  `(select coalesce(pg_catalog.json_agg(${value} order by ${value}), '[]') from ${from})`;

/** Of the databases of these names together. Changes nothing; every role may ask. */
export async function readHolders(connection: Connection, databases: readonly string[]): Promise<Holders> {
  const names = databases.map(quoteLiteral).join(", ");
  const subscribed = `pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname in (${names})`;
  const slotted = `pg_catalog.pg_replication_slots s where s.database in (${names})`;
  const [row] = await connection.query<Holders & { [key: string]: unknown }>(
    `select ${list("s.slot_name::text", `${slotted} and s.active`)} as "activeSlots",
       ${list("s.slot_name::text", `${slotted} and not s.active`)} as "idleSlots",
       ${list("s.subname::text", `${subscribed} and s.subenabled`)} as "enabledSubscriptions",
       ${list("s.subname::text", `${subscribed} and not s.subenabled`)} as "disabledSubscriptions",
       ${list("p.gid", `pg_catalog.pg_prepared_xacts p where p.database in (${names})`)} as prepared`,
  );
  if (row === undefined) throw new TypeError("the server did not say what holds the database");
  return row;
}
