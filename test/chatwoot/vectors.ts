/** Ciphertexts and signed ids that the real ActiveRecord made, with their keys. */
import { readFileSync } from "node:fs";

export interface EncryptionVector {
  digest: "SHA1" | "SHA256";
  primary_key: string;
  deterministic_key: string;
  key_derivation_salt: string;
  plaintext: string;
  nondeterministic: string;
  deterministic: string;
}
export interface SignedVector {
  key_generator_digest: "SHA1" | "SHA256";
  secret_key_base: string;
  blob_id: number;
  signed_id: string;
}

const vectors = JSON.parse(readFileSync(new URL("../fixtures/rails-vectors.json", import.meta.url), "utf8")) as {
  encryption: EncryptionVector[];
  signed_blob_ids: SignedVector[];
};

export const encryptionVectors = vectors.encryption;
export const signedVectors = vectors.signed_blob_ids;

export function environmentOf(vector: EncryptionVector): Map<string, string> {
  return new Map([
    ["ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", vector.primary_key],
    ["ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY", vector.deterministic_key],
    ["ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT", vector.key_derivation_salt],
  ]);
}
