/** Replaces all index files by new ones, so that there is a whole index at every moment. */
import { mapConcurrent } from "../base/concurrent.ts";
import type { FileId, PackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { encodeIndex } from "../format/index-file.ts";
import type { ExclusiveLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";

interface RewriteOptions {
  /** Every pack that is to be found from now on. */
  records: Iterable<PackRecord>;
  /** The index files that there were. */
  old: readonly FileId[];
  /**
   * Damaged packs, which go while the old index files still name them. One that no index names would be taken for what an
   * interrupted run left: the next one would take it up, and what is damaged in it for stored.
   */
  damaged?: readonly PackId[];
  lock: ExclusiveLock;
  signal: AbortSignal;
}

/**
 * First the new files, then, when all are durable, the old ones go. All packs of `records` must be durable; a whole pack
 * that is in none of them may be removed afterwards, and not before.
 */
export async function rewriteIndex(repository: Repository, options: RewriteOptions): Promise<void> {
  const { records, old, damaged = [], lock, signal } = options;
  let pending: PackRecord[] = [];
  let chunks = 0;
  const write = async () => {
    if (pending.length > 0) await repository.putUnpacked("index", encodeIndex(pending), { signal });
    pending = [];
    chunks = 0;
  };
  for (const record of records) {
    if (chunks > 0 && chunks + record.entries.length > LIMITS.indexFileChunks) await write();
    pending.push(record);
    chunks += record.entries.length;
  }
  await write();
  await lock.confirm({ signal });
  await removeFiles(repository, "data", { names: damaged, lock, signal });
  await removeFiles(repository, "index", { names: old, lock, signal });
}

/** Removes files, a few at a time, for as long as nobody can have taken the lock away. */
export async function removeFiles(
  repository: Repository,
  kind: "index" | "data",
  { names, lock, signal }: { names: Iterable<string>; lock: ExclusiveLock; signal: AbortSignal },
): Promise<void> {
  const { store } = repository;
  const remove = async (name: string) => {
    await lock.confirmOld({ signal });
    await store.remove({ kind, name }, { signal });
  };
  await mapConcurrent(names, LIMITS.removals, remove, { signal });
}
