/**
 * The record that somebody has seen a finding, and that it is as it should be. It is kept in a snapshot of its own, names the
 * restore point that reported it, and outlives that point for as long as others report the same.
 */
import type { PeakKind } from "../base/account-counts.ts";
import { Failure } from "../base/errors.ts";

/** What an account may have as few of. */
export interface AckedFall {
  account: string | null;
  name: string | null;
  kind: PeakKind;
  /** What it had at most, and what it had in the point. */
  from: number;
  to: number;
}

export interface Ack {
  schema: 1;
  program: string;
  /** The point's name (its first snapshot id), and when it was taken (RFC 3339). */
  point: string;
  takenAt: string;
  /** The kind of the finding. */
  finding: string;
  /** Of accounts that shrank. */
  falls: AckedFall[];
  /** Of any other finding: what it is about. */
  subjects?: string[];
  reason: string | null;
  at: string;
  /** Who: `user@host`. */
  by: string;
}

export function formatAck(ack: Ack): string {
  return `${JSON.stringify(ack, null, 1)}\n`;
}

/** @throws Failure `point/invalid` */
export function parseAck(text: string): Ack {
  try {
    const ack = JSON.parse(text) as Ack;
    const isSound = ack.schema === 1 && typeof ack.point === "string" && typeof ack.finding === "string";
    if (isSound && Array.isArray(ack.falls) && ack.falls.every(({ to }) => typeof to === "number")) return ack;
  } catch (cause) {
    throw new Failure("point/invalid", "an acknowledgement is not JSON", { cause });
  }
  throw new Failure("point/invalid", "an acknowledgement was made by a newer Chatkeep", { hint: "Update Chatkeep." });
}
