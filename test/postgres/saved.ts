/** What the engine saves of a database, kept in memory: the shortest way from a server to a server. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables, type TableFacts } from "../../src/postgres/catalogue.ts";
import { LARGE_OBJECTS, type LargeObjectsPlan, planLargeObjects } from "../../src/postgres/large-objects.ts";
import type { SavedLargeObjects } from "../../src/postgres/load-large-objects.ts";
import type { SavedDatabase } from "../../src/postgres/load.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { planTable, type TablePlan } from "../../src/postgres/range-plan.ts";
import { openRangeReader } from "../../src/postgres/range-reader.ts";
import { dumpSchema, type SchemaDump } from "../../src/postgres/schema-dump.ts";
import { formatSetvals, readSequences, type SequenceState } from "../../src/postgres/sequences.ts";
import { type DatabaseSnapshot, openSnapshot } from "../../src/postgres/snapshot.ts";
import { readFilledViews, type ViewName } from "../../src/postgres/views.ts";
import { readTimeouts } from "../../src/postgres/timeouts.ts";

export interface SavedRange {
  bucket: string;
  rows: number;
  sha256: string;
  chunks: Buffer[];
}

export interface SavedTable {
  facts: TableFacts;
  plan: TablePlan;
  ranges: SavedRange[];
}

export interface Saved {
  tables: Map<string, SavedTable>;
  schema: SchemaDump;
  sequences: SequenceState[];
  filledViews: ViewName[];
}

export interface SaveOptions {
  /** How each table was cut before, by `schema.name`. */
  earlier?: ReadonlyMap<string, { k: number | null; j: number | null }>;
  /** Runs after the snapshot was taken and before anything is read. */
  meanwhile?: (snapshot: DatabaseSnapshot) => Promise<void>;
  signal?: AbortSignal;
}

export async function saveDatabase(address: ServerAddress, options: SaveOptions = {}): Promise<Saved> {
  const signal = options.signal ?? new AbortController().signal;
  await using snapshot = await openSnapshot(address, { signal });
  await options.meanwhile?.(snapshot);
  const { tables } = await readTables(snapshot.connection);
  await using reader = await openRangeReader(address, { signal });
  const saved = new Map<string, SavedTable>();
  for (const facts of tables) {
    const plan = await planTable(snapshot.connection, facts, options.earlier?.get(`${facts.schema}.${facts.name}`));
    const ranges: SavedRange[] = [];
    for (const range of plan.ranges) {
      const chunks: Buffer[] = [];
      const digest = await reader.readRange(snapshot.id, plan, range, async (chunk) => {
        chunks.push(Buffer.from(chunk));
      });
      ranges.push({ bucket: range.bucket, rows: digest.rows, sha256: digest.sha256, chunks });
    }
    saved.set(`${facts.schema}.${facts.name}`, { facts, plan, ranges });
  }
  const programs = await findPrograms(15, { signal });
  // As a backup does: where a timeout ends pg_dump's own session, its words may be lost with the line.
  const timeouts = await readTimeouts(snapshot.connection);
  const schema = await dumpSchema(address, programs, { snapshotId: snapshot.id, timeouts, signal });
  return {
    tables: saved,
    schema,
    sequences: await readSequences(snapshot.connection),
    filledViews: await readFilledViews(snapshot.connection),
  };
}

/** As the loader takes it; `schemaDump` is a path that may be written. */
export async function toSource(saved: Saved, schemaDump: string): Promise<SavedDatabase> {
  await writeFile(schemaDump, saved.schema.custom);
  return {
    schemaDump,
    sequencesSql: formatSetvals(saved.sequences),
    filledViews: saved.filledViews,
    tables: [...saved.tables.values()].map(({ plan, ranges }) => ({
      schema: plan.schema,
      name: plan.name,
      columns: plan.columns,
      ranges: ranges.map(({ bucket, rows, chunks }) => ({ bucket, rows, read: () => fromArray(chunks) })),
    })),
  };
}

export interface SavedObjects {
  plan: LargeObjectsPlan;
  ranges: SavedRange[];
}

/** The large objects, as {@link saveDatabase} saves rows. */
export async function saveObjects(
  address: ServerAddress,
  {
    earlier,
    meanwhile,
    signal = new AbortController().signal,
  }: Pick<SaveOptions, "meanwhile" | "signal"> & { earlier?: { k: number | null } | undefined } = {},
): Promise<SavedObjects> {
  await using snapshot = await openSnapshot(address, { signal });
  const plan = await planLargeObjects(snapshot.connection, earlier);
  await meanwhile?.(snapshot);
  await using reader = await openRangeReader(address, { signal });
  const ranges: SavedRange[] = [];
  for (const range of plan.ranges) {
    const chunks: Buffer[] = [];
    const digest = await reader.readRange(snapshot.id, LARGE_OBJECTS, range, async (chunk) => {
      chunks.push(Buffer.from(chunk));
    });
    ranges.push({ bucket: range.bucket, ...digest, chunks });
  }
  return { plan, ranges };
}

/** As the loader takes them: in pieces that end anywhere, as a network's do. */
export function toObjects({ plan, ranges }: SavedObjects): SavedLargeObjects {
  return {
    commentsSql: plan.commentsSql,
    ranges: ranges.map(({ bucket, rows, chunks }) => ({
      bucket,
      rows,
      read: async function* () {
        for (const chunk of chunks)
          for (let at = 0; at < chunk.length; at += 50_001) yield chunk.subarray(at, at + 50_001);
      },
    })),
  };
}

async function* fromArray(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void, void> {
  yield* chunks;
}

/** Every range's rows, bytes and chunks, for comparing two of them. */
export function digestsOf(saved: Saved): Record<string, unknown> {
  const entries = [...saved.tables].map(([name, { plan, ranges }]) => [
    name,
    {
      k: plan.k,
      columns: plan.columns,
      ranges: ranges.map(({ bucket, rows, sha256, chunks }) => ({ bucket, rows, sha256, chunks: chunks.map(idOf) })),
    },
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

export function idOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** How the tables were cut, for the next one. */
export function cutsOf(saved: Saved): Map<string, { k: number | null; j: number | null }> {
  return new Map([...saved.tables].map(([name, { plan }]) => [name, { k: plan.k, j: plan.j }]));
}
