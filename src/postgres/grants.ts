/** Owners and rights of what is in a database, as SQL: read from pg_dump's archive, and carried out one by one. */
import { runProgram } from "../system/process.ts";
import type { Connection } from "./connect.ts";
import { quoteIdentifier } from "./names.ts";
import type { ClientPrograms } from "./programs.ts";
import type { SchemaDump } from "./schema-dump.ts";

/**
 * What `pg_restore` says of a schema's dump beyond what it says with `--no-owner --no-acl`, which is known: `ALTER … OWNER TO`,
 * `GRANT`, `REVOKE` and `ALTER DEFAULT PRIVILEGES`, in pg_dump's own words.
 */
export async function dumpGrants(
  { custom, bare }: Pick<SchemaDump, "custom" | "bare">,
  programs: ClientPrograms,
  { signal }: { signal: AbortSignal },
): Promise<string> {
  const { stdout } = await runProgram(programs.pgRestore, ["--file=-"], { signal, input: custom });
  return addedLines(stdout.toString("utf8"), bare);
}

function anonymous(line: string | undefined): string | undefined {
  return line?.replace(/^(-- Name: .*; Owner: ).*$/, "$1-");
}

/**
 * The lines of `all` that `bare` has not, in their order, when `bare` is `all` with lines left out. Comments, which name
 * owners too, and empty lines are left out. Pure.
 */
export function addedLines(all: string, bare: string): string {
  const rest = bare.split("\n");
  let at = 0;
  const added: string[] = [];
  for (const line of all.split("\n")) {
    if (/^\\(?:un)?restrict /.test(line) && /^\\(?:un)?restrict /.test(rest[at] ?? "")) at += 1;
    else if (anonymous(line) === anonymous(rest[at])) at += 1;
    else if (line !== "" && line !== "--" && !line.startsWith("-- Name: ")) added.push(line);
  }
  return added.map((line) => `${line}\n`).join("");
}

interface ObjectRow {
  oid: string;
  owner: string;
  grants: { role: string | null; right: string; grantable: boolean }[] | null;
}

/** The same of large objects, which a schema's dump leaves out. */
export async function readLargeObjectGrants(connection: Connection): Promise<string> {
  const rows = await connection.query<ObjectRow & { [key: string]: unknown }>(
    `select m.oid::text as oid, pg_catalog.pg_get_userbyid(m.lomowner) as owner,
       (select pg_catalog.json_agg(pg_catalog.json_build_object('right', a.privilege_type, 'grantable', a.is_grantable,
           'role', case when a.grantee = 0 then null else pg_catalog.pg_get_userbyid(a.grantee) end)
           order by a.grantee, a.privilege_type)
         from pg_catalog.aclexplode(m.lomacl) a) as grants
     from pg_catalog.pg_largeobject_metadata m order by m.oid`,
  );
  return rows.map(objectStatements).join("");
}

function objectStatements({ oid, owner, grants }: ObjectRow): string {
  const object = `LARGE OBJECT ${oid}`;
  const lines = [`ALTER ${object} OWNER TO ${quoteIdentifier(owner)};`];
  if (grants !== null) lines.push(`REVOKE ALL ON ${object} FROM ${quoteIdentifier(owner)};`);
  for (const { role, right, grantable } of grants ?? []) {
    const to = role === null ? "PUBLIC" : quoteIdentifier(role);
    lines.push(`GRANT ${right} ON ${object} TO ${to}${grantable ? " WITH GRANT OPTION" : ""};`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

/** The statements of SQL that holds no function's body: parted at semicolons outside of quotes. Pure. */
export function splitStatements(sql: string): string[] {
  const pieces = sql.match(/--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*"|;|[^'";-]+|./gs) ?? [];
  const statements: string[] = [];
  let open = "";
  for (const piece of pieces) {
    if (piece.startsWith("--")) continue;
    open += piece;
    if (piece !== ";") continue;
    statements.push(open.trim());
    open = "";
  }
  if (open.trim() !== "") statements.push(open.trim());
  return statements;
}

export interface Refused {
  statement: string;
  /** What the server said. */
  why: string;
}

/** Runs each by itself: what the server refuses does not keep the others from being done. */
export async function runEach(connection: Connection, statements: readonly string[]): Promise<Refused[]> {
  const refused: Refused[] = [];
  for (const statement of statements) {
    try {
      await connection.query(statement);
    } catch (error) {
      // A session that is gone ends it all.
      if (!connection.isOpen) throw error;
      refused.push({ statement, why: error instanceof Error ? error.message : String(error) });
    }
  }
  return refused;
}
