/**
 * Names of files, which are bytes to the system and text to us, and how a tree writes them.
 *
 * A byte that belongs to no UTF-8 sequence is held in a string as U+DC80…U+DCFF, which no text contains (PEP 383, as
 * Python does). In a tree a name is quoted as Go's `strconv.Quote` quotes (without the outer quotes), and that is then
 * encoded as JSON.
 */
import { Buffer } from "node:buffer";
import { Failure } from "../base/errors.ts";

const ESCAPED_BYTE = /[\udc80-\udcff]/u;
/** What Go's `strconv.IsPrint` takes for printable, as far as both know the same Unicode … */
const PRINTABLE = /[\p{L}\p{M}\p{N}\p{P}\p{S} ]/u;
/**
 * … and what only newer Unicode knows: assigned after 15.0, which is what Go 1.21 to 1.26 have. Without this list, a
 * tree's id would depend on the version of Node.
 */
const NEWER = rangesOf(`
  88f 897 c5c cdc 1acf-1add 1ae0-1aeb 1b4e-1b4f 1b7f 1c89-1c8a 20c1 2427-2429 2b96 2ffc-2fff 31e4-31e5 31ef
  a7cb-a7cf a7d2 a7d4 a7da-a7dc a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 105c0-105f3 10940-10959 10d40-10d65
  10d69-10d85 10d8e-10d8f 10ec2-10ec7 10ed0-10ed8 10efa-10efc 11380-11389 1138b 1138e 11390-113b5 113b7-113c0
  113c2 113c5 113c7-113ca 113cc-113d5 113d7-113d8 113e1-113e2 116d0-116e3 11b60-11b67 11bc0-11be1 11bf0-11bf9
  11db0-11ddb 11de0-11de9 11f5a 13460-143fa 16100-16139 16d40-16d79 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6
  187f8-187ff 18cff 18d09-18d1e 18d80-18df2 1cc00-1ccfc 1cd00-1ceb3 1ceba-1ced0 1cee0-1cef0 1e5d0-1e5fa 1e5ff
  1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a 1f8b2-1f8bb 1f8c0-1f8c1 1f8d0-1f8d8 1fa54-1fa57
  1fa89-1fa8a 1fa8e-1fa8f 1fabe 1fac6 1fac8 1facd 1fadc 1fadf 1fae9-1faea 1faef 1fbcb-1fbef 1fbfa 2b73a-2b73f
  2cea2-2cead 2ebf0-2ee5d 323b0-33479
`);
const ALL_PLAIN = /^[ !#-[\]-~]*$/;

function rangesOf(hexRanges: string): RegExp {
  const classes = hexRanges
    .trim()
    .split(/\s+/)
    .map((range) => `\\u{${range.replace("-", "}-\\u{")}}`);
  return new RegExp(`[${classes.join("")}]`, "u");
}

const SHORT: Readonly<Record<string, string>> = {
  "\u0007": "a",
  "\b": "b",
  "\f": "f",
  "\n": "n",
  "\r": "r",
  "\t": "t",
  "\v": "v",
  "\\": "\\",
  '"': '"',
};
const UNSHORT: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(SHORT).map(([character, letter]) => [letter, character.charCodeAt(0)]),
);

/** Bytes of the valid UTF-8 sequence that begins at `at`; 0 when none does. Go's rules: shortest form, no surrogates. */
export function validUtf8Length(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0xff;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const second = bytes[at + 1] ?? 0;
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (let i = 2; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}

/** True when the name holds bytes that are not UTF-8. */
export function hasEscapedBytes(name: string): boolean {
  return ESCAPED_BYTE.test(name);
}

/** A name as the system has it: pass it to file functions instead of the string where the name may be any bytes. */
export function nameToBytes(name: string): Buffer {
  if (!ESCAPED_BYTE.test(name)) return Buffer.from(name, "utf8");
  const parts = Array.from(name, (character) =>
    ESCAPED_BYTE.test(character) ? Buffer.of(character.charCodeAt(0) & 0xff) : Buffer.from(character, "utf8"),
  );
  return Buffer.concat(parts);
}

/** The opposite of {@link nameToBytes}. */
export function nameFromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let name = "";
  let plain = 0;
  for (let at = 0; at < buffer.length;) {
    const length = validUtf8Length(buffer, at);
    if (length === 0) {
      name += buffer.toString("utf8", plain, at) + String.fromCharCode(0xdc00 | (buffer[at] as number));
      plain = at + 1;
    }
    at += Math.max(length, 1);
  }
  return name + buffer.toString("utf8", plain);
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

function quoteCharacter(character: string): string {
  const short = SHORT[character];
  if (short !== undefined) return `\\${short}`;
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0xdc80 && code <= 0xdcff) return `\\x${hex(code & 0xff, 2)}`;
  // A surrogate that stands for nothing is U+FFFD once it is written as UTF-8.
  if (code >= 0xd800 && code <= 0xdfff) return "\ufffd";
  if (PRINTABLE.test(character) && !NEWER.test(character)) return character;
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`;
  return code < 0x1_0000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

/** A name as a tree has it, before JSON: `a"b` → `a\"b`. */
export function quote(name: string): string {
  if (ALL_PLAIN.test(name)) return name;
  // Bytes that make up a character after all must be written as that character.
  const normal = ESCAPED_BYTE.test(name) ? nameFromBytes(nameToBytes(name)) : name;
  return Array.from(normal, quoteCharacter).join("");
}

const ESCAPE =
  /\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))|[^\\"\n]+|[^]/g;

/**
 * The name in a tree's quoted form.
 * @throws {Failure} `repo/damaged` for what Go's `strconv.Unquote` refuses.
 */
export function unquote(quoted: string): string {
  // JSON can hold half a surrogate pair, which to Go is U+FFFD and to us would be a byte.
  if (!quoted.isWellFormed()) return unquote(quoted.toWellFormed());
  if (!quoted.includes("\\") && !quoted.includes('"') && !quoted.includes("\n")) return quoted;
  const parts: Buffer[] = [];
  for (const [whole, short, byte, four, eight, octal] of quoted.matchAll(ESCAPE)) {
    if (short !== undefined) parts.push(Buffer.of(UNSHORT[short] ?? 0));
    else if (byte !== undefined) parts.push(Buffer.of(Number.parseInt(byte, 16)));
    else if (octal !== undefined) parts.push(Buffer.of(Number.parseInt(octal, 8)));
    else if (four !== undefined || eight !== undefined) parts.push(fromCodePoint(four ?? eight ?? "", quoted));
    else if (whole === "\\" || whole === '"' || whole === "\n") throw badName(quoted);
    else parts.push(Buffer.from(whole, "utf8"));
  }
  return nameFromBytes(Buffer.concat(parts));
}

function fromCodePoint(digits: string, quoted: string): Buffer {
  const code = Number.parseInt(digits, 16);
  if (code > 0x10_ffff || (code >= 0xd800 && code <= 0xdfff)) throw badName(quoted);
  return Buffer.from(String.fromCodePoint(code), "utf8");
}

function badName(quoted: string): Failure {
  return new Failure("repo/damaged", `a tree has a name that is not quoted properly: ${quoted.slice(0, 80)}`);
}
