/** Sealing: Bernstein's own vectors, frozen bytes, and damage of every kind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { randomKeys, seal, SEAL_OVERHEAD, sealInto, tryUnseal, unseal, unsealInto } from "../../src/format/crypto.ts";
import { FIXED_KEYS, refusal, withBitFlipped } from "./refusal.ts";

/** "The Poly1305-AES message-authentication code", appendix B: message, r, k, nonce, tag. */
const VECTORS: readonly (readonly [string, string, string, string, string])[] = [
  [
    "f3f6",
    "851fc40c3467ac0be05cc20404f3f700",
    "ec074c835580741701425b623235add6",
    "fb447350c4e868c52ac3275cf9d4327e",
    "f4c633c3044fc145f84f335cb81953de",
  ],
  [
    "",
    "a0f3080000f46400d0c7e9076c834403",
    "75deaa25c09f208e1dc4ce6b5cad3fbf",
    "61ee09218d29b0aaed7e154a2c5509cc",
    "dd3fab2251f11ac759f0887129cc2ee7",
  ],
  [
    "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
    "48443d0bb0d21109c89a100b5ce2c208",
    "6acb5f61a7176dd320c5c1eb2edcdc74",
    "ae212a55399729595dea458bc621ff0e",
    "0ee1c16bb73f0f4fd19881753c01cdbe",
  ],
  [
    "ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9",
    "12976a08c4426d0ce8a82407c4f48207",
    "e1a5668a4d5b66a5f68cc5424ed5982d",
    "9ae831e743978d3a23527c7128149e3a",
    "5154ad0d2cb26e01274fc51148491f1b",
  ],
];

function hex(text: string): Buffer {
  return Buffer.from(text, "hex");
}

test("the tag is Poly1305-AES of the ciphertext, as its inventor defines it", () => {
  for (const [message, r, k, nonce, tag] of VECTORS) {
    const keys = { encrypt: Buffer.alloc(32, 1), macK: hex(k), macR: hex(r) };
    assert.equal(tryUnseal(keys, hex(nonce + message + tag))?.length, message.length / 2);
    assert.equal(tryUnseal(keys, withBitFlipped(hex(nonce + message + tag), 130)), undefined);
  }
});

test("the ciphertext is AES-256-CTR with the IV as a counter of 128 bits", () => {
  // NIST SP 800-38A, F.5.5; the counter's low bytes carry.
  const keys = {
    ...FIXED_KEYS,
    encrypt: hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
  };
  const iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  const ciphertext = hex("601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
  const tag = hex("6c377ab31be568bd032556cc2f3e03ee");
  assert.equal(
    unseal(keys, Buffer.concat([iv, ciphertext, tag])).toString("hex"),
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
  );
});

test("frozen sealed bytes open for ever", () => {
  const sealed = hex(
    "dce2125bffb824d97b4eb548edc58964ba1f51389ba0f1d3b49614aad6e84e6f3e6c91b732e9dbde4bd107315072f7da78264ca27e7b9d",
  );
  assert.equal(unseal(FIXED_KEYS, sealed).toString(), "sealed by version 0.1.0");
});

test("what is sealed unseals to itself, at every length around a slice", () => {
  const keys = randomKeys();
  const slice = 48 * 1024;
  for (const length of [0, 1, 15, 16, 17, slice - 1, slice, slice + 1, 3 * slice + 5]) {
    const plaintext = Buffer.alloc(length, "chatkeep");
    const sealed = seal(keys, plaintext);
    assert.equal(sealed.length, length + SEAL_OVERHEAD);
    assert.ok(unseal(keys, sealed).equals(plaintext));
  }
});

test("sealing and unsealing in the caller's memory touch nothing around it", () => {
  const keys = randomKeys();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 40 }), (plaintext, offset) => {
      const out = Buffer.alloc(offset + plaintext.length + SEAL_OVERHEAD + 7, 0xee);
      const end = offset + sealInto(keys, plaintext, out, offset);
      assert.equal(end, out.length - 7);
      assert.ok(out.subarray(0, offset).every((byte) => byte === 0xee));
      assert.ok(out.subarray(end).every((byte) => byte === 0xee));
      const back = Buffer.alloc(plaintext.length + 2, 0xdd);
      assert.equal(unsealInto(keys, out.subarray(offset, end), back, 1), plaintext.length);
      assert.deepEqual([...back], [0xdd, ...plaintext, 0xdd]);
    }),
    { numRuns: 200 },
  );
});

test("no IV is used twice, over more seals than are drawn at once", () => {
  const keys = randomKeys();
  const ivs = new Set(Array.from({ length: 1000 }, () => seal(keys, Buffer.from("x")).toString("hex", 0, 16)));
  assert.equal(ivs.size, 1000);
});

test("any flipped bit, any cut and any other key are refused, and nothing is written then", () => {
  const keys = randomKeys();
  const plaintext = Buffer.from("a conversation that must not change");
  const sealed = seal(keys, plaintext);
  for (let bit = 0; bit < sealed.length * 8; bit++) refusal(() => unseal(keys, withBitFlipped(sealed, bit)));
  for (let length = 0; length < sealed.length; length++) refusal(() => unseal(keys, sealed.subarray(0, length)));
  refusal(() => unseal(randomKeys(), sealed));
  refusal(() => unseal({ ...keys, macR: Buffer.alloc(16, 7) }, sealed));
  const out = Buffer.alloc(plaintext.length);
  refusal(() => unsealInto(keys, withBitFlipped(sealed, 200), out, 0));
  assert.ok(out.every((byte) => byte === 0));
});

test("an IV of zeros is refused even where the tag would fit", () => {
  // With r = 0 the tag is the pad alone, which is what AES makes of the IV.
  const keys = { encrypt: Buffer.alloc(32, 1), macK: Buffer.alloc(16), macR: Buffer.alloc(16) };
  const sealed = Buffer.concat([Buffer.alloc(16), hex("66e94bd4ef8a2c3b884cfa59ca342b2e")]);
  refusal(() => unseal(keys, sealed));
});

function isBug(error: unknown): boolean {
  return isFailure(error, "internal/bug");
}

test("memory that is too small, and keys of a wrong length, are our own fault", () => {
  const keys = randomKeys();
  assert.throws(() => sealInto(keys, Buffer.alloc(10), Buffer.alloc(41), 0), isBug);
  assert.throws(() => sealInto(keys, Buffer.alloc(10), Buffer.alloc(42), 1), isBug);
  assert.throws(() => unsealInto(keys, seal(keys, Buffer.alloc(10)), Buffer.alloc(9), 0), isBug);
  assert.throws(() => seal({ ...keys, macK: Buffer.alloc(15) }, Buffer.alloc(1)), isBug);
});

test("keys that crossed to another thread, as plain bytes, unseal the same", () => {
  const keys = randomKeys();
  assert.equal(unseal(structuredClone(keys), seal(keys, Buffer.from("hello"))).toString(), "hello");
});
