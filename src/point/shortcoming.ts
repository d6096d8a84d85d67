/** The record of what a restore point lacks that nothing in its repository has. It lives and dies with its point. */
import { Failure } from "../base/errors.ts";

export interface Shortcoming {
  schema: 1;
  program: string;
  /** The point's name (its first snapshot id), and the tree that was looked at. */
  point: string;
  tree: string;
  at: string;
  host: string;
  /** How many things it lacks. */
  count: number;
  /** The first of them; `damage` is a tree that is there and makes no sense. */
  lacks: { kind: "chunk" | "tree" | "damage"; id: string }[];
}

export function formatShortcoming(shortcoming: Shortcoming): string {
  return `${JSON.stringify(shortcoming, null, 1)}\n`;
}

const ID = /^[0-9a-f]{64}$/;

export function parseShortcoming(text: string): Shortcoming {
  try {
    const found = JSON.parse(text) as Shortcoming;
    const isSound = found.schema === 1 && typeof found.count === "number" && Array.isArray(found.lacks);
    if (isSound && found.lacks.every(({ id }) => typeof id === "string" && ID.test(id))) return found;
  } catch (cause) {
    throw new Failure("point/invalid", "the mark of a restore point that is not whole is not JSON", { cause });
  }
  throw new Failure("point/invalid", "the mark of a restore point that is not whole was made by a newer Chatkeep", {
    hint: "Update Chatkeep.",
  });
}
