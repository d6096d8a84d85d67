/**
 * Loads a saved database into an empty one: types and tables, rows over several connections, sequences, then indexes,
 * constraints and triggers. Triggers come after the rows, so rows keep the numbers that they had; nothing of the
 * target is overwritten, and the first error ends it all.
 */
import { readFile, writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { runProgram } from "../system/process.ts";
import { childEnvironment, type ServerAddress } from "./address.ts";
import { type Archive, decodeArchive } from "./archive.ts";
import { givesRights, lastEntries, type Present, presentEntries, tablespacesOf } from "./archive-list.ts";
import { connect, type Connection } from "./connect.ts";
import { type Refused, runEach, splitStatements } from "./grants.ts";
import { indexMemorySetting, readIndexMemory, weigh } from "./index-order.ts";
import { loadLargeObjects, type SavedLargeObjects } from "./load-large-objects.ts";
import { qualifiedName, quoteIdentifier, shownName } from "./names.ts";
import { isTooNewFor, restoreThroughPsql } from "./older-target.ts";
import { withPassword } from "./password.ts";
import type { ClientPrograms } from "./programs.ts";
import { restoreFailure } from "./restore-failure.ts";
import { serverFailure } from "./server-errors.ts";
import { KEEP_ALIVE_SECONDS } from "./sign-in.ts";
import { connectPatiently, countSpareSessions, openUpTo } from "./spare-sessions.ts";
import { USER_SCHEMAS } from "./user-objects.ts";
import { readTimeouts, refusesOptions, withoutTimeouts } from "./timeouts.ts";
import { addForeignKeys, readForeignKeys, type UnheldKey } from "./load-foreign-keys.ts";
import { refreshViews, type ViewName } from "./views.ts";

export interface SavedRangeSource {
  bucket: string;
  rows: number;
  /** Of its text, where that is known: large tables get their indexes first. */
  bytes?: number;
  read(): AsyncIterable<Uint8Array>;
}

export interface SavedTableSource {
  schema: string;
  name: string;
  /** In the order of the COPY text. */
  columns: readonly string[];
  ranges: readonly SavedRangeSource[];
}

export interface SavedDatabase {
  /** Path of `pg_dump --format=custom --schema-only`; a list for pg_restore may be written beside it. */
  schemaDump: string;
  sequencesSql: string;
  /** Materialised views to fill, in this order. */
  filledViews: readonly ViewName[];
  tables: readonly SavedTableSource[];
  largeObjects?: SavedLargeObjects | undefined;
  /** Tables lack rows, so that foreign keys may not hold. */
  lacksRows?: boolean | undefined;
  /** Entries of the schema's archive that are not restored, beside those for what the target has already. */
  leaveOut?: ReadonlySet<number> | undefined;
}

export interface LoadOutcome {
  /** What the server refused of event triggers, publications, subscriptions and security labels. */
  refused: Refused[];
  /** Tablespaces that the server lacks, or that our role may not use: then everything is in the database's own. */
  tablespacesLacking: string[];
  /** Where tables lack rows. */
  unheldKeys: UnheldKey[];
}

export interface LoadDatabaseOptions {
  programs: ClientPrograms;
  /** Connections that load rows, and indexes that are built, at once. */
  jobs: number;
  progress: Progress;
  signal: AbortSignal;
}

/**
 * @throws Failure `target/unsuitable` (an extension is lacking, a role may not), `database/failed` with what the
 * server said; the target then holds a part and must be dropped.
 */
export async function loadDatabase(
  target: ServerAddress,
  source: SavedDatabase,
  options: LoadDatabaseOptions,
): Promise<LoadOutcome> {
  const all = source.lacksRows === true ? await readForeignKeys(source.schemaDump) : [];
  const keys = all.filter(({ id }) => source.leaveOut?.has(id) !== true);
  const leaveOut = new Set([...(source.leaveOut ?? []), ...keys.map(({ id }) => id)]);
  const section = {
    target,
    schemaDump: source.schemaDump,
    ...(await lookBefore(target, { ...source, leaveOut }, options)),
  };
  await restoreSection("pre-data", section, options);
  const sessions = await loadRows(target, source, { ...options, jobs: Math.min(options.jobs, section.atOnce) });
  if (source.largeObjects !== undefined) await loadLargeObjects(target, source.largeObjects, options);
  options.progress.stage("building indexes, constraints and triggers");
  const jobs = Math.min(options.jobs, sessions);
  const weighed = jobs > 1 && section.archive !== undefined ? await weigh(section.archive, source) : source.schemaDump;
  await restoreSection("post-data", { ...section, schemaDump: weighed }, { ...options, jobs });
  // Only now: beside those that build indexes, a session would be one more.
  await using connection = await connectPatiently(target, options);
  const unheldKeys = await addForeignKeys(connection, keys);
  const setSequences = async () => {
    if (source.sequencesSql.trim() !== "") await connection.query(source.sequencesSql);
  };
  await setSequences();
  await refreshViews(connection, source.filledViews);
  // A view may draw from them.
  if (source.filledViews.length > 0) await setSequences();
  options.progress.stage("gathering statistics");
  // Its commit also waits for the disk, and with it for the rows' commits before it.
  await connection.query("analyze");
  const refused = await runEach(connection, section.last);
  return { refused, tablespacesLacking: section.tablespacesLacking, unheldKeys };
}

interface EntryPlan {
  /** The entries to restore, as a file for pg_restore; undefined: all of them. */
  list: string | undefined;
  /** Statements that are run one by one, when all else is there. */
  last: string[];
  tablespacesLacking: string[];
  archive: Archive | undefined;
}

interface LookedAt extends EntryPlan {
  /** Those that the server knows. */
  timeouts: readonly string[];
  /** For the indexes that are built at once, together. */
  memoryBytes: number;
  /** Sessions that we may take. */
  atOnce: number;
}

interface Sections extends LookedAt {
  target: ServerAddress;
  schemaDump: string;
}

async function lookBefore(
  target: ServerAddress,
  source: SavedDatabase,
  options: LoadDatabaseOptions,
): Promise<LookedAt> {
  await using connection = await connect(target, options);
  return {
    ...(await planEntries(connection, source)),
    timeouts: await readTimeouts(connection),
    memoryBytes: await readIndexMemory(connection),
    // Half of what is left, as Chatwoot may be at work on the same server.
    atOnce: Math.max(2, Math.floor((await countSpareSessions(connection)) / 2)),
  };
}

async function planEntries(connection: Connection, { schemaDump, leaveOut }: SavedDatabase): Promise<EntryPlan> {
  const archive = await readArchive(schemaDump, leaveOut);
  if (archive === undefined) return { archive, list: undefined, last: [], tablespacesLacking: [] };
  const { ids, sql } = lastEntries(archive, leaveOut);
  const left = new Set([...presentEntries(archive, await readPresent(connection)), ...(leaveOut ?? []), ...ids]);
  const there = await usableTablespaces(connection);
  const tablespacesLacking = tablespacesOf(archive).filter((name) => !there.has(name));
  const plan = { archive, list: undefined, last: sql.flatMap(splitStatements), tablespacesLacking };
  if (left.size === 0) return plan;
  const path = `${schemaDump}.list`;
  const kept = archive.entries.filter((entry) => !left.has(entry.id) && !givesRights(entry));
  await writeFile(path, kept.map(({ id }) => `${id};\n`).join(""), { mode: 0o600 });
  return { ...plan, list: path };
}

async function usableTablespaces(connection: Connection): Promise<Set<string>> {
  const rows = await connection.query<{ name: string }>(
    "select spcname as name from pg_catalog.pg_tablespace where pg_catalog.has_tablespace_privilege(oid, 'CREATE')",
  );
  return new Set(rows.map(({ name }) => name));
}

/** Undefined for an archive that only a newer Chatkeep can take apart, while it need not be. */
async function readArchive(path: string, leaveOut: SavedDatabase["leaveOut"]): Promise<Archive | undefined> {
  try {
    return decodeArchive(await readFile(path));
  } catch (error) {
    if (isFailure(error, "point/invalid") && (leaveOut?.size ?? 0) === 0) return undefined;
    throw error;
  }
}

async function readPresent(connection: Connection): Promise<Present> {
  const extensions = await connection.query<{ name: string }>("select extname as name from pg_catalog.pg_extension");
  const schemas = await connection.query<{ name: string; isOwn: boolean }>(
    `select n.nspname as name, pg_catalog.pg_has_role(n.nspowner, 'USAGE') as "isOwn"
     from pg_catalog.pg_namespace n where n.nspname <> 'public' and ${USER_SCHEMAS}`,
  );
  return { extensions: extensions.map(({ name }) => name), schemas };
}

async function restoreSection(
  section: "pre-data" | "post-data",
  { target, schemaDump, list, tablespacesLacking, timeouts, memoryBytes }: Sections,
  { programs, jobs, signal }: LoadDatabaseOptions,
): Promise<void> {
  const what = [`--section=${section}`, "--no-owner", "--no-acl"];
  if (tablespacesLacking.length > 0) what.push("--no-tablespaces");
  if (list !== undefined) what.push(`--use-list=${list}`);
  const database = conninfo(target);
  const args = [...what, "--exit-on-error", `--dbname=${database}`];
  // With jobs it connects once more at its end, with a password that may have run out by then.
  if (section === "post-data" && jobs > 1 && target.passwordCommand === undefined) args.push(`--jobs=${jobs}`);
  const environment = async (options: string | undefined) => ({
    ...childEnvironment(await withPassword(target, { signal })),
    PGOPTIONS: options,
  });
  const run = async (options: string | undefined) => {
    const env = await environment(options);
    return await runProgram(programs.pgRestore, [...args, schemaDump], { signal, env, allowStatus: [1] });
  };
  let options: string | undefined = `${withoutTimeouts(timeouts)} ${indexMemorySetting(memoryBytes, jobs)}`;
  let { status, stderr } = await run(options);
  if (status !== 0 && refusesOptions(stderr)) {
    // pg_restore switches off most timeouts by itself, and the memory is for speed.
    options = undefined;
    ({ status, stderr } = await run(options));
  }
  if (status !== 0 && isTooNewFor(stderr)) {
    const env = await environment(options);
    const part = { args: [...what, schemaDump], database, env };
    ({ status, stderr } = await restoreThroughPsql({ programs, ...part, signal }));
  }
  if (status !== 0) throw restoreFailure(stderr, target);
}

/** The name alone could be taken for a whole connection string. While indexes are built, nothing is said for long. */
function conninfo({ database }: ServerAddress): string {
  return `keepalives_idle=${KEEP_ALIVE_SECONDS} dbname='${database.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

interface Work {
  table: SavedTableSource;
  range: SavedRangeSource;
}

/** @returns how many sessions the server had for it. */
async function loadRows(target: ServerAddress, source: SavedDatabase, options: LoadDatabaseOptions): Promise<number> {
  const { signal, progress } = options;
  const work: Work[] = source.tables
    .flatMap((table) => table.ranges.map((range) => ({ table, range })))
    .toSorted((a, b) => b.range.rows - a.range.rows);
  const connections = await openUpTo(
    options.jobs,
    async (connectBy) => await openLoader(target, { signal, connectBy }),
  );
  try {
    const idle = [...connections];
    await mapConcurrent(
      work,
      connections.length,
      async (item) => {
        const connection = idle.pop();
        if (connection === undefined) throw new TypeError("more loads than connections");
        await loadRange(connection, item, progress);
        idle.push(connection);
      },
      { signal },
    );
    return connections.length;
  } finally {
    await Promise.all(connections.map(async (connection) => await connection.close()));
  }
}

/** Nothing is relied upon before the last commit, so no commit before it need wait for the disk. */
async function openLoader(
  target: ServerAddress,
  { signal, connectBy }: { signal: AbortSignal; connectBy: typeof connect },
): Promise<Connection> {
  const connection = await connectBy(target, { signal });
  await connection.query("set search_path = ''; set synchronous_commit = off");
  return connection;
}

async function loadRange(connection: Connection, { table, range }: Work, progress: Progress): Promise<void> {
  const columns = table.columns.length === 0 ? "" : `(${table.columns.map(quoteIdentifier).join(", ")})`;
  const into = connection.copyFrom(`copy ${qualifiedName(table)} ${columns} from stdin`);
  try {
    await pipeline(counted(range.read(), progress), into);
  } catch (error) {
    connection.destroy();
    throw loadFailure(error, table, range, connection);
  }
  if (into.rowCount === range.rows) return;
  throw new Failure(
    "database/failed",
    `${into.rowCount} rows of table ${shownName(table)} were loaded, ${range.rows} were saved (range ${range.bucket})`,
    { hint: "Is something else writing to the target database, or does it have rules or triggers of its own?" },
  );
}

async function* counted(data: AsyncIterable<Uint8Array>, progress: Progress): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of data) {
    yield chunk;
    progress.advance(chunk.length);
  }
}

function loadFailure(
  error: unknown,
  table: SavedTableSource,
  range: SavedRangeSource,
  connection: Connection,
): unknown {
  // The repository's own failures say more than the COPY that they ended.
  if (isFailure(error)) return error;
  const failure = connection.failure(error);
  if (!isFailure(failure, "database/failed")) return failure;
  const said = serverFailure(error, connection.address);
  return new Failure(
    "database/failed",
    `table ${shownName(table)} could not be loaded (range ${range.bucket}): ${said.message}`,
    {
      hint: said.hint ?? "The server's log says more.",
      cause: error,
    },
  );
}
