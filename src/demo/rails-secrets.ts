/**
 * Ciphertexts and signed ids as Rails makes them, so that the demo's installation holds genuine ones.
 *
 * Active Record Encryption: AES-256-GCM; the key is PBKDF2 of the environment's key with the environment's salt
 * (65,536 rounds, 32 bytes; SHA-1 under the defaults that Chatwoot loads); the header `i` is the beginning of the
 * SHA-1 of the derived key. A deterministic value's IV is the beginning of HMAC-SHA-256(key, text). Texts over 140
 * bytes are deflated first when that makes them shorter.
 * Signed ids: HMAC-SHA-1 under PBKDF2(`SECRET_KEY_BASE`, "ActiveStorage", 1,000 rounds, 64 bytes).
 */
import { createCipheriv, createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { deflateSync } from "node:zlib";

const DERIVE_ROUNDS = 2 ** 16;
const IV_BYTES = 12;
/** Rails deflates texts longer than this. */
const DEFLATE_ABOVE_BYTES = 140;
/** Marshal writes a whole number up to this as a fixnum. */
const FIXNUM_MAX = 2 ** 30 - 1;

export type Digest = "sha1" | "sha256";

export interface EncryptionKeys {
  primary: Buffer;
  deterministic: Buffer;
}

/** Derives both keys from `ACTIVE_RECORD_ENCRYPTION_*`; takes some tens of milliseconds. */
export function deriveEncryptionKeys(
  environment: { primaryKey: string; deterministicKey: string; salt: string },
  digest: Digest = "sha1",
): EncryptionKeys {
  const derive = (key: string) => pbkdf2Sync(key, environment.salt, DERIVE_ROUNDS, 32, digest);
  return { primary: derive(environment.primaryKey), deterministic: derive(environment.deterministicKey) };
}

function seal(key: Buffer, iv: Buffer, { plain, isDeflated }: Packed): string {
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  const payload = Buffer.concat([cipher.update(plain), cipher.final()]);
  const keyId = createHash("sha1").update(key).digest("hex").slice(0, 4);
  const headers = {
    iv: iv.toString("base64"),
    at: cipher.getAuthTag().toString("base64"),
    i: Buffer.from(keyId).toString("base64"),
    ...(isDeflated ? { c: true } : {}),
  };
  return JSON.stringify({ p: payload.toString("base64"), h: headers });
}

interface Packed {
  plain: Buffer;
  isDeflated: boolean;
}

function pack(text: string): Packed {
  const plain = Buffer.from(text);
  const deflated = plain.length > DEFLATE_ABOVE_BYTES ? deflateSync(plain) : plain;
  return deflated.length < plain.length ? { plain: deflated, isDeflated: true } : { plain, isDeflated: false };
}

/** The text as a column declared with `encrypts` holds it; `iv` is 12 random bytes. */
export function encryptText(keys: EncryptionKeys, text: string, iv: Buffer): string {
  return seal(keys.primary, iv, pack(text));
}

/** The text as a column declared with `encrypts …, deterministic: true` holds it: always the same. */
export function encryptDeterministic(keys: EncryptionKeys, text: string): string {
  const packed = pack(text);
  const iv = createHmac("sha256", keys.deterministic).update(packed.plain).digest().subarray(0, IV_BYTES);
  return seal(keys.deterministic, iv, packed);
}

/** Ruby's Marshal format of a whole number that is not negative. */
function marshalInteger(value: number): Buffer {
  if (value === 0) return Buffer.from([4, 8, 0x69, 0]);
  if (value < 123) return Buffer.from([4, 8, 0x69, value + 5]);
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.push(rest % 256);
  if (value <= FIXNUM_MAX) return Buffer.from([4, 8, 0x69, bytes.length, ...bytes]);
  // A bignum: its sign, its length in 16-bit words, and its bytes.
  if (bytes.length % 2 === 1) bytes.push(0);
  return Buffer.from([4, 8, 0x6c, 0x2b, bytes.length / 2 + 5, ...bytes]);
}

/** Makes signed blob ids under one `SECRET_KEY_BASE`. */
export function blobIdSigner(secretKeyBase: string, digest: Digest = "sha256"): (blobId: number) => string {
  const key = pbkdf2Sync(secretKeyBase, "ActiveStorage", 1_000, 64, digest);
  return (blobId) => {
    const message = marshalInteger(blobId).toString("base64");
    const data = Buffer.from(JSON.stringify({ _rails: { message, exp: null, pur: "blob_id" } })).toString("base64");
    return `${data}--${createHmac("sha1", key).update(data).digest("hex")}`;
  };
}
