/** Opening what was read, and telling damage from trouble. */
import { hash } from "node:crypto";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId, type ChunkId } from "../base/ids.ts";
import { unpackChunk } from "../format/chunk.ts";
import { unseal, type Keys } from "../format/crypto.ts";

/** True when the error says that this copy is no good, and not that the store cannot be reached. */
export function isDamage(error: unknown): boolean {
  return isFailure(error, "repo/damaged") || isFailure(error, "store/not-found");
}

/** Opens a sealed chunk and compares it with its id. @throws Failure `repo/damaged`. */
export function openChunk(keys: Keys, chunk: { id: ChunkId; sealed: Uint8Array; uncompressedLength: number }): Buffer {
  const bytes = unpackChunk(unseal(keys, chunk.sealed), chunk.uncompressedLength);
  if (hash("sha256", bytes) !== chunk.id) {
    throw new Failure("repo/damaged", `chunk ${shortId(chunk.id)} does not match its checksum`);
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
