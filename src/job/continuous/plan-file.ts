/**
 * Which chunks of a file stay those of an earlier base when blocks of it changed, and what the others are made of. Pure.
 *
 * The rules are pg_combinebackup's: a block that came is what came. One that did not is that of the earlier file, if it lies before
 * the number of blocks that the server says are kept, and zeros behind that or where the earlier file ends sooner. The file is as
 * long as the kept blocks, and longer where blocks behind them came.
 */
import type { IncrementalHeader } from "../../postgres/incremental-file.ts";

export interface FileLengths {
  /** Of the earlier base's file. */
  readonly earlierBytes: number;
  readonly blockBytes: number;
  /** A whole number of blocks. */
  readonly chunkBytes: number;
}

/** A chunk that is not as it was. */
export interface MadeChunk {
  /** Its number in the file. */
  readonly at: number;
  readonly length: number;
  /** So many of its first bytes are the earlier chunk's, but for blocks that came; 0 where nothing of that is needed. */
  readonly earlierBytes: number;
  /** Numbers of the blocks in it that came, counted from its beginning. */
  readonly blocks: readonly number[];
}

export interface FilePlan {
  readonly sizeBytes: number;
  readonly chunks: number;
  /** Ascending. All others are the earlier file's at the same place. */
  readonly made: readonly MadeChunk[];
}

export function planFile(
  { blocks, keptBlocks }: IncrementalHeader,
  { earlierBytes, blockBytes, chunkBytes }: FileLengths,
): FilePlan {
  const allBlocks = Math.max(keptBlocks, (blocks.at(-1) ?? -1) + 1);
  const perChunk = chunkBytes / blockBytes;
  const chunks = Math.ceil(allBlocks / perChunk);
  const earlierBlocks = Math.floor(earlierBytes / blockBytes);
  const made: MadeChunk[] = [];
  for (let at = 0, next = 0; at < chunks; at += 1) {
    const first = at * perChunk;
    const count = Math.min(perChunk, allBlocks - first);
    const came: number[] = [];
    for (let block = blocks[next]; block !== undefined && block < first + count; block = blocks[next]) {
      came.push(block - first);
      next += 1;
    }
    const length = count * blockBytes;
    const wasBytes = Math.min(earlierBytes - at * chunkBytes, chunkBytes);
    if (came.length === 0 && first + count <= keptBlocks && wasBytes === length) continue;
    const kept = Math.max(0, Math.min(count, keptBlocks - first, earlierBlocks - first));
    const isNeeded = came.filter((block) => block < kept).length < kept;
    made.push({ at, length, earlierBytes: isNeeded ? kept * blockBytes : 0, blocks: came });
  }
  return { sizeBytes: allBlocks * blockBytes, chunks, made };
}
