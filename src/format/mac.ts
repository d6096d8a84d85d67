/**
 * Poly1305, from whichever native code is there: Node 26 has it built in, Node 24 needs `sodium-native`.
 * There is no version in JavaScript: it would be twenty times slower than everything around it.
 */
import { Buffer } from "node:buffer";
import * as crypto from "node:crypto";
import { createRequire } from "node:module";
import { Failure } from "../base/errors.ts";

/** The 16-byte Poly1305 tag of the parts, one after another, under a 32-byte one-time key (RFC 8439, section 2.5). */
export type Poly1305 = (key: Uint8Array, ...parts: readonly Uint8Array[]) => Buffer;

interface NodeMac {
  update(bytes: Uint8Array): unknown;
  final(): Buffer;
}

interface Sodium {
  readonly crypto_onetimeauth_BYTES: number;
  readonly crypto_onetimeauth_STATEBYTES: number;
  crypto_onetimeauth(tag: Buffer, message: Uint8Array, key: Uint8Array): void;
  crypto_onetimeauth_init(state: Buffer, key: Uint8Array): void;
  crypto_onetimeauth_update(state: Buffer, part: Uint8Array): void;
  crypto_onetimeauth_final(state: Buffer, tag: Buffer): void;
}

/** Node's own, or undefined where this Node has none. */
export function nodePoly1305(): Poly1305 | undefined {
  const { createMac } = crypto as { createMac?: (algorithm: string, key: Uint8Array) => NodeMac };
  if (createMac === undefined) return undefined;
  return (key, ...parts) => {
    const mac = createMac("poly1305", key);
    for (const part of parts) mac.update(part);
    return mac.final();
  };
}

/** sodium-native's, or undefined where the package is not installed or does not load. */
export function sodiumPoly1305(): Poly1305 | undefined {
  let sodium: Sodium;
  try {
    sodium = createRequire(import.meta.url)("sodium-native") as Sodium;
  } catch {
    return undefined;
  }
  return (key, ...parts) => {
    const tag = Buffer.allocUnsafe(sodium.crypto_onetimeauth_BYTES);
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) {
      sodium.crypto_onetimeauth(tag, only, key);
      return tag;
    }
    const state = Buffer.alloc(sodium.crypto_onetimeauth_STATEBYTES);
    sodium.crypto_onetimeauth_init(state, key);
    for (const part of parts) sodium.crypto_onetimeauth_update(state, part);
    sodium.crypto_onetimeauth_final(state, tag);
    return tag;
  };
}

/**
 * The first of these that is there.
 * @throws {Failure} `program/missing` when none is.
 */
export function choosePoly1305(
  sources: readonly (() => Poly1305 | undefined)[] = [nodePoly1305, sodiumPoly1305],
): Poly1305 {
  for (const source of sources) {
    const found = source();
    if (found !== undefined) return found;
  }
  throw new Failure("program/missing", "this Node.js has no Poly1305, and the package 'sodium-native' does not load", {
    hint: "Use Node.js 26 or newer, or install sodium-native beside Chatkeep (it needs glibc 2.33 or newer).",
  });
}

let chosen: Poly1305 | undefined;

/** The 16-byte Poly1305 tag of the parts, one after another, under a 32-byte one-time key. */
export function poly1305(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  chosen ??= choosePoly1305();
  return chosen(key, ...parts);
}
