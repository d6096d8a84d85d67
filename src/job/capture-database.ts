/**
 * Saves the database as it was at one exported snapshot: the schema by pg_dump, every range of every table by COPY
 * over several connections, sequences. A table that is truncated or rewritten meanwhile makes the whole look start
 * over, because a snapshot does not protect against that.
 */
import { EarlyWork, mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import type { Manifest, SequenceEntry, TableEntry } from "../point/manifest.ts";
import type { RangeEntry } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { readTables, type TableFacts } from "../postgres/catalogue.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import { planTable, type RangePlan, type TablePlan } from "../postgres/range-plan.ts";
import { dumpSchema, type SchemaDump } from "../postgres/schema-dump.ts";
import { readSequences } from "../postgres/sequences.ts";
import { type DatabaseSnapshot, openSnapshot, waitUntilDurable } from "../postgres/snapshot.ts";
import { readFilledViews, type ViewName } from "../postgres/views.ts";
import type { RangeResult } from "./sealing-tasks.ts";

export interface SavedRange extends RangeEntry {
  chunks: ChunkId[];
}

export interface SavedTable {
  entry: TableEntry;
  ranges: SavedRange[];
}

export interface DatabaseCapture {
  tables: SavedTable[];
  sequences: SequenceEntry[];
  filledViews: ViewName[];
  schema: SchemaDump;
  lsn: string;
  findings: Finding[];
}

export interface DatabasePorts {
  address: ServerAddress;
  programs: ClientPrograms;
  readRange(snapshotId: string, table: TablePlan, range: RangePlan): Promise<RangeResult>;
  /** How the parent cut its tables, so that ranges stay where they are. */
  parent: Manifest | undefined;
  /** What else is to be read in the same snapshot. */
  alsoIn(snapshot: DatabaseSnapshot): Promise<void>;
  progress: Progress;
  signal: AbortSignal;
}

const ATTEMPTS = 3;

/** @throws Failure `database/changed` when tables were rewritten during each of three attempts. */
export async function captureDatabase(ports: DatabasePorts): Promise<DatabaseCapture> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await captureOnce(ports);
    } catch (error) {
      if (!isFailure(error, "database/changed")) throw error;
      if (attempt >= ATTEMPTS) {
        throw new Failure("database/changed", `${error.message}, in each of ${ATTEMPTS} attempts`, {
          hint: "No restore point was made. Is a migration running? Run the backup again when it has ended.",
          cause: error,
        });
      }
      ports.progress.say(`${error.message}; starting over with a new snapshot`);
    }
  }
}

async function captureOnce(ports: DatabasePorts): Promise<DatabaseCapture> {
  const { address, signal, progress } = ports;
  await using snapshot = await openSnapshot(address, { signal });
  // The schema is dumped beside everything else: all see the snapshot, and none waits for another.
  const { id: snapshotId } = snapshot;
  await using schema = new EarlyWork(
    async (stop) => await dumpSchema(address, ports.programs, { snapshotId, signal: stop }),
    ports,
  );
  const { tables, problems } = await readTables(snapshot.connection);
  const plans: { facts: TableFacts; plan: TablePlan }[] = [];
  for (const facts of tables) {
    const before = ports.parent?.tables.find((table) => table.schema === facts.schema && table.name === facts.name);
    plans.push({ facts, plan: await planTable(snapshot.connection, facts, before) });
  }
  const total = tables.reduce((sum, table) => sum + table.bytes, 0);
  progress.stage("reading the database", { total, unit: "bytes" });
  const [dump, saved] = await Promise.all([
    schema.result,
    readRanges(ports, snapshotId, plans),
    ports.alsoIn(snapshot),
  ]);
  const sequences = await readSequences(snapshot.connection);
  const filledViews = await readFilledViews(snapshot.connection);
  await waitUntilDurable(snapshot.connection, snapshot.lsn, { signal });
  return { tables: saved, sequences, filledViews, schema: dump, lsn: snapshot.lsn, findings: [...problems] };
}

async function readRanges(
  ports: DatabasePorts,
  snapshotId: string,
  plans: readonly { facts: TableFacts; plan: TablePlan }[],
): Promise<SavedTable[]> {
  const saved = plans.map(({ facts, plan }): SavedTable => ({ entry: tableEntry(facts, plan), ranges: [] }));
  // The largest first, so that no long range is begun when all else is done.
  const work = plans
    .flatMap(({ facts, plan }, at) =>
      plan.ranges.map((range) => ({ plan, range, at, size: facts.bytes / plan.ranges.length })),
    )
    .toSorted((a, b) => b.size - a.size);
  const ahead = LIMITS.sealingWorkers * LIMITS.tasksAhead;
  await mapConcurrent(
    work,
    ahead,
    async ({ plan, range, at }) => {
      const result = await ports.readRange(snapshotId, plan, range);
      ports.progress.advance(result.bytes);
      if (result.rows > 0) saved[at]?.ranges.push({ bucket: range.bucket, ...result });
    },
    ports,
  );
  for (const { entry, ranges } of saved) {
    ranges.sort((a, b) => compareBuckets(a.bucket, b.bucket));
    entry.ranges = ranges.length;
    entry.rows = ranges.reduce((sum, range) => sum + range.rows, 0);
    entry.bytes = ranges.reduce((sum, range) => sum + range.bytes, 0);
  }
  return saved;
}

/** Buckets are decimal numbers of any size, or the one word for a whole table. */
function compareBuckets(a: string, b: string): number {
  if (!/^-?\d+$/.test(a) || !/^-?\d+$/.test(b)) return a < b ? -1 : 1;
  const difference = BigInt(a) - BigInt(b);
  if (difference === 0n) return 0;
  return difference < 0n ? -1 : 1;
}

function tableEntry(facts: TableFacts, plan: TablePlan): TableEntry {
  const key = facts.key;
  return {
    schema: facts.schema,
    name: facts.name,
    key: {
      kind: key.kind,
      columns:
        key.kind === "integer" ? [key.column] : key.kind === "columns" ? key.columns.map((column) => column.name) : [],
    },
    columns: [...plan.columns],
    k: plan.k,
    j: plan.j,
    rows: 0,
    bytes: 0,
    ranges: 0,
  };
}
