/** Go's JSON: escapes, and integers of 64 bits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { encodeGoBytes, encodeGoString, encodeGoValue, parseJson } from "../../src/format/go-json.ts";
import { refusal, survives } from "./refusal.ts";

/** What `json.Marshal` of Go 1.22 and later gives. */
const STRINGS: readonly (readonly [string, string])[] = [
  ["", '""'],
  ["plain text ~", '"plain text ~"'],
  ['"\\/', '"\\"\\\\/"'],
  ["<a href='x'>&", "\"\\u003ca href='x'\\u003e\\u0026\""],
  ["\0\u0001\u001f\u007f", '"\\u0000\\u0001\\u001f\u007f"'],
  ["\b\f\n\r\t\v", '"\\b\\f\\n\\r\\t\\u000b"'],
  ["\u2027\u2028\u2029\u202a", '"\u2027\\u2028\\u2029\u202a"'],
  ["é\ufffd\ufeff\u{1f600}", '"é\ufffd\ufeff\u{1f600}"'],
  ["half \ud83d a pair", '"half \ufffd a pair"'],
];

test("strings are escaped as Go escapes them", () => {
  for (const [text, json] of STRINGS) assert.equal(encodeGoString(text), json);
});

test("every string comes back through JSON as it was", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      const json = encodeGoString(text);
      assert.equal(JSON.parse(json), text.toWellFormed());
      assert.doesNotMatch(json, /[<>&\u2028\u2029]/);
    }),
    { numRuns: 500 },
  );
});

test("bytes that are not UTF-8 become one escape each, and a genuine U+FFFD stays", () => {
  assert.equal(encodeGoBytes(Buffer.from([0x61, 0xff, 0xfe, 0x62])), '"a\\ufffd\\ufffdb"');
  assert.equal(encodeGoBytes(Buffer.from([0xe2, 0x82, 0x41])), '"\\ufffd\\ufffdA"');
  assert.equal(encodeGoBytes(Buffer.from("é<\ufffd\u{1f600}")), '"é\\u003c\ufffd\u{1f600}"');
  assert.equal(encodeGoBytes(Buffer.from([0xf0, 0x9f])), '"\\ufffd\\ufffd"');
  assert.equal(encodeGoBytes(Buffer.alloc(0)), '""');
});

test("valid UTF-8 is encoded the same as bytes and as text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assert.equal(encodeGoBytes(Buffer.from(text)), encodeGoString(text));
    }),
    { numRuns: 300 },
  );
});

test("integers of 64 bits are exact, and others stay numbers", () => {
  const json =
    '{"a":18446744073709551615,"b":9007199254740991,"c":9007199254740993,"d":[-9223372036854775808],"e":1.5}';
  assert.deepEqual(parseJson(json, "a test"), {
    a: 18446744073709551615n,
    b: 9007199254740991,
    c: 9007199254740993n,
    d: [-9223372036854775808n],
    e: 1.5,
  });
  assert.equal(encodeGoValue(parseJson(json, "a test")), json);
});

test("digits inside strings are no numbers", () => {
  const json = '{"id":"12345678901234567890","s":"x:99999999999999999999"}';
  assert.deepEqual(parseJson(json, "a test"), { id: "12345678901234567890", s: "x:99999999999999999999" });
});

test("any JSON value comes back as it was", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const json = encodeGoValue(value);
      assert.deepEqual(JSON.parse(json), JSON.parse(JSON.stringify(value)));
      assert.equal(encodeGoValue(parseJson(json, "a test")), json);
    }),
    { numRuns: 300 },
  );
});

test("what is not JSON is refused without quoting it", () => {
  assert.equal(
    refusal(() => parseJson('{"password":"hunter2"', "a test")),
    "repo/damaged: a test is not valid JSON",
  );
  fc.assert(
    fc.property(fc.string(), (text) => survives(() => parseJson(text, "a test"))),
    { numRuns: 300 },
  );
  survives(() => parseJson(`[${"[".repeat(200_000)}1234567890123456${"]".repeat(200_000)}]`, "a test"));
});
