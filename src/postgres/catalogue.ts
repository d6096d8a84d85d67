/**
 * What tables a database has and how their rows can be read in a fixed order: every ordinary table outside the
 * system's schemas that no extension owns; leaves of partitioned tables are such tables, their parents hold no rows.
 */
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { readProblems } from "./catalogue-problems.ts";
import type { Connection } from "./connect.ts";
import { briefly, withLockRetries } from "./table-guard.ts";
import { ownedByExtension, USER_SCHEMAS } from "./user-objects.ts";

export interface ColumnFacts {
  name: string;
  attnum: number;
  /** As `format_type` writes it. */
  type: string;
  /** Text that is compared by a collation. */
  isText: boolean;
  isGenerated: boolean;
  isIdentity: boolean;
  isNullable: boolean;
  /** A value for rows that are older than the column is kept in the catalogue. */
  hasMissingValue: boolean;
}

/** What orders a table's rows. */
export type TableKey =
  | { kind: "integer"; column: string; type: string }
  | { kind: "columns"; columns: { name: string; isText: boolean }[] }
  | { kind: "none" };

export interface TableFacts {
  schema: string;
  name: string;
  /** Decimal. */
  oid: string;
  relkind: string;
  isPartition: boolean;
  isUnlogged: boolean;
  columns: ColumnFacts[];
  /** Numbers of dropped columns: dropping one and adding another of its name changes neither name nor type. */
  droppedColumns: number[];
  key: TableKey;
  /** The planner's number; -1 when the table was never analysed. */
  rowsEstimate: number;
  /** Bytes on disk, with what is stored out of line and without indexes. */
  bytes: number;
  /** Decimal: names the file; TRUNCATE and rewriting changes give another one. */
  relfilenode: string;
  /** Hex: of the table's file and of all that the catalogue says of its columns, those that were dropped too. */
  form: string;
  /** True when text of each column comes of the row alone, not of names or values that lie elsewhere. */
  isSelfContained: boolean;
}

export interface Catalogue {
  tables: TableFacts[];
  problems: Finding[];
}

interface TableRow {
  schema: string;
  name: string;
  oid: string;
  relkind: string;
  partition: boolean;
  persistence: string;
  rows: number;
  bytes: string;
  relfilenode: string;
  form: string;
  contained: boolean;
  key: number[] | null;
  dropped: number[] | null;
  columns: ColumnFacts[] | null;
}

/**
 * True of a table whose rows become text by what lies in the rows and in its columns' form alone. Enums' labels lie
 * elsewhere, but `readTextDigest` tells them. Composite types, domains, ranges over types of people's own and base types
 * that no extension brings could hold anything; `regclass` and its like, and access lists, are written as names of other
 * objects. A column that is computed when it is read would order rows without a key. Only the server's own kind of table
 * (oid 2, `heap`) is known to give each version of a row a place of its own and never to change it there.
 */
const IS_SELF_CONTAINED = `c.relam = 2 and not exists (
    select from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
      left join pg_catalog.pg_type e on e.typarray = t.oid
      cross join lateral (select coalesce(e.oid, t.oid) as oid, coalesce(e.typtype, t.typtype) as kind, coalesce(e.typname, t.typname) as name) v
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and (a.attgenerated = 'v' or v.name ~ '^(reg|aclitem)' or v.kind in ('c', 'd', 'p')
        or v.kind <> 'e' and v.oid >= 16384 and not (v.kind = 'b' and ${ownedByExtension("pg_type", "v.oid")})))`;

const TABLES = `
  select n.nspname as schema, c.relname as name, c.oid::text as oid, c.relkind as relkind, c.relispartition as partition,
    c.relpersistence as persistence, c.reltuples::float8 as rows, coalesce(pg_catalog.pg_table_size(c.oid), 0)::text as bytes,
    c.relfilenode::text as relfilenode, ${IS_SELF_CONTAINED} as contained,
    (select pg_catalog.md5(concat_ws(E'\\n', c.oid, c.relfilenode, c.relpersistence, pg_catalog.string_agg(concat_ws('|', a.attnum, a.attname,
        a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated, a.atthasmissing, a.attmissingval::text), E'\\n' order by a.attnum)))
      from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0) as form,
    (select i.indkey::int2[]::int4[] from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid) as key,
    (select pg_catalog.array_agg(a.attnum::int order by a.attnum) from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and a.attisdropped) as dropped,
    (select pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', a.attname, 'attnum', a.attnum, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'isText', a.attcollation <> 0, 'isGenerated', a.attgenerated <> '', 'isIdentity', a.attidentity <> '',
        'isNullable', not a.attnotnull, 'hasMissingValue', a.atthasmissing) order by a.attnum)
      from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and c.relpersistence <> 't' and ${USER_SCHEMAS} and not ${ownedByExtension("pg_class", "c.oid")}
  order by n.nspname collate "C", c.relname collate "C"`;

const INTEGER_TYPES = new Set(["smallint", "integer", "bigint"]);

/**
 * Reads the catalogue as the connection's snapshot sees it; takes no lock that lasts.
 * @throws Failure `database/changed` when a table stays locked, as its size cannot be told then.
 */
export async function readTables(connection: Connection): Promise<Catalogue> {
  const rows = await withLockRetries("a table", async () =>
    briefly(connection, async () => {
      await connection.query(`set lock_timeout = ${LIMITS.lockTimeoutMs}`);
      try {
        return await connection.query<TableRow & { [key: string]: unknown }>(TABLES);
      } finally {
        // Within a failed transaction it is the savepoint that takes it back.
        await connection.query("set lock_timeout = 0").catch(() => {});
      }
    }),
  );
  return { tables: rows.map(toFacts), problems: await readProblems(connection) };
}

function toFacts(row: TableRow): TableFacts {
  const columns = row.columns ?? [];
  return {
    schema: row.schema,
    name: row.name,
    oid: row.oid,
    relkind: row.relkind,
    isPartition: row.partition,
    isUnlogged: row.persistence === "u",
    columns,
    droppedColumns: row.dropped ?? [],
    key: keyOf(row.key ?? [], columns),
    rowsEstimate: row.rows,
    bytes: Number(row.bytes),
    relfilenode: row.relfilenode,
    form: row.form,
    isSelfContained: row.contained,
  };
}

function keyOf(attnums: readonly number[], columns: readonly ColumnFacts[]): TableKey {
  const key = attnums.flatMap((attnum) => columns.find((column) => column.attnum === attnum) ?? []);
  const [first] = key;
  if (first === undefined || key.length !== attnums.length) return { kind: "none" };
  if (key.length === 1 && INTEGER_TYPES.has(first.type) && !first.isGenerated) {
    return { kind: "integer", column: first.name, type: first.type };
  }
  return { kind: "columns", columns: key.map(({ name, isText }) => ({ name, isText })) };
}

/** The columns in the order of the table's COPY text: an integer key first, so that each line begins with its id. */
export function copyColumns(table: Pick<TableFacts, "columns" | "key">): string[] {
  const written = table.columns.filter((column) => !column.isGenerated).map((column) => column.name);
  const { key } = table;
  if (key.kind !== "integer") return written;
  return [key.column, ...written.filter((name) => name !== key.column)];
}
