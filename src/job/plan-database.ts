/** What bringing back a point's database into a server means there, and what stands in its way. Changes nothing. */
import { listSome, plural } from "../base/bytes.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { SCHEMA_DUMP } from "../point/layout.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { type Archive, decodeArchive } from "../postgres/archive.ts";
import { extensionEntries, isNeeded } from "../postgres/archive-list.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { findPrograms } from "../postgres/programs.ts";
import { findDataFolder } from "../postgres/target-space.ts";
import { inspectTarget, type TargetFacts } from "../postgres/target.ts";
import { type ExtensionState, findLacking, servesAdministrators } from "../postgres/target-extensions.ts";
import { type DatabaseEstimate, estimate, spaceFinding } from "./estimate.ts";
import type { PointReader } from "./point-reader.ts";
import { liveBlockers } from "./restore-live.ts";
import { planRights } from "./rights.ts";
import type { RoomNeed } from "./room.ts";
import { type ChosenRows, chooseRows, type RowChoice } from "./row-choice.ts";
import type { RestorePlan } from "./summaries.ts";

export interface DatabaseOptions {
  address: ServerAddress;
  /** It takes the place of the one that Chatwoot uses. */
  isLive: boolean;
  /** Where there is none whose place it could take, it becomes the one that Chatwoot uses. */
  mayBeGone?: boolean;
  rows: RowChoice;
  /** Roles that are lacking are made, and owners and rights are what they were. */
  withRoles: boolean;
  signal: AbortSignal;
}

export interface DatabasePlan {
  rows: ChosenRows;
  /** `90 tables, 20,134 rows`. */
  what: string;
  /** Of the rows' text. */
  bytes: number;
  /** Entries of the schema that are left out: foreign keys without rows, extensions that are not needed. */
  leaveOut: ReadonlySet<number>;
  roles: RestorePlan["roles"];
  estimate: DatabaseEstimate;
  /** On the server's disk; undefined where that is none of this machine. What is too small is no blocker here: others may lie there. */
  room: RoomNeed | undefined;
  blockers: Finding[];
  findings: Finding[];
}

/** @throws Failure `usage/invalid` for a table that the point does not have, `database/unreachable`, `database/denied`. */
export async function planDatabase(reader: PointReader, options: DatabaseOptions): Promise<DatabasePlan> {
  const manifest = await reader.manifest();
  const archive = lazily(reader);
  const rows = await chooseRows(options.rows, manifest, archive);
  const target = await inspectTarget(options.address, options);
  const { blockers, findings } = await judgePlace(target, manifest, options);
  // A database in the place of the live one is made for it, and empty.
  const into: TargetFacts = options.isLive ? { ...target, state: "missing", installed: [] } : target;
  const lacking = await findLacking(options.address, manifest.server.extensions, into, options);
  const programs = await programsLacking(Math.max(target.major, manifest.server.clientMajor), options);
  const rights = await planRights(manifest, options.address, options);
  const extensions = await judgeExtensions(lacking, archive, options);
  const folder = await findDataFolder(options.address, options);
  const estimated = await estimate(reader, rows, { ...options, folder });
  const described = describe(manifest, rows);
  return {
    rows,
    estimate: estimated,
    room: folder === undefined ? undefined : roomOf(folder, estimated, { rowBytes: described.bytes, ...options }),
    ...described,
    leaveOut: new Set([...rows.leaveOut, ...extensions.leaveOut]),
    roles: rights.roles,
    blockers: [
      ...blockers,
      ...programs,
      ...tooOld(manifest, target),
      ...forSuperusers(manifest, options.address, target),
      ...rights.blockers,
      ...extensions.blockers,
    ],
    findings: [...findings, ...rows.findings, ...extensions.findings],
  };
}

function roomOf(
  folder: string,
  estimated: DatabaseEstimate,
  { rowBytes, isLive }: { rowBytes: number; isLive: boolean },
): RoomNeed {
  const { diskBytes } = estimated;
  const alone = spaceFinding(estimated, { rowBytes, isLive });
  return { what: "the database", path: folder, bytes: diskBytes, leastBytes: Math.min(rowBytes, diskBytes), alone };
}

/** The saved schema's entries, read when they are first asked for. */
function lazily(reader: PointReader): () => Promise<Archive> {
  let archive: Archive | undefined;
  return async () => (archive ??= decodeArchive(await reader.readBytes(`database/${SCHEMA_DUMP}`)));
}

function describe({ tables, largeObjects }: Manifest, rows: ChosenRows): { what: string; bytes: number } {
  const count = rows.tables.reduce((sum, table) => sum + table.rows, 0);
  const bytes = rows.tables.reduce((sum, table) => sum + table.bytes, 0);
  if (rows.isWhole) {
    const objects = largeObjects === undefined ? "" : `, ${plural(largeObjects.objects, "large object")}`;
    const what = `${plural(tables.length, "table")}, ${plural(count, "row")}${objects}`;
    return { what, bytes: bytes + (largeObjects?.bytes ?? 0) };
  }
  const all = `${plural(tables.length, "table")} without rows`;
  if (rows.tables.length === 0) return { what: all, bytes };
  return { what: `${plural(count, "row")} of ${plural(rows.tables.length, "table")} (of ${tables.length})`, bytes };
}

async function judgePlace(
  target: TargetFacts,
  manifest: Manifest,
  options: DatabaseOptions,
): Promise<{ blockers: Finding[]; findings: Finding[] }> {
  const { address, isLive, mayBeGone = false } = options;
  if (!isLive) return { blockers: occupied(address, target, manifest), findings: [] };
  if (target.state !== "missing" || !mayBeGone) return await liveBlockers(address, options);
  return target.canCreate
    ? { blockers: [], findings: [gone(address)] }
    : { blockers: [mayNotMake(address)], findings: [] };
}

function gone({ database }: ServerAddress): Finding {
  return {
    kind: "database-gone",
    level: "note",
    message: `there is no database '${database}': the restored one takes the name, and a rollback leaves none of that name again`,
    hint: "Was it only renamed? ALTER DATABASE … RENAME TO gives it its name back; then restore again.",
  };
}

function mayNotMake({ database, user }: ServerAddress): Finding {
  return alarm(
    "database-missing",
    `database '${database}' does not exist and role '${user}' may not create it`,
    `Let an administrator run: ALTER ROLE ${quoteIdentifier(user)} CREATEDB; Then restore again.`,
  );
}

function occupied({ database, user }: ServerAddress, target: TargetFacts, { tables }: Manifest): Finding[] {
  // Since PostgreSQL 15 only the owner of a database may make anything in it, unless that was granted.
  if (target.state === "empty" && !target.mayFill && tables.some(({ schema }) => schema === "public")) {
    const [name, role] = [quoteIdentifier(database), quoteIdentifier(user)];
    return [
      alarm(
        "schema-denied",
        `role '${user}' may not create tables in the database '${database}'`,
        `Let an administrator run: ALTER DATABASE ${name} OWNER TO ${role}; or, in that database: GRANT CREATE ON SCHEMA public TO ${role};`,
      ),
    ];
  }
  if (target.state === "not-empty") {
    return [
      alarm(
        "database-not-empty",
        `database '${database}' is not empty: it has ${plural(target.tables, "table")}`,
        "Name a new database in --database-url: it is made when it does not exist.",
      ),
    ];
  }
  if (target.state !== "missing" || target.canCreate) return [];
  return [
    alarm(
      "database-missing",
      `database '${database}' does not exist and role '${user}' may not create it`,
      `Create it first: CREATE DATABASE "${database}" OWNER "${user}".`,
    ),
  ];
}

/** Without them the schema cannot be made, and Chatwoot would be stopped already. */
async function programsLacking(major: number, { signal }: DatabaseOptions): Promise<Finding[]> {
  try {
    await findPrograms(major, { signal });
    return [];
  } catch (error) {
    if (!isFailure(error, "program/missing")) throw error;
    return [alarm("programs-missing", error.message, error.hint ?? "")];
  }
}

function tooOld({ server }: Manifest, target: TargetFacts): Finding[] {
  if (target.major >= server.major) return [];
  return [
    alarm(
      "server-too-old",
      `the server is PostgreSQL ${target.major}, the restore point is of PostgreSQL ${server.major}`,
      `Restore into PostgreSQL ${server.major} or newer.`,
    ),
  ];
}

function forSuperusers(
  { forSuperusers: names = [] }: Manifest,
  { user }: ServerAddress,
  target: TargetFacts,
): Finding[] {
  if (names.length === 0 || target.isSuperuser) return [];
  return [
    alarm(
      "superuser-needed",
      `only a superuser may make ${listSome(names)}, which the restore point has; '${user}' is none`,
      "Restore as a superuser; --with-roles then gives everything its owner back.",
    ),
  ];
}

function alarm(kind: string, message: string, hint: string): Finding {
  return { kind, level: "alarm", message, hint };
}

interface ExtensionJudgement {
  leaveOut: number[];
  blockers: Finding[];
  findings: Finding[];
}

async function judgeExtensions(
  lacking: readonly ExtensionState[],
  archive: () => Promise<Archive>,
  options: DatabaseOptions,
): Promise<ExtensionJudgement> {
  const unmade = lacking.filter(({ state }) => state !== "older");
  const older = lacking.filter(({ state }) => state === "older").map(olderFinding);
  if (unmade.length === 0) return { leaveOut: [], blockers: [], findings: older };
  const schema = await archive();
  const spare = unmade.filter(({ name }) => servesAdministrators(name) && !isNeeded(schema, name));
  const needed = unmade.filter((one) => !spare.includes(one));
  const absent = needed.filter(({ state }) => state === "absent");
  const forbidden = needed.filter(({ state }) => state === "forbidden");
  return {
    leaveOut: spare.flatMap(({ name }) => [...extensionEntries(schema, name)]),
    blockers: [
      ...(absent.length === 0 ? [] : [absentBlocker(absent)]),
      ...(forbidden.length === 0 ? [] : [forbiddenBlocker(forbidden, options)]),
    ],
    findings: [...spare.map(leftOut), ...older],
  };
}

function namesOf(extensions: readonly ExtensionState[]): string {
  const word = extensions.length === 1 ? "extension" : "extensions";
  return `${word} ${extensions.map(({ name }) => name).join(", ")}`;
}

function absentBlocker(absent: readonly ExtensionState[]): Finding {
  return alarm(
    "extension-missing",
    `the server lacks the ${namesOf(absent)}`,
    "Install the packages that bring them (pgvector for 'vector', postgresql-contrib for the others), then try again.",
  );
}

function forbiddenBlocker(forbidden: readonly ExtensionState[], { address, isLive }: DatabaseOptions): Finding {
  const { user, database } = address;
  const sql = forbidden.map(createStatement).join(" ");
  const said = forbidden.map(({ detail }) => detail)[0] ?? "";
  return alarm(
    "extension-denied",
    `role '${user}' may not create the ${namesOf(forbidden)}: ${said}`,
    isLive
      ? `Let an administrator make an empty database of that role and run in it: ${sql} Then restore into that one: --database-url.`
      : `Let an administrator run in the database '${database}' (made first, owned by '${user}', if it is not there): ${sql}`,
  );
}

/** With those that it needs itself. */
function createStatement({ name, schema }: ExtensionState): string {
  const create = `CREATE EXTENSION ${quoteIdentifier(name)}`;
  if (schema === "public" || schema === "pg_catalog") return `${create} CASCADE;`;
  const space = quoteIdentifier(schema);
  return `CREATE SCHEMA IF NOT EXISTS ${space}; ${create} SCHEMA ${space} CASCADE;`;
}

function leftOut({ name, state }: ExtensionState): Finding {
  const why = state === "absent" ? "the server does not have it" : "only an administrator may create it";
  return {
    kind: "extension-left-out",
    level: "note",
    message: `the extension ${name} is left out: ${why}, and no data needs it`,
    hint: `To have it all the same, an administrator may run afterwards: CREATE EXTENSION ${quoteIdentifier(name)};`,
  };
}

function olderFinding({ name, version, detail }: ExtensionState): Finding {
  return {
    kind: "extension-older",
    level: "warning",
    message: `the server has version ${detail} of the extension ${name}, the restore point was made with ${version}`,
    hint: "If the restore fails at something of it, install the newer version on the server.",
  };
}
