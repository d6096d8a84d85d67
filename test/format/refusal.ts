/** What the tests of parsers share: damage, and the proof that it was refused properly. */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import type { Keys } from "../../src/format/crypto.ts";

/** Keys that never change, so that samples of sealed bytes can be written down. */
export const FIXED_KEYS: Keys = {
  encrypt: Buffer.from(Array.from({ length: 32 }, (_, at) => at)),
  macK: Buffer.alloc(16, 0x33),
  macR: Buffer.alloc(16, 0xff),
};

/** The failure that a call ends with; anything but a failure that blames the repository is an error of the test. */
export function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    assert.ok(isFailure(error), `not a failure: ${String(error)}`);
    assert.match(error.code, /^repo\/(damaged|unsupported)$/, error.message);
    return `${error.code}: ${error.message}`;
  }
  return assert.fail("it was accepted");
}

/** Calls a parser with hostile input: it may accept or refuse, and nothing else. */
export function survives(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    assert.ok(isFailure(error), `not a failure: ${error instanceof Error ? error.stack : String(error)}`);
    assert.match(error.code, /^repo\/(damaged|unsupported)$/, error.message);
  }
}

export function withBitFlipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] ?? 0) ^ (1 << (bit % 8));
  return copy;
}

/** What parsers stumble over, as text. */
export const SCRAPS = [
  "",
  "null",
  "-1",
  "1e400",
  "9".repeat(30),
  "{}",
  "[]",
  '"',
  "\\",
  "\\ud800",
  "\0",
  "true",
  "0.5",
  "\n",
  "é",
  "\u{1f600}",
];

/** Bytes, or text that is nearly what the parser expects: pieces of a valid sample, cut, doubled and overwritten. */
export function hostile(sample: string): fc.Arbitrary<string> {
  const at = fc.nat({ max: sample.length });
  const scraps = fc.constantFrom(...SCRAPS);
  const changed = fc
    .array(fc.tuple(at, fc.nat({ max: 12 }), scraps), { minLength: 1, maxLength: 3 })
    .map((edits) =>
      edits.reduce((text, [from, cut, scrap]) => text.slice(0, from) + scrap + text.slice(from + cut), sample),
    );
  return fc.oneof({ weight: 4, arbitrary: changed }, fc.string({ unit: "binary" }), fc.json());
}

/** Every field of a valid JSON sample, replaced by values of other kinds, one after another. */
export function* withEachFieldReplaced(sample: string): Generator<string> {
  const values = [null, true, -1, 1.5, 2 ** 64, "", "x", [], {}, [null], { a: 1 }];
  const root = JSON.parse(sample) as unknown;
  for (const path of pathsIn(root)) {
    for (const value of values) {
      const copy = structuredClone(root) as Record<string, unknown>;
      let place = copy;
      for (const key of path.slice(0, -1)) place = place[key] as Record<string, unknown>;
      place[path.at(-1) ?? ""] = value;
      yield JSON.stringify(copy);
    }
  }
}

function* pathsIn(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  if (path.length > 0) yield path;
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* pathsIn(inner, [...path, key]);
}
