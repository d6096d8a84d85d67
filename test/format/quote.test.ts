/** Names: Go's quoting, and bytes that are no text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { nameFromBytes, nameToBytes, quote, unquote, validUtf8Length } from "../../src/format/quote.ts";
import { refusal, survives } from "./refusal.ts";

/** What `strconv.Quote` gives, without its outer quotes. */
const NAMES: readonly (readonly [string, string])[] = [
  ["", ""],
  ["plain name.txt", "plain name.txt"],
  ['a"b\\c', 'a\\"b\\\\c'],
  ["it's", "it's"],
  ["\u0007\b\f\n\r\t\v", "\\a\\b\\f\\n\\r\\t\\v"],
  ["\u0001\u001b\u007f", "\\x01\\x1b\\x7f"],
  ["\u0080\u00a0\u00ad", "\\u0080\\u00a0\\u00ad"],
  ["é ü ß Ж 漢 ا", "é ü ß Ж 漢 ا"],
  ["zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"],
  ["\u2028\u2029\u3000", "\\u2028\\u2029\\u3000"],
  ["e\u0301", "e\u0301"],
  ["\u{1f600}\u{1f468}\u200d\u{1f469}", "\u{1f600}\u{1f468}\\u200d\u{1f469}"],
  ["\ue000\uf8ff", "\\ue000\\uf8ff"],
  ["\u{e0001}\u{10ffff}", "\\U000e0001\\U0010ffff"],
  ["\ufffd", "\ufffd"],
  // Assigned in Unicode 15.0, and after it.
  ["\u{1fae8}\u{1f6dc}", "\u{1fae8}\u{1f6dc}"],
  ["\u2427\u{1fae9}\u{1f6d8}\u{33479}", "\\u2427\\U0001fae9\\U0001f6d8\\U00033479"],
  ["raw\udcff\udc80", "raw\\xff\\x80"],
];

test("names are quoted as Go quotes them, and come back", () => {
  for (const [name, quoted] of NAMES) {
    assert.equal(quote(name), quoted);
    assert.equal(unquote(quoted), name);
  }
});

test("every way to write a character is understood", () => {
  const table = [
    ["\\x41\\101\\u0041\\U00000041", "AAAA"],
    ["\\xc3\\xa9", "é"],
    ["\\303\\251", "é"],
    ["\\377", "\udcff"],
    ["caf\\u00e9 \\U0001F600", "café \u{1f600}"],
  ] as const;
  for (const [quoted, name] of table) assert.equal(unquote(quoted), name);
});

test("what Go would not unquote is refused", () => {
  const bad = [
    '"',
    'a"b',
    "\\",
    "\\q",
    "\\'",
    "\\x4",
    "\\xg0",
    "\\u004",
    "\\ud800",
    "\\udfff",
    "\\U00110000",
    "\\400",
    "\\08",
    "a\nb",
  ];
  for (const quoted of bad) refusal(() => unquote(quoted));
});

test("bytes become a name and the same bytes again, whatever they are", () => {
  const pieces = fc.constantFrom(
    [0xc3, 0xa9],
    [0xe2, 0x82],
    [0xed, 0xa0, 0x80],
    [0xf0, 0x9f, 0x98, 0x80],
    [0xc0, 0x80],
    [0xff],
  );
  const bytes = fc
    .array(
      fc.oneof(
        pieces,
        fc.nat({ max: 255 }).map((byte) => [byte]),
      ),
    )
    .map((parts) => Buffer.from(parts.flat()));
  fc.assert(
    fc.property(bytes, (raw) => {
      const name = nameFromBytes(raw);
      assert.deepEqual(nameToBytes(name), raw);
      assert.equal(unquote(quote(name)), name);
      assert.ok(quote(name).isWellFormed());
    }),
    { numRuns: 1000 },
  );
});

test("text becomes a name and the same text again", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assert.equal(unquote(quote(text)), text);
      assert.equal(nameFromBytes(nameToBytes(text)), text);
      assert.equal(nameToBytes(text).toString(), text);
    }),
    { numRuns: 500 },
  );
});

test("bytes that make up a character after all are written as that character", () => {
  assert.equal(quote("\udcc3\udca9"), "é");
  assert.equal(quote("half \ud83d"), "half \ufffd");
  assert.equal(unquote("\udc80"), "\ufffd");
});

test("UTF-8 is valid exactly where the platform's own decoder says so", () => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const isValid = (bytes: Uint8Array): boolean => {
    try {
      strict.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      for (const rest of [[], [0x80], [0xbf, 0x80], [0x80, 0x41]]) {
        const bytes = Uint8Array.from([first, second, ...rest]);
        const length = validUtf8Length(bytes, 0);
        const valid = [1, 2, 3, 4].find((count) => count <= bytes.length && isValid(bytes.subarray(0, count))) ?? 0;
        assert.equal(length, valid, bytes.join(" "));
      }
    }
  }
});

test("hostile quoting is refused or understood, and nothing else", () => {
  const scraps = fc.array(
    fc.constantFrom("\\", "x", "u", "U", "0", "f", "7", '"', "\n", "é", "\udcff", "\\x", "\\u00", "a"),
  );
  fc.assert(
    fc.property(
      scraps.map((parts) => parts.join("")),
      (quoted) => survives(() => unquote(quoted)),
    ),
    { numRuns: 2000 },
  );
});
