/** Materialised views that hold rows: they are saved by definition, and filled again from the tables. */
import type { Connection } from "./connect.ts";
import { qualifiedName } from "./names.ts";

export interface ViewName {
  schema: string;
  name: string;
}

/** Those that are filled, in an order in which each finds those that it reads. */
const FILLED = `
  with recursive views as (
    select c.oid, n.nspname as schema, c.relname as name, c.relispopulated as filled
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'm' and c.relpersistence <> 't'),
  reads as (
    select distinct r.ev_class as reader, d.refobjid as source
    from pg_catalog.pg_rewrite r
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> r.ev_class),
  depth(oid, level) as (
    select oid, 0 from views
    union
    select r.reader, d.level + 1 from depth d join reads r on r.source = d.oid where d.level < 100)
  select v.schema, v.name from views v join depth d on d.oid = v.oid
  where v.filled group by v.schema, v.name order by max(d.level), v.schema collate "C", v.name collate "C"`;

/** Reads the catalogue as the connection's snapshot sees it. */
export async function readFilledViews(connection: Connection): Promise<ViewName[]> {
  const rows = await connection.query<ViewName & { [key: string]: unknown }>(FILLED);
  return rows.map(({ schema, name }) => ({ schema, name }));
}

/** Fills views that a schema's dump made empty; one that was never filled is left as it was. */
export async function refreshViews(connection: Connection, views: readonly ViewName[]): Promise<void> {
  for (const view of views) await connection.query(`refresh materialized view ${qualifiedName(view)}`);
}
