/** Index, snapshot and lock files as bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { randomKeys, seal, unseal } from "../../src/format/crypto.ts";
import { decodeUnpacked, encodeUnpacked } from "../../src/format/unpacked.ts";
import { FIXED_KEYS, refusal, survives, withBitFlipped } from "./refusal.ts";

test("JSON comes back as it was, under a name that differs each time", () => {
  fc.assert(
    fc.property(fc.json(), (json) => {
      const bytes = encodeUnpacked(FIXED_KEYS, json);
      assert.equal(decodeUnpacked(FIXED_KEYS, bytes), json.toWellFormed());
      assert.ok(!bytes.equals(encodeUnpacked(FIXED_KEYS, json)));
    }),
    { numRuns: 100 },
  );
});

test("the plaintext is the byte 2 and a zstd frame", () => {
  const plaintext = unseal(FIXED_KEYS, encodeUnpacked(FIXED_KEYS, `{"packs":[]}`));
  assert.equal(plaintext[0], 2);
  assert.equal(plaintext.readUInt32LE(1), 0xfd2fb528);
});

test("plain JSON is read too, as repositories hold that were of version 1", () => {
  for (const json of [`{"a":1}`, "[1]"])
    assert.equal(decodeUnpacked(FIXED_KEYS, seal(FIXED_KEYS, Buffer.from(json))), json);
});

test("an unknown kind of content is refused as unsupported, not as damaged", () => {
  for (const first of [0, 1, 3, 0x20, 0x22, 0xff]) {
    const bytes = seal(FIXED_KEYS, Buffer.from([first, 1, 2, 3]));
    assert.match(
      refusal(() => decodeUnpacked(FIXED_KEYS, bytes)),
      /^repo\/unsupported/,
    );
  }
  assert.match(
    refusal(() => decodeUnpacked(FIXED_KEYS, seal(FIXED_KEYS, Buffer.alloc(0)))),
    /^repo\/unsupported/,
  );
});

test("any flipped bit, other keys, and bytes that are no zstd are refused", () => {
  const bytes = encodeUnpacked(FIXED_KEYS, `{"packs":[]}`);
  for (let bit = 0; bit < bytes.length * 8; bit++)
    refusal(() => decodeUnpacked(FIXED_KEYS, withBitFlipped(bytes, bit)));
  refusal(() => decodeUnpacked(randomKeys(), bytes));
  refusal(() => decodeUnpacked(FIXED_KEYS, seal(FIXED_KEYS, Buffer.from([2, 0x28, 0xb5, 0x2f, 0xfd, 1]))));
});

test("whatever was sealed, decoding ends in a string or in a failure", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.boolean(), (bytes, isZstd) => {
      const plaintext = isZstd ? Buffer.concat([Buffer.from([2]), bytes]) : bytes;
      survives(() => assert.equal(typeof decodeUnpacked(FIXED_KEYS, seal(FIXED_KEYS, plaintext)), "string"));
    }),
    { numRuns: 300 },
  );
});
