/** Which extensions of a saved database a target cannot give to our role: known before anything is made there. */
import { Failure, messageOf } from "../base/errors.ts";
import { compareVersions } from "./versions.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { quoteIdentifier } from "./names.ts";
import type { ExtensionFacts } from "./server-facts.ts";
import { connectBeside, type TargetFacts } from "./target.ts";

export interface ExtensionState extends ExtensionFacts {
  /**
   * `absent`: the server does not have it. `forbidden`: only an administrator may create it. `older`: what would be created
   * is older than what was saved.
   */
  state: "absent" | "forbidden" | "older";
  /** What the server said, or its version. */
  detail: string;
}

/**
 * Extensions that serve whoever runs the server, and that no table, view or function of an application is made of: contrib's,
 * and the widespread ones for statistics and maintenance.
 */
const FOR_ADMINISTRATORS: ReadonlySet<string> = new Set([
  "amcheck",
  "hypopg",
  "pageinspect",
  "pg_buffercache",
  "pg_freespacemap",
  "pg_prewarm",
  "pg_qualstats",
  "pg_repack",
  "pg_stat_kcache",
  "pg_stat_monitor",
  "pg_stat_statements",
  "pg_visibility",
  "pg_wait_sampling",
  "pg_walinspect",
  "pgaudit",
  "pgrowlocks",
  "pgstattuple",
  "plpgsql_check",
]);

/** True for one without which the data is the same, unless something in the schema is made with it. */
export function servesAdministrators(name: string): boolean {
  return FOR_ADMINISTRATORS.has(name);
}

interface Offered {
  name: string;
  version: string;
  /** Only a superuser may create it, unless it is trusted. */
  superuser: boolean;
  trusted: boolean;
}

const OFFERED = `
  select e.name, e.default_version as version, coalesce(v.superuser, true) as superuser, coalesce(v.trusted, false) as trusted
  from pg_catalog.pg_available_extensions e
  left join pg_catalog.pg_available_extension_versions v on v.name = e.name and v.version = e.default_version
  where e.name = any ($1)`;

/**
 * Looks at a target for what a point has and it has not yet. Changes nothing: where the catalogue says no, creating is tried
 * in a transaction that is rolled back, since providers let their customers create more than the catalogue tells.
 */
export async function findLacking(
  address: ServerAddress,
  saved: readonly ExtensionFacts[],
  target: Pick<TargetFacts, "state" | "installed" | "isSuperuser">,
  options: { signal: AbortSignal },
): Promise<ExtensionState[]> {
  const wanted = saved.filter(({ name }) => !target.installed.includes(name));
  if (wanted.length === 0) return [];
  await using connection = await (target.state === "missing" ? connectBeside : connect)(address, options);
  const offered = await connection.query<Offered & { [key: string]: unknown }>(OFFERED, [
    wanted.map(({ name }) => name),
  ]);
  // A database that is made for the restore is our role's own.
  const mayCreate = target.state === "missing" || (await mayCreateHere(connection));
  const states: ExtensionState[] = [];
  for (const one of wanted) {
    const found = offered.find(({ name }) => name === one.name);
    if (found === undefined) {
      states.push({ ...one, state: "absent", detail: "the server does not have it" });
      continue;
    }
    const isPlain = !found.superuser || found.trusted;
    const isAllowed = target.isSuperuser || (isPlain && mayCreate);
    const refused = isAllowed ? undefined : await tryToCreate(connection, one.name);
    if (refused !== undefined) states.push({ ...one, state: "forbidden", detail: refused });
    else if (compareVersions(found.version, one.version) < 0) {
      states.push({ ...one, state: "older", detail: found.version });
    }
  }
  return states;
}

async function mayCreateHere(connection: Connection): Promise<boolean> {
  const [row] = await connection.query<{ may: boolean }>(
    "select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') as may",
  );
  return row?.may === true;
}

/** What the server says against it; undefined: nothing. Whatever it would make is rolled back. */
export async function tryToCreate(connection: Connection, name: string): Promise<string | undefined> {
  await connection.query("begin");
  try {
    await connection.query(`create extension ${quoteIdentifier(name)} cascade`);
    return undefined;
  } catch (error) {
    if (error instanceof Failure && !error.code.startsWith("database/")) throw error;
    return messageOf(error);
  } finally {
    await connection.query("rollback");
  }
}
