/**
 * What of a database comes back in another way than people may think, or not at all: subscriptions, slots, tablespaces,
 * what takes a superuser. Each is a finding.
 */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { ownedByExtension, USER_SCHEMAS } from "./user-objects.ts";
import type { Connection } from "./connect.ts";

interface NotesRow {
  superuser: boolean;
  subscriptions: string[];
  slots: string[];
  mappings: string[];
  tablespaces: string[];
  collations: string[];
}

const list = (value: string, from: string) =>
  `(select coalesce(pg_catalog.json_agg(distinct ${value} order by ${value}), '[]') from ${from})`;

const HERE = "(select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())";

const NOTES = `
  select (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) as superuser,
    ${list("s.subname::text", `pg_catalog.pg_subscription s where s.subdbid = ${HERE}`)} as subscriptions,
    ${list("s.slot_name::text", "pg_catalog.pg_replication_slots s where s.database = pg_catalog.current_database() and not s.temporary")} as slots,
    ${list("m.srvname || ' (' || m.usename || ')'", "pg_catalog.pg_user_mappings m where m.umoptions is null")} as mappings,
    ${list(
      "t.spcname::text",
      `pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_tablespace t on t.oid = c.reltablespace where ${USER_SCHEMAS}`,
    )} as tablespaces,
    ${list(
      "o.collname::text",
      `pg_catalog.pg_collation o join pg_catalog.pg_namespace n on n.oid = o.collnamespace
        where o.collversion is not null and o.collversion is distinct from pg_catalog.pg_collation_actual_version(o.oid)
          and ${USER_SCHEMAS}`,
    )} as collations`;

export async function readNotes(connection: Connection): Promise<Finding[]> {
  const [row] = await connection.query<NotesRow & { [key: string]: unknown }>(NOTES);
  if (row === undefined) return [];
  return [...subscriptions(row), ...slots(row), ...mappings(row), ...tablespaces(row), ...collations(row)];
}

function subscriptions({ subscriptions: names, superuser }: NotesRow): Finding[] {
  if (names.length === 0) return [];
  const are = `${plural(names.length, "subscription")} ${names.length === 1 ? "is" : "are"}`;
  if (superuser) {
    const hint = "After a restore: ALTER SUBSCRIPTION … ENABLE, once the other server has a slot for it.";
    return [note("subscriptions", `${are} saved, to come back disabled: ${listSome(names)}`, hint)];
  }
  const hint = "Only a superuser may read how they connect. Keep their CREATE SUBSCRIPTION statements elsewhere.";
  return [{ ...note("subscriptions", `${are} not saved: ${listSome(names)}`, hint), level: "warning" }];
}

function slots({ slots: names }: NotesRow): Finding[] {
  if (names.length === 0) return [];
  const message = `${plural(names.length, "logical replication slot")} of this database ${names.length === 1 ? "is" : "are"} the server's own and not saved: ${listSome(names)}`;
  return [
    note("replication-slots", message, "Whoever reads from them begins anew after a restore: publications are saved."),
  ];
}

function mappings({ mappings: names, superuser }: NotesRow): Finding[] {
  if (names.length === 0 || superuser) return [];
  const message = `the options of ${plural(names.length, "user mapping")} cannot be read and are not saved: ${listSome(names)}`;
  const hint = "Only their server's owner may read them. Set them again after a restore: ALTER USER MAPPING … OPTIONS.";
  return [{ ...note("user-mappings", message, hint), level: "warning", names }];
}

function tablespaces({ tablespaces: names }: NotesRow): Finding[] {
  if (names.length === 0) return [];
  const message = `tables or indexes lie in ${plural(names.length, "tablespace")} of the server's own: ${listSome(names)}`;
  const hint =
    "A restore puts them there where the server has tablespaces of these names, else into the database's own.";
  return [note("tablespaces", message, hint)];
}

function collations({ collations: names }: NotesRow): Finding[] {
  if (names.length === 0) return [];
  const message = `the server's library sorts otherwise than when ${plural(names.length, "collation")} ${names.length === 1 ? "was" : "were"} made: ${listSome(names)}`;
  const hint =
    "Indexes that use them may be wrong until REINDEX and ALTER COLLATION … REFRESH VERSION. A restore makes all anew.";
  return [note("collation-versions", message, hint)];
}

function note(kind: string, message: string, hint: string): Finding {
  return { kind, level: "note", message, hint };
}

/** Only a superuser may make these; an extension brings its own. Each as `kind name`. */
const FOR_SUPERUSERS = `
  select coalesce(pg_catalog.json_agg(x.what order by x.what collate "C"), '[]') as names from (
    select 'function ' || p.oid::pg_catalog.regprocedure::text as what from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
      where ${USER_SCHEMAS} and (l.lanname in ('c', 'internal') or p.proleakproof) and not ${ownedByExtension("pg_proc", "p.oid")}
    union all
    select 'language ' || l.lanname from pg_catalog.pg_language l
      where l.oid >= 16384 and not ${ownedByExtension("pg_language", "l.oid")}
    union all
    select 'type ' || t.oid::pg_catalog.regtype::text from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
      where ${USER_SCHEMAS} and t.typtype = 'b' and t.typelem = 0 and not ${ownedByExtension("pg_type", "t.oid")}
    union all
    select 'operator family ' || f.opfname from pg_catalog.pg_opfamily f join pg_catalog.pg_namespace n on n.oid = f.opfnamespace
      where ${USER_SCHEMAS} and not ${ownedByExtension("pg_opfamily", "f.oid")}
    union all
    select 'operator class ' || o.opcname from pg_catalog.pg_opclass o join pg_catalog.pg_namespace n on n.oid = o.opcnamespace
      where ${USER_SCHEMAS} and not ${ownedByExtension("pg_opclass", "o.oid")}
    union all
    select 'access method ' || m.amname from pg_catalog.pg_am m where m.oid >= 16384 and not ${ownedByExtension("pg_am", "m.oid")}
    union all
    select 'text search parser ' || s.prsname from pg_catalog.pg_ts_parser s join pg_catalog.pg_namespace n on n.oid = s.prsnamespace
      where ${USER_SCHEMAS} and not ${ownedByExtension("pg_ts_parser", "s.oid")}
    union all
    select 'text search template ' || s.tmplname from pg_catalog.pg_ts_template s join pg_catalog.pg_namespace n on n.oid = s.tmplnamespace
      where ${USER_SCHEMAS} and not ${ownedByExtension("pg_ts_template", "s.oid")}
    union all
    select 'foreign data wrapper ' || w.fdwname from pg_catalog.pg_foreign_data_wrapper w
      where not ${ownedByExtension("pg_foreign_data_wrapper", "w.oid")}) x`;

/** What a restore without a superuser cannot make, and other things depend on. */
export async function readForSuperusers(connection: Connection): Promise<string[]> {
  const [row] = await connection.query<{ names: string[] }>(FOR_SUPERUSERS);
  return row?.names ?? [];
}
