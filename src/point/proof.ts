/**
 * The record that a restore point restored. It is kept in a snapshot of its own, counts for the repository that it
 * names and no other, and lives and dies with its point.
 */
import { Failure } from "../base/errors.ts";

export interface ProofCheck {
  /** Stable, kebab-case. */
  name: string;
  ok: boolean;
  /** What was compared, with numbers. */
  detail: string;
}

export interface Proof {
  schema: 1;
  program: string;
  /** The restic id of the repository that the point was read from. */
  repository: string;
  /** The point's name (its first snapshot id) and the tree that was proven. */
  point: string;
  tree: string;
  at: string;
  where: { host: string; server: string; serverVersion: string };
  proven: boolean;
  checks: ProofCheck[];
  /** Seconds per stage. */
  stages: Record<string, number>;
}

export function formatProof(proof: Proof): string {
  return `${JSON.stringify(proof, null, 1)}\n`;
}

export function parseProof(text: string): Proof {
  try {
    const proof = JSON.parse(text) as Proof;
    if (proof.schema === 1 && typeof proof.point === "string" && typeof proof.repository === "string") return proof;
  } catch (cause) {
    throw new Failure("point/invalid", "a proof is not JSON", { cause });
  }
  throw new Failure("point/invalid", "a proof was made by a newer Chatkeep", { hint: "Update Chatkeep." });
}
