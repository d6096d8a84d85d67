/**
 * The record that a restore point must not be forgotten. It is kept in a snapshot of its own, is about the point's name
 * and so about every snapshot that has it, and goes with its point.
 */
import { Failure } from "../base/errors.ts";

export interface Hold {
  schema: 1;
  program: string;
  /** The point's name (its first snapshot id). */
  point: string;
  name: string;
  reason: string | null;
  /** As it was given: `2027-01-01`, which that day is a part of, or an instant. */
  until: string | null;
  /** RFC 3339: when it ends. */
  endsAt: string | null;
  at: string;
  /** Who: `user@host`. */
  by: string;
}

export function formatHold(hold: Hold): string {
  return `${JSON.stringify(hold, null, 1)}\n`;
}

export function parseHold(text: string): Hold {
  try {
    const hold = JSON.parse(text) as Hold;
    if (hold.schema === 1 && typeof hold.point === "string" && typeof hold.name === "string") return hold;
  } catch (cause) {
    throw new Failure("point/invalid", "a hold is not JSON", { cause });
  }
  throw new Failure("point/invalid", "a hold was made by a newer Chatkeep", { hint: "Update Chatkeep." });
}
