/** What `doctor` asks of the database: whether it is the right one, what may be read of it, and what a drill needs. */
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { MIGRATIONS_QUERY } from "../chatwoot/database.ts";
import { releaseFindings, schemaFindings } from "../chatwoot/known-troubles.ts";
import { compareSchema, identifySchema } from "../chatwoot/versions.ts";
import type { Installation } from "../installation/installation.ts";
import { readReleases } from "../installation/releases.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import type { KeptDatabase } from "../postgres/kept-databases.ts";
import { versionFindings } from "../postgres/known-troubles.ts";
import { looksLikePooler, refuseSharedSessions } from "../postgres/pooler.ts";
import { findPrograms } from "../postgres/programs.ts";
import { readRoles } from "../postgres/roles.ts";
import type { ScratchPlaces } from "../postgres/scratch.ts";
import { readServerFacts } from "../postgres/server-facts.ts";
import { examineSettings } from "./doctor-chatwoot.ts";
import { addTo, attempt, emptyReport, type Report } from "./doctor-report.ts";
import { clockOffFindings } from "./clock-off.ts";
import { lookForScratchServer } from "./doctor-scratch.ts";
import { inspectChatwoot } from "./inspect-chatwoot.ts";
import { longTransactionFindings } from "./long-transactions.ts";
import { findKeySources, readKeySamples, tryKeys } from "./prove-keys.ts";
import { keptFindings, listDiscardable } from "./restore-live.ts";
import { namedRoles } from "./rights.ts";

export interface DatabaseExamination {
  /** Where a drill's server may come from. */
  scratch?: ScratchPlaces | undefined;
  clock: Clock;
  signal: AbortSignal;
}

/** It may be a standby: what that ends is asked again. */
export async function askDatabase(
  ports: DatabaseExamination,
  report: Report,
  ...database: [Installation, ServerAddress]
): Promise<void> {
  let asked = emptyReport();
  try {
    await withConflictRetries(async () => {
      asked = emptyReport();
      await examineDatabase(ports, asked, ...database);
    });
  } finally {
    addTo(report, asked);
  }
}

async function examineDatabase(
  ports: DatabaseExamination,
  report: Report,
  installation: Installation,
  address: ServerAddress,
): Promise<void> {
  await using connection = await connect(address, { signal: ports.signal });
  report.findings.push(...poolerFindings(address, await refuseSharedSessions(connection, ports)));
  const server = await readServerFacts(connection);
  report.facts.push({
    name: "database",
    value: `PostgreSQL ${server.version}, ${formatBytes(server.sizeBytes)}`,
    from: describeAddress(address),
  });
  const chatwoot = await inspectChatwoot(connection, address, { signal: ports.signal });
  report.findings.push(
    ...(await clockFindings(connection, ports.clock)),
    ...versionFindings(server, ports.clock.now()),
  );
  if (chatwoot.failure !== undefined) throw chatwoot.failure;
  report.findings.push(...(await schemaOf(connection, installation)));
  report.findings.push(...chatwoot.findings, ...(await longTransactionFindings(connection)));
  await examineRights(report, connection);
  await attempt(report, async () => {
    const programs = await findPrograms(server.major, { signal: ports.signal });
    report.facts.push({
      name: "client programs",
      value: `PostgreSQL ${programs.major}`,
      from: programs.where,
    });
  });
  report.findings.push(...keptFindings(await keptBeside(ports, address)));
  const scratch = await lookForScratchServer(server, namedRoles(await readRoles(connection)), ports);
  report.facts.push(...scratch.facts);
  report.findings.push(...scratch.findings);
  const proof = await tryKeys(
    installation.environment,
    await readKeySamples(connection, await findKeySources(connection)),
  );
  report.findings.push(...proof.findings);
  report.findings.push(...(await examineSettings(installation.environment, connection)));
}

function poolerFindings(address: ServerAddress, isBetween: boolean): Finding[] {
  if (!isBetween || !looksLikePooler(address)) return [];
  return [
    {
      kind: "pooler-between",
      level: "note",
      message: `the address of the database looks like a pooler's, and one answers there (${describeAddress(address)})`,
      hint: "It keeps sessions apart, so backups work. In transaction mode they would not: the server's own address is safer.",
    },
  ];
}

/** Which release runs on which database, and what is known of both. */
async function schemaOf(connection: Connection, { version }: Installation): Promise<Finding[]> {
  const known = await readReleases();
  const rows = await connection.query<{ version: string }>(MIGRATIONS_QUERY);
  const applied = rows.map((row) => row.version);
  const { releases } = identifySchema(applied, known);
  const release = version ?? releases.at(-1)?.replace(/^v/, "");
  if (release === undefined) return [];
  const [vector] = await connection.query("select from pg_catalog.pg_available_extensions where name = 'vector'");
  const gap = version === undefined ? undefined : compareSchema(applied, version, known);
  return [
    ...releaseFindings(release, { hasVector: vector !== undefined }),
    ...(gap === undefined || version === undefined ? [] : schemaFindings(version, gap)),
  ];
}

/** The server's clock against ours: what it writes into rows, and what we write into points, are compared by people. */
async function clockFindings(connection: Connection, clock: Clock): Promise<Finding[]> {
  const before = clock.now();
  const [row] = await connection.query<{ ms: string }>(
    "select pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::int8::text as ms",
  );
  const aheadMs = Number(row?.ms ?? before) - (before + clock.now()) / 2;
  return clockOffFindings("the database's server", aheadMs);
}

/** Where no other database may be joined, none could have been put aside. */
async function keptBeside(ports: DatabaseExamination, address: ServerAddress): Promise<KeptDatabase[]> {
  try {
    return await listDiscardable(address, { signal: ports.signal });
  } catch (error) {
    if (!isFailure(error, "database/denied")) throw error;
    return [];
  }
}

async function examineRights(report: Report, connection: Connection): Promise<void> {
  const rows = await connection.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and not (has_schema_privilege(n.oid, 'usage')
                and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select') else has_table_privilege(c.oid, 'select') end)
     order by 1`,
  );
  if (rows.length === 0) return;
  report.findings.push({
    kind: "database-denied",
    level: "alarm",
    message: `the database role may not read ${rows
      .slice(0, 3)
      .map((row) => row.name)
      .join(", ")}${rows.length > 3 ? `, and ${rows.length - 3} more` : ""}`,
    hint: "Grant it: GRANT SELECT ON ALL TABLES IN SCHEMA public TO the role (and on all sequences), or use the owner.",
  });
}
