/** Whether a database is a Chatwoot's, and the one that the application uses. */
import { plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";

/** Tables that every Chatwoot since 2.0 has. */
export const REQUIRED_TABLES = [
  "accounts",
  "active_storage_attachments",
  "active_storage_blobs",
  "ar_internal_metadata",
  "contacts",
  "conversations",
  "inboxes",
  "installation_configs",
  "messages",
  "schema_migrations",
  "users",
] as const;

/** Rows of `name`: the other databases of the server that one may connect to. */
export const OTHER_DATABASES_QUERY =
  "select datname as name from pg_database where datallowconn and not datistemplate and datname not in (current_database(), 'postgres') order by 1";
/** One row `found`: whether the database it is asked in holds a Chatwoot with an account. Never fails on another's database. */
export const HAS_ACCOUNTS_QUERY = `select case when to_regclass('public.accounts') is null then false
 else query_to_xml('select count(*) as c from (select from public.accounts limit 1) a', false, true, '')::text like '%<c>1</c>%' end as found`;
/** Rows of `version`. */
export const MIGRATIONS_QUERY = "select version from public.schema_migrations order by version";

export interface DatabaseFacts {
  /** Names of the tables in the schema `public`. */
  tables: ReadonlySet<string>;
  /** Rows of `accounts`; undefined where there is no such table. */
  accounts: number | undefined;
}

export interface DatabaseVerdict {
  kind: "chatwoot" | "empty" | "no-accounts" | "not-chatwoot";
  /** The required tables that are not there. */
  missing: string[];
}

/** Tells a Chatwoot's database from an empty one (F27: Compose makes one beside the application's) and from anything else. */
export function identifyChatwoot(facts: DatabaseFacts): DatabaseVerdict {
  const missing = REQUIRED_TABLES.filter((table) => !facts.tables.has(table));
  if (facts.tables.size === 0) return { kind: "empty", missing };
  if (missing.length > 0) return { kind: "not-chatwoot", missing };
  return { kind: (facts.accounts ?? 0) > 0 ? "chatwoot" : "no-accounts", missing };
}

/**
 * What to throw when a database must not be backed up as a Chatwoot, or undefined.
 *
 * @param others Other databases of the same server that do hold a Chatwoot with accounts.
 */
export function databaseFailure(
  verdict: DatabaseVerdict,
  database: string,
  others: readonly string[] = [],
): Failure | undefined {
  if (verdict.kind === "chatwoot" || (verdict.kind === "no-accounts" && others.length === 0)) return undefined;
  const instead =
    others.length === 0
      ? "Name the database that Chatwoot itself uses: POSTGRES_DATABASE or DATABASE_URL in its environment; the default is chatwoot_production."
      : `The Chatwoot with accounts is in '${others.join("', '")}' on the same server: name that one in DATABASE_URL, POSTGRES_DATABASE or database-url.`;
  const says = {
    empty: "holds no tables",
    "no-accounts": "holds a Chatwoot without any account, and another database on the server holds one with accounts",
    "not-chatwoot": `is not a Chatwoot's: it lacks ${plural(verdict.missing.length, "table")} that every Chatwoot has, such as '${verdict.missing.includes("active_storage_blobs") ? "active_storage_blobs" : (verdict.missing[0] ?? "")}'`,
  }[verdict.kind];
  return new Failure("database/unsuitable", `the database '${database}' ${says}`, { hint: instead });
}

/** What is worth saying of a database that may be backed up. */
export function databaseFindings(verdict: DatabaseVerdict, database: string): Finding[] {
  if (verdict.kind !== "no-accounts") return [];
  return [
    {
      kind: "no-accounts",
      level: "warning",
      message: `the database '${database}' holds a Chatwoot without any account`,
      hint: "If this Chatwoot is in use, its data is in another database: compare POSTGRES_DATABASE and DATABASE_URL with what the running Chatwoot has.",
    },
  ];
}
