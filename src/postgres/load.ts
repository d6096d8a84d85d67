/**
 * Loads a saved database into an empty one: types and tables, rows over several connections, sequences, then indexes,
 * constraints and triggers. Triggers come after the rows, so rows keep the numbers that they had; nothing of the
 * target is overwritten, and the first error ends it all.
 */
import { writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { runProgram } from "../system/process.ts";
import { childEnvironment, type ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { loadLargeObjects, type SavedLargeObjects } from "./load-large-objects.ts";
import { qualifiedName, quoteIdentifier, shownName } from "./names.ts";
import type { ClientPrograms } from "./programs.ts";
import { printedHint } from "./schema-dump.ts";
import { serverFailure } from "./server-errors.ts";
import { refreshViews, type ViewName } from "./views.ts";

export interface SavedRangeSource {
  bucket: string;
  rows: number;
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
): Promise<void> {
  const list = await listWithoutInstalled(target, source, options);
  await restoreSection("pre-data", target, source, list, options);
  await loadRows(target, source, options);
  if (source.largeObjects !== undefined) await loadLargeObjects(target, source.largeObjects, options);
  await using connection = await connect(target, options);
  if (source.sequencesSql.trim() !== "") await connection.query(source.sequencesSql);
  options.progress.stage("building indexes, constraints and triggers");
  await restoreSection("post-data", target, source, list, options);
  await refreshViews(connection, source.filledViews);
  options.progress.stage("gathering statistics");
  // Its commit also waits for the disk, and with it for the rows' commits before it.
  await connection.query("analyze");
}

/**
 * Extensions that the target has already are left alone: to comment on one is its owner's right, and an
 * administrator may have made it for a role that may not. Undefined: nothing is to be left out.
 */
async function listWithoutInstalled(
  target: ServerAddress,
  source: SavedDatabase,
  options: LoadDatabaseOptions,
): Promise<string | undefined> {
  await using connection = await connect(target, options);
  const rows = await connection.query<{ name: string }>("select extname as name from pg_catalog.pg_extension");
  const { stdout } = await runProgram(options.programs.pgRestore, ["--list", source.schemaDump], options);
  const lines = stdout.toString("utf8").split("\n");
  const kept = lines.filter((line) => !rows.some(({ name }) => isOfExtension(line, name)));
  if (kept.length === lines.length) return undefined;
  const path = `${source.schemaDump}.list`;
  await writeFile(path, kept.join("\n"), { mode: 0o600 });
  return path;
}

/** `2; 3079 16385 EXTENSION - pgcrypto ` and `3456; 0 0 COMMENT - EXTENSION pgcrypto `. */
function isOfExtension(line: string, name: string): boolean {
  const entry = /^\d+; \d+ \d+ (?:EXTENSION - |COMMENT - EXTENSION )(.*?) ?$/.exec(line)?.[1];
  return entry === name || entry === quoteIdentifier(name);
}

async function restoreSection(
  section: "pre-data" | "post-data",
  target: ServerAddress,
  source: SavedDatabase,
  list: string | undefined,
  { programs, jobs, signal }: LoadDatabaseOptions,
): Promise<void> {
  const args = [`--section=${section}`, "--exit-on-error", "--no-owner", "--no-acl", `--dbname=${conninfo(target)}`];
  if (list !== undefined) args.push(`--use-list=${list}`);
  if (section === "post-data" && jobs > 1) args.push(`--jobs=${jobs}`);
  const env = { ...childEnvironment(target), PGOPTIONS: "-c statement_timeout=0 -c maintenance_work_mem=256MB" };
  const { status, stderr } = await runProgram(programs.pgRestore, [...args, source.schemaDump], {
    signal,
    env,
    allowStatus: [1],
  });
  if (status !== 0) throw restoreFailure(stderr, target);
}

/** The name alone could be taken for a whole connection string. */
function conninfo({ database }: ServerAddress): string {
  return `dbname='${database.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function unsuitable(message: string, hint: string): Failure {
  return new Failure("target/unsuitable", message, { hint });
}

function restoreFailure(printed: string, target: ServerAddress): Failure {
  const lacking =
    /extension "([^"]+)" is not available|could not open extension control file ".*\/([^/"]+)\.control"/.exec(printed);
  if (lacking !== null) {
    return unsuitable(
      `the target server lacks the extension '${lacking[1] ?? lacking[2]}'`,
      "Install the package that brings it (pgvector for 'vector', postgresql-contrib for most others), then try again.",
    );
  }
  const forbidden = /permission denied to create extension "([^"]+)"/.exec(printed)?.[1];
  if (forbidden !== undefined) {
    return unsuitable(
      `'${target.user}' may not create the extension '${forbidden}'`,
      `Let an administrator run this in the database '${target.database}', then try again: CREATE EXTENSION ${quoteIdentifier(forbidden)};`,
    );
  }
  if (/permission denied for schema/.test(printed)) {
    return unsuitable(
      `'${target.user}' may not create tables in the database '${target.database}'`,
      `Make it the owner: ALTER DATABASE ${quoteIdentifier(target.database)} OWNER TO ${quoteIdentifier(target.user)}; or GRANT CREATE ON SCHEMA public TO ${quoteIdentifier(target.user)};`,
    );
  }
  const role = /role "([^"]+)" does not exist/.exec(printed)?.[1];
  if (role !== undefined) {
    return unsuitable(
      `the role '${role}', which the schema names, does not exist on the target server`,
      `Let an administrator run: CREATE ROLE ${quoteIdentifier(role)};`,
    );
  }
  const parameter = /unrecognized configuration parameter "([^"]+)"/.exec(printed)?.[1];
  if (parameter !== undefined) {
    return unsuitable(
      `pg_restore sets '${parameter}', which the target server does not know`,
      "Install the client programs of the target server's own major version.",
    );
  }
  return new Failure("database/failed", "the schema could not be restored", { hint: printedHint(printed) });
}

interface Work {
  table: SavedTableSource;
  range: SavedRangeSource;
}

async function loadRows(target: ServerAddress, source: SavedDatabase, options: LoadDatabaseOptions): Promise<void> {
  const { signal, progress } = options;
  const work: Work[] = source.tables
    .flatMap((table) => table.ranges.map((range) => ({ table, range })))
    .toSorted((a, b) => b.range.rows - a.range.rows);
  const connections: Connection[] = [];
  try {
    const count = Math.min(Math.max(1, options.jobs), work.length);
    for (let i = 0; i < count; i += 1) connections.push(await openLoader(target, signal));
    const idle = [...connections];
    await mapConcurrent(
      work,
      Math.max(1, count),
      async (item) => {
        const connection = idle.pop();
        if (connection === undefined) throw new TypeError("more loads than connections");
        await loadRange(connection, item, progress);
        idle.push(connection);
      },
      { signal },
    );
  } finally {
    await Promise.all(connections.map(async (connection) => await connection.close()));
  }
}

/** Nothing is relied upon before the last commit, so no commit before it need wait for the disk. */
async function openLoader(target: ServerAddress, signal: AbortSignal): Promise<Connection> {
  const connection = await connect(target, { signal });
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
