/**
 * Roles, owners and rights as SQL, to be kept beside a database that is saved without them. Everything is read from what
 * any role may read, so there are no passwords in it.
 */
import { USER_SCHEMAS } from "./user-objects.ts";
import type { Connection } from "./connect.ts";
import { splitStatements } from "./grants.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";

export interface SavedRole {
  name: string;
  /** The schema itself names it (policies, user mappings): without it nothing can be restored. */
  isNamed: boolean;
  /** `CREATE ROLE` first, then its comment, settings and memberships; each on a line, ended by a semicolon. */
  statements: string[];
}

interface RoleRow {
  name: string;
  named: boolean;
  superuser: boolean;
  inherit: boolean;
  createrole: boolean;
  createdb: boolean;
  login: boolean;
  replication: boolean;
  bypassrls: boolean;
  connections: number;
  until: string | null;
  comment: string | null;
  settings: string[];
  groups: { name: string; admin: boolean; inherit: boolean | null; set: boolean | null }[];
}

/** This database's number. */
const HERE = "(select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())";

/**
 * Roles that own or are granted anything in this database, its owner, those with settings in it, those that may act as one of
 * them, and whatever any of these are members of. Those that the server brings are not made anew.
 */
const ROLES = `
  with recursive owners as (
    select c.relowner as oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where ${USER_SCHEMAS}
    union select p.proowner from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where ${USER_SCHEMAS}
    union select t.typowner from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where ${USER_SCHEMAS}
    union select n.nspowner from pg_catalog.pg_namespace n where ${USER_SCHEMAS}),
  named as (
    select pg_catalog.unnest(p.polroles) as oid from pg_catalog.pg_policy p
    union select m.umuser from pg_catalog.pg_user_mappings m),
  used as (
    select s.refobjid as oid from pg_catalog.pg_shdepend s where s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      and (s.dbid = ${HERE} or s.dbid = 0 and s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass and s.objid = ${HERE})
    union select d.datdba from pg_catalog.pg_database d where d.oid = ${HERE}
    union select s.setrole from pg_catalog.pg_db_role_setting s where s.setdatabase = ${HERE}
    union select oid from owners union select oid from named),
  users as (
    select oid from used
    union select m.member from users u join pg_catalog.pg_auth_members m on m.roleid = u.oid
      join pg_catalog.pg_roles g on g.oid = m.roleid and g.rolname !~ '^pg_'),
  wanted as (
    select oid from users
    union select m.roleid from wanted w join pg_catalog.pg_auth_members m on m.member = w.oid)
  select r.rolname as name, r.oid in (select oid from named) as named, r.rolsuper as superuser, r.rolinherit as inherit,
    r.rolcreaterole as createrole, r.rolcreatedb as createdb, r.rolcanlogin as login, r.rolreplication as replication,
    r.rolbypassrls as bypassrls, r.rolconnlimit as connections, r.rolvaliduntil::text as until,
    pg_catalog.shobj_description(r.oid, 'pg_authid') as comment,
    coalesce((select pg_catalog.to_json(s.setconfig) from pg_catalog.pg_db_role_setting s
      where s.setrole = r.oid and s.setdatabase = 0), '[]') as settings,
    coalesce((select pg_catalog.json_agg(distinct pg_catalog.jsonb_build_object('name', g.rolname, 'admin', m.admin_option,
        'inherit', pg_catalog.to_jsonb(m) -> 'inherit_option', 'set', pg_catalog.to_jsonb(m) -> 'set_option'))
      from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid where m.member = r.oid), '[]') as groups
  from pg_catalog.pg_roles r where r.oid in (select oid from wanted) and r.rolname !~ '^pg_'
  order by r.rolname collate "C"`;

/** The roles that this database needs to be what it is, each after those that it is a member of. */
export async function readRoles(connection: Connection): Promise<SavedRole[]> {
  const rows = await connection.query<RoleRow & { [key: string]: unknown }>(ROLES);
  const left = new Map(rows.map((row) => [row.name, row]));
  const ordered: RoleRow[] = [];
  const take = (row: RoleRow): void => {
    if (!left.delete(row.name)) return;
    for (const { name } of row.groups) {
      const group = left.get(name);
      if (group !== undefined) take(group);
    }
    ordered.push(row);
  };
  for (const row of rows) take(row);
  return ordered.map((row) => ({ name: row.name, isNamed: row.named, statements: roleStatements(row) }));
}

function may(is: boolean, what: string): string {
  return is ? what : `NO${what}`;
}

function roleStatements(row: RoleRow): string[] {
  const name = quoteIdentifier(row.name);
  const attributes = [
    may(row.superuser, "SUPERUSER"),
    may(row.inherit, "INHERIT"),
    may(row.createrole, "CREATEROLE"),
    may(row.createdb, "CREATEDB"),
    may(row.login, "LOGIN"),
    may(row.replication, "REPLICATION"),
    may(row.bypassrls, "BYPASSRLS"),
    ...(row.connections === -1 ? [] : [`CONNECTION LIMIT ${row.connections}`]),
    ...(row.until === null ? [] : [`VALID UNTIL ${quoteLiteral(row.until)}`]),
  ];
  const groups = row.groups.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [
    `CREATE ROLE ${name} ${attributes.join(" ")};`,
    ...(row.comment === null ? [] : [`COMMENT ON ROLE ${name} IS ${oneLineLiteral(row.comment)};`]),
    ...row.settings.map((setting) => `ALTER ROLE ${name} SET ${formatSetting(setting)};`),
    ...groups.map((group) => `GRANT ${quoteIdentifier(group.name)} TO ${name}${memberOptions(group)};`),
  ];
}

function isTrue(is: boolean): string {
  return is ? "TRUE" : "FALSE";
}

/** Before PostgreSQL 16 there is one option. */
function memberOptions({ admin, inherit, set }: RoleRow["groups"][number]): string {
  if (inherit === null || set === null) return admin ? " WITH ADMIN OPTION" : "";
  return ` WITH ADMIN ${isTrue(admin)}, INHERIT ${isTrue(inherit)}, SET ${isTrue(set)}`;
}

/** A literal without a line break. */
function oneLineLiteral(text: string): string {
  if (!/[\\\r\n]/.test(text)) return quoteLiteral(text);
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
  return `E${quoteLiteral(escaped)}`;
}

/** Settings that the server keeps as a list of names in quotes (`GUC_LIST_QUOTE` of guc.c): each is written by itself. */
const LISTS = new Set([
  "local_preload_libraries",
  "search_path",
  "session_preload_libraries",
  "shared_preload_libraries",
  "temp_tablespaces",
  "unix_socket_directories",
]);

/** `work_mem=64MB`, as the catalogue has it, becomes `"work_mem" TO '64MB'`. */
export function formatSetting(setting: string): string {
  const cut = setting.indexOf("=");
  const [name, value] = [setting.slice(0, cut), setting.slice(cut + 1)];
  const values = LISTS.has(name.toLowerCase()) ? listedNames(value) : [value];
  const parameter = name.split(".").map(quoteIdentifier).join(".");
  return `${parameter} TO ${values.map(oneLineLiteral).join(", ")}`;
}

/** `"$user", public` → `$user`, `public`. */
function listedNames(list: string): string[] {
  const names = [...list.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|$)/g)];
  const found = names
    .filter(([all]) => all !== "")
    .map(([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? bare ?? "");
  return found.length === 0 ? [""] : found;
}

interface EntryRow {
  owner: string;
  connections: number;
  comment: string | null;
  settings: { role: string | null; setting: string }[];
  grants: { role: string | null; right: string; grantable: boolean }[] | null;
}

/** In SQL, the name of the database that psql is connected to. */
export const THIS_DATABASE = ':"DBNAME"';

/** What belongs to the database's entry: owner, comment, limit, settings for all roles and for single ones, rights. */
export async function readDatabaseEntry(connection: Connection): Promise<string[]> {
  const [row] = await connection.query<EntryRow & { [key: string]: unknown }>(
    `select pg_catalog.pg_get_userbyid(d.datdba) as owner, d.datconnlimit as connections,
       pg_catalog.shobj_description(d.oid, 'pg_database') as comment,
       coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object('setting', c.setting,
           'role', case when s.setrole = 0 then null else pg_catalog.pg_get_userbyid(s.setrole) end) order by s.setrole, c.setting)
         from pg_catalog.pg_db_role_setting s cross join lateral pg_catalog.unnest(s.setconfig) c(setting)
         where s.setdatabase = d.oid), '[]') as settings,
       (select pg_catalog.json_agg(pg_catalog.json_build_object('right', a.privilege_type, 'grantable', a.is_grantable,
           'role', case when a.grantee = 0 then null else pg_catalog.pg_get_userbyid(a.grantee) end))
         from pg_catalog.aclexplode(d.datacl) a) as grants
     from pg_catalog.pg_database d where d.oid = ${HERE}`,
  );
  if (row === undefined) return [];
  const owner = quoteIdentifier(row.owner);
  const grants = (row.grants ?? []).map(({ role, right, grantable }) => {
    const to = role === null ? "PUBLIC" : quoteIdentifier(role);
    return `GRANT ${right} ON DATABASE ${THIS_DATABASE} TO ${to}${grantable ? " WITH GRANT OPTION" : ""};`;
  });
  return [
    `ALTER DATABASE ${THIS_DATABASE} OWNER TO ${owner};`,
    ...(row.comment === null ? [] : [`COMMENT ON DATABASE ${THIS_DATABASE} IS ${oneLineLiteral(row.comment)};`]),
    ...(row.connections === -1 ? [] : [`ALTER DATABASE ${THIS_DATABASE} CONNECTION LIMIT ${row.connections};`]),
    ...row.settings.map(({ role, setting }) =>
      role === null
        ? `ALTER DATABASE ${THIS_DATABASE} SET ${formatSetting(setting)};`
        : `ALTER ROLE ${quoteIdentifier(role)} IN DATABASE ${THIS_DATABASE} SET ${formatSetting(setting)};`,
    ),
    ...(row.grants === null ? [] : [`REVOKE ALL ON DATABASE ${THIS_DATABASE} FROM PUBLIC, ${owner};`, ...grants]),
  ];
}

/** One block for each role: a comment with its number and name, the statements, an empty line. */
export function formatRoles(roles: readonly SavedRole[]): string {
  return roles
    .map(({ name, statements }, at) => `-- role ${at + 1} ${JSON.stringify(name)}\n${statements.join("\n")}\n`)
    .join("\n");
}

/** The same again. Text that is none gives no roles. */
export function parseRoles(text: string): { name: string; statements: string[] }[] {
  const parts = text.split(/^-- role \d+ (".*")$/m);
  const roles: { name: string; statements: string[] }[] = [];
  for (let at = 1; at + 1 < parts.length; at += 2) {
    roles.push({ name: JSON.parse(parts[at] ?? '""') as string, statements: splitStatements(parts[at + 1] ?? "") });
  }
  return roles;
}
