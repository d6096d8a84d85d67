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

/** Which of the uploaded files a proof read. */
export interface ProvenFiles {
  /** Read to the last byte and compared. */
  read: number;
  /** The same content in the same place as in the point of an earlier proof, which counts for them. */
  covered: number;
  /** Of those that were read. */
  bytes: number;
  /** That point; null where every file was read. */
  basis: string | null;
  /** Which twentieth of the covered files was read all the same. */
  slice: number | null;
}

/** How long bringing the point back takes, as a drill of it measured. Seconds. */
export interface Recovery {
  /** Database and files together. */
  seconds: number;
  /** Loading the rows, building the indexes, gathering statistics. */
  database: number;
  /** Reading every uploaded file; null where the drill read too few of them to tell. */
  files: number | null;
  /** Comparing every row once more, as a restore into Chatwoot's own place does before it swaps. */
  compare: number;
}

/** From so many bytes on the speed of the files that were read tells that of the others. */
const TELLING_BYTES = 16 * 1024 * 1024;

/**
 * The time to recover that follows from a drill's stages; undefined when it loaded nothing. Pure.
 * @param fileBytes all uploaded files of the point.
 */
export function timeToRecover(
  { load, rows, files: reading = 0 }: Partial<Record<string, number>>,
  files: Pick<ProvenFiles, "bytes" | "covered"> | undefined,
  fileBytes: number,
): Recovery | undefined {
  if (load === undefined || rows === undefined || files === undefined) return undefined;
  const isTelling = files.covered === 0 || files.bytes >= TELLING_BYTES;
  const estimate = files.covered === 0 ? reading : (reading * fileBytes) / Math.max(1, files.bytes);
  const whole = isTelling ? Math.round(estimate * 10) / 10 : null;
  return { seconds: Math.round((load + (whole ?? 0)) * 10) / 10, database: load, files: whole, compare: rows };
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
  /** Proofs of earlier versions have none: they read every file. */
  files?: ProvenFiles;
  recovery?: Recovery;
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
