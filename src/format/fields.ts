/** Reading typed fields of parsed JSON: null counts as absent, as in Go, and unknown fields are passed over. */
import { Buffer } from "node:buffer";
import { Failure } from "../base/errors.ts";
import { parseJson } from "./go-json.ts";
import { isGoTime } from "./go-time.ts";

export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws {Failure} `repo/damaged`, as all of these do. `what` names what is read: `a snapshot`. */
export function parseRecord(json: string, what: string): JsonRecord {
  return asRecord(parseJson(json, what), what);
}

export function asRecord(value: unknown, what: string): JsonRecord {
  if (!isRecord(value)) throw new Failure("repo/damaged", `${what} is not a JSON object`);
  return value;
}

/** Why a field cannot be used. */
export function badField(what: string, name: string, expected: string): Failure {
  return new Failure("repo/damaged", `${what} has no usable '${name}': ${expected} is expected`);
}

export function optionalString(record: JsonRecord, name: string, what: string): string | undefined {
  const value = record[name] ?? undefined;
  if (value !== undefined && typeof value !== "string") throw badField(what, name, "a string");
  return value;
}

export function requiredString(record: JsonRecord, name: string, what: string): string {
  const value = optionalString(record, name, what);
  if (value === undefined) throw badField(what, name, "a string");
  return value;
}

/** A whole number from 0 to 2^53 − 1, or to `max`. */
export function optionalInteger(
  record: JsonRecord,
  name: string,
  what: string,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  const value = record[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || value > max) {
    throw badField(what, name, `a whole number up to ${max}`);
  }
  return value;
}

export function requiredInteger(record: JsonRecord, name: string, what: string, max?: number): number {
  const value = optionalInteger(record, name, what, max);
  if (value === undefined) throw badField(what, name, "a whole number");
  return value;
}

const MAX_UINT64 = (1n << 64n) - 1n;

/** A whole number from 0 to 2^64 − 1; a bigint only where a double would not hold it. */
export function optionalUint64(record: JsonRecord, name: string, what: string): number | bigint | undefined {
  const value = record[name] ?? undefined;
  if (value === undefined) return undefined;
  const isFit =
    typeof value === "bigint" ? value >= 0n && value <= MAX_UINT64 : Number.isSafeInteger(value) && Number(value) >= 0;
  if (!isFit) throw badField(what, name, "a whole number of 64 bits");
  return value as number | bigint;
}

export function optionalStrings(record: JsonRecord, name: string, what: string): string[] | undefined {
  const value = record[name] ?? undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw badField(what, name, "a list of strings");
  }
  return value;
}

/** An instant as Go writes it, kept as text. */
export function requiredTime(record: JsonRecord, name: string, what: string): string {
  const value = requiredString(record, name, what);
  if (!isGoTime(value)) throw badField(what, name, "an instant");
  return value;
}

/** Base64 as Go writes it: padded, and nothing but base64. */
export function decodeBase64(text: string, name: string, what: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw badField(what, name, "base64");
  return bytes;
}
