/** What pg_restore says when a target cannot take the schema, as a failure that says what to do. */
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { quoteIdentifier } from "./names.ts";
import { noSpaceFailure } from "./server-errors.ts";
import { lostFailure, printedHint } from "./schema-dump.ts";

interface Case {
  /** What it names is handed on; an empty text where it names nothing. */
  said: RegExp;
  explain: (named: string, target: ServerAddress) => { message: string; hint: string };
}

const CASES: readonly Case[] = [
  {
    said: /extension "([^"]+)" is not available|could not open extension control file ".*\/([^/"]+)\.control"/,
    explain: (name) => ({
      message: `the target server lacks the extension '${name}'`,
      hint: "Install the package that brings it (pgvector for 'vector', postgresql-contrib for most others), then try again.",
    }),
  },
  {
    // Azure Database: what is not in its parameter azure.extensions.
    said: /extension "([^"]+)" is not allow-listed/,
    explain: (name) => ({
      message: `the target server does not allow the extension '${name}'`,
      hint: `Add it to the server parameter azure.extensions, then let an administrator create it, as docs/managed-postgres.md says.`,
    }),
  },
  {
    said: /permission denied to create extension "([^"]+)"/,
    explain: (name, { user, database }) => ({
      message: `'${user}' may not create the extension '${name}'`,
      hint: `Let an administrator run this in the database '${database}', then try again: CREATE EXTENSION ${quoteIdentifier(name)};`,
    }),
  },
  {
    said: /Only members of "?([a-z_]+)"? are allowed to use CREATE EXTENSION/i,
    explain: (role, { user, database }) => ({
      message: `'${user}' may not create extensions: only members of '${role}' may`,
      hint: `Let an administrator create them in the database '${database}', then try again: docs/managed-postgres.md shows how.`,
    }),
  },
  {
    said: /permission denied for schema/,
    explain: (_name, { user, database }) => ({
      message: `'${user}' may not create tables in the database '${database}'`,
      hint: `Make it the owner: ALTER DATABASE ${quoteIdentifier(database)} OWNER TO ${quoteIdentifier(user)}; or GRANT CREATE ON SCHEMA public TO ${quoteIdentifier(user)};`,
    }),
  },
  {
    said: /permission denied for database/,
    explain: (_name, { user, database }) => ({
      message: `'${user}' may not create schemas in the database '${database}'`,
      hint: `Let an administrator run: GRANT CREATE ON DATABASE ${quoteIdentifier(database)} TO ${quoteIdentifier(user)};`,
    }),
  },
  {
    said: /role "([^"]+)" does not exist/,
    explain: (role) => ({
      message: `the role '${role}', which the schema names, does not exist on the target server`,
      hint: `Let an administrator run: CREATE ROLE ${quoteIdentifier(role)};`,
    }),
  },
  {
    said: /access method "([^"]+)" does not exist/,
    explain: (name) => ({
      message: `the target server lacks the access method '${name}', which a table or an index has`,
      hint: "Install the extension that brings it, and create it in the database, then try again.",
    }),
  },
  {
    said: /unrecognized configuration parameter "([^"]+)"/,
    explain: (name) => ({
      message: `pg_restore sets '${name}', which the target server does not know`,
      hint: "Install the client programs of the target server's own major version.",
    }),
  },
  {
    said: /(?:ERROR|error):\s+(out of memory|out of shared memory|canceling statement due to [^\n]*)/,
    explain: (said) => ({
      message: `the target server could not restore the schema: ${said}`,
      hint: "Its log says more: is its memory too small, or did somebody, or a limit of the server or the role, end it?",
    }),
  },
];

/** What the server says after that word, to the end of the line. A write that was cut short has no word of the disk in it. */
const NO_SPACE = /(?:ERROR|FATAL|PANIC):\s+(.*No space left on device|could not extend file .*wrote only .*)/;

/** @param printed what pg_restore wrote on its standard error. */
export function restoreFailure(printed: string, target: ServerAddress): Failure {
  const full = NO_SPACE.exec(printed)?.[1];
  if (full !== undefined) return noSpaceFailure(full, target);
  const lost = lostFailure(printed, target);
  if (lost !== undefined) return lost;
  for (const { said, explain } of CASES) {
    const found = said.exec(printed);
    if (found === null) continue;
    const { message, hint } = explain(found[1] ?? found[2] ?? "", target);
    return new Failure("target/unsuitable", message, { hint });
  }
  return new Failure("database/failed", "the schema could not be restored", { hint: printedHint(printed) });
}
