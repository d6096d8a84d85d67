/** The file `config`: what the whole repository has in common. JSON, sealed, and never compressed. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { isId } from "../base/ids.ts";
import { type Keys, seal, unseal } from "./crypto.ts";
import { badField, parseRecord, requiredInteger, requiredString } from "./fields.ts";
import { isIrreducible, randomIrreducible } from "./polynomial.ts";

export interface RepositoryConfig {
  readonly version: 2;
  /** Names the repository wherever its copies lie: 64 hexadecimal digits. */
  readonly id: string;
  /** Hexadecimal. We never cut files by it; stock restic does, and wants it irreducible. */
  readonly chunker_polynomial: string;
}

const WHAT = "the repository's config";

/**
 * For a new repository: a random id, and a random polynomial unless one is given. Repositories that are copied into one
 * another want the same one, so that what restic cuts is cut alike.
 */
export function newConfig(polynomial = randomIrreducible().toString(16)): RepositoryConfig {
  return { version: 2, id: randomBytes(32).toString("hex"), chunker_polynomial: polynomial };
}

/** The bytes of the file. */
export function encodeConfig(keys: Keys, { version, id, chunker_polynomial }: RepositoryConfig): Buffer {
  return seal(keys, Buffer.from(JSON.stringify({ version, id, chunker_polynomial }), "utf8"));
}

/**
 * Reads the bytes of the file.
 * @throws {Failure} `repo/damaged` when they were changed, `repo/unsupported` for another format version.
 */
export function decodeConfig(keys: Keys, bytes: Uint8Array): RepositoryConfig {
  const record = parseRecord(unseal(keys, bytes).toString("utf8"), WHAT);
  const version = requiredInteger(record, "version", WHAT);
  if (version !== 2) {
    throw new Failure("repo/unsupported", `the repository has format version ${version}; only version 2 can be used`, {
      hint:
        version === 1
          ? "Upgrade it with stock restic: 'restic migrate upgrade_repo_v2'."
          : "A newer Chatkeep may be able to read it.",
    });
  }
  const id = requiredString(record, "id", WHAT);
  if (!isId(id)) throw badField(WHAT, "id", "64 hexadecimal digits");
  const polynomial = requiredString(record, "chunker_polynomial", WHAT);
  if (!/^[0-9a-f]{1,16}$/.test(polynomial) || !isIrreducible(BigInt(`0x${polynomial}`))) {
    throw badField(WHAT, "chunker_polynomial", "an irreducible polynomial");
  }
  return { version, id, chunker_polynomial: polynomial };
}
