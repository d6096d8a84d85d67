/** How much each account of an installation has: counted by backups, compared between them. */

/** What is counted, in the order in which it is told. */
export const COUNTED_KINDS = ["conversations", "messages", "contacts", "files"] as const;
export type CountedKind = (typeof COUNTED_KINDS)[number];

export interface AccountCounts {
  /** Decimal; null for the whole installation, which also has what belongs to no account. */
  account: string | null;
  /** Null where no account has that id, and for the whole installation. */
  name: string | null;
  /** Of an account, kinds of which it has none may be absent; of the whole, those that cannot be counted are. */
  counts: Partial<Record<CountedKind, number>>;
  /** Of the whole: what the server could not read, so that no account's number of it is known this time. */
  uncounted?: PeakKind[];
}

/** `account`: that there is one, which counts as 1. */
export type PeakKind = CountedKind | "account";

/** The most that an account had since somebody last said that it may have less, where it has less now. */
export interface Peak {
  account: string | null;
  name: string | null;
  kind: PeakKind;
  /** How many there were … */
  count: number;
  /** … in which restore point, by its name and its time (RFC 3339). */
  point: string;
  at: string;
  /** The fewest there were since; only where the fall is an alarm, which it stays until it is acknowledged. */
  lowest?: number;
}
