/**
 * How every file and chunk of a repository is sealed: AES-256-CTR, and Poly1305-AES over the ciphertext
 * (D. J. Bernstein, "The Poly1305-AES message-authentication code", 2005).
 *
 * Sealed bytes are `IV(16) ‖ ciphertext ‖ tag(16)`. The tag binds neither the name nor the kind of what is sealed:
 * whoever reads must compare the SHA-256 of the plaintext with the id that it asked for.
 */
import { Buffer } from "node:buffer";
import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  randomFillSync,
  timingSafeEqual,
} from "node:crypto";
import { releaseBytes } from "../base/bytes.ts";
import { bug, Failure } from "../base/errors.ts";
import { poly1305 } from "./mac.ts";

export const IV_BYTES = 16;
const TAG_BYTES = 16;
/** How much longer sealed bytes are than their plaintext. */
export const SEAL_OVERHEAD = IV_BYTES + TAG_BYTES;

/** `cipher.update` allocates what it returns, and from 128 KiB on that costs several times the cipher itself. */
const SLICE_BYTES = 64 * 1024;
/** IVs drawn, and turned into halves of one-time keys, at once. */
const IVS_DRAWN = 256;

/** The keys of a repository (or, while a key file is opened, those that a password gives). */
export interface Keys {
  /** AES-256 key, 32 bytes. */
  readonly encrypt: Uint8Array;
  /** AES-128 key that makes one-time keys of IVs, 16 bytes. */
  readonly macK: Uint8Array;
  /** Poly1305's `r`, 16 bytes, as it was drawn: its bits are cleared inside Poly1305, never here. */
  readonly macR: Uint8Array;
}

/** What is made once for each set of keys, and used for every chunk. */
class SealState {
  readonly #encrypt: KeyObject;
  readonly #pad: Cipheriv;
  readonly #oneTimeKey = Buffer.alloc(32);
  readonly #ivs = Buffer.alloc(IVS_DRAWN * IV_BYTES);
  #pads: Buffer = Buffer.alloc(0);
  #next = IVS_DRAWN;

  constructor(keys: Keys) {
    if (keys.encrypt.length !== 32 || keys.macK.length !== 16 || keys.macR.length !== 16) {
      throw bug("keys of a wrong length");
    }
    this.#encrypt = createSecretKey(keys.encrypt);
    this.#pad = createCipheriv("aes-128-ecb", keys.macK, null).setAutoPadding(false);
    this.#oneTimeKey.set(keys.macR, 0);
  }

  sealInto(plaintext: Uint8Array, out: Buffer, offset: number): number {
    if (this.#next === IVS_DRAWN) {
      randomFillSync(this.#ivs);
      this.#pads = this.#pad.update(this.#ivs);
      this.#next = 0;
    }
    const at = this.#next++ * IV_BYTES;
    const iv = this.#ivs.subarray(at, at + IV_BYTES);
    out.set(iv, offset);
    const start = offset + IV_BYTES;
    const cipher = createCipheriv("aes-256-ctr", this.#encrypt, iv);
    crypt(cipher, plaintext, out, start);
    const end = start + plaintext.length;
    this.#oneTimeKey.set(this.#pads.subarray(at, at + IV_BYTES), 16);
    out.set(poly1305(this.#oneTimeKey, out.subarray(start, end)), end);
    return end + TAG_BYTES - offset;
  }

  /** False when the tag does not fit; then nothing was written. */
  unsealInto(sealed: Uint8Array, out: Buffer, offset: number): boolean {
    if (sealed.length < SEAL_OVERHEAD) return false;
    const iv = sealed.subarray(0, IV_BYTES);
    if (iv.every((byte) => byte === 0)) return false;
    const end = sealed.length - TAG_BYTES;
    const ciphertext = sealed.subarray(IV_BYTES, end);
    this.#oneTimeKey.set(this.#pad.update(iv), 16);
    if (!timingSafeEqual(poly1305(this.#oneTimeKey, ciphertext), sealed.subarray(end))) return false;
    crypt(createDecipheriv("aes-256-ctr", this.#encrypt, iv), ciphertext, out, offset);
    return true;
  }
}

function crypt(cipher: { update(bytes: Uint8Array): Buffer }, input: Uint8Array, out: Buffer, offset: number): void {
  for (let at = 0; at < input.length; at += SLICE_BYTES) {
    const part = cipher.update(input.subarray(at, at + SLICE_BYTES));
    out.set(part, offset + at);
    // The next slice then gets the same memory, which the processor still has at hand.
    releaseBytes(part);
  }
}

const states = new WeakMap<Keys, SealState>();

function stateOf(keys: Keys): SealState {
  let state = states.get(keys);
  if (state === undefined) {
    state = new SealState(keys);
    states.set(keys, state);
  }
  return state;
}

/** New keys for a new repository. */
export function randomKeys(): Keys {
  return { encrypt: randomBytes(32), macK: randomBytes(16), macR: randomBytes(16) };
}

/** Seals under a new random IV: the result differs each time. */
export function seal(keys: Keys, plaintext: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(plaintext.length + SEAL_OVERHEAD);
  stateOf(keys).sealInto(plaintext, out, 0);
  return out;
}

/**
 * {@link seal} into memory that the caller has: the hot path. `plaintext` must not lie inside the target.
 * @returns how many bytes were written: {@link SEAL_OVERHEAD} more than the plaintext has.
 */
export function sealInto(keys: Keys, plaintext: Uint8Array, out: Buffer, offset: number): number {
  if (offset < 0 || out.length - offset < plaintext.length + SEAL_OVERHEAD) throw bug("no room for sealed bytes");
  return stateOf(keys).sealInto(plaintext, out, offset);
}

/**
 * The plaintext of sealed bytes; the tag is checked, in constant time, before anything is decrypted.
 * @throws {Failure} `repo/damaged` when the bytes were not sealed with these keys, or were changed since.
 */
export function unseal(keys: Keys, sealed: Uint8Array): Buffer {
  const plaintext = tryUnseal(keys, sealed);
  if (plaintext === undefined) throw damaged();
  return plaintext;
}

/** {@link unseal}, with undefined for bytes that were not sealed with these keys: how a password is tried on a key. */
export function tryUnseal(keys: Keys, sealed: Uint8Array): Buffer | undefined {
  const out = Buffer.allocUnsafe(Math.max(0, sealed.length - SEAL_OVERHEAD));
  return stateOf(keys).unsealInto(sealed, out, 0) ? out : undefined;
}

/**
 * {@link unseal} into memory that the caller has.
 * @returns how many bytes were written.
 * @throws {Failure} `repo/damaged`, as {@link unseal} does; then nothing was written.
 */
export function unsealInto(keys: Keys, sealed: Uint8Array, out: Buffer, offset: number): number {
  const length = Math.max(0, sealed.length - SEAL_OVERHEAD);
  if (offset < 0 || out.length - offset < length) throw bug("no room for unsealed bytes");
  if (!stateOf(keys).unsealInto(sealed, out, offset)) throw damaged();
  return length;
}

function damaged(): Failure {
  return new Failure("repo/damaged", "sealed bytes do not match their checksum", {
    hint: "The bytes were changed after they were written, or belong to another repository.",
  });
}
