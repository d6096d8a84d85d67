/**
 * The SQL that makes an empty Chatwoot database out of the catalogue, in two parts: what must be there before rows
 * are (tables, sequences, the triggers that number conversations), and what is quicker made after them (keys,
 * indexes, foreign keys).
 */
import { createHash } from "node:crypto";
import type { Catalogue, ColumnFact, IndexFact } from "./catalogue.ts";

/** Extensions that Chatwoot asks for; those that the server lacks are left out, and what needs them with them. */
export const EXTENSIONS = ["pg_stat_statements", "pg_trgm", "pgcrypto", "vector"] as const;

export interface SchemaOptions {
  /** Those of {@link EXTENSIONS} that the server has. */
  extensions: ReadonlySet<string>;
}

/** Numbering by triggers: each account has its own free-standing sequences, made when the account is. */
const TRIGGERS = [
  {
    name: "accounts_after_insert_row_tr",
    on: "AFTER INSERT ON accounts",
    body: "execute format('create sequence IF NOT EXISTS conv_dpid_seq_%s', NEW.id); RETURN NULL;",
  },
  {
    name: "camp_dpid_before_insert",
    on: "AFTER INSERT ON accounts",
    body: "execute format('create sequence IF NOT EXISTS camp_dpid_seq_%s', NEW.id); RETURN NULL;",
  },
  {
    name: "conversations_before_insert_row_tr",
    on: "BEFORE INSERT ON conversations",
    body: "NEW.display_id := nextval('conv_dpid_seq_' || NEW.account_id); RETURN NEW;",
  },
  {
    name: "campaigns_before_insert_row_tr",
    on: "BEFORE INSERT ON campaigns",
    body: "NEW.display_id := nextval('camp_dpid_seq_' || NEW.account_id); RETURN NEW;",
  },
] as const;

const FOREIGN_KEYS = [
  { table: "active_storage_attachments", column: "blob_id", target: "active_storage_blobs" },
  { table: "active_storage_variant_records", column: "blob_id", target: "active_storage_blobs" },
  { table: "inboxes", column: "portal_id", target: "portals" },
  { table: "user_sessions", column: "user_id", target: "users" },
] as const;

/** Rails names a foreign key after the first ten digits of a hash of what it is about. */
function foreignKeyName(table: string, column: string): string {
  return `fk_rails_${createHash("sha256").update(`${table}_${column}_fk`).digest("hex").slice(0, 10)}`;
}

function columnType({ type }: ColumnFact, { extensions }: SchemaOptions): string {
  if (type !== "vector") return type;
  return extensions.has("vector") ? "vector(1536)" : "real[]";
}

function createTable(name: string, columns: readonly ColumnFact[], options: SchemaOptions): string {
  const lines = columns.map((column) => {
    const value = column.default === undefined ? "" : ` DEFAULT ${column.default}`;
    return `  "${column.name}" ${columnType(column, options)}${value}${column.isRequired ? " NOT NULL" : ""}`;
  });
  return `CREATE TABLE "${name}" (\n${lines.join(",\n")}\n)`;
}

function createTrigger({ name, on, body }: (typeof TRIGGERS)[number]): string[] {
  return [
    `CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN ${body} END; $body$`,
    `CREATE TRIGGER ${name} ${on} FOR EACH ROW EXECUTE FUNCTION ${name}()`,
  ];
}

/** True when the server can make this index. */
function isPossible(index: IndexFact, { extensions }: SchemaOptions): boolean {
  if (index.definition.includes("USING ivfflat")) return extensions.has("vector");
  return !index.definition.includes("gin_trgm_ops") || extensions.has("pg_trgm");
}

/** Statements to run before rows are loaded. */
export function schemaBeforeRows(catalogue: Catalogue, options: SchemaOptions): string[] {
  return [
    ...catalogue.sequences.map(({ name, type }) => `CREATE SEQUENCE "${name}" AS ${type}`),
    ...[...catalogue.tables].map(([name, columns]) => createTable(name, columns, options)),
    ...catalogue.sequences.map(({ name, ownedBy }) => `ALTER SEQUENCE "${name}" OWNED BY ${ownedBy}`),
    ...TRIGGERS.flatMap(createTrigger),
  ];
}

/** Statements to run after rows are loaded. */
export function schemaAfterRows(catalogue: Catalogue, options: SchemaOptions): string[] {
  const indexes = catalogue.indexes.filter((index) => isPossible(index, options));
  return [
    ...indexes.map(({ isPrimary, table, name, on, definition }) =>
      isPrimary ? `ALTER TABLE "${table}" ADD CONSTRAINT "${name}" PRIMARY KEY (${on})` : definition,
    ),
    ...FOREIGN_KEYS.map(
      ({ table, column, target }) =>
        `ALTER TABLE ${table} ADD CONSTRAINT ${foreignKeyName(table, column)} FOREIGN KEY (${column}) REFERENCES ${target}(id)`,
    ),
  ];
}

/** What this server could not be given, as sentences for a person; empty where all of it could. */
export function schemaNotes(options: SchemaOptions): string[] {
  return EXTENSIONS.filter((name) => !options.extensions.has(name)).map((name) =>
    name === "vector"
      ? "this PostgreSQL has no pgvector: the two vector columns are real[], without their ivfflat indexes"
      : `this PostgreSQL has no ${name}: what Chatwoot does with it is left out`,
  );
}
