/** A pack that is durable in the store, and what lies in it: the unit that goes into an index. */
import type { PackId } from "../base/ids.ts";
import type { PackEntry } from "../format/pack.ts";

export interface PackRecord {
  readonly id: PackId;
  readonly entries: readonly PackEntry[];
  /** Of the whole file, header included. */
  readonly sizeBytes: number;
}

/** Sealed header bytes around the entries: IV and MAC, and the length behind them. */
const HEADER_FRAME_BYTES = 32 + 4;
const ENTRY_BYTES = 37;
const COMPRESSED_ENTRY_BYTES = 41;

/** How large a pack with these entries is. */
export function packSizeBytes(entries: readonly PackEntry[]): number {
  let size = HEADER_FRAME_BYTES;
  for (const entry of entries) {
    size += entry.length + (entry.uncompressedLength === 0 ? ENTRY_BYTES : COMPRESSED_ENTRY_BYTES);
  }
  return size;
}
