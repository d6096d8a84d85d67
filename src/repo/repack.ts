/** Writes chunks into new packs as they are: sealed bytes are copied, and opened only to see that they are whole. */
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure } from "../base/errors.ts";
import { shortId, type PackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import type { PackEntry } from "../format/pack.ts";
import { isDamage, openChunk } from "./chunk.ts";
import { ClaimTable } from "./claim-table.ts";
import type { ChunkIndex, ChunkLocation } from "./index.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";
import { Sealer } from "./sealer.ts";

/** A sealer that writes whatever it is given; `onPack` hears of every pack once it is durable. */
export function openRepacking(
  repository: Repository,
  { onPack, signal }: { onPack: (record: PackRecord) => void; signal: AbortSignal },
): Sealer {
  const { keys, store } = repository;
  const known = { has: () => false };
  // What is sealed as it is needs no claim; what `repair` takes from another place is few.
  return new Sealer({ keys, store, known, claims: new ClaimTable(CLAIMS), signal, onPack });
}

const CLAIMS = 4096;

export interface RepackOptions {
  index: ChunkIndex;
  /** Packs with the entries to be copied, by offset. */
  packs: Iterable<{ id: PackId; entries: readonly PackEntry[] }>;
  sealer: Sealer;
  progress: Progress;
  signal: AbortSignal;
}

/**
 * Copies these chunks. One that is damaged is taken from another copy.
 * @throws Failure `repo/damaged` where no copy is whole: nothing was removed then.
 */
export async function copyChunks(repository: Repository, options: RepackOptions): Promise<void> {
  const { packs, signal } = options;
  await mapConcurrent(packs, LIMITS.packsVerified, async (pack) => await copyPack(repository, pack, options), {
    signal,
  });
}

async function copyPack(
  repository: Repository,
  { id, entries }: { id: PackId; entries: readonly PackEntry[] },
  { index, sealer, progress, signal }: RepackOptions,
): Promise<void> {
  for (const group of joinReads(entries)) {
    const [first, last] = [group[0], group.at(-1)];
    if (first === undefined || last === undefined) continue;
    const length = last.offset + last.length - first.offset;
    const bytes = await readOrNothing(repository, { id, offset: first.offset, length }, signal);
    for (const entry of group) {
      const at = entry.offset - first.offset;
      const sealed = bytes?.subarray(at, at + entry.length);
      if (sealed !== undefined && isWhole(repository, entry, sealed)) await sealer.addSealed(entry, sealed);
      else await copyElsewhere(repository, entry, { index, not: id, sealer, signal });
    }
    progress.advance(length);
  }
}

/** Neighbours are read at once, across small gaps. */
function joinReads(entries: readonly PackEntry[]): PackEntry[][] {
  const groups: PackEntry[][] = [];
  let [start, end] = [0, -Infinity];
  for (const entry of entries) {
    const after = entry.offset + entry.length;
    if (entry.offset - end > LIMITS.readGapBytes || after - start > LIMITS.readMaxBytes) {
      groups.push([]);
      start = entry.offset;
    }
    groups.at(-1)?.push(entry);
    end = after;
  }
  return groups;
}

async function readOrNothing(
  repository: Repository,
  { id, offset, length }: { id: PackId; offset: number; length: number },
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  try {
    return await repository.store.get({ kind: "data", name: id }, { signal, offset, length });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return undefined;
  }
}

function isWhole(
  { keys }: Repository,
  { id, uncompressedLength }: Pick<PackEntry, "id" | "uncompressedLength">,
  sealed: Buffer,
): boolean {
  try {
    openChunk(keys, { id, sealed, uncompressedLength });
    return true;
  } catch (error) {
    if (!isDamage(error)) throw error;
    return false;
  }
}

async function copyElsewhere(
  repository: Repository,
  entry: PackEntry,
  { index, not, sealer, signal }: { index: ChunkIndex; not: PackId; sealer: Sealer; signal: AbortSignal },
): Promise<void> {
  const found = await findWhole(repository, entry, { index, not: new Set([not]), signal });
  if (found === undefined) {
    const what = entry.type === "tree" ? "tree" : "chunk";
    throw new Failure("repo/damaged", `${what} ${shortId(entry.id)} in pack ${shortId(not)} is damaged`, {
      hint: "Nothing was removed. Run 'chatkeep repair packs', with --from where another repository has a copy, and then this again.",
    });
  }
  await sealer.addSealed({ ...entry, uncompressedLength: found.uncompressedLength }, found.sealed);
}

/** A chunk's sealed bytes from any pack but these, opened and compared; undefined where no copy is whole. */
async function findWhole(
  repository: Repository,
  { type, id }: Pick<PackEntry, "id" | "type">,
  { index, not, signal }: { index: ChunkIndex; not: ReadonlySet<PackId>; signal: AbortSignal },
): Promise<{ sealed: Buffer; uncompressedLength: number; location: ChunkLocation } | undefined> {
  for (const location of index.find(type, id)) {
    if (not.has(location.pack)) continue;
    const { pack, offset, length, uncompressedLength } = location;
    const sealed = await readOrNothing(repository, { id: pack, offset, length }, signal);
    if (sealed !== undefined && isWhole(repository, { id, uncompressedLength }, sealed)) {
      return { sealed, uncompressedLength, location };
    }
  }
  return undefined;
}
