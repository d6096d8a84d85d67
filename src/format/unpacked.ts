/** Index, snapshot and lock files: JSON, compressed with zstd, sealed. */
import { Buffer, constants } from "node:buffer";
import { zstdCompressSync } from "node:zlib";
import { Failure } from "../base/errors.ts";
import { unpackZstd } from "./chunk.ts";
import { type Keys, seal, unseal } from "./crypto.ts";

/** The first byte of the plaintext says what follows. */
const IS_ZSTD = 2;
const BRACE = 0x7b;
const BRACKET = 0x5b;

/** The file's bytes; its name is their SHA-256. */
export function encodeUnpacked(keys: Keys, json: string): Buffer {
  const packed = zstdCompressSync(Buffer.from(json, "utf8"));
  return seal(keys, Buffer.concat([Buffer.from([IS_ZSTD]), packed]));
}

/**
 * The JSON in such a file; plain JSON too, as repositories that were of version 1 hold.
 * @throws {Failure} `repo/damaged` when the bytes were changed, `repo/unsupported` when what follows is of no known kind.
 */
export function decodeUnpacked(keys: Keys, bytes: Uint8Array): string {
  return utf8(openUnpacked(keys, bytes));
}

/** The same as the JSON's own bytes, in UTF-8, for who reads them without making text of them. */
export function openUnpacked(keys: Keys, bytes: Uint8Array): Buffer {
  const plaintext = unseal(keys, bytes);
  const [kind] = plaintext;
  if (kind === BRACE || kind === BRACKET) return plaintext;
  if (kind === IS_ZSTD) return unpackZstd(plaintext.subarray(1));
  throw new Failure(
    "repo/unsupported",
    `a file of the repository holds an unknown kind of content (${kind ?? "empty"})`,
  );
}

/** @throws {Failure} `repo/damaged` when they are more than a string can hold. */
export function utf8(bytes: Buffer): string {
  if (bytes.length > constants.MAX_STRING_LENGTH) {
    throw new Failure(
      "repo/damaged",
      `a file of the repository holds ${bytes.length} bytes of JSON, which is too long`,
    );
  }
  return bytes.toString("utf8");
}
