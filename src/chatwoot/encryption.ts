/**
 * Active Record Encryption as Chatwoot uses it: what is encrypted, with which of the environment's keys, and the
 * proof that saved keys open saved secrets. Rails itself would not say: with wrong keys it hands out the ciphertext.
 *
 * Scheme (Rails 7, `activerecord/lib/active_record/encryption`): AES-256-GCM; the key is PBKDF2-HMAC of the primary
 * or the deterministic key with the salt, 65,536 rounds, 32 bytes, SHA-1 or SHA-256 by the Rails defaults in force;
 * stored as JSON `{"p":payload,"h":{"iv","at","i":key id,"c":compressed}}`, the values in base64.
 */
import { createDecipheriv, createHash, pbkdf2 } from "node:crypto";
import { promisify } from "node:util";
import { inflateSync } from "node:zlib";
import type { Finding } from "../base/findings.ts";
import { plural } from "../base/bytes.ts";
import { LIMITS } from "../base/limits.ts";
import type { Environment } from "./environment.ts";

const derive = promisify(pbkdf2);

export interface EncryptedColumn {
  /** The first Chatwoot release that encrypts it. */
  since: string;
  table: string;
  column: string;
  deterministic: boolean;
}

function columns(since: string, table: string, names: string, deterministic = false): EncryptedColumn[] {
  return names.split(" ").map((column) => ({ since, table, column, deterministic }));
}

/** What upstream is known to encrypt. Others are found by {@link ciphertextColumns}. */
export const ENCRYPTED_COLUMNS: readonly EncryptedColumn[] = [
  ...columns("4.6", "users", "otp_secret", true),
  ...columns("4.6", "users", "otp_backup_codes"),
  ...columns("4.7", "channel_email", "imap_password smtp_password"),
  ...columns("4.7", "channel_facebook_pages", "page_access_token user_access_token"),
  ...columns("4.7", "channel_instagram", "access_token"),
  ...columns("4.7", "channel_line", "line_channel_secret line_channel_token"),
  ...columns("4.7", "channel_telegram", "bot_token", true),
  ...columns("4.7", "channel_twilio_sms", "auth_token"),
  ...columns("4.7", "channel_twitter_profiles", "twitter_access_token twitter_access_token_secret"),
  ...columns("4.7", "integrations_hooks", "access_token", true),
  ...columns("4.9", "channel_tiktok", "access_token refresh_token"),
  ...columns("4.12", "webhooks", "secret"),
  ...columns("4.13", "channel_api", "secret"),
  ...columns("4.13", "agent_bots", "secret"),
  ...columns("4.14", "channel_twilio_sms", "api_key_secret"),
];

const ENCRYPTION_VARIABLES = [
  "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY",
  "ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY",
  "ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT",
] as const;

export interface Ciphertext {
  payload: Buffer;
  iv: Buffer;
  tag: Buffer;
  /** Four hex digits that tell which key; undefined where none was written. */
  keyId: string | undefined;
  compressed: boolean;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function bytesOf(value: unknown): Buffer | undefined {
  return typeof value === "string" && BASE64.test(value) ? Buffer.from(value, "base64") : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

/** Reads a column's value; undefined for anything that is no ciphertext, so for a plain text as well. */
export function readCiphertext(text: string): Ciphertext | undefined {
  if (!text.startsWith("{")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // A plain text that only begins like one.
  }
  const headers = field(value, "h");
  const [payload, iv, tag] = [bytesOf(field(value, "p")), bytesOf(field(headers, "iv")), bytesOf(field(headers, "at"))];
  if (payload === undefined || iv?.length !== 12 || tag?.length !== 16) return undefined;
  const keyId = bytesOf(field(headers, "i"))?.toString("latin1");
  return { payload, iv, tag, keyId, compressed: field(headers, "c") === true };
}

export interface EncryptionKeys {
  primary: { sha1: Buffer; sha256: Buffer };
  deterministic: { sha1: Buffer; sha256: Buffer };
}

/** True when all three variables are set: only then does Chatwoot encrypt channels. */
export function hasEncryptionKeys(env: Environment): boolean {
  return ENCRYPTION_VARIABLES.every((name) => (env.get(name) ?? "") !== "");
}

/** Derives the four keys that the environment may mean; undefined when one of the three variables is lacking. Takes about 0.1 s. */
export async function deriveKeys(env: Environment): Promise<EncryptionKeys | undefined> {
  const [primary, deterministic, salt] = ENCRYPTION_VARIABLES.map((name) => env.get(name) ?? "");
  if (!primary || !deterministic || !salt) return undefined;
  const both = async (password: string) => {
    const [sha1, sha256] = await Promise.all(
      ["sha1", "sha256"].map((digest) => derive(password, salt, 65_536, 32, digest)),
    );
    return { sha1: sha1 as Buffer, sha256: sha256 as Buffer };
  };
  return { primary: await both(primary), deterministic: await both(deterministic) };
}

/** The first four hex digits of SHA-1(key): what Rails writes as `i`. */
export function keyIdOf(key: Uint8Array): string {
  return createHash("sha1").update(key).digest("hex").slice(0, 4);
}

/** The plaintext, or undefined when the key does not fit or the value is damaged. */
export function decrypt(ciphertext: Ciphertext, key: Uint8Array): Buffer | undefined {
  const decipher = createDecipheriv("aes-256-gcm", key, ciphertext.iv, { authTagLength: 16 });
  decipher.setAuthTag(ciphertext.tag);
  try {
    const plain = Buffer.concat([decipher.update(ciphertext.payload), decipher.final()]);
    return ciphertext.compressed ? inflateSync(plain, { maxOutputLength: LIMITS.configFileMaxBytes }) : plain;
  } catch {
    return undefined; // The tag tells: another key, or another text.
  }
}

/** Some ciphertexts of one column that name the same key. */
export interface CiphertextSample {
  table: string;
  column: string;
  /** Undefined where the ciphertexts name none. */
  keyId: string | undefined;
  count: number;
  /** One of them. */
  sample: string;
}

export type KeyStatus = "opens" | "wrong-key" | "unknown-key" | "no-keys";

export interface KeyCheck {
  table: string;
  column: string;
  keyId: string;
  count: number;
  /** `unknown-key`: made with a key that is not in the environment. `wrong-key`: names a key of ours, and does not open. */
  status: KeyStatus;
}

export interface KeyProof {
  /** Null when there is nothing to open. */
  ok: boolean | null;
  checks: KeyCheck[];
}

function statusOf(sample: CiphertextSample, keys: EncryptionKeys | undefined): KeyStatus {
  if (keys === undefined) return "no-keys";
  const all = [keys.primary.sha1, keys.primary.sha256, keys.deterministic.sha1, keys.deterministic.sha256];
  const named = sample.keyId === undefined ? all : all.filter((key) => keyIdOf(key) === sample.keyId);
  if (named.length === 0) return "unknown-key";
  const ciphertext = readCiphertext(sample.sample);
  const opens = ciphertext !== undefined && named.some((key) => decrypt(ciphertext, key) !== undefined);
  return opens ? "opens" : "wrong-key";
}

/** Shows that the environment's keys open what is in the database, for each column and key that were found. */
export async function proveKeys(env: Environment, samples: readonly CiphertextSample[]): Promise<KeyProof> {
  if (samples.length === 0) return { ok: null, checks: [] };
  const keys = await deriveKeys(env);
  const checks = samples.map((sample) => ({
    table: sample.table,
    column: sample.column,
    keyId: sample.keyId ?? "",
    count: sample.count,
    status: statusOf(sample, keys),
  }));
  return { ok: checks.every((check) => check.status === "opens"), checks };
}

function placesOf(checks: readonly KeyCheck[]): string {
  return [...new Set(checks.map((check) => `${check.table}.${check.column}`))].toSorted().join(", ");
}

function valuesIn(checks: readonly KeyCheck[]): number {
  return checks.reduce((sum, check) => sum + check.count, 0);
}

/** What a user must know of a {@link KeyProof}; empty when every key opens. */
export function keyProofFindings(proof: KeyProof): Finding[] {
  const failed = (status: KeyStatus) => proof.checks.filter((check) => check.status === status);
  const findings: Finding[] = [];
  const add = (kind: string, checks: KeyCheck[], says: string, hint: string) => {
    if (checks.length === 0) return;
    const what = plural(valuesIn(checks), "encrypted value");
    findings.push({ kind, level: "alarm", message: `${what} in ${placesOf(checks)} ${says}`, hint });
  };
  add(
    "encryption-keys-missing",
    failed("no-keys"),
    "cannot be opened: the encryption keys are not in Chatwoot's environment",
    "Put the three ACTIVE_RECORD_ENCRYPTION_* values back into Chatwoot's environment; without them these channels must be connected anew and two-factor logins reset.",
  );
  add(
    "encryption-keys-unknown",
    failed("unknown-key"),
    "were encrypted with keys that are not in Chatwoot's environment",
    "The ACTIVE_RECORD_ENCRYPTION_* values were changed at some time: find the earlier ones, or connect these channels anew.",
  );
  add(
    "encryption-keys-wrong",
    failed("wrong-key"),
    "do not open with the keys in Chatwoot's environment",
    "The values may be damaged, or were encrypted with other keys: check these channels in Chatwoot.",
  );
  return findings;
}

/** As a table's columns are listed by the catalogue. */
export interface TableColumns {
  name: string;
  columns: readonly { name: string; type: string }[];
}

/** The text columns in which ciphertexts may be, known or not: of every table that holds a known one, of channels, and none large. */
export function ciphertextColumns(tables: readonly TableColumns[]): { table: string; columns: string[] }[] {
  const known = new Set(ENCRYPTED_COLUMNS.map((column) => column.table));
  return tables
    .filter((table) => known.has(table.name) || table.name.startsWith("channel_"))
    .map((table) => ({
      table: table.name,
      columns: table.columns
        .filter((column) => /^(?:text|character varying|varchar)\b/i.test(column.type) && !column.type.endsWith("[]"))
        .map((column) => column.name),
    }))
    .filter((table) => table.columns.length > 0);
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/**
 * A query that counts a table's ciphertexts by column and key, with one sample of each: rows of `column`, `key_id`
 * (base64, null where none is named), `count` and `sample`, for {@link readCiphertextRows}. It reads any text and
 * casts none, so that no value can make it fail.
 */
export function ciphertextQuery(table: string, column: string | readonly string[], schema = "public"): string {
  const names = typeof column === "string" ? [column] : column;
  const values = names.map((name) => `(${quoteText(name)}, t.${quoteName(name)}::text)`).join(", ");
  return `select c.name as "column", substring(c.value from '"i":"([A-Za-z0-9+/=]+)"') as key_id,
       count(*)::text as count, min(c.value collate "C") as sample
  from ${quoteName(schema)}.${quoteName(table)} t cross join lateral (values ${values}) c(name, value)
 where c.value like '{"p":"%' and c.value ~ '^\\{"p":"[A-Za-z0-9+/]*=*","h":\\{[^{}]*"iv":"[A-Za-z0-9+/]+=*"[^{}]*\\}\\}$'
 group by 1, 2 order by 1, 2`;
}

/** What {@link ciphertextQuery} answered. */
export function readCiphertextRows(table: string, rows: readonly Record<string, unknown>[]): CiphertextSample[] {
  return rows.map((row) => {
    const id = row["key_id"];
    return {
      table,
      column: String(row["column"]),
      keyId: typeof id === "string" ? Buffer.from(id, "base64").toString("latin1") : undefined,
      count: Number(row["count"]),
      sample: String(row["sample"]),
    };
  });
}
