/**
 * A relation's file as an incremental base has it, under the name `INCREMENTAL.<name>`: a header that says which blocks come, and
 * the blocks. Whoever has the file of an earlier base puts the two together.
 *
 *     4 bytes    0xd3ae1f0d
 *     4 bytes    the number of blocks that come
 *     4 bytes    the number of blocks that the file has at least; what does not come of them is as it was. Before 17.8, and in
 *                early 18, of the relation from this file on: more than a file can have, where VACUUM made the relation shorter
 *     4 bytes    … for each block its number in the file, ascending
 *                zeros up to a whole block, where any come
 *                the blocks
 *
 * Numbers are little-endian, as on every machine that Chatwoot's servers run on; elsewhere the first one is not what it should be.
 *
 * Source: PostgreSQL 17, `basebackup_incremental.h` and what pg_combinebackup makes of such files; the release notes of 17.8,
 * "truncation block length in excess of segment size".
 */
import { Failure } from "../base/errors.ts";

/** How a server cuts what relations hold. */
export interface RelationCut {
  /** Bytes of a block: its `block_size`. */
  readonly blockBytes: number;
  /** Blocks of a file at most, behind which the relation goes on in the next one: its `segment_size`. */
  readonly segmentBlocks: number;
}

/** What the header says. */
export interface IncrementalHeader {
  /** Numbers of the blocks that come, ascending. */
  readonly blocks: Uint32Array;
  /**
   * Blocks before this one that do not come are those of the earlier file; or zeros, where that is shorter. No more than a file can
   * have.
   */
  readonly keptBlocks: number;
}

const MAGIC = 0xd3ae1f0d;
const NUMBER_BYTES = 4;
const FIXED_BYTES = 3 * NUMBER_BYTES;

const INCREMENTAL = /^((?:base\/|pg_tblspc\/)(?:.+\/)|global\/)INCREMENTAL\.([^/]+)$/;

/** The path of the file that an incremental one belongs to; undefined for every other. Elsewhere such a name is somebody's own. */
export function pathOfWhole(path: string): string | undefined {
  const [, folder, name] = INCREMENTAL.exec(path) ?? [];
  return folder === undefined || name === undefined ? undefined : `${folder}${name}`;
}

/**
 * True for a relation's map of which pages everybody sees all of. Whoever changes a row takes its page out of the map by the record of the
 * row, which does not name the map's page: so the server does not note that this changed, and a page of the map that does not come may
 * say too much. Zeros are right for it: they promise nothing, and the next VACUUM makes the map anew.
 *
 * Source: PostgreSQL's `visibilitymap.c`: clearing a bit is not logged by itself, but done anew when the row's record is replayed.
 */
export function isVisibilityMap(path: string): boolean {
  return /\/\d+_vm(?:\.\d+)?$/.test(path);
}

export interface IncrementalFile extends IncrementalHeader {
  /** The next block that comes, which may be gone when another is asked for. To be called once for each block. @throws Failure `database/failed` where fewer come. */
  next(): Promise<Buffer>;
  /** To be called when all blocks were taken. @throws Failure `database/failed` where more came than was said. */
  end(): Promise<void>;
}

/** @throws Failure `database/failed` for what is no such file. */
export async function readIncrementalFile(
  { path, bytes }: { readonly path: string; readonly bytes: AsyncIterable<Buffer> },
  { blockBytes, segmentBlocks }: RelationCut,
): Promise<IncrementalFile> {
  const parts = new Parts(path, bytes);
  const fixed = await parts.exactly(FIXED_BYTES);
  const [magic, count, least] = [fixed.readUInt32LE(0), fixed.readUInt32LE(4), fixed.readUInt32LE(8)];
  if (magic !== MAGIC) throw noIncremental(path, "it does not begin as one");
  if (count > segmentBlocks) throw noIncremental(path, "it has more blocks than a file can");
  const numbers = await parts.exactly(count * NUMBER_BYTES);
  const blocks = new Uint32Array(count);
  for (let at = 0; at < count; at += 1) {
    const block = numbers.readUInt32LE(at * NUMBER_BYTES);
    if (block >= segmentBlocks) throw noIncremental(path, "it has more blocks than a file can");
    if (at > 0 && block <= (blocks[at - 1] ?? 0)) throw noIncremental(path, "its blocks are in no order");
    blocks[at] = block;
  }
  const over = (FIXED_BYTES + count * NUMBER_BYTES) % blockBytes;
  if (count > 0 && over > 0) await parts.exactly(blockBytes - over);
  return {
    blocks,
    keptBlocks: Math.min(least, segmentBlocks),
    next: async () => await parts.exactly(blockBytes),
    async end() {
      if (!(await parts.isOver())) throw noIncremental(path, "more came than its header says");
    },
  };
}

/** Bytes that come in pieces, taken in other pieces. A piece that came may be gone when the next one is asked for. */
class Parts {
  readonly #path: string;
  readonly #bytes: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(path: string, bytes: AsyncIterable<Buffer>) {
    this.#path = path;
    this.#bytes = bytes[Symbol.asyncIterator]();
  }

  /** @throws Failure `database/failed` where fewer come. */
  async exactly(count: number): Promise<Buffer> {
    if (this.#held.length >= count) {
      const taken = this.#held.subarray(0, count);
      this.#held = this.#held.subarray(count);
      return taken;
    }
    const whole = Buffer.alloc(count);
    let filled = this.#held.copy(whole);
    while (filled < count) {
      const { value, done } = await this.#bytes.next();
      if (done === true) throw noIncremental(this.#path, "it ends too early");
      const taken = value.copy(whole, filled);
      this.#held = value.subarray(taken);
      filled += taken;
    }
    return whole;
  }

  async isOver(): Promise<boolean> {
    while (this.#held.length === 0) {
      const { value, done } = await this.#bytes.next();
      if (done === true) return true;
      this.#held = value;
    }
    return false;
  }
}

function noIncremental(path: string, why: string): Failure {
  return new Failure("database/failed", `the server sent '${path}', which is no file of changed blocks: ${why}`, {
    hint: "Is this a PostgreSQL server, and nothing between that changes its answers?",
  });
}

const INCREMENTAL_FROM = /^INCREMENTAL FROM [A-Z]+: .*\n/gm;

/** `backup_label` of the base once it is put together: with the lines that say what it was, no server starts on it. */
export function wholeLabel(label: string): string {
  return label.replaceAll(INCREMENTAL_FROM, "");
}
