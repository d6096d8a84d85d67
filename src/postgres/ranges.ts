/**
 * How a table's rows are cut, as values: buckets of 2^k ids are ranges, 2^j ids inside them are chunks. Pure.
 *
 * Buckets are named by `id >> k`, which is the floor for negative ids too, in decimal. Ids reach from -2^63 to
 * 2^63-1, so ids and buckets are bigints everywhere.
 */
import { LIMITS } from "../base/limits.ts";
import type { TableKey } from "./catalogue.ts";

export interface RangePlan {
  /** The bucket in decimal; `all` where the table is one range. */
  bucket: string;
  /** First id; undefined where the table is one range. */
  from?: bigint;
  /** The id after the last: up to 2^63. */
  to?: bigint;
}

/** One table of one snapshot, and what is to be read of it. Can be sent to a thread. */
export interface TablePlan {
  schema: string;
  name: string;
  /** Decimal. */
  oid: string;
  /** Decimal; see the guard. */
  relfilenode: string;
  key: TableKey;
  /** In the order of the COPY text; an integer key comes first. Empty for a table without columns. */
  columns: string[];
  /** 2^k ids are a range; null where the table is one range, or has no rows yet. */
  k: number | null;
  /** 2^j ids are a chunk. */
  j: number | null;
  /** Empty when the table has no rows. */
  ranges: RangePlan[];
}

const WHOLE_TABLE = "all";
/** Ids have 64 bits, so shifts by 63 already leave two buckets. */
export const MAX_SHIFT = 63;

/** k for rows of so many bytes of text whose ids are dense: a range of about `LIMITS.rangeTargetBytes`, rounded down. */
export function chooseK(bytesPerRow: number): number {
  const ids = LIMITS.rangeTargetBytes / Math.max(1, bytesPerRow);
  return Math.min(MAX_SHIFT, Math.max(0, Math.floor(Math.log2(Math.max(1, ids)))));
}

/** j for a k: chunks are as much smaller as the bounds say, in whole powers of two. */
export function chooseJ(k: number): number {
  const share = Math.round(Math.log2(LIMITS.rangeTargetBytes / LIMITS.rangeChunkBytes));
  return Math.max(0, k - share);
}

/** The bucket of an id. */
export function bucketOf(id: bigint, k: number): bigint {
  return id >> BigInt(k);
}

/** The range of a bucket. */
export function rangeOf(bucket: bigint, k: number): RangePlan {
  const from = bucket << BigInt(k);
  return { bucket: bucket.toString(), from, to: from + (1n << BigInt(k)) };
}

export function wholeTable(): RangePlan {
  return { bucket: WHOLE_TABLE };
}
