/** What does not fit in a stream of the write-ahead log, as a value: where, what should be there and what is. */
import { formatLsn, type Lsn } from "./lsn.ts";

/**
 * - `end`: zeros where a page or record should begin: nothing was written from here on (or it never arrived).
 * - `version`: the page is of another major of PostgreSQL, or is no page of the log.
 * - `page`: flags that no page has, or a segment's first page without what must stand there.
 * - `page-address`: the page belongs elsewhere: a recycled segment, bytes left out, or bytes that came twice.
 * - `system`, `timeline`: the log of another cluster, or of another line of its history.
 * - `segment-size`, `page-size`: the server was made with other sizes than those that were told.
 * - `continuation`: the page does not go on with the record that is under way.
 * - `length`, `resource-manager`, `prev`, `crc`: the record's head, its link to the one before it, or its checksum.
 * - `layout`: the checksum is right, but the record is not laid out as this major does it.
 */
export type WalProblemKind =
  | "end"
  | "version"
  | "page"
  | "page-address"
  | "system"
  | "timeline"
  | "segment-size"
  | "page-size"
  | "continuation"
  | "length"
  | "resource-manager"
  | "prev"
  | "crc"
  | "layout";

export interface WalProblem {
  readonly kind: WalProblemKind;
  /** Where the page or record begins that does not fit. */
  readonly lsn: Lsn;
  readonly expected: string;
  readonly seen: string;
}

const WHAT: Record<Exclude<WalProblemKind, "end">, string> = {
  version: "the page's version",
  page: "the page's header",
  "page-address": "the page's position",
  system: "the cluster's system identifier",
  timeline: "the page's timeline",
  "segment-size": "the size of segments",
  "page-size": "the size of pages",
  continuation: "what is left of the record before the page",
  length: "the record's length",
  "resource-manager": "the record's kind",
  prev: "the record's link to the one before",
  crc: "the record's checksum",
  layout: "the record's layout",
};

/** `0/16B3748: the record's checksum is 1a2b3c4d, not 5e6f7081`. */
export function describeWalProblem({ kind, lsn, expected, seen }: WalProblem): string {
  if (kind === "end") return `${formatLsn(lsn)}: nothing was written from here on`;
  return `${formatLsn(lsn)}: ${WHAT[kind]} is ${seen}, not ${expected}`;
}
