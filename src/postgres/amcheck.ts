/**
 * Whether tables and indexes fit together, as pg_amcheck asks: by the extension amcheck, which is there for as long as the check
 * takes and is gone with its transaction. For a server of our own: it takes a superuser, and locks every table for reading.
 */
import type { Connection } from "./connect.ts";
import { isKeptBack, sqlState } from "./server-errors.ts";

export interface StructureCheck {
  readonly tables: number;
  readonly indexes: number;
  /** As amcheck says it: one line each. */
  readonly problems: readonly string[];
}

interface Relation {
  name: string;
  oid: string;
  [column: string]: unknown;
}

const TABLES_SINCE = 140_000;
/** The extension's files are not installed, or it may not be made. */
const NOT_THERE = new Set(["58P01", "0A000", "22023"]);

/** @returns undefined where the server has no amcheck. @throws Failure of the database. */
export async function checkStructure(connection: Connection): Promise<StructureCheck | undefined> {
  await connection.query("begin");
  try {
    await connection.query("set local default_transaction_read_only = off; set transaction read write");
    await connection.query("create schema chatkeep_check");
    await connection.query("create extension amcheck schema chatkeep_check");
    return await check(connection);
  } catch (error) {
    if (NOT_THERE.has(sqlState(error) ?? "") || isKeptBack(error)) return undefined;
    throw error;
  } finally {
    await connection.query("rollback");
  }
}

async function check(connection: Connection): Promise<StructureCheck> {
  const [server] = await connection.query<{ number: number }>(
    "select pg_catalog.current_setting('server_version_num')::int as number",
  );
  const problems: string[] = [];
  const tables = (server?.number ?? 0) < TABLES_SINCE ? [] : await relations(connection, HEAPS);
  for (const { name, oid } of tables) {
    const found = await connection.query<{ blkno: string | null; offnum: number | null; msg: string }>(
      "select blkno::text, offnum, msg from chatkeep_check.verify_heapam($1::oid::regclass)",
      [oid],
    );
    for (const { blkno, offnum, msg } of found)
      problems.push(`${name}, page ${blkno ?? "?"}, row ${offnum ?? "?"}: ${msg}`);
  }
  const indexes = await relations(connection, BTREES);
  for (const { name, oid } of indexes) {
    await connection.query("savepoint one");
    try {
      await connection.query("select chatkeep_check.bt_index_check($1::oid::regclass, true)", [oid]);
    } catch (error) {
      if (!(error instanceof Error) || !/^XX00[0-2]$/.test(sqlState(error) ?? "")) throw error;
      problems.push(`${name}: ${error.message}`);
    }
    await connection.query("rollback to one; release one");
  }
  return { tables: tables.length, indexes: indexes.length, problems };
}

async function relations(connection: Connection, sql: string): Promise<Relation[]> {
  return await connection.query<Relation>(sql);
}

const HEAPS = `
select c.oid::regclass::text as name, c.oid::text as oid from pg_catalog.pg_class c
join pg_catalog.pg_am a on a.oid = c.relam
where c.relkind in ('r', 'm', 't') and a.amname = 'heap' and c.relpersistence = 'p' order by c.oid`;

/** Those of other sessions' temporary tables cannot be looked into, and those that are not valid need not fit. */
const BTREES = `
select c.oid::regclass::text as name, c.oid::text as oid from pg_catalog.pg_class c
join pg_catalog.pg_am a on a.oid = c.relam join pg_catalog.pg_index i on i.indexrelid = c.oid
where c.relkind = 'i' and a.amname = 'btree' and c.relpersistence = 'p' and i.indisvalid and i.indisready order by c.oid`;
