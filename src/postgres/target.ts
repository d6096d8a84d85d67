/** Where a database is restored to: what is there already, and making an empty one. */
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { ownedByExtension, USER_SCHEMAS } from "./user-objects.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { refuseSharedSessions } from "./pooler.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";
import type { LocaleProvider } from "./server-facts.ts";

export interface TargetFacts {
  state: "missing" | "empty" | "not-empty";
  /** Ordinary and partitioned tables. */
  tables: number;
  /** Relations of every kind, functions and types; a database is empty when it has none of its users' own. */
  objects: number;
  /** Our role may make tables in the schema `public` of what is there. */
  mayFill: boolean;
  canCreate: boolean;
  isSuperuser: boolean;
  version: string;
  major: number;
  encoding: string;
  /** Extensions that the server could make. */
  extensions: string[];
  /** Extensions that the database has already. */
  installed: string[];
}

type Content = Pick<TargetFacts, "tables" | "objects" | "mayFill" | "installed">;

const NOTHING: Content = { tables: 0, objects: 0, mayFill: true, installed: [] };

interface ServerRow {
  version: string;
  number: number;
  superuser: boolean;
  create: boolean;
  encoding: string;
  extensions: string[];
}

const SERVER = `
  select pg_catalog.current_setting('server_version') as version,
    pg_catalog.current_setting('server_version_num')::int as number,
    r.rolsuper as superuser, (r.rolsuper or r.rolcreatedb) as create,
    pg_catalog.current_setting('server_encoding') as encoding,
    (select coalesce(pg_catalog.json_agg(name order by name), '[]') from pg_catalog.pg_available_extensions) as extensions
  from pg_catalog.pg_roles r where r.rolname = current_user`;

const CONTENT = `
  select
    (select pg_catalog.count(*)::int from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and ${USER_SCHEMAS} and not ${ownedByExtension("pg_class", "c.oid")}) as tables,
    (select pg_catalog.count(*)::int from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c') and ${USER_SCHEMAS} and not ${ownedByExtension("pg_class", "c.oid")})
    + (select pg_catalog.count(*)::int from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      where ${USER_SCHEMAS} and not ${ownedByExtension("pg_proc", "p.oid")})
    + (select pg_catalog.count(*)::int from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
      where t.typtype in ('d', 'e', 'r') and ${USER_SCHEMAS} and not ${ownedByExtension("pg_type", "t.oid")})
    + (select pg_catalog.count(*)::int from pg_catalog.pg_largeobject_metadata) as objects,
    coalesce((select pg_catalog.has_schema_privilege(n.oid, 'create') from pg_catalog.pg_namespace n where n.nspname = 'public'), true)
      as "mayFill",
    (select coalesce(pg_catalog.json_agg(extname order by extname), '[]') from pg_catalog.pg_extension) as installed`;

/**
 * Looks at the database that a restore would go to. Changes nothing.
 * @throws Failure `database/unreachable` or `database/denied`.
 */
export async function inspectTarget(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<TargetFacts> {
  try {
    await using connection = await connect(address, { signal });
    await refuseSharedSessions(connection, { signal });
    const [content] = await connection.query<Content & { [key: string]: unknown }>(CONTENT);
    const { tables, objects, mayFill, installed } = content ?? NOTHING;
    return {
      state: objects > 0 ? "not-empty" : "empty",
      tables,
      objects,
      mayFill,
      installed,
      ...(await readServer(connection)),
    };
  } catch (error) {
    if (sqlState(error) !== SQLSTATE.databaseMissing) throw error;
  }
  await using connection = await connectBeside(address, { signal });
  await refuseSharedSessions(connection, { signal });
  return { state: "missing", ...NOTHING, ...(await readServer(connection)) };
}

async function readServer(connection: Connection): Promise<Omit<TargetFacts, "state" | keyof Content>> {
  const [row] = await connection.query<ServerRow & { [key: string]: unknown }>(SERVER);
  if (row === undefined) throw new TypeError("the server did not say what it is");
  return {
    canCreate: row.create,
    isSuperuser: row.superuser,
    version: row.version.split(" ")[0] ?? row.version,
    major: Math.floor(row.number / 10_000),
    encoding: row.encoding,
    extensions: row.extensions,
  };
}

/** A session on another database of the same server, for what concerns databases themselves. */
export async function connectBeside(address: ServerAddress, options: { signal: AbortSignal }): Promise<Connection> {
  // Some providers name everybody's database 'postgres': who is connected to a database cannot rename it.
  if (address.database === "postgres") return await connect({ ...address, database: "template1" }, options);
  try {
    return await connect({ ...address, database: "postgres" }, options);
  } catch (error) {
    if (sqlState(error) !== SQLSTATE.databaseMissing && !isFailure(error, "database/denied")) throw error;
    return await connect({ ...address, database: "template1" }, options);
  }
}

/** No such locale; what this version or this build does not have; an option that it does not know. */
const NO_LOCALE = new Set(["42809", "0A000", "42601", "22023"]);

function providerOptions(provider: LocaleProvider | undefined): string[] {
  if (provider === undefined) return [];
  const { name, locale, rules } = provider;
  return [
    `locale_provider ${name} ${name}_locale ${quoteLiteral(locale)}`,
    ...(rules === null ? [] : [`icu_rules ${quoteLiteral(rules)}`]),
  ];
}

export interface CreateOptions {
  /** As `pg_database` names it, for example `UTF8`. */
  encoding: string;
  /** The source's locale; left out where the server does not know it. */
  collate?: string | undefined;
  ctype?: string | undefined;
  provider?: LocaleProvider | undefined;
  /** Where it lies; without it where the server makes all. */
  tablespace?: string | undefined;
  signal: AbortSignal;
}

/**
 * Makes an empty database of our role, from template0, so that nothing of the site's own gets in.
 * @returns whether it has the locale that was asked for.
 * @throws Failure `target/not-empty` when it exists already, `database/denied` when the role may not.
 */
export async function createDatabase(address: ServerAddress, options: CreateOptions): Promise<boolean> {
  await using connection = await connectBeside(address, options);
  const place = options.tablespace === undefined ? "" : ` tablespace ${quoteIdentifier(options.tablespace)}`;
  const base = `create database ${quoteIdentifier(address.database)} template template0 encoding ${quoteLiteral(options.encoding)}${place}`;
  const locale = [
    ...(options.collate === undefined ? [] : [`lc_collate ${quoteLiteral(options.collate)}`]),
    ...(options.ctype === undefined ? [] : [`lc_ctype ${quoteLiteral(options.ctype)}`]),
    ...providerOptions(options.provider),
  ];
  const create = async (sql: string) => await withPatience(async () => await connection.query(sql), options.signal);
  try {
    await create([base, ...locale].join(" "));
    return true;
  } catch (error) {
    // Another machine names its locales otherwise: then the server's own, which orders text a little differently.
    if (locale.length === 0 || !NO_LOCALE.has(sqlState(error) ?? "")) throw createFailure(error, address);
  }
  try {
    await create(base);
    return false;
  } catch (error) {
    throw createFailure(error, address);
  }
}

/** Two databases made from template0 at the same moment get in each other's way (55006) for an instant. */
async function withPatience(create: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await create();
      return;
    } catch (error) {
      if (sqlState(error) !== "55006" || attempt >= 20) throw error;
      await systemClock.sleep(250, signal);
    }
  }
}

function createFailure(error: unknown, address: ServerAddress): unknown {
  const state = sqlState(error);
  if (state === "42P04") {
    return new Failure("target/not-empty", `the database '${address.database}' exists already`, {
      hint: "Name a new database, or an existing one that is empty.",
      cause: error,
    });
  }
  if (state === SQLSTATE.denied) {
    return new Failure("database/denied", `'${address.user}' may not create databases`, {
      hint: `Let an administrator run: CREATE DATABASE ${quoteIdentifier(address.database)} OWNER ${quoteIdentifier(address.user)}; or ALTER ROLE ${quoteIdentifier(address.user)} CREATEDB.`,
      cause: error,
    });
  }
  return error;
}
