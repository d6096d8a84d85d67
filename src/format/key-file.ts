/**
 * A key file holds the repository's keys, sealed with keys that scrypt makes of a password: one file for each password.
 * It is plain JSON, so anyone may have written it: its costs are checked before they are paid.
 */
import { Buffer } from "node:buffer";
import { randomBytes, scrypt } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type Keys, seal, tryUnseal } from "./crypto.ts";
import {
  badField,
  decodeBase64,
  isRecord,
  type JsonRecord,
  optionalString,
  parseRecord,
  requiredInteger,
  requiredString,
  requiredTime,
} from "./fields.ts";
import { encodeGoString } from "./go-json.ts";

/** scrypt's costs: memory is 128·N·r bytes, and work that, p times. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** About half a second and 32 MiB: what stock restic settles on. */
export const DEFAULT_COST: ScryptCost = { N: 32_768, r: 8, p: 1 };

const WHAT = "the key file";
const SALT_BYTES = 64;
const FILE_MAX_BYTES = 64 * 1024;
const BLOCK_BYTES = 128;
/** Work that a key file may ask for, in times of the largest memory that it may ask for: some twenty seconds. */
const MAX_PASSES = 8;

function checkCost({ N, r, p }: ScryptCost): void {
  const isPowerOfTwo = N > 1 && N <= 2 ** 30 && (N & (N - 1)) === 0;
  if (!isPowerOfTwo || r < 1 || p < 1) throw badField(WHAT, "N, r, p", "scrypt costs, N a power of two");
  const memory = BLOCK_BYTES * N * r;
  if (memory > LIMITS.scryptMaxMemoryBytes || memory * p > LIMITS.scryptMaxMemoryBytes * MAX_PASSES) {
    throw new Failure("repo/unsupported", `${WHAT} asks for scrypt costs that are too high (N=${N}, r=${r}, p=${p})`, {
      hint: "Add the password anew with 'restic key add', which chooses ordinary costs.",
    });
  }
}

/**
 * The keys that a password gives (RFC 7914): 64 bytes of scrypt, cut into AES-256 key, AES-128 key and r.
 * @throws {Failure} `repo/damaged` for impossible costs, `repo/unsupported` for unbearable ones, before any work is done.
 */
export async function deriveKeys(password: string, options: ScryptCost & { salt: Uint8Array }): Promise<Keys> {
  checkCost(options);
  const { N, r, p, salt } = options;
  // Node counts what each of the p lanes holds, too; without this it refuses more than 32 MiB.
  const maxmem = BLOCK_BYTES * r * (N + p + 2) + 1024;
  const derived = await new Promise<Buffer>((resolve, reject) => {
    scrypt(Buffer.from(password, "utf8"), salt, 64, { N, r, p, maxmem }, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
  return { encrypt: derived.subarray(0, 32), macK: derived.subarray(32, 48), macR: derived.subarray(48, 64) };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** The bytes of a new key file for `master`; its name is their SHA-256. `created` is an instant as Go writes it. */
export async function createKeyFile(
  password: string,
  master: Keys,
  { username, hostname, created }: KeyLabels,
  cost: ScryptCost = DEFAULT_COST,
): Promise<Buffer> {
  const salt = randomBytes(SALT_BYTES);
  const user = await deriveKeys(password, { ...cost, salt });
  const plaintext = JSON.stringify({
    mac: { k: base64(master.macK), r: base64(master.macR) },
    encrypt: base64(master.encrypt),
  });
  const fields = [
    `"created":${encodeGoString(created)}`,
    `"username":${encodeGoString(username)}`,
    `"hostname":${encodeGoString(hostname)}`,
    `"kdf":"scrypt"`,
    `"N":${cost.N}`,
    `"r":${cost.r}`,
    `"p":${cost.p}`,
    `"salt":"${base64(salt)}"`,
    `"data":"${base64(seal(user, Buffer.from(plaintext, "utf8")))}"`,
  ];
  return Buffer.from(`{${fields.join(",")}}`, "utf8");
}

/**
 * The repository's keys; undefined when the password is not the one of this file.
 * @throws {Failure} `repo/damaged` when this is no key file, `repo/unsupported` when it is of another kind or too costly.
 */
export async function openKeyFile(bytes: Uint8Array, password: string): Promise<Keys | undefined> {
  if (bytes.length > FILE_MAX_BYTES) throw new Failure("repo/damaged", `${WHAT} is too long`);
  const record = parseRecord(Buffer.from(bytes).toString("utf8"), WHAT);
  if (record["kdf"] !== "scrypt") {
    throw new Failure("repo/unsupported", `${WHAT} does not use scrypt`);
  }
  const salt = decodeBase64(requiredString(record, "salt", WHAT), "salt", WHAT);
  if (salt.length !== SALT_BYTES) throw badField(WHAT, "salt", `${SALT_BYTES} bytes`);
  const data = decodeBase64(requiredString(record, "data", WHAT), "data", WHAT);
  const user = await deriveKeys(password, {
    N: requiredInteger(record, "N", WHAT),
    r: requiredInteger(record, "r", WHAT),
    p: requiredInteger(record, "p", WHAT),
    salt,
  });
  const plaintext = tryUnseal(user, data);
  return plaintext === undefined ? undefined : parseMaster(plaintext.toString("utf8"));
}

/** Who made a key, where and when: what stands in its file for people, and can be read without a password. */
export interface KeyLabels {
  readonly username: string;
  readonly hostname: string;
  /** An instant as Go writes it. */
  readonly created: string;
}

/** @throws {Failure} `repo/damaged` when this is no key file. */
export function decodeKeyLabels(bytes: Uint8Array): KeyLabels {
  if (bytes.length > FILE_MAX_BYTES) throw new Failure("repo/damaged", `${WHAT} is too long`);
  const record = parseRecord(Buffer.from(bytes).toString("utf8"), WHAT);
  return {
    username: optionalString(record, "username", WHAT) ?? "",
    hostname: optionalString(record, "hostname", WHAT) ?? "",
    created: requiredTime(record, "created", WHAT),
  };
}

function parseMaster(json: string): Keys {
  const what = "the key inside the key file";
  const record = parseRecord(json, what);
  const mac = isRecord(record["mac"]) ? record["mac"] : {};
  return {
    encrypt: secret(record, "encrypt", 32, what),
    macK: secret(mac, "k", 16, what),
    macR: secret(mac, "r", 16, what),
  };
}

function secret(record: JsonRecord, name: string, length: number, what: string): Buffer {
  const bytes = decodeBase64(requiredString(record, name, what), name, what);
  if (bytes.length !== length || bytes.every((byte) => byte === 0)) {
    throw badField(what, name, `a key of ${length} bytes`);
  }
  return bytes;
}
