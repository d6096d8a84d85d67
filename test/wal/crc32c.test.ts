import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { CRC32C_START, extendCrc32c, finishCrc32c } from "../../src/wal/crc32c.ts";

function crc32c(bytes: Uint8Array): number {
  return finishCrc32c(extendCrc32c(CRC32C_START, bytes));
}

/** Bit by bit, as RFC 3720 (B.4) defines it. */
function slowly(bytes: Uint8Array): number {
  let sum = 0xffff_ffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum & 1) === 1 ? (sum >>> 1) ^ 0x82f6_3b78 : sum >>> 1;
  }
  return ~sum >>> 0;
}

test("CRC-32C has the values that RFC 3720 and its discoverers give", () => {
  assert.equal(crc32c(Buffer.from("123456789")), 0xe306_9283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a91_36aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8_ab43);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, n) => n))), 0x46dd_794e);
  assert.equal(crc32c(Buffer.alloc(0)), 0);
});

test("it is the same bit by bit, and whatever pieces the bytes come in", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
      assert.equal(crc32c(bytes), slowly(bytes));
      const at = Math.min(cut, bytes.length);
      const half = extendCrc32c(CRC32C_START, bytes, 0, at);
      assert.equal(finishCrc32c(extendCrc32c(half, bytes, at)), crc32c(bytes));
    }),
  );
});
