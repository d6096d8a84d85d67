/** Chance that can be repeated: the same seed gives the same numbers, names, keys and bytes, on every machine. */
import { createCipheriv, createHash } from "node:crypto";

const ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz";
const POOL_BYTES = 64 * 1024;

export interface SeededRandom {
  /** So many bytes. */
  bytes(count: number): Buffer;
  /** A whole number from 0 up to, and not including, `below` (at most 2^32). */
  below(below: number): number;
  /** True with a chance of `share` (0 to 1). */
  chance(share: number): boolean;
  /** One of the items, which must not be empty. */
  pick<T>(items: readonly T[]): T;
  /** A text of so many characters from 0-9A-Za-z. */
  alphanumeric(length: number): string;
  /** A text of so many characters from 0-9a-z: how Active Storage names its files. */
  base36(length: number): string;
  uuid(): string;
  /** A generator of its own, so that what one part draws does not shift what another part gets. */
  fork(name: string): SeededRandom;
}

/** The keystream of AES-128-CTR under a key made from the seed: fast, and the same everywhere. */
export function seededRandom(seed: number | string): SeededRandom {
  const digest = createHash("sha256").update(`chatkeep demo ${seed}`).digest();
  const cipher = createCipheriv("aes-128-ctr", digest.subarray(0, 16), digest.subarray(16));
  const zeros = Buffer.alloc(POOL_BYTES);
  let pool = Buffer.alloc(0);
  let at = 0;

  const bytes = (count: number): Buffer => {
    if (count > POOL_BYTES) return cipher.update(Buffer.alloc(count));
    if (at + count > pool.length) {
      pool = cipher.update(zeros);
      at = 0;
    }
    at += count;
    return pool.subarray(at - count, at);
  };
  const below = (limit: number): number => Math.floor((bytes(4).readUInt32LE(0) / 2 ** 32) * limit);
  const text = (alphabet: string, length: number): string =>
    Array.from({ length }, () => alphabet.charAt(below(alphabet.length))).join("");
  return {
    bytes: (count) => Buffer.from(bytes(count)),
    below,
    chance: (share) => below(2 ** 32) < share * 2 ** 32,
    pick<T>(items: readonly T[]): T {
      const item = items[below(items.length)];
      if (item === undefined) throw new RangeError("nothing to pick from");
      return item;
    },
    alphanumeric: (length) => text(ALPHANUMERIC, length),
    base36: (length) => text(BASE36, length),
    uuid() {
      const hex = bytes(16).toString("hex");
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
    },
    fork: (name) => seededRandom(`${seed}/${name}`),
  };
}
