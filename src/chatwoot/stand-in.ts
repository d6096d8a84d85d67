/**
 * Stand-ins for names, addresses and numbers: the same one for the same value, another for another, of the same length and
 * writing, and never the value itself. Whoever does not have the key, which is thrown away, cannot turn them back.
 */
import { createCipheriv, createHmac } from "node:crypto";
import { alphabetOf, foldCase } from "./alphabets.ts";

export interface StandIns {
  /** A name, a title, a slug: its letters, digits and pictures are replaced; equal ones by equal ones, in either case. */
  name(value: string): string;
  /** `anna@acme.example` → `qzvx@bwkl.qcxtroa.invalid`: an address that nobody can have. */
  email(address: string): string;
  /** `acme.example` → `bwkl.qcxtroa.invalid`, as in addresses of it. */
  domain(value: string): string;
  /** Digits of a telephone number → 15 digits of a country that is none. */
  phoneDigits(digits: string): string;
  /** What other systems call somebody: a number, an address, a UUID, anything. */
  identifier(value: string): string;
  /** Words that nobody needs to find again: another stand-in in another place. @param place Of the text, for example its row. */
  text(value: string, place: string): string;
  /** `1984-07-21`, with or without a time, → another day that there is. */
  date(value: string): string;
}

/** A value's letters as numbers, and how to write others in their place. */
interface Shape {
  readonly digits: number[];
  readonly radices: number[];
  readonly bits: number;
  write(digits: readonly number[]): string;
}

const ROUNDS = 10;
/** Above, two values meet by chance less often than anything else goes wrong. */
const PERMUTED_MAX_BITS = 80;
const HALF_MAX_BITS = 50;
/** Below, a value could be its own stand-in by chance. */
const DERANGED_MAX_BITS = 44;
const REMEMBERED = 50_000;

/** @param key 32 random bytes, for one run. */
export function makeStandIns(key: Uint8Array): StandIns {
  const hmac = (text: string) => createHmac("sha256", key).update(text).digest();
  const remembered = new Map<string, string>();
  const name = (value: string): string => {
    const before = remembered.get(value);
    if (before !== undefined) return before;
    const shape = shapeOf(value);
    const made = shape.digits.length === 0 ? value : shape.write(permute(shape, hmac));
    if (remembered.size >= REMEMBERED) remembered.clear();
    remembered.set(value, made);
    return made;
  };
  const domain = (value: string) => `${name(value)}.invalid`;
  const email = (address: string) => {
    const at = address.lastIndexOf("@");
    return at <= 0 ? name(address) : `${name(address.slice(0, at))}@${domain(address.slice(at + 1))}`;
  };
  const phoneDigits = (digits: string) => phoneOf(digits, hmac);
  const text = (value: string, place: string) => {
    const shape = shapeOf(value);
    return shape.write(stream(shape, hmac(`text\0${place}\0${value}`)));
  };
  return {
    name,
    email,
    domain,
    phoneDigits,
    text,
    identifier: (value) => identifierOf(value, { name, email, phoneDigits, hmac }),
    date: (value) => dateOf(value, hmac(`date\0${value.slice(0, 10)}`)),
  };
}

function shapeOf(value: string): Shape {
  const chars = Array.from(value);
  const places: { at: number; isUpper: boolean; letters: readonly string[] }[] = [];
  const digits: number[] = [];
  let bits = 0;
  for (const [at, char] of chars.entries()) {
    const { folded, isUpper } = foldCase(char);
    const alphabet = alphabetOf(folded);
    if (alphabet === undefined) continue;
    places.push({ at, isUpper, letters: alphabet.letters });
    digits.push(alphabet.indexOf.get(folded) ?? 0);
    bits += Math.log2(alphabet.letters.length);
  }
  return {
    digits,
    bits,
    radices: places.map(({ letters }) => letters.length),
    write(others) {
      for (const [index, { at, isUpper, letters }] of places.entries()) {
        const letter = letters[others[index] ?? 0] ?? "";
        chars[at] = isUpper ? letter.toUpperCase() : letter;
      }
      return chars.join("");
    },
  };
}

type Hmac = (text: string) => Buffer;

/** Other digits of the same radices, of which no other digits are turned into the same: a Feistel network over mixed radices. */
function permute(shape: Shape, hmac: Hmac): number[] {
  const { digits, radices, bits } = shape;
  // What is around the letters is part of the value: it is in the stream's seed, so that no two values meet there either.
  if (bits > PERMUTED_MAX_BITS) return stream(shape, hmac(`name\0${digits.join()}`));
  const cut = cutOf(radices);
  const [left, right] = [radices.slice(0, cut), radices.slice(cut)];
  const [leftSize, rightSize] = [sizeOf(left), sizeOf(right)];
  if (Math.max(leftSize, rightSize) > 2 ** HALF_MAX_BITS) return stream(shape, hmac(`name\0${digits.join()}`));
  const halves = { leftSize, rightSize, tweak: radices.join(), hmac };
  let pair: Pair = [pack(digits.slice(0, cut), left), pack(digits.slice(cut), right)];
  pair = encrypt(pair, halves);
  if (bits < DERANGED_MAX_BITS) {
    // One step further in the ring of all values, and back: so no value is its own.
    const next = pair[1] + 1;
    pair = next < rightSize ? [pair[0], next] : [(pair[0] + 1) % leftSize, 0];
    pair = decrypt(pair, halves);
  }
  return [...unpack(pair[0], left), ...unpack(pair[1], right)];
}

type Pair = readonly [number, number];

interface Halves {
  leftSize: number;
  rightSize: number;
  tweak: string;
  hmac: Hmac;
}

function roundValue({ hmac, tweak }: Halves, round: number, other: number): number {
  return hmac(`${round}\0${tweak}\0${other}`).readUIntBE(0, 6);
}

function encrypt([left, right]: Pair, halves: Halves): Pair {
  const { leftSize, rightSize } = halves;
  for (let round = 0; round < ROUNDS; round += 2) {
    left = (left + (roundValue(halves, round, right) % leftSize)) % leftSize;
    right = (right + (roundValue(halves, round + 1, left) % rightSize)) % rightSize;
  }
  return [left, right];
}

function decrypt([left, right]: Pair, halves: Halves): Pair {
  const { leftSize, rightSize } = halves;
  for (let round = ROUNDS - 2; round >= 0; round -= 2) {
    right = (right + rightSize - (roundValue(halves, round + 1, left) % rightSize)) % rightSize;
    left = (left + leftSize - (roundValue(halves, round, right) % leftSize)) % leftSize;
  }
  return [left, right];
}

/** Where both sides hold about as much. */
function cutOf(radices: readonly number[]): number {
  const total = radices.reduce((sum, radix) => sum + Math.log2(radix), 0);
  let sum = 0;
  for (const [at, radix] of radices.entries()) {
    if (sum >= total / 2) return at;
    sum += Math.log2(radix);
  }
  return Math.max(0, radices.length - 1);
}

function sizeOf(radices: readonly number[]): number {
  return radices.reduce((product, radix) => product * radix, 1);
}

function pack(digits: readonly number[], radices: readonly number[]): number {
  return digits.reduce((value, digit, at) => value * (radices[at] ?? 1) + digit, 0);
}

function unpack(value: number, radices: readonly number[]): number[] {
  const digits: number[] = [];
  for (const radix of radices.toReversed()) {
    digits.push(value % radix);
    value = Math.floor(value / radix);
  }
  return digits.toReversed();
}

/** Digits of the radices, as a seed of 32 bytes has them. */
function stream({ radices }: Shape, seed: Buffer): number[] {
  const cipher = createCipheriv("aes-256-ctr", seed, Buffer.alloc(16));
  const bytes = cipher.update(Buffer.alloc(radices.length * 4));
  return radices.map((radix, at) => bytes.readUInt32BE(at * 4) % radix);
}

const PHONE_DIGITS = 13;
const PHONE_SPACE = 10 ** PHONE_DIGITS;
/** No country's; three of them, as there are more numbers of up to 13 digits than numbers of 13. */
const NOBODYS_CODES = ["83", "28"] as const;
const LONG_CODE = "89";

function phoneOf(digits: string, hmac: Hmac): string {
  const longer = () =>
    `${LONG_CODE}${String(hmac(`phone\0${digits}`).readUIntBE(0, 6) % PHONE_SPACE).padStart(PHONE_DIGITS, "0")}`;
  if (digits.length > PHONE_DIGITS || digits.length === 0) return longer();
  // Numbered through all lengths: 0 … 9, 00 … 99, and so on.
  const before = (10 ** digits.length - 10) / 9;
  const size = (10 ** (PHONE_DIGITS + 1) - 10) / 9;
  const side = Math.ceil(Math.sqrt(size));
  const halves = { leftSize: side, rightSize: side, tweak: "phone", hmac };
  let value = before + Number(digits);
  do {
    const [left, right] = encrypt([Math.floor(value / side), value % side], halves);
    value = left * side + right;
  } while (value >= size);
  const code = NOBODYS_CODES[Math.floor(value / PHONE_SPACE)] ?? NOBODYS_CODES[0];
  return `${code}${String(value % PHONE_SPACE).padStart(PHONE_DIGITS, "0")}`;
}

interface IdentifierParts {
  name: (value: string) => string;
  email: (value: string) => string;
  phoneDigits: (digits: string) => string;
  hmac: Hmac;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** What WhatsApp's own names for people and groups end with. */
const WHATSAPP_HOST = /^([0-9]+(?:[-:][0-9]+)?)@(s\.whatsapp\.net|c\.us|g\.us|lid|broadcast|newsletter)$/;

function identifierOf(value: string, parts: IdentifierParts): string {
  const again = (rest: string) => identifierOf(rest, parts);
  const uuid = UUID.exec(value);
  if (uuid !== null) {
    const hex = parts.hmac(`uuid\0${value.toLowerCase()}`).toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${uuid[1] ?? "4"}${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }
  const whatsapp = WHATSAPP_HOST.exec(value);
  if (whatsapp !== null) return `${again(whatsapp[1] ?? "")}@${whatsapp[2] ?? ""}`;
  const prefixed = /^(whatsapp|messenger|sms|tel|mailto|slack|telegram):(.+)$/.exec(value);
  if (prefixed !== null) return `${prefixed[1] ?? ""}:${again(prefixed[2] ?? "")}`;
  if (/^[^@\s]+@[^@\s]+$/.test(value)) return parts.email(value);
  if (/^\+\d{4,15}$/.test(value)) return `+${parts.phoneDigits(value.slice(1))}`;
  if (/^\d{7,13}$/.test(value)) return parts.phoneDigits(value);
  return parts.name(value);
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

function dateOf(value: string, seed: Buffer): string {
  const [, rest = ""] = /^\d{4}-\d{2}-\d{2}(.*)$/s.exec(value) ?? [];
  const day = `${1950 + (seed.readUInt8(0) % 70)}-${two(1 + (seed.readUInt8(1) % 12))}-${two(1 + (seed.readUInt8(2) % 28))}`;
  // A time of day keeps its form, and its zone.
  const clock = `${two(seed.readUInt8(3) % 24)}:${two(seed.readUInt8(4) % 60)}`;
  return `${day}${rest.replace(/\d{2}:\d{2}/, clock)}`;
}
