/** What a server is: enough to tell later whether it is still the same one, and what a restore needs. */
import type { Connection } from "./connect.ts";
import { isKeptBack } from "./server-errors.ts";
import { briefly } from "./table-guard.ts";

export interface ExtensionFacts {
  name: string;
  version: string;
  schema: string;
}

/** Who orders the text of a database, where it is not the system's library. */
export interface LocaleProvider {
  name: "icu" | "builtin";
  locale: string;
  rules: string | null;
}

export interface RoleFacts {
  name: string;
  isSuperuser: boolean;
  canLogin: boolean;
  canCreateDatabase: boolean;
}

export interface ServerFacts {
  /** `15.20`. */
  version: string;
  major: number;
  /** Decimal; empty where the server does not tell it. */
  systemIdentifier: string;
  /** 0 where the server does not tell it. */
  timeline: number;
  /** RFC 3339, microseconds. */
  postmasterStartedAt: string;
  database: string;
  /** Decimal. */
  databaseOid: string;
  encoding: string;
  collate: string;
  ctype: string;
  /** Undefined: the system's library. */
  provider: LocaleProvider | undefined;
  isStandby: boolean;
  /** Bytes of the database on disk. */
  sizeBytes: number;
  extensions: ExtensionFacts[];
  roles: RoleFacts[];
  /** The role that we are. */
  role: RoleFacts;
}

interface FactsRow {
  version: string;
  number: number;
  started: string;
  database: string;
  oid: string;
  encoding: string;
  collate: string;
  ctype: string;
  provider: string | null;
  locale: string | null;
  rules: string | null;
  standby: boolean;
  size: string;
  role: string;
}

const STARTED = `pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

const FACTS = `
  select pg_catalog.current_setting('server_version') as version,
         pg_catalog.current_setting('server_version_num')::int as number,
         ${STARTED} as started,
         d.datname as database, d.oid::text as oid, pg_catalog.pg_encoding_to_char(d.encoding) as encoding,
         d.datcollate as collate, d.datctype as ctype,
         pg_catalog.to_jsonb(d) ->> 'datlocprovider' as provider, pg_catalog.to_jsonb(d) ->> 'daticurules' as rules,
         coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale') as locale,
         pg_catalog.pg_is_in_recovery() as standby,
         pg_catalog.pg_database_size(d.oid)::text as size, current_user as role
  from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()`;

const EXTENSIONS = `
  select e.extname as name, e.extversion as version, n.nspname as schema
  from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace order by 1`;

const ROLES = `
  select rolname as name, rolsuper as "isSuperuser", rolcanlogin as "canLogin", rolcreatedb as "canCreateDatabase"
  from pg_catalog.pg_roles where rolname !~ '^pg_' order by 1`;

export async function readServerFacts(connection: Connection): Promise<ServerFacts> {
  const [facts] = await connection.query<FactsRow>(FACTS);
  if (facts === undefined) throw new TypeError("the server did not say what it is");
  const extensions = await readExtensions(connection);
  const roles = await connection.query<RoleFacts & { [key: string]: unknown }>(ROLES);
  const identity = await readIdentity(connection, facts.standby);
  return {
    version: facts.version.split(" ")[0] ?? facts.version,
    major: Math.floor(facts.number / 10_000),
    ...identity,
    postmasterStartedAt: facts.started,
    database: facts.database,
    databaseOid: facts.oid,
    encoding: facts.encoding,
    collate: facts.collate,
    ctype: facts.ctype,
    provider: providerOf(facts),
    isStandby: facts.standby,
    sizeBytes: Number(facts.size),
    extensions,
    roles,
    role: roles.find((role) => role.name === facts.role) ?? {
      name: facts.role,
      isSuperuser: false,
      canLogin: true,
      canCreateDatabase: false,
    },
  };
}

/** Named since PostgreSQL 15. */
function providerOf({ provider, locale, rules }: FactsRow): LocaleProvider | undefined {
  if (locale === null || (provider !== "i" && provider !== "b")) return undefined;
  return { name: provider === "i" ? "icu" : "builtin", locale, rules };
}

/**
 * When the server behind this session was started, and what its database is extended by: an address may lead to another one,
 * or to one that was restarted, and extensions may be updated meanwhile.
 */
export async function readServerState(
  connection: Connection,
): Promise<Pick<ServerFacts, "postmasterStartedAt" | "extensions">> {
  const [row] = await connection.query<{ started: string }>(`select ${STARTED} as started`);
  return { postmasterStartedAt: row?.started ?? "", extensions: await readExtensions(connection) };
}

async function readExtensions(connection: Connection): Promise<ExtensionFacts[]> {
  const rows = await connection.query<ExtensionFacts & { [key: string]: unknown }>(EXTENSIONS);
  return rows.map(({ name, version, schema }) => ({ name, version, schema }));
}

/** Of the cluster behind this session; empty where the server keeps it to itself. */
export async function readSystemIdentifier(connection: Connection): Promise<string> {
  return await tell(connection, "(select system_identifier from pg_catalog.pg_control_system())", "");
}

/** Some managed servers keep these functions from everybody. */
async function readIdentity(
  connection: Connection,
  isStandby: boolean,
): Promise<{ systemIdentifier: string; timeline: number }> {
  // The control file tells a new timeline only after a checkpoint; the name of the WAL file tells it at once.
  const timeline = isStandby
    ? "(select timeline_id from pg_catalog.pg_control_checkpoint())"
    : "('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";
  return {
    systemIdentifier: await readSystemIdentifier(connection),
    timeline: Number(await tell(connection, timeline, "0")),
  };
}

/** The value of an expression as text; where the server keeps it to itself, what stands for that. */
async function tell(connection: Connection, expression: string, otherwise: string): Promise<string> {
  try {
    const ask = async () => await connection.query<{ value: string | null }>(`select ${expression}::text as value`);
    const [row] = await briefly(connection, ask);
    return row?.value ?? otherwise;
  } catch (error) {
    if (!isKeptBack(error)) throw error;
    return otherwise;
  }
}
