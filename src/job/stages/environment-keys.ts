/** Whether the environment that a place will have opens what is encrypted in a point: known before anything is changed. */
import { deriveKeys, keyIdOf } from "../../chatwoot/encryption.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import type { KeyProofEntry } from "../../point/manifest.ts";

const ENCRYPTION = [
  "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY",
  "ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY",
  "ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT",
];

/**
 * Columns, as `table.column`, that opened with the saved keys when the point was taken, and will not with these. Told by the
 * names of keys that stand in what is encrypted.
 */
export async function columnsThatStayClosed(
  { checks }: KeyProofEntry,
  saved: Environment | undefined,
  after: Environment,
): Promise<string[]> {
  const opened = checks.filter(({ status, keyId }) => status === "opens" && keyId !== "");
  const isSame = saved !== undefined && ENCRYPTION.every((name) => saved.get(name) === after.get(name));
  if (opened.length === 0 || isSame) return [];
  const keys = await deriveKeys(after);
  const ids = new Set(
    keys === undefined
      ? []
      : [keys.primary, keys.deterministic].flatMap(({ sha1, sha256 }) => [keyIdOf(sha1), keyIdOf(sha256)]),
  );
  return [...new Set(opened.filter(({ keyId }) => !ids.has(keyId)).map(({ table, column }) => `${table}.${column}`))];
}
