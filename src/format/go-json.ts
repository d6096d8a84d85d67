/**
 * JSON as Go's `encoding/json` writes it. A tree's id is the hash of its JSON, so ours must be the same byte for byte:
 * no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped, and 64-bit integers exact.
 */
import { Buffer } from "node:buffer";
import { Failure } from "../base/errors.ts";
import { validUtf8Length } from "./quote.ts";

/** Text that is its own JSON: nearly all. */
const PLAIN = /^[ !#-%'-;=?-[\]-~]*$/;
const SPECIAL = /[<>&\u2028\u2029]/;
const ALL_SPECIAL = /[<>&\u2028\u2029]/g;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** A string in quotes. `\b` and `\f` are written as Go does since 1.22. */
export function encodeGoString(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  const json = JSON.stringify(LONE_SURROGATE.test(text) ? text.toWellFormed() : text);
  return SPECIAL.test(json) ? json.replaceAll(ALL_SPECIAL, escapeUnit) : json;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A Go string whose bytes are perhaps not UTF-8: each byte that is not becomes the escape `\ufffd`. */
export function encodeGoBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let json = "";
  let plain = 0;
  for (let at = 0; at < buffer.length;) {
    const length = validUtf8Length(buffer, at);
    if (length === 0) {
      json += `${encodeGoString(buffer.toString("utf8", plain, at)).slice(1, -1)}\\ufffd`;
      plain = at + 1;
    }
    at += Math.max(length, 1);
  }
  return `"${json}${encodeGoString(buffer.toString("utf8", plain)).slice(1, -1)}"`;
}

/** Any value that came from {@link parseJson}: keys keep their order, integers beyond 2^53 are bigints. */
export function encodeGoValue(value: unknown): string {
  if (typeof value === "string") return encodeGoString(value);
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(encodeGoValue).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).map(([key, field]) => `${encodeGoString(key)}:${encodeGoValue(field)}`);
    return `{${fields.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** A number that a double may not hold exactly: the long way round is taken only where one is. */
const LONG_NUMBER = /[:[,]\s*-?\d{16}/;
const INTEGER = /^-?\d+$/;

type ParseExact = (
  text: string,
  reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
) => unknown;

/**
 * The value of a JSON text; an integer that a double cannot hold is a bigint.
 * @param what names the text in the failure's message: `a tree`.
 * @throws {Failure} `repo/damaged` when it is not JSON.
 */
export function parseJson(text: string, what: string): unknown {
  try {
    if (!LONG_NUMBER.test(text)) return JSON.parse(text) as unknown;
    return (JSON.parse as ParseExact)(text, (_key, value, { source }) =>
      typeof value === "number" && !Number.isSafeInteger(value) && source !== undefined && INTEGER.test(source)
        ? BigInt(source)
        : value,
    );
  } catch {
    // No cause: the parser's message quotes the text, which may hold a key.
    throw new Failure("repo/damaged", `${what} is not valid JSON`);
  }
}
