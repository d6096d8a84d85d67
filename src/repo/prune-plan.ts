/**
 * What a prune is to do with each pack, as a value: computed from the index alone, before anything is changed.
 *
 * Of each chunk that is needed one copy is kept, in the pack where most of the rest is needed too. Packs without such a
 * copy go; packs that hold some are written anew, the least useful first, until what is not needed is within its limit.
 * Everything is held in typed arrays: about six bytes a chunk beside the index.
 */
import type { PackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { packHeaderBytes } from "../format/pack.ts";
import type { ChunkIndex } from "./index.ts";

/** How much that nobody needs may stay: bytes, or a share of the repository as it will be. */
export type MaxUnused = "unlimited" | { bytes: number } | { percent: number };

export const PACK_ACTION = { keep: 0, remove: 1, repack: 2, gone: 3 } as const;

export interface PrunePlan {
  /** One of {@link PACK_ACTION} for each pack's number. */
  readonly actions: Uint8Array;
  /** True for the row of the one copy that is relied on from now on. */
  readonly isKept: (row: number) => boolean;
  /** Packs that are gone or cut, and hold the only copy of something that is needed. Nothing may be done then. */
  readonly lacking: readonly PackId[];
  readonly kept: number;
  readonly removed: number;
  readonly repacked: number;
  /** Of the chunks that are needed, once each. */
  readonly usedBytes: number;
  /** What is not needed and stays. */
  readonly unusedBytes: number;
  /** What is not needed and goes: whole packs, and parts of those that are written anew. */
  readonly freedBytes: number;
  /** Size of the packs that are written anew, and what is left of them. */
  readonly repackBytes: number;
  readonly copiedBytes: number;
}

export interface PlanOptions {
  /** For the row that stands for a chunk (`ChunkIndex.rowOf`). */
  isUsed: (row: number) => boolean;
  /** Packs in the store. */
  sizes: ReadonlyMap<string, number>;
  maxUnused: MaxUnused;
  /** Packs of no more than so many bytes together are written anew. */
  maxRepackBytes?: number | undefined;
}

export function planPrune(index: ChunkIndex, options: PlanOptions): PrunePlan {
  const packs = measure(index, options);
  const { best, lacking } = chooseCopies(index, packs, options.isUsed);
  const isKept = new Uint8Array(index.size);
  packs.used.fill(0);
  for (const row of best) {
    if (row < 0) continue;
    isKept[row] = 1;
    const pack = index.packOf(row);
    packs.used[pack] = (packs.used[pack] ?? 0) + index.costOf(row);
  }
  const actions = decide(packs, options);
  return { actions, isKept: (row) => isKept[row] === 1, lacking, ...sum(packs, actions) };
}

/** Numbers for each pack, by its number. */
interface Packs {
  readonly count: number;
  /** Of the file. */
  readonly size: Float64Array;
  readonly used: Float64Array;
  readonly chunks: Uint32Array;
  /** 1 data, 2 trees, 3 both. */
  readonly types: Uint8Array;
  /** 1 when the file is there and as long as it must be. */
  readonly isSound: Uint8Array;
  readonly isThere: Uint8Array;
}

function measure(index: ChunkIndex, { isUsed, sizes }: PlanOptions): Packs {
  const count = index.packCount;
  const packs: Packs = {
    count,
    size: new Float64Array(count),
    used: new Float64Array(count),
    chunks: new Uint32Array(count),
    types: new Uint8Array(count),
    isSound: new Uint8Array(count),
    isThere: new Uint8Array(count),
  };
  let pack = 0;
  for (const { id, sizeBytes } of index.packSizes()) {
    const found = sizes.get(id);
    packs.size[pack] = found ?? 0;
    packs.isThere[pack] = found === undefined ? 0 : 1;
    packs.isSound[pack] = found === sizeBytes ? 1 : 0;
    pack += 1;
  }
  for (let row = 0; row < index.size; row += 1) {
    const at = index.packOf(row);
    packs.chunks[at] = (packs.chunks[at] ?? 0) + 1;
    packs.types[at] = (packs.types[at] ?? 0) | (index.isTree(row) ? 2 : 1);
    if (isUsed(index.firstCopy(row))) packs.used[at] = (packs.used[at] ?? 0) + index.costOf(row);
  }
  return packs;
}

/** The row to keep for each chunk that is needed, at the row that stands for it; -1 elsewhere. */
function chooseCopies(
  index: ChunkIndex,
  packs: Packs,
  isUsed: (row: number) => boolean,
): { best: Int32Array; lacking: PackId[] } {
  const rank = rankPacks(index, packs);
  const best = new Int32Array(index.size).fill(-1);
  for (let row = 0; row < index.size; row += 1) {
    const pack = index.packOf(row);
    const first = index.firstCopy(row);
    if (packs.isSound[pack] !== 1 || !isUsed(first)) continue;
    const before = best[first] ?? -1;
    if (before < 0 || (rank[pack] ?? 0) < (rank[index.packOf(before)] ?? 0)) best[first] = row;
  }
  const lacking = new Set<PackId>();
  for (let row = 0; row < index.size; row += 1) {
    const first = index.firstCopy(row);
    if (isUsed(first) && (best[first] ?? -1) < 0) lacking.add(index.packName(index.packOf(row)));
  }
  return { best, lacking: [...lacking] };
}

/** Which pack's copy is to be preferred: one that is needed as a whole, then one of which more is needed. */
function rankPacks(index: ChunkIndex, { count, size, used }: Packs): Uint32Array {
  const share = (pack: number) => (used[pack] ?? 0) / Math.max(1, size[pack] ?? 0);
  const order = Array.from({ length: count }, (_, pack) => pack).sort(
    (a, b) =>
      share(b) - share(a) || (used[b] ?? 0) - (used[a] ?? 0) || (index.packName(a) < index.packName(b) ? -1 : 1),
  );
  const rank = new Uint32Array(count);
  for (const [at, pack] of order.entries()) rank[pack] = at;
  return rank;
}

function decide(packs: Packs, { maxUnused, maxRepackBytes = Infinity }: PlanOptions): Uint8Array {
  const actions = new Uint8Array(packs.count);
  const candidates: number[] = [];
  let usedBytes = 0;
  let unusedBytes = 0;
  for (let pack = 0; pack < packs.count; pack += 1) {
    const used = packs.used[pack] ?? 0;
    if (packs.isThere[pack] !== 1) actions[pack] = PACK_ACTION.gone;
    else if (used === 0) actions[pack] = PACK_ACTION.remove;
    else {
      usedBytes += used;
      unusedBytes += unusedOf(packs, pack);
      candidates.push(pack);
    }
  }
  const usefulness = (pack: number) => (packs.used[pack] ?? 0) / (packs.size[pack] ?? 1);
  candidates.sort((a, b) => usefulness(a) - usefulness(b) || a - b);
  const limit = unusedLimit(maxUnused, usedBytes);
  let room = maxRepackBytes;
  const repack = (pack: number) => {
    if (actions[pack] === PACK_ACTION.repack || (packs.size[pack] ?? 0) > room) return;
    room -= packs.size[pack] ?? 0;
    unusedBytes -= unusedOf(packs, pack);
    actions[pack] = PACK_ACTION.repack;
  };
  for (const pack of candidates) {
    const isMixed = packs.types[pack] === 3;
    if (isMixed || (unusedBytes > limit && unusedOf(packs, pack) > 0)) repack(pack);
  }
  for (const type of [1, 2]) for (const pack of smallOnes(packs, { actions, candidates, type })) repack(pack);
  return actions;
}

/** Small packs of a type, when there are enough of them, the one that this prune will write among them. */
function smallOnes(
  packs: Packs,
  { actions, candidates, type }: { actions: Uint8Array; candidates: readonly number[]; type: number },
): number[] {
  const ofType = candidates.filter((pack) => ((packs.types[pack] ?? 0) & type) !== 0);
  const small = ofType.filter(
    (pack) =>
      actions[pack] === PACK_ACTION.keep &&
      (packs.size[pack] ?? 0) < LIMITS.packSmallBytes &&
      (packs.chunks[pack] ?? 0) < LIMITS.packMaxChunks,
  );
  const rest = ofType.some((pack) => actions[pack] === PACK_ACTION.repack) ? 1 : 0;
  return small.length + rest < LIMITS.packsSmall ? [] : small;
}

/** The pack's own header counts for neither side. */
function unusedOf({ size, used, chunks }: Packs, pack: number): number {
  return (chunks[pack] ?? 0) === 0 ? 0 : Math.max(0, (size[pack] ?? 0) - (used[pack] ?? 0) - PACK_FRAME_BYTES);
}

/** What a pack takes beside its chunks and their lines in the header. */
const PACK_FRAME_BYTES = packHeaderBytes([]);

function unusedLimit(maxUnused: MaxUnused, usedBytes: number): number {
  if (maxUnused === "unlimited") return Infinity;
  if ("bytes" in maxUnused) return maxUnused.bytes;
  return maxUnused.percent >= 100 ? Infinity : (usedBytes * maxUnused.percent) / (100 - maxUnused.percent);
}

type Sums = Omit<PrunePlan, "actions" | "isKept" | "lacking">;

function sum(packs: Packs, actions: Uint8Array): Sums {
  const sums = {
    kept: 0,
    removed: 0,
    repacked: 0,
    usedBytes: 0,
    unusedBytes: 0,
    freedBytes: 0,
    repackBytes: 0,
    copiedBytes: 0,
  };
  for (let pack = 0; pack < packs.count; pack += 1) {
    const [size, used] = [packs.size[pack] ?? 0, packs.used[pack] ?? 0];
    sums.usedBytes += used;
    if (actions[pack] === PACK_ACTION.remove) {
      sums.removed += 1;
      sums.freedBytes += size;
    } else if (actions[pack] === PACK_ACTION.repack) {
      sums.repacked += 1;
      sums.repackBytes += size;
      sums.copiedBytes += used;
      sums.freedBytes += unusedOf(packs, pack);
    } else if (actions[pack] === PACK_ACTION.keep) {
      sums.kept += 1;
      sums.unusedBytes += unusedOf(packs, pack);
    }
  }
  return sums;
}
