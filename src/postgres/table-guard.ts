/**
 * A snapshot protects against changed rows, but not against TRUNCATE, rewriting changes and changed columns: a table
 * that was truncated after the snapshot reads as empty, one whose column was dropped and added again reads as
 * NULLs, and one whose column got another type as that type's text, all without an error. So before a table is read it is locked against such changes and compared, as the
 * snapshot sees it, with what it is now.
 */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "./connect.ts";
import { sharedSessions } from "./pooler.ts";
import { qualifiedName, quoteLiteral, shownName } from "./names.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";

export interface GuardedTable {
  schema: string;
  name: string;
  /** Decimal, as the snapshot sees it. */
  oid: string;
}

/**
 * Runs `work` and lets go of the locks that it took, although the transaction goes on. Outside a transaction each
 * statement lets go by itself.
 */
export async function briefly<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  if (!connection.isInTransaction) return await work();
  await connection.query("savepoint chatkeep");
  const release = "rollback to savepoint chatkeep; release savepoint chatkeep";
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // The first error says what happened; a session that cannot even roll back is lost anyway.
    await connection.query(release).catch(() => {});
    throw error;
  }
  await connection.query(release);
  return result;
}

function changed(table: GuardedTable, how: string, cause?: unknown): Failure {
  return new Failure("database/changed", `table ${shownName(table)} was ${how} while it was being saved`, {
    hint: "Is a migration running? Try again when it has ended.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The failure of a statement that reads `table`: what it says about the table's owner, rights and changes. */
export function tableFailure(error: unknown, table: GuardedTable, connection: Connection): unknown {
  const state = sqlState(error);
  if (state === SQLSTATE.tableMissing) return changed(table, "dropped or renamed", error);
  if (state === SQLSTATE.columnMissing) return changed(table, "altered", error);
  if (state !== SQLSTATE.denied) return error;
  const role = connection.address.user;
  if (error instanceof Error && error.message.includes("row-level security")) {
    return new Failure("database/denied", `row security hides rows of ${shownName(table)} from '${role}'`, {
      hint: `Use the role that owns the table, or one with BYPASSRLS: ALTER ROLE "${role}" BYPASSRLS. Where the table says FORCE ROW LEVEL SECURITY, its owner needs that too.`,
      cause: error,
    });
  }
  return new Failure("database/denied", `'${role}' may not read table ${shownName(table)}`, {
    hint: `Run as its owner: GRANT USAGE ON SCHEMA "${table.schema}" TO "${role}"; GRANT SELECT ON ${qualifiedName(table)} TO "${role}";`,
    cause: error,
  });
}

interface GuardRow {
  own_session: boolean | null;
  same_file: boolean | null;
  same_name: boolean | null;
  same_columns: boolean | null;
  types: { name: string; type: number }[] | null;
}

/**
 * The type of each column of `c`, of a domain its base type. How long or exact it may be is not compared: what changes of that
 * without a rewrite allows more, and the text of the rows that are there stays what it was.
 */
const BASE_TYPES = `
  with recursive base(name, oid) as (
    select a.attname, a.atttypid from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    union all
    select b.name, t.typbasetype from base b join pg_catalog.pg_type t on t.oid = b.oid and t.typtype = 'd')
  select pg_catalog.json_agg(pg_catalog.json_build_object('name', b.name, 'type', b.oid::int8))
  from base b join pg_catalog.pg_type t on t.oid = b.oid and t.typtype <> 'd'`;

/**
 * Locks the table against changes of its form until the transaction (or the savepoint) ends, and makes sure that it
 * still is what the transaction's snapshot sees.
 * @throws Failure `database/changed` when it is not; `database/denied`; `database/unsuitable` when the session is not ours
 * any more; SQLSTATE 55P03 as `cause` when somebody else
 * holds a lock for longer than `LIMITS.lockTimeoutMs`.
 */
export async function guardTable(connection: Connection, table: GuardedTable): Promise<void> {
  const name = qualifiedName(table);
  let types: Map<string, number>;
  try {
    // Which columns a table's row type has, and of which types, is asked of the present as well.
    types = await connection.typesOf(
      `set local lock_timeout = ${LIMITS.lockTimeoutMs}; lock table only ${name} in access share mode; set local lock_timeout = 0;
       select (null::${name}).*`,
    );
  } catch (error) {
    throw tableFailure(error, table, connection);
  }
  // pg_class and pg_attribute are read as the snapshot sees them; the functions answer for the present.
  const [row] = await connection.query<GuardRow & { [key: string]: unknown }>(
    `select pg_catalog.current_setting('chatkeep.session', true) = ${quoteLiteral(connection.mark)} as own_session,
       c.relfilenode = pg_catalog.pg_relation_filenode(c.oid) as same_file,
       pg_catalog.to_regclass(${quoteLiteral(name)})::pg_catalog.oid = c.oid as same_name,
       (select pg_catalog.bool_and(a.attname = (pg_catalog.pg_identify_object_as_address(
            'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum)).object_names[3])
          from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as same_columns,
       (${BASE_TYPES}) as types
     from pg_catalog.pg_class c where c.oid = ${quoteLiteral(table.oid)}::pg_catalog.oid`,
  );
  if (row !== undefined && row.own_session !== true) throw sharedSessions(connection.address);
  if (row?.same_name !== true) throw changed(table, "dropped or renamed");
  if (row.same_file !== true) throw changed(table, "emptied or rewritten");
  const isSameType = row.types?.every((column) => types.get(column.name) === column.type) ?? true;
  if (row.same_columns === false || !isSameType) throw changed(table, "altered");
}

/**
 * Runs `attempt` again while another session holds a lock: a migration may hold one for minutes.
 * @throws Failure `database/changed` when it was held for all of `LIMITS.lockAttempts` attempts.
 */
export async function withLockRetries<T>(what: string, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (sqlState(error) !== SQLSTATE.lockTimeout) throw error;
      if (tries >= LIMITS.lockAttempts) {
        throw new Failure("database/changed", `${what} stays locked by another session`, {
          hint: "A migration or a maintenance job holds it: pg_locks and pg_stat_activity name it. Try again when it has ended.",
          cause: error,
        });
      }
    }
  }
}
