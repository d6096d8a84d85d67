/**
 * Signed blob ids: how Active Storage names a file in a URL. Chatwoot writes such URLs into help-centre articles and
 * e-mails, so they show which blob a text needs, and that a SECRET_KEY_BASE is the one the texts were made with.
 *
 * Scheme: base64 of `{"_rails":{"message":base64(Marshal of the id),"exp":null,"pur":"blob_id"}}`, `--`, HMAC in hex.
 * The HMAC's key is PBKDF2-HMAC of SECRET_KEY_BASE with the salt `ActiveStorage`, 1,000 rounds, 64 bytes, SHA-1 or
 * SHA-256 by the Rails defaults in force.
 */
import { createHmac, pbkdf2Sync, timingSafeEqual } from "node:crypto";

/** Every signed id begins so: base64 of `{"_rails"`. */
const BEGINNING = "eyJfcmFpbHMi";
const TOKEN = /eyJfcmFpbHMi[A-Za-z0-9+/_-]{20,400}?(?:=|%3D){0,2}--(?:[0-9a-f]{64}|[0-9a-f]{40})(?![0-9a-f])/gi;

export interface SignedBlobId {
  blobId: bigint;
  /** As Rails made it, whatever a URL's encoding did to it. */
  token: string;
}

/** A Ruby integer as Marshal writes it, or undefined for anything else. */
function unmarshalInteger(bytes: Buffer): bigint | undefined {
  if (bytes.length < 4 || bytes[0] !== 4 || bytes[1] !== 8) return undefined;
  if (bytes[2] === 0x69) {
    const first = bytes.readInt8(3);
    if (first === 0 && bytes.length === 4) return 0n;
    if (first > 4 && bytes.length === 4) return BigInt(first - 5);
    if (first >= 1 && first <= 4 && bytes.length === 4 + first) return BigInt(bytes.readUIntLE(4, first));
  }
  // A bignum: its sign, its length in 16-bit words, then its bytes.
  if (bytes[2] === 0x6c && bytes[3] === 0x2b && bytes.length > 5) {
    const digits = bytes.subarray(5);
    if (digits.length !== 2 * (bytes.readInt8(4) - 5) || digits.length > 8) return undefined;
    return BigInt(`0x${Buffer.from(digits.toReversed()).toString("hex")}`);
  }
  return undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function blobIdOf(token: string): bigint | undefined {
  let envelope: unknown;
  try {
    envelope = JSON.parse(Buffer.from(token.slice(0, token.lastIndexOf("--")), "base64").toString("utf8"));
  } catch {
    return undefined; // It only looked like one.
  }
  const rails = field(envelope, "_rails");
  if (field(rails, "pur") !== "blob_id") return undefined;
  const data = field(rails, "data");
  if (typeof data === "number" && Number.isSafeInteger(data) && data >= 0) return BigInt(data);
  const message = field(rails, "message");
  return typeof message === "string" ? unmarshalInteger(Buffer.from(message, "base64")) : undefined;
}

/** Every signed blob id in a text of any kind: Markdown, HTML, JSON. No secret is needed. Each token once. */
export function findSignedBlobIds(text: string): SignedBlobId[] {
  if (!text.includes(BEGINNING)) return [];
  const found = new Map<string, SignedBlobId>();
  for (const [match] of text.matchAll(TOKEN)) {
    const token = match.replaceAll(/%3D/gi, "=");
    const blobId = blobIdOf(token);
    if (blobId !== undefined) found.set(token, { blobId, token });
  }
  return [...found.values()];
}

function signingKeys(secretKeyBase: string): Buffer[] {
  return ["sha1", "sha256"].map((digest) => pbkdf2Sync(secretKeyBase, "ActiveStorage", 1_000, 64, digest));
}

function verifies(token: string, keys: readonly Buffer[]): boolean {
  const at = token.lastIndexOf("--");
  const given = Buffer.from(token.slice(at + 2), "hex");
  const digest = { 20: "sha1", 32: "sha256" }[given.length];
  if (at < 0 || digest === undefined) return false;
  return keys.some((key) => timingSafeEqual(createHmac(digest, key).update(token.slice(0, at)).digest(), given));
}

/** True when the token was signed with this SECRET_KEY_BASE, under either of Rails' key digests. */
export function verifySignedBlobId(token: string, secretKeyBase: string): boolean {
  return verifies(token, signingKeys(secretKeyBase));
}

/** Signs a blob id as a Rails application with its defaults of version 7.0 does (`sha256`), or an older one (`sha1`). */
export function signBlobId(blobId: number, secretKeyBase: string, digest: "sha1" | "sha256" = "sha256"): string {
  const message = Buffer.from(marshalInteger(blobId)).toString("base64");
  const data = Buffer.from(JSON.stringify({ _rails: { message, exp: null, pur: "blob_id" } })).toString("base64");
  const key = pbkdf2Sync(secretKeyBase, "ActiveStorage", 1_000, 64, digest);
  return `${data}--${createHmac("sha1", key).update(data).digest("hex")}`;
}

function marshalInteger(value: number): number[] {
  if (value === 0) return [4, 8, 0x69, 0];
  if (value < 123) return [4, 8, 0x69, value + 5];
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.push(rest % 256);
  if (value < 2 ** 30) return [4, 8, 0x69, bytes.length, ...bytes];
  if (bytes.length % 2 === 1) bytes.push(0);
  return [4, 8, 0x6c, 0x2b, bytes.length / 2 + 5, ...bytes];
}

export interface SecretKeyBaseProof {
  /** True when one signed id verifies, false when there are some and none does, null when there are none. */
  ok: boolean | null;
  found: number;
  verified: number;
}

/** Tries SECRET_KEY_BASE on the signed ids in the texts. Some may be foreign (a pasted link), so one that verifies is enough. */
export function proveSecretKeyBase(secretKeyBase: string | undefined, texts: Iterable<string>): SecretKeyBaseProof {
  const tokens = new Set([...texts].flatMap((text) => findSignedBlobIds(text).map((found) => found.token)));
  const keys = signingKeys(secretKeyBase ?? "");
  const verified = [...tokens].filter((token) => verifies(token, keys)).length;
  return { ok: tokens.size === 0 ? null : verified > 0, found: tokens.size, verified };
}

/** Texts that one query looks at, and hands over: enough for a proof, and no scan of a large table. */
const ROWS_LOOKED_AT = 20_000;
const TEXTS_TAKEN = 20;

const SOURCES = [
  { table: "articles", column: "content" },
  { table: "messages", column: "content_attributes" },
  { table: "users", column: "message_signature" },
] as const;

/**
 * Queries for texts that hold signed ids, newest first and bounded; each gives rows of one column, `text`.
 *
 * @param has Whether the database has a column: older releases lack some.
 */
export function signedIdQueries(has: (table: string, column: string) => boolean, schema = "public"): string[] {
  const from = `"${schema.replaceAll('"', '""')}"`;
  return SOURCES.filter(({ table, column }) => has(table, column)).map(
    ({ table, column }) => `select r.text from
  (select ${column}::text as text from ${from}.${table} order by id desc limit ${ROWS_LOOKED_AT}) r
 where r.text like '%${BEGINNING}%' limit ${TEXTS_TAKEN}`,
  );
}
