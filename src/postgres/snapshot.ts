/** One moment of a database that several sessions can read: a transaction that exports its snapshot and stays open. */
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteLiteral, shownName } from "./names.ts";
import { isKeptBack, sqlState, SQLSTATE } from "./server-errors.ts";
import { briefly, guardTable, withLockRetries } from "./table-guard.ts";

export interface DatabaseSnapshot extends AsyncDisposable {
  /** What `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot` take. */
  readonly id: string;
  /** The session whose transaction holds the snapshot. Locks that it takes last until the end: see {@link lookAt}. */
  readonly connection: Connection;
  /** WAL position when the snapshot was taken; empty where the server does not tell it, or not what of it is on its disk. */
  readonly lsn: string;
  /** RFC 3339, microseconds, the server's clock. */
  readonly takenAt: string;
  /** Begins a transaction that reads in this snapshot. */
  importInto(connection: Connection): Promise<void>;
  /**
   * Reads tables in this snapshot, safely and shortly: refuses tables that were truncated, rewritten, altered or
   * dropped since it was taken (they would read as empty), and lets go of all locks afterwards.
   * @throws Failure `database/changed`, `database/denied`.
   */
  lookAt<T>(
    tables: readonly { schema: string; name: string }[],
    read: (connection: Connection) => Promise<T>,
  ): Promise<T>;
  close(): Promise<void>;
}

/** The statements that begin a transaction which reads in an exported snapshot. */
function importStatements(snapshotId: string): string {
  return `begin isolation level repeatable read read only; set transaction snapshot ${quoteLiteral(snapshotId)}`;
}

/** In a session of its own. @throws Failure of the `database/` codes. */
export async function openSnapshot(
  address: ServerAddress,
  options: { signal: AbortSignal },
): Promise<DatabaseSnapshot> {
  const connection = await connect(address, options);
  try {
    return await exportSnapshot(connection, async () => await connection.close());
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

/** In a session that is outside a transaction, and is so again afterwards. @throws Failure of the `database/` codes. */
export async function beginSnapshot(connection: Connection): Promise<DatabaseSnapshot> {
  // Where that fails the session is lost, and whatever is asked of it next says so.
  const close = async () => void (await connection.query("rollback").catch(() => {}));
  try {
    return await exportSnapshot(connection, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function exportSnapshot(connection: Connection, close: () => Promise<void>): Promise<DatabaseSnapshot> {
  await connection.query("begin isolation level repeatable read read only");
  const [row] = await connection.query<{ id: string; at: string }>(
    `select pg_catalog.pg_export_snapshot() as id,
       pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
  );
  if (row === undefined) throw new TypeError("the server exported no snapshot");
  return {
    id: row.id,
    connection,
    // Afterwards: nothing that the snapshot sees is beyond it.
    lsn: await readLsn(connection),
    takenAt: row.at,
    importInto: async (other) => {
      await importSnapshot(other, row.id);
    },
    lookAt: async (tables, read) => await lookAt(connection, tables, read),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function readLsn(connection: Connection): Promise<string> {
  const sql = `select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
      when pg_catalog.pg_current_wal_flush_lsn() is not null then pg_catalog.pg_current_wal_insert_lsn() end::text as lsn`;
  try {
    const [row] = await briefly(connection, async () => await connection.query<{ lsn: string | null }>(sql));
    return row?.lsn ?? "";
  } catch (error) {
    if (!isKeptBack(error)) throw error;
    return "";
  }
}

/**
 * Begins a transaction that reads in an exported snapshot.
 * @throws Failure `database/unreachable` when the snapshot is gone: its session ended.
 */
export async function importSnapshot(connection: Connection, snapshotId: string): Promise<void> {
  try {
    await connection.query(importStatements(snapshotId));
  } catch (error) {
    const gone: (string | undefined)[] = [SQLSTATE.snapshotGone, SQLSTATE.snapshotEnding, "42704"];
    if (!gone.includes(sqlState(error))) throw error;
    throw new Failure("database/unreachable", "the snapshot of the database is gone: its session has ended", {
      hint: "Did the server restart, or was the session ended? Try again.",
      cause: error,
    });
  }
}

async function lookAt<T>(
  connection: Connection,
  tables: readonly { schema: string; name: string }[],
  read: (connection: Connection) => Promise<T>,
): Promise<T> {
  const known = new Map<string, string>();
  for (const table of tables) {
    const [row] = await connection.query<{ oid: string }>(
      `select c.oid::text as oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where n.nspname = ${quoteLiteral(table.schema)} and c.relname = ${quoteLiteral(table.name)}`,
    );
    if (row === undefined) {
      throw new Failure("database/unsuitable", `the database has no table ${shownName(table)}`, {
        hint: "Is this the database that Chatwoot uses?",
      });
    }
    known.set(shownName(table), row.oid);
  }
  const attempt = async () =>
    await briefly(connection, async () => {
      for (const table of tables) await guardTable(connection, { ...table, oid: known.get(shownName(table)) ?? "0" });
      return await read(connection);
    });
  const names = tables.map(shownName).join(", ");
  try {
    return await withLockRetries(`one of the tables ${names}`, attempt);
  } catch (error) {
    if (!isFailure(error, "database/unreadable")) throw error;
    const what = tables.length === 1 ? `table ${names}` : `one of the tables ${names}`;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new Failure(error.code, `${what}: ${error.message}`, { ...hint, cause: error.cause });
  }
}

const POLL_MS = 25;
/** Polls before the server is nudged to write out what it still holds back. */
const PATIENCE = 8;

/**
 * Waits until everything up to `lsn` is on the server's disk: what the snapshot saw then outlives a crash, and its
 * transaction ids are never given again (with `synchronous_commit = off` both could happen). The session must be outside
 * a transaction.
 * On a standby there is nothing to wait for: it replays only what the primary has flushed.
 */
export async function waitUntilDurable(
  connection: Connection,
  lsn: string,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  // Nothing is taken over from a point of a server that does not tell.
  if (lsn === "") return;
  const sql = `select case when pg_catalog.pg_is_in_recovery() then true
    else pg_catalog.pg_current_wal_flush_lsn() >= ${quoteLiteral(lsn)}::pg_catalog.pg_lsn end as durable`;
  for (let polls = 1; ; polls += 1) {
    signal.throwIfAborted();
    const [row] = await connection.query<{ durable: boolean }>(sql);
    if (row?.durable === true) return;
    if (polls % PATIENCE === 0) await nudge(connection);
    await systemClock.sleep(POLL_MS, signal);
  }
}

/**
 * A half-filled page of WAL may wait for long until somebody commits: so we commit a message of a few bytes, that
 * nobody listens to. A role that may not is helped by the WAL writer, more slowly.
 */
async function nudge(connection: Connection): Promise<void> {
  const begin = "begin read write; set local synchronous_commit = local";
  try {
    await connection.query(`${begin}; select pg_catalog.pg_logical_emit_message(true, 'chatkeep', 'flush'); commit`);
  } catch (error) {
    await connection.query("rollback");
    if (sqlState(error) !== SQLSTATE.denied) throw error;
    await connection.query(`${begin}; select pg_catalog.txid_current(); commit`);
  }
}
