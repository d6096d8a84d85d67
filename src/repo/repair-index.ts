/**
 * Makes the index anew from what the packs themselves say. Nothing but index files is written or removed: a pack that
 * cannot be read stays where it is, and what an index says of a pack that was cut stays known, because it tells which
 * of its chunks are left.
 */
import type { PackId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { ChunkIndex } from "./index.ts";
import { readIndexFiles, recoverPacks, type DamagedFile } from "./load-index.ts";
import type { ExclusiveLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";
import { rewriteIndex } from "./rewrite-index.ts";

export interface RepairIndexOptions {
  /** Also those that are indexed as they should be. */
  readAllPacks: boolean;
  lock: ExclusiveLock;
  progress: Progress;
  signal: AbortSignal;
}

export interface RepairIndexResult {
  readonly isChanged: boolean;
  readonly packs: number;
  /** Packs whose headers were read and gave other entries than the index had. */
  readonly found: number;
  /** Packs that the index named and that are not there. */
  readonly gone: readonly PackId[];
  /** Index files that could not be read, and were replaced. */
  readonly damagedIndexes: readonly DamagedFile[];
  /** Packs whose header cannot be read. */
  readonly unusable: readonly DamagedFile[];
}

/** Needs every chunk's place once in memory, as reading the repository does. */
export async function repairIndex(repository: Repository, options: RepairIndexOptions): Promise<RepairIndexResult> {
  const { readAllPacks, lock, progress, signal } = options;
  progress.stage("reading the index");
  const { index, files, damaged } = await readIndexFiles(repository, { signal });
  const sizes = new Map<string, number>();
  for await (const { name, sizeBytes } of repository.store.list("data", { signal })) sizes.set(name, sizeBytes);
  const gone: PackId[] = [];
  const sound = new Set<string>();
  for (const { id, sizeBytes } of index.packSizes()) {
    const found = sizes.get(id);
    if (found === undefined) gone.push(id);
    else if (found === sizeBytes && !readAllPacks) sound.add(id);
  }
  const listed = [...sizes].map(([name, sizeBytes]) => ({ name, sizeBytes })).filter(({ name }) => !sound.has(name));
  progress.stage("reading the headers of packs");
  const { records, unusable } = await recoverPacks(repository, new ChunkIndex(), { signal, listed });
  const read = new Map(records.map((record) => [record.id, record]));
  let found = 0;
  const result: PackRecord[] = [];
  for (const record of index.packs()) {
    if (!sizes.has(record.id)) continue;
    const better = read.get(record.id);
    read.delete(record.id);
    if (better !== undefined && !isSame(better, record)) found += 1;
    result.push(better ?? record);
  }
  found += read.size;
  result.push(...read.values());
  const isChanged = found > 0 || gone.length > 0 || damaged.length > 0;
  if (isChanged) await rewriteIndex(repository, { records: result, old: files, lock, signal });
  return { isChanged, packs: result.length, found, gone, damagedIndexes: damaged, unusable };
}

function isSame(a: PackRecord, b: PackRecord): boolean {
  return JSON.stringify(a.entries.map(Object.values)) === JSON.stringify(b.entries.map(Object.values));
}
