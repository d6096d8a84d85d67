/** A pack that is durable in the store, and what lies in it: the unit that goes into an index. */
import type { PackId } from "../base/ids.ts";
import { packHeaderBytes, type PackEntry } from "../format/pack.ts";

export interface PackRecord {
  readonly id: PackId;
  readonly entries: readonly PackEntry[];
  /** Of the whole file, header included. */
  readonly sizeBytes: number;
}

/** How large a pack with these entries is. */
export function packSizeBytes(entries: readonly PackEntry[]): number {
  return entries.reduce((size, { length }) => size + length, packHeaderBytes(entries));
}
