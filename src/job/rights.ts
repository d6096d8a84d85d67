/** Roles, owners and rights of a point: kept as SQL, and carried out in a restored database only when asked for. */
import type { Finding } from "../base/findings.ts";
import { GRANTS_SQL, ROLES_SQL } from "../point/layout.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { readForSuperusers } from "../postgres/catalogue-notes.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { dumpGrants, readLargeObjectGrants, type Refused, runEach, splitStatements } from "../postgres/grants.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import { parseRoles, readDatabaseEntry, readRoles, type SavedRole, THIS_DATABASE } from "../postgres/roles.ts";
import type { SchemaDump } from "../postgres/schema-dump.ts";
import { connectBeside } from "../postgres/target.ts";
import type { PointReader } from "./point-reader.ts";
import { refusedFindings } from "./refused.ts";
import type { RestorePlan } from "./summaries.ts";

export interface SavedRights {
  roles: SavedRole[];
  /** What only a superuser may make, as `kind name`. */
  forSuperusers: string[];
  /** Owners and rights: of the database, of what is in it, of large objects. */
  grantsSql: string;
}

interface RightsRead extends Pick<SavedRights, "roles" | "forSuperusers"> {
  ofDatabase: string;
  ofObjects: string;
}

/** Those that the schema itself names: without them nothing can be restored. */
export function namedRoles(roles: readonly Pick<SavedRole, "name" | "isNamed">[]): string[] {
  return roles.filter(({ isNamed }) => isNamed).map(({ name }) => name);
}

/** Reads them as the connection's snapshot sees them. */
export async function readRights(connection: Connection): Promise<RightsRead> {
  return {
    roles: await readRoles(connection),
    forSuperusers: await readForSuperusers(connection),
    ofDatabase: (await readDatabaseEntry(connection)).map((line) => `${line}\n`).join(""),
    ofObjects: await readLargeObjectGrants(connection),
  };
}

/** Adds what the schema's dump says of them. */
export async function addGrants(
  { ofDatabase, ofObjects, ...read }: RightsRead,
  schema: SchemaDump,
  { programs, signal }: { programs: ClientPrograms; signal: AbortSignal },
): Promise<SavedRights> {
  return { ...read, grantsSql: ofDatabase + (await dumpGrants(schema, programs, { signal })) + ofObjects };
}

export interface RightsOptions {
  /** Roles that are lacking are made, and owners and rights are given as they were. */
  withRoles: boolean;
  signal: AbortSignal;
}

/** Which roles would be made, and what stands in the way. Changes nothing. */
export async function planRights(
  { roles }: Manifest,
  address: ServerAddress,
  { withRoles, signal }: RightsOptions,
): Promise<{ roles: RestorePlan["roles"]; blockers: Finding[] }> {
  if (roles === undefined) return { roles: null, blockers: withRoles ? [NOT_SAVED] : [] };
  await using connection = await connectBeside(address, { signal });
  const there = await rolesThere(connection);
  const lacking = roles.filter(({ name }) => !there.has(name));
  const create = lacking.map(({ name }) => name);
  const keep = roles.map(({ name }) => name).filter((name) => there.has(name));
  const planned = withRoles ? { create, keep } : null;
  if (withRoles && (await mayCreateRoles(connection))) return { roles: planned, blockers: [] };
  const blockers = lacking
    .filter(({ isNamed }) => isNamed)
    .map(({ name }): Finding => ({
      kind: "role-missing",
      level: "alarm",
      message: `the server has no role '${name}', which policies or user mappings of the restore point name`,
      hint: `${withRoles ? `'${address.user}' may not make roles. Let` : "Say --with-roles, or let"} an administrator run: CREATE ROLE ${quoteIdentifier(name)};`,
    }));
  return { roles: planned, blockers };
}

const NOT_SAVED: Finding = {
  kind: "roles-not-saved",
  level: "alarm",
  message: "the restore point keeps no roles",
  hint: "An earlier version made it. Restore without --with-roles.",
};

async function rolesThere(connection: Connection): Promise<Set<string>> {
  const rows = await connection.query<{ name: string }>("select rolname as name from pg_catalog.pg_roles");
  return new Set(rows.map(({ name }) => name));
}

async function mayCreateRoles(connection: Connection): Promise<boolean> {
  const [row] = await connection.query<{ may: boolean }>(
    "select rolsuper or rolcreaterole as may from pg_catalog.pg_roles where rolname = current_user",
  );
  return row?.may === true;
}

/** Makes the roles that are lacking, without passwords; those that are there stay as they are. */
export async function createRoles(
  reader: PointReader,
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<Finding[]> {
  const saved = parseRoles(await reader.readText(`database/${ROLES_SQL}`));
  await using connection = await connectBeside(address, { signal });
  const there = await rolesThere(connection);
  const lacking = saved.filter(({ name }) => !there.has(name));
  const refused: Refused[] = [];
  for (const { statements } of lacking) {
    const [create = "", ...others] = statements;
    const first = await runEach(connection, [create]);
    // A role that could not be made has neither settings nor memberships.
    refused.push(...first, ...(first.length === 0 ? await runEach(connection, others) : []));
  }
  return refusedFindings(refused, { kind: "roles-lacking", what: "that make roles", hint: IN_FULL });
}

/** Gives owners and rights as they were, in a database that is loaded. @param keepsEntry the database's own are given by others. @param isWhole large objects are there. */
export async function applyGrants(
  reader: PointReader,
  address: ServerAddress,
  { keepsEntry, isWhole, signal }: { keepsEntry: boolean; isWhole: boolean; signal: AbortSignal },
): Promise<Finding[]> {
  const statements = splitStatements(await reader.readText(`database/${GRANTS_SQL}`))
    .filter((statement) => isWhole || !/^(?:ALTER|(?:GRANT|REVOKE) \w+ ON) LARGE OBJECT /.test(statement))
    .filter((statement) => !keepsEntry || !statement.includes(THIS_DATABASE))
    .map((statement) => statement.replace(THIS_DATABASE, () => quoteIdentifier(address.database)));
  await using connection = await connect(address, { signal });
  const refused = await runEach(connection, statements);
  return refusedFindings(refused, { kind: "grants-lacking", what: "that give owners and rights", hint: IN_FULL });
}

/** Of the point, for an administrator. */
const IN_FULL = `Let an administrator run them: database/${ROLES_SQL} and database/${GRANTS_SQL} of the restore point have all.`;
