/** Databases of ours beside the live one: their names, and the comment that says what each is. */
import type { ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { connectBeside } from "./target.ts";

/** Why a database lies beside the live one. */
export type KeptKind = "before" | "rolledback" | "restoring";

/** What the comment of a database that we made or put aside says. */
export interface KeptNote {
  chatkeep: KeptKind;
  /** The live name that it had, or is to have. */
  of: string;
  /** The restore point that was brought back. */
  point: string;
  /** RFC 3339: when it was put aside, or begun. */
  at: string;
  /** No database had the live name when this one was begun: a rollback leaves none. */
  hadNone?: boolean;
}

export interface KeptDatabase extends KeptNote {
  name: string;
  bytes: number;
  /** Sessions that use it now. */
  sessions: number;
  /** Somebody gave it another name than it got when it was put aside or begun: it may serve something else by now. */
  isRenamed: boolean;
}

const NAME_BYTES = 63;

/**
 * `chatwoot_production_before_20260301T020304`, no longer than PostgreSQL's names can be.
 * @param taken names that other databases have: two swaps may fall into one second.
 */
export function keptName(live: string, kind: KeptKind, at: string, taken: readonly string[] = []): string {
  const time = `_${kind}_${at.replaceAll(/[-:]/g, "").slice(0, 15)}`;
  for (let count = 1; ; count += 1) {
    const name = withEnd(live, count === 1 ? time : `${time}_${count}`);
    if (!taken.includes(name)) return name;
  }
}

/** True for a name under which a database that had been live is kept. */
export function isKeptNameOf(live: string, name: string): boolean {
  const [, base = ""] = /^(.+)_(?:before|rolledback)_\d{8}T\d{6}(?:_\d+)?$/s.exec(name) ?? [];
  return base !== "" && live.startsWith(base);
}

function withEnd(live: string, end: string): string {
  const room = NAME_BYTES - end.length;
  let base = live;
  // A letter of two units is never cut in half.
  while (Buffer.byteLength(base) > room || !base.isWellFormed()) base = base.slice(0, -1);
  return `${base}${end}`;
}

/**
 * Those of a live name that earlier restores put aside or left behind, the newest first. Never the live one: where somebody gave
 * a kept database its name back by hand, the comment that it was kept stays on it. Changes nothing.
 */
export async function listKept(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<KeptDatabase[]> {
  await using connection = await connectBeside(address, { signal });
  const rows = await connection.query<{ name: string; note: string | null; bytes: string; sessions: number }>(
    `select d.datname as name, pg_catalog.shobj_description(d.oid, 'pg_database') as note,
       case when pg_catalog.has_database_privilege(d.oid, 'connect') then pg_catalog.pg_database_size(d.oid) else 0 end::text as bytes,
       (select count(*)::int from pg_catalog.pg_stat_activity a where a.datid = d.oid) as sessions
     from pg_catalog.pg_database d
     where d.datname <> ${quoteLiteral(address.database)}
       and (pg_catalog.shobj_description(d.oid, 'pg_database') like '{"chatkeep":%' or d.datname ~ '_restoring_[0-9]{8}T[0-9]{6}$')`,
  );
  return rows
    .flatMap(({ name, note, bytes, sessions }) => {
      const read = note === null ? readName(name, address.database) : readNote(note);
      if (read?.of !== address.database) return [];
      return [{ ...read, name, bytes: Number(bytes), sessions, isRenamed: !hasKeptName(name) }];
    })
    .toSorted((a, b) => (a.at < b.at ? 1 : -1));
}

/** By the end that {@link keptName} gives: what is before it may have been cut. */
function hasKeptName(name: string): boolean {
  return /_(?:before|rolledback|restoring)_\d{8}T\d{6}(?:_\d+)?$/.test(name);
}

/** True of a comment that says what a database is kept for. */
export function isNote(text: string): boolean {
  return readNote(text) !== undefined;
}

/** Begins with the word by which databases of ours are found. */
export function writeNote({ chatkeep, of, point, at, hadNone = false }: KeptNote): string {
  return JSON.stringify({ chatkeep, of, point, at, ...(hadNone ? { hadNone } : {}) });
}

function readNote(text: string): KeptNote | undefined {
  try {
    const note = JSON.parse(text) as Partial<KeptNote>;
    const { chatkeep, of, point, at, hadNone } = note;
    const isKind = chatkeep === "before" || chatkeep === "rolledback" || chatkeep === "restoring";
    if (!isKind || typeof of !== "string" || typeof point !== "string" || typeof at !== "string") return undefined;
    return { chatkeep, of, point, at, ...(hadNone === true ? { hadNone } : {}) };
  } catch {
    return undefined;
  }
}

/** A run that was killed before it said what its database is has at least given it its name. */
function readName(name: string, live: string): KeptNote | undefined {
  const [, year, month, day, hour, minute, second] =
    /_restoring_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)$/.exec(name) ?? [];
  const at = `${year}-${month}-${day}T${hour}:${minute}:${second}Z`;
  if (year === undefined || keptName(live, "restoring", at) !== name) return undefined;
  return { chatkeep: "restoring", of: live, point: "", at };
}

/** Says in a database's comment what it is, so that the next run knows it. */
export async function noteDatabase(connection: Connection, name: string, note: KeptNote): Promise<void> {
  await connection.query(commentStatement(name, writeNote(note)));
}

export function commentStatement(name: string, text: string | null): string {
  return `comment on database ${quoteIdentifier(name)} is ${text === null ? "null" : quoteLiteral(text)}`;
}

/** Its number, which stays its own whatever it is called, and what its comment says; undefined where there is none. */
export async function readDatabase(
  connection: Connection,
  name: string,
): Promise<{ oid: number; note: KeptNote | undefined } | undefined> {
  const [row] = await connection.query<{ oid: number; note: string | null }>(
    `select oid, pg_catalog.shobj_description(oid, 'pg_database') as note
     from pg_catalog.pg_database where datname = ${quoteLiteral(name)}`,
  );
  return row && { oid: row.oid, note: row.note === null ? undefined : readNote(row.note) };
}

/** The names of all databases, by their numbers. */
export async function readDatabaseNames(connection: Connection): Promise<Map<number, string>> {
  const rows = await connection.query<{ oid: number; name: string }>(
    "select oid, datname as name from pg_catalog.pg_database",
  );
  return new Map(rows.map(({ oid, name }) => [oid, name]));
}
