/**
 * What becomes of a statement of a plain dump that is loaded into a database of its own: new, empty, and of a role that may
 * do nothing else. What concerns other roles, other databases or the server is left; what no dump has is refused. Pure.
 */
import { isCopyFromStdin } from "./sql-reader.ts";

export type Verdict =
  | { kind: "run" }
  | { kind: "copy" }
  /** It has no place here, and the database is the same without it. */
  | { kind: "leave" }
  | { kind: "extension"; name: string; schema: string | undefined }
  | { kind: "encoding"; name: string }
  | { kind: "refuse"; why: string };

const NAME = String.raw`(?:"(?:[^"]|"")+"|[\w$]+)`;

/** An identifier as it is written, without its quotes. */
export function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase();
}

/** Settings that decide how the statements after them are read; ours are in force for all others. */
const NEEDED =
  /^SET\s+(?:search_path|check_function_bodies|xmloption|standard_conforming_strings|escape_string_warning|default_table_access_method)\b/i;
const ENCODING = /^SET\s+client_encoding\s*(?:=|TO)\s*'?([\w-]+)'?/i;
const EXTENSION = new RegExp(
  String.raw`^CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?(${NAME})(?:\s+(?:WITH\s+)?(?:SCHEMA\s+(${NAME}))?)?`,
  "i",
);

/** Of roles, databases and the server; and DROPs, as nothing is there yet. */
const LEFT: readonly RegExp[] = [
  /^SET\s/i,
  /^RESET\s/i,
  /^DROP\s/i,
  /^ALTER\s+TABLE\s[^;]*\sDROP\s+(?:CONSTRAINT|COLUMN|IDENTITY)\b[^;]*;$/i,
  /^ALTER\s+(?:TABLE|DOMAIN)\s[^;]*\s(?:ALTER\s+COLUMN\s+\S+\s+)?DROP\s+(?:DEFAULT|CONSTRAINT|IDENTITY)\b[^;]*;$/i,
  /^(?:CREATE|ALTER)\s+(?:DATABASE|ROLE|USER|GROUP|TABLESPACE)\s/i,
  /^CREATE\s+SCHEMA\s+(?:IF\s+NOT\s+EXISTS\s+)?public\s*;/i,
  /^CREATE\s+(?:OR\s+REPLACE\s+)?(?:TRUSTED\s+)?(?:PROCEDURAL\s+)?LANGUAGE\s+plpgsql\b/i,
  /^ALTER\s+EXTENSION\s/i,
  /^ALTER\s+DEFAULT\s+PRIVILEGES\s/i,
  /^(?:GRANT|REVOKE)\s/i,
  /^COMMENT\s+ON\s+(?:DATABASE|EXTENSION|ROLE|TABLESPACE|(?:PROCEDURAL\s+)?LANGUAGE)\s/i,
  /^(?:VACUUM|ANALYZE|CHECKPOINT)\b/i,
  new RegExp(String.raw`^ALTER\s[^;]*\sOWNER\s+TO\s+${NAME}\s*;$`, "i"),
];

const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/^COPY\s/i, "a COPY that reads or writes a file or a program"],
  [/^ALTER\s+SYSTEM\b/i, "ALTER SYSTEM"],
  [/^LOAD\s/i, "LOAD, which loads a program's code into the server"],
];

/** @param statement With its semicolon. */
export function judgeStatement(statement: Buffer): Verdict {
  if (isCopyFromStdin(statement)) return { kind: "copy" };
  // What decides is at the beginning, and what is long is no statement about roles.
  const text = statement.toString("latin1", 0, 16_384).replace(/^(?:\/\*[^]*?\*\/\s*|--[^\n]*\n\s*)+/, "");
  const refused = REFUSED.find(([pattern]) => pattern.test(text));
  if (refused !== undefined) return { kind: "refuse", why: refused[1] };
  const encoding = ENCODING.exec(text)?.[1];
  if (encoding !== undefined) return { kind: "encoding", name: encoding.toUpperCase() };
  const [isExtension, name, schema] = EXTENSION.exec(text) ?? [];
  if (isExtension !== undefined && name !== undefined) {
    return { kind: "extension", name: unquoted(name), schema: schema === undefined ? undefined : unquoted(schema) };
  }
  if (NEEDED.test(text)) return { kind: "run" };
  return { kind: LEFT.some((pattern) => pattern.test(text)) ? "leave" : "run" };
}

/**
 * The database that `\connect` goes on with; undefined for any other command of psql.
 * Its forms are pg_dump's and pg_dumpall's own: a name, or a connection string with nothing but the name.
 */
export function connectedTo(line: string): string | undefined {
  const rest = /^\\c(?:onnect)?\s+(?:-reuse-previous=on\s+)?(.+)$/.exec(line)?.[1]?.trim();
  if (rest === undefined) return undefined;
  const name = rest.startsWith('"') && rest.endsWith('"') ? unquoted(rest) : rest;
  const inString = /^dbname='((?:[^'\\]|\\.)*)'$/.exec(name)?.[1];
  return inString === undefined ? name : inString.replaceAll(/\\(.)/g, "$1");
}

/** Commands of psql that every dump of a newer pg_dump has, and that mean something to psql alone. */
export function isHarmlessCommand(line: string): boolean {
  return /^\\(?:un)?restrict\s+\w+$/.test(line);
}

const CREATED = new RegExp(
  String.raw`^CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:(${NAME})\.)?(${NAME})`,
  "i",
);
const FILLED = new RegExp(String.raw`^(?:COPY|INSERT\s+INTO)\s+(?:ONLY\s+)?(?:(${NAME})\.)?(${NAME})`, "i");

export interface TableMention {
  /** `messages`, or `other.messages` outside of the schema public. */
  table: string;
  /** False: rows of it follow, or are in the statement. */
  isCreated: boolean;
  /** It holds no rows itself, so that none of it are dumped. */
  isBare: boolean;
}

/** The table that a statement makes or fills. */
export function mentionedTable(statement: Buffer): TableMention | undefined {
  const text = statement.toString("latin1", 0, 400);
  const created = CREATED.exec(text);
  const [, schema, name] = created ?? FILLED.exec(text) ?? [];
  if (name === undefined) return undefined;
  const place = schema === undefined ? "public" : unquoted(schema);
  const table = place === "public" ? unquoted(name) : `${place}.${unquoted(name)}`;
  const isCreated = created !== null;
  const whole = isCreated ? statement.toString("latin1") : "";
  const isBare = /^CREATE\s+FOREIGN\s/i.test(whole) || /\)\s*PARTITION\s+BY\s/i.test(whole);
  return { table, isCreated, isBare };
}

const DATABASE = new RegExp(String.raw`^CREATE\s+DATABASE\s+(${NAME})\s`, "i");

export interface DatabaseLocale {
  collate: string;
  ctype: string;
  provider?: { name: "icu" | "builtin"; locale: string; rules: string | null };
}

/** The database that a statement makes, and its locale where it says it. */
export function createdDatabase(statement: Buffer): { name: string; locale: DatabaseLocale | undefined } | undefined {
  if (statement.length > 16_384) return undefined;
  const text = statement.toString("utf8");
  const name = DATABASE.exec(text)?.[1];
  if (name === undefined) return undefined;
  const option = (word: string) =>
    new RegExp(String.raw`\s${word}\s*=\s*'((?:[^']|'')*)'`, "i").exec(text)?.[1]?.replaceAll("''", "'");
  const both = option("LOCALE");
  const collate = option("LC_COLLATE") ?? both;
  const ctype = option("LC_CTYPE") ?? both;
  if (collate === undefined || ctype === undefined) return { name: unquoted(name), locale: undefined };
  const provider = /\sLOCALE_PROVIDER\s*=\s*'?(icu|builtin)\b/i.exec(text)?.[1]?.toLowerCase();
  const locale = option(provider === "icu" ? "ICU_LOCALE" : "BUILTIN_LOCALE") ?? both;
  if ((provider !== "icu" && provider !== "builtin") || locale === undefined) {
    return { name: unquoted(name), locale: { collate, ctype } };
  }
  const rules = option("ICU_RULES") ?? null;
  return { name: unquoted(name), locale: { collate, ctype, provider: { name: provider, locale, rules } } };
}
