/** Pack headers: byte for byte, and every way in which they can be wrong. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { randomKeys, seal, unseal } from "../../src/format/crypto.ts";
import {
  decodePackHeader,
  encodePackHeader,
  packHeaderBytes,
  packTailBytes,
  type PackEntry,
} from "../../src/format/pack.ts";
import { FIXED_KEYS, refusal, survives, withBitFlipped } from "./refusal.ts";
import { chunkId } from "./sample-nodes.ts";

/** Lengths and ids become entries that follow one another. */
function entriesOf(
  type: PackEntry["type"],
  chunks: readonly (readonly [length: number, uncompressed: number])[],
): PackEntry[] {
  let offset = 0;
  return chunks.map(([length, uncompressedLength], at) => {
    const entry = { id: chunkId(at % 256), type, offset, length, uncompressedLength };
    offset += length;
    return entry;
  });
}

function chunkBytes(entries: readonly PackEntry[]): number {
  return entries.reduce((sum, { length }) => sum + length, 0);
}

/** A pack's end with any plaintext for a header. */
function tailOf(header: Buffer): Buffer {
  const sealed = seal(FIXED_KEYS, header);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(sealed.length);
  return Buffer.concat([sealed, length]);
}

const chunk = fc.tuple(
  fc.integer({ min: 32, max: 0xff_ffff }),
  fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 0xffff_ffff })),
);
const anyEntries = fc
  .tuple(fc.constantFrom("data" as const, "tree" as const), fc.array(chunk, { minLength: 1, maxLength: 50 }))
  .map(([type, chunks]) => entriesOf(type, chunks));

test("an entry is its kind, lengths and id, little-endian, in 37 or 41 bytes", () => {
  const table = [
    ["data", [0x1234, 0], `0034120000${chunkId(0)}`],
    ["tree", [0x1234, 0], `0134120000${chunkId(0)}`],
    ["data", [0x1234, 0x0102_0304], `023412000004030201${chunkId(0)}`],
    ["tree", [0x1234, 0xffff_ffff], `0334120000ffffffff${chunkId(0)}`],
  ] as const;
  for (const [type, lengths, expected] of table) {
    const tail = encodePackHeader(FIXED_KEYS, entriesOf(type, [lengths]));
    assert.equal(tail.readUInt32LE(tail.length - 4), tail.length - 4);
    assert.equal(unseal(FIXED_KEYS, tail.subarray(0, -4)).toString("hex"), expected);
  }
});

test("what lies in a pack comes back, read with more of the pack or without", () => {
  fc.assert(
    fc.property(anyEntries, fc.nat({ max: 30 }), (entries, more) => {
      const tail = encodePackHeader(FIXED_KEYS, entries);
      const size = chunkBytes(entries) + tail.length;
      assert.equal(tail.length, packHeaderBytes(entries));
      assert.equal(packTailBytes(tail.subarray(-4), size), tail.length);
      assert.deepEqual(decodePackHeader(FIXED_KEYS, Buffer.concat([Buffer.alloc(more), tail]), size), entries);
    }),
    { numRuns: 200 },
  );
});

test("a pack of another size than its header says is refused", () => {
  const entries = entriesOf("data", [
    [100, 0],
    [200, 500],
  ]);
  const tail = encodePackHeader(FIXED_KEYS, entries);
  const size = chunkBytes(entries) + tail.length;
  for (const wrong of [size - 1, size + 1, size + 300, tail.length]) {
    assert.match(
      refusal(() => decodePackHeader(FIXED_KEYS, tail, wrong)),
      /every byte/,
    );
  }
});

test("any flipped bit, any cut and any other key are refused", () => {
  const entries = entriesOf("tree", [
    [100, 50],
    [40, 0],
  ]);
  const tail = encodePackHeader(FIXED_KEYS, entries);
  const size = chunkBytes(entries) + tail.length;
  const sealedBits = (tail.length - 4) * 8;
  for (let bit = 0; bit < sealedBits; bit++) {
    refusal(() => decodePackHeader(FIXED_KEYS, withBitFlipped(tail, bit), size));
  }
  // A length that grew asks for more bytes of the pack; those that it then gets are refused.
  const whole = Buffer.concat([Buffer.alloc(chunkBytes(entries)), tail]);
  for (let bit = 0; bit < 32; bit++) {
    refusal(() => decodePackHeader(FIXED_KEYS, withBitFlipped(whole, (whole.length - 4) * 8 + bit), whole.length));
  }
  for (let cut = 1; cut < whole.length; cut++) {
    refusal(() => decodePackHeader(FIXED_KEYS, whole.subarray(0, whole.length - cut), whole.length - cut));
  }
  refusal(() => decodePackHeader(randomKeys(), tail, size));
});

function length(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

test("lengths at the end of a pack that no pack can have are refused before anything is read", () => {
  assert.match(
    refusal(() => packTailBytes(length(0xffff_ffff), 2 ** 33)),
    /too long/,
  );
  assert.match(
    refusal(() => packTailBytes(length(LIMITS.packHeaderMaxBytes), 2 ** 33)),
    /too long/,
  );
  assert.equal(packTailBytes(length(LIMITS.packHeaderMaxBytes - 4), 2 ** 33), LIMITS.packHeaderMaxBytes);
  assert.match(
    refusal(() => packTailBytes(length(68), 1000)),
    /cut off/,
  );
  assert.equal(packTailBytes(length(69), 1000), 73);
  assert.match(
    refusal(() => packTailBytes(length(69), 72)),
    /cut off/,
  );
  for (const tooShort of [0, 1, 3]) refusal(() => packTailBytes(Buffer.alloc(tooShort), 1000));
  refusal(() => packTailBytes(Buffer.alloc(4), 3));
});

test("headers that were sealed properly and say nonsense are refused", () => {
  const good = Buffer.from(`0034000000${chunkId(7)}`, "hex");
  for (const kind of [4, 5, 0x80, 0xff]) {
    const header = Buffer.concat([Buffer.from([kind]), good.subarray(1)]);
    assert.match(
      refusal(() => decodePackHeader(FIXED_KEYS, tailOf(header), 0x34 + header.length + 36)),
      /unknown/,
    );
  }
  const half = Buffer.concat([good, good.subarray(0, 20)]);
  assert.match(
    refusal(() => decodePackHeader(FIXED_KEYS, tailOf(half), 0x34 + half.length + 36)),
    /unknown/,
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 37, maxLength: 200 }), fc.nat({ max: 2 ** 33 }), (header, size) => {
      survives(() =>
        decodePackHeader(
          FIXED_KEYS,
          tailOf(Buffer.from(header.map((byte, at) => (at % 37 === 0 ? byte & 3 : byte)))),
          size,
        ),
      );
    }),
    { numRuns: 500 },
  );
});

function isBug(error: unknown): boolean {
  return isFailure(error, "internal/bug");
}

test("packs that must not be are our fault: empty, mixed, with gaps, or too large", () => {
  const [first, second] = entriesOf("data", [
    [100, 0],
    [100, 0],
  ]);
  assert.ok(first !== undefined && second !== undefined);
  const wrong: readonly (readonly PackEntry[])[] = [
    [],
    [first, { ...second, type: "tree" }],
    [first, { ...second, offset: 101 }],
    [second],
    [{ ...first, length: 31 }],
    entriesOf("data", [
      [0xffff_ffff, 0],
      [100, 0],
    ]),
  ];
  for (const entries of wrong) assert.throws(() => encodePackHeader(FIXED_KEYS, entries), isBug);
  const many = Array.from({ length: 453_438 }, () => first);
  assert.throws(() => encodePackHeader(FIXED_KEYS, many), isBug);
});
