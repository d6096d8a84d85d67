/** Hands a point's database to the loader: the schema as a file, the rows as streams, the sequences as SQL. */
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { listSome, plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { rangeFile, SCHEMA_DUMP, SEQUENCES_SQL, tableFolder } from "../point/layout.ts";
import type { TableEntry } from "../point/manifest.ts";
import { parseRanges } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { UnheldKey } from "../postgres/load-foreign-keys.ts";
import { loadDatabase, type SavedTableSource } from "../postgres/load.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import { largeObjectsSource } from "./large-objects.ts";
import type { PointReader } from "./point-reader.ts";
import { refusedFindings } from "./refused.ts";
import type { ChosenRows } from "./row-choice.ts";
import { lackingRows, unheldFindings } from "./unreadable.ts";

export interface LoadOptions {
  programs: ClientPrograms;
  /** A folder for the schema's dump: pg_restore wants a file. It holds no rows. */
  workFolder: string;
  /** Without it, all rows; with those of some tables, sequences stand where they stood and views are not filled. */
  rows?: ChosenRows | undefined;
  /** Entries of the saved schema that are not restored. */
  leaveOut?: ReadonlySet<number> | undefined;
  progress: Progress;
  signal: AbortSignal;
}

export interface LoadedPoint {
  rows: number;
  /** Statements that the server refused, which nothing else depends on. */
  refused: string[];
  /** Foreign keys that do not hold, because the point lacks rows. */
  unheldKeys: UnheldKey[];
  findings: Finding[];
}

/** Loads the point into an empty database, and makes it ready: indexes, constraints, triggers, statistics. */
export async function loadPoint(
  reader: PointReader,
  target: ServerAddress,
  options: LoadOptions,
): Promise<LoadedPoint> {
  const manifest = await reader.manifest();
  const schemaDump = join(options.workFolder, SCHEMA_DUMP);
  await writeFile(schemaDump, await reader.readBytes(`database/${SCHEMA_DUMP}`));
  const chosen = options.rows?.tables ?? manifest.tables;
  const isWhole = options.rows?.isWhole ?? true;
  const tables = await tableSources(reader, chosen);
  const objects = isWhole ? (manifest.largeObjects?.bytes ?? 0) : 0;
  options.progress.stage("loading the database", {
    total: chosen.reduce((sum, table) => sum + table.bytes, objects),
    unit: "bytes",
  });
  const { refused, tablespacesLacking, unheldKeys } = await loadDatabase(
    target,
    {
      schemaDump,
      sequencesSql: chosen.length === 0 ? "" : await reader.readText(`database/${SEQUENCES_SQL}`),
      filledViews: isWhole ? manifest.filledViews : [],
      tables,
      largeObjects: isWhole ? await largeObjectsSource(reader, manifest) : undefined,
      leaveOut: options.leaveOut,
      lacksRows: lackingRows(manifest).length > 0,
    },
    { ...options, jobs: Math.max(2, Math.min(availableParallelism(), LIMITS.loadJobs)) },
  );
  const findings = refusedFindings(refused, {
    kind: "left-out",
    what: "that make event triggers, publications, subscriptions or security labels",
    hint: "The database is whole without them. Let an administrator run them: database/schema.sql of the restore point has them.",
  });
  if (tablespacesLacking.length > 0) findings.push(tablespacesFinding(tablespacesLacking));
  findings.push(...unheldFindings(unheldKeys));
  const rows = chosen.reduce((sum, table) => sum + table.rows, 0);
  return { rows, refused: refused.map(({ statement }) => statement), unheldKeys, findings };
}

function tablespacesFinding(names: readonly string[]): Finding {
  return {
    kind: "tablespaces-lacking",
    level: "warning",
    message: `the server lacks ${plural(names.length, "tablespace")}, or they may not be used: ${listSome(names)}`,
    hint: "Everything lies in the database's own tablespace; ALTER TABLE … SET TABLESPACE moves a table.",
  };
}

/** The rows of every table, to be read when they are wanted. @throws Failure `point/invalid` when a range is lacking. */
export async function tableSources(reader: PointReader, tables: readonly TableEntry[]): Promise<SavedTableSource[]> {
  const sources: SavedTableSource[] = [];
  for (const table of tables) sources.push(await tableSource(reader, table));
  return sources;
}

async function tableSource(reader: PointReader, table: TableEntry): Promise<SavedTableSource> {
  const folder = tableFolder(table.schema, table.name);
  const listed = parseRanges(await reader.readText(`ranges/database/${folder}.json`));
  const nodes = new Map((await reader.folder(`database/data/${folder}`))?.map((node) => [node.name, node]));
  const ranges = listed.map((range) => {
    const node = nodes.get(rangeFile(range.bucket));
    if (node === undefined) {
      throw new Failure(
        "point/invalid",
        `range ${range.bucket} of table ${table.schema}.${table.name} is not in the restore point`,
        {
          hint: "Use another restore point, and check this one with 'chatkeep verify --read-data'.",
        },
      );
    }
    return { bucket: range.bucket, rows: range.rows, bytes: range.bytes, read: () => reader.readNode(node) };
  });
  return { schema: table.schema, name: table.name, columns: table.columns, ranges };
}
