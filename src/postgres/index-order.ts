/** How indexes are built: those of the largest tables first, and with how much memory. */
import { writeFile } from "node:fs/promises";
import { LIMITS } from "../base/limits.ts";
import { type Archive, encodeArchive } from "./archive.ts";
import { addData } from "./archive-data.ts";
import { hasTable } from "./archive-list.ts";
import type { Connection } from "./connect.ts";
import type { SavedDatabase, SavedTableSource } from "./load.ts";

/**
 * Bytes that all indexes which are built at once may use together. What a server keeps for its cache is commonly a quarter
 * of its memory, so as much again can be had for a while. Most servers of Chatwoot have the default of 128 MB, whatever
 * their memory.
 */
export async function readIndexMemory(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ bytes: string }>(
    "select pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers'))::text as bytes",
  );
  return Math.max(LIMITS.indexMemoryBytes, Number(row?.bytes ?? 0));
}

/** Each one's share, as a setting for the command line of a session. */
export function indexMemorySetting(memoryBytes: number, jobs: number): string {
  const share = Math.min(LIMITS.indexMemoryMaxBytes, Math.max(LIMITS.indexMemoryMinBytes, memoryBytes / jobs));
  return `-c maintenance_work_mem=${Math.floor(share / 1024)}kB`;
}

function sizeOf({ ranges }: SavedTableSource): number {
  return ranges.reduce((sum, range) => sum + (range.bytes ?? range.rows), 1);
}

/**
 * pg_restore begins with the indexes of the largest tables, so that none is left over in the end, where it knows which those
 * are. It takes a table's size from how far apart rows lie in an archive (`_PrepParallelRestore` of pg_backup_custom.c): so
 * the schema is written again with such places, though there are no rows in it, and none are read.
 * @returns the path of that archive.
 */
export async function weigh(archive: Archive, { schemaDump, tables }: SavedDatabase): Promise<string> {
  // Nothing tells the size of the last one, so that is the smallest.
  const largestFirst = tables.toSorted((a, b) => sizeOf(b) - sizeOf(a));
  const { archive: whole, data } = addData({
    schema: archive,
    // A name that is not found, in another encoding, costs its table the turn and nothing else.
    tables: largestFirst.filter((table) => hasTable(archive, table)),
    sequences: [],
    filledViews: [],
  });
  const offsets = new Map<number, bigint>();
  let at = 1n;
  for (const { entry, table } of data) {
    offsets.set(entry.id, at);
    at += BigInt(sizeOf(table));
  }
  const path = `${schemaDump}.weighed`;
  const form = { format: "custom", compression: "gzip", madeAt: "1970-01-01T00:00:00Z", offsets } as const;
  await writeFile(path, encodeArchive(whole, form), { mode: 0o600 });
  return path;
}
