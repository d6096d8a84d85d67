/** Opening what was read, and telling damage from trouble. */
import { hash } from "node:crypto";
import { releaseBytes } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId, type ChunkId } from "../base/ids.ts";
import { openPacker, unpackChunk } from "../format/chunk.ts";
import { type Keys, SEAL_OVERHEAD, unseal, unsealInto } from "../format/crypto.ts";

/** True when the error says that this copy is no good, and not that the store cannot be reached. */
export function isDamage(error: unknown): boolean {
  return isFailure(error, "repo/damaged") || isFailure(error, "store/not-found");
}

/** As it lies in a pack. */
export interface SealedChunk {
  readonly id: ChunkId;
  readonly sealed: Uint8Array;
  readonly uncompressedLength: number;
}

/** Opens a sealed chunk and compares it with its id. @throws Failure `repo/damaged`. */
export function openChunk(keys: Keys, chunk: SealedChunk): Buffer {
  return compared(unpackChunk(unseal(keys, chunk.sealed), chunk.uncompressedLength), chunk);
}

function compared(bytes: Uint8Array, { id }: SealedChunk): Buffer {
  if (hash("sha256", bytes) !== id) {
    throw new Failure("repo/damaged", `chunk ${shortId(id)} does not match its checksum`);
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Memory for sealed chunks up to this length is kept; longer ones are few, and each takes more than it would save. */
const KEPT_MOST = 1024 * 1024;

/** Opens chunks one after the other, in memory that is used again: for whoever opens many. */
export class ChunkOpener {
  readonly #keys: Keys;
  readonly #packer = openPacker();
  #kept = Buffer.alloc(0);

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  /**
   * As {@link openChunk}, with the same errors.
   * @param use Is given the chunk's bytes, which are there until it returns.
   */
  open<T>(chunk: SealedChunk, use: (bytes: Buffer) => T): T {
    const room = this.#roomFor(Math.max(0, chunk.sealed.length - SEAL_OVERHEAD));
    const packed = room.subarray(0, unsealInto(this.#keys, chunk.sealed, room, 0));
    const bytes = this.#packer.unpack(packed, chunk.uncompressedLength);
    try {
      return use(compared(bytes, chunk));
    } finally {
      if (bytes !== packed) this.#packer.release(bytes);
      if (room !== this.#kept) releaseBytes(room);
    }
  }

  #roomFor(length: number): Buffer {
    if (length > KEPT_MOST) return Buffer.allocUnsafeSlow(length);
    if (this.#kept.length < length) this.#kept = Buffer.allocUnsafeSlow(Math.min(KEPT_MOST, 2 * length));
    return this.#kept;
  }
}
