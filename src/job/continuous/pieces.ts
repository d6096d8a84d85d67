/**
 * Stores files that come over a line, one behind the other, in chunks of a fixed length from each file's beginning. Small
 * files and pieces are gathered, so that a thread is asked once for some megabytes; as many parts are on their way as keep
 * every thread busy, so memory does not grow with what passes. They are gathered in memory that threads share, and that is used
 * again: one buffer more than there are parts on their way.
 */
import { Failure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Sealing } from "../sealing.ts";
import { SharedBlocks } from "./shared-blocks.ts";

const ID_BYTES = 32;

/** The ids of a file's chunks while they become known: 32 bytes each. */
export class ChunkIds {
  readonly #bytes: Buffer;

  constructor(count: number) {
    this.#bytes = Buffer.alloc(count * ID_BYTES);
  }

  set(ids: Uint8Array, at: number): void {
    this.#bytes.set(ids, at * ID_BYTES);
  }

  list(): ChunkId[] {
    return listIds(this.#bytes);
  }
}

/** Ids of chunks that lie one behind the other, 32 bytes each. */
export function listIds(bytes: Uint8Array): ChunkId[] {
  const ids = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from(
    { length: ids.length / ID_BYTES },
    (_, at) => ids.toString("hex", at * ID_BYTES, (at + 1) * ID_BYTES) as ChunkId,
  );
}

/** Where the chunks of a gathered part belong. */
interface Piece {
  readonly ids: ChunkIds;
  readonly at: number;
  readonly length: number;
}

export class Pieces {
  readonly #sealing: Pick<Sealing, "storePieces" | "width">;
  readonly #pieceBytes: number;
  #gathered: Buffer = Buffer.alloc(0);
  readonly #memory = new SharedBlocks(LIMITS.piecesBytes);
  #filled = 0;
  #pieces: Piece[] = [];
  readonly #running = new Set<Promise<void>>();
  #failed: { error: unknown } | undefined;

  /** @param pieceBytes The length of a chunk; each file's last one is what is left. */
  constructor(sealing: Pick<Sealing, "storePieces" | "width">, pieceBytes: number) {
    this.#sealing = sealing;
    this.#pieceBytes = pieceBytes;
  }

  /**
   * Takes a whole file. Its ids are there when {@link finish} has returned.
   * @throws Failure `repo/damaged` where more or fewer bytes come than were said; of the store.
   */
  async add(
    file: { readonly path: string; readonly size: number },
    bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<ChunkIds> {
    const ids = new ChunkIds(Math.ceil(file.size / this.#pieceBytes));
    let came = 0;
    for await (const part of bytes) {
      if (came + part.length > file.size) throw lengthDiffers(file, `more than ${file.size}`);
      for (let at = 0; at < part.length;) {
        const inPiece = (came + at) % this.#pieceBytes;
        const length = Math.min(this.#pieceBytes - inPiece, part.length - at);
        if (inPiece === 0) {
          const whole = Math.min(this.#pieceBytes, file.size - came - at);
          await this.#begin({ ids, at: Math.floor((came + at) / this.#pieceBytes), length: whole });
        }
        this.#gather(part.subarray(at, at + length));
        at += length;
      }
      came += part.length;
    }
    if (came !== file.size) throw lengthDiffers(file, `${came} instead of ${file.size}`);
    return ids;
  }

  /** Takes one chunk of a file; its id is there when {@link finish} has returned. @throws Failure of the store. */
  async addPiece(ids: ChunkIds, at: number, bytes: Uint8Array): Promise<void> {
    await this.#begin({ ids, at, length: bytes.length });
    this.#gather(bytes);
  }

  #gather(bytes: Uint8Array): void {
    // `set` copies into shared memory word by word, which takes longer.
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).copy(this.#gathered, this.#filled);
    this.#filled += bytes.length;
  }

  /** Makes room for a piece, which is filled from then on. */
  async #begin(piece: Piece): Promise<void> {
    if (this.#filled + piece.length > this.#gathered.length) {
      await this.#send();
      const length = Math.max(LIMITS.piecesBytes, piece.length);
      const isUsual = length === LIMITS.piecesBytes;
      this.#gathered = isUsual ? this.#memory.take() : Buffer.from(new SharedArrayBuffer(length));
    }
    this.#pieces.push(piece);
  }

  async #send(): Promise<void> {
    const [pieces, gathered, filled] = [this.#pieces, this.#gathered, this.#filled];
    this.#pieces = [];
    this.#filled = 0;
    this.#gathered = Buffer.alloc(0);
    if (pieces.length === 0) return;
    const storing = this.#store(gathered.subarray(0, filled), pieces).then(
      () => this.#memory.giveBack(gathered),
      (error: unknown) => {
        this.#failed ??= { error };
      },
    );
    this.#running.add(storing);
    void storing.then(() => this.#running.delete(storing));
    while (this.#running.size >= this.#sealing.width) await Promise.race(this.#running);
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  async #store(bytes: Buffer, pieces: readonly Piece[]): Promise<void> {
    const found = await this.#sealing.storePieces(
      bytes,
      pieces.map(({ length }) => length),
    );
    for (const [index, { ids, at }] of pieces.entries()) {
      ids.set(found.subarray(index * ID_BYTES, (index + 1) * ID_BYTES), at);
    }
  }

  /** Everything was handed over, and every id is known; nothing is durable before the sealing is finished. */
  async finish(): Promise<void> {
    await this.#send();
    await Promise.all(this.#running);
    if (this.#failed !== undefined) throw this.#failed.error;
  }
}

function lengthDiffers({ path }: { path: string }, came: string): Failure {
  return new Failure("database/failed", `the server sent ${came} bytes of '${path}'`, {
    hint: "Try again; if it stays so, look at the server's log and at what lies between.",
  });
}
