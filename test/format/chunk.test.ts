/** When a chunk is compressed, and what becomes of hostile frames. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { looksRandom, openPacker, packChunk, QUICK_LEVEL, unpackChunk, unpackZstd } from "../../src/format/chunk.ts";
import { refusal, survives, withBitFlipped } from "./refusal.ts";

const PHOTO = readFileSync(join(import.meta.dirname, "../golden/format/photo.jpg"));

/** Bytes that look random and are the same each time. */
function noise(length: number, seed = "noise"): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, at) =>
    createHash("sha256").update(`${seed} ${at}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

const ROWS = Buffer.from(Array.from({ length: 5000 }, (_, at) => `${at}\tmessage ${at * 7919}\t\\N\n`).join(""));

test("noise, photos and archives are not even tried, and are stored without a copy", () => {
  const archive = gzipSync(noise(100_000).toString("base64"));
  const samples = { noise: noise(1 << 20), short: noise(20_000), tiny: noise(100), one: noise(1), PHOTO, archive };
  for (const [name, bytes] of Object.entries(samples)) {
    assert.equal(looksRandom(bytes), true, name);
    const packed = packChunk(bytes);
    assert.equal(packed.uncompressedLength, 0, name);
    assert.equal(packed.bytes, bytes, name);
  }
});

test("text, base64, counters and bytes that are half noise are tried, and shrink", () => {
  const samples = {
    rows: ROWS,
    base64: Buffer.from(noise(15_000).toString("base64")),
    counter: Buffer.from(Array.from({ length: 20_000 }, (_, at) => at & 0xff)),
    half: Buffer.concat([noise(500_000), Buffer.alloc(500_000)]),
    zeros: Buffer.alloc(8 << 20),
  };
  for (const [name, bytes] of Object.entries(samples)) {
    assert.equal(looksRandom(bytes), false, name);
    const packed = packChunk(bytes);
    assert.equal(packed.uncompressedLength, bytes.length, name);
    assert.ok(packed.bytes.length <= bytes.length * 0.97, name);
    assert.ok(Buffer.from(unpackChunk(packed.bytes, packed.uncompressedLength)).equals(bytes), name);
  }
});

test("what is tried and shrinks by less than three in a hundred is stored raw", () => {
  // Enough zeros for one sample, and next to nothing for zstd.
  const bytes = noise(100_000);
  bytes.fill(0, 12_400, 13_100);
  assert.equal(looksRandom(bytes), false);
  assert.deepEqual(packChunk(bytes), { bytes, uncompressedLength: 0 });
});

test("whatever came before it, noise is stored raw and text compressed, at each level", () => {
  for (const level of [undefined, QUICK_LEVEL]) {
    const packer = openPacker(level);
    for (const bytes of [ROWS, noise(65_536), noise(8_192), ROWS, PHOTO, noise(300_000), ROWS, ROWS, noise(1)]) {
      const packed = packer.pack(bytes, "data");
      if (bytes === ROWS) {
        assert.ok(packed.bytes.length < bytes.length / 2);
        const params = { [constants.ZSTD_c_compressionLevel]: level ?? 2 };
        assert.deepEqual(Buffer.from(packed.bytes), zstdCompressSync(bytes, { params }));
        assert.ok(Buffer.from(packer.unpack(packed.bytes, packed.uncompressedLength)).equals(bytes));
      } else {
        assert.deepEqual(packed, { bytes, uncompressedLength: 0 });
      }
    }
  }
});

test("trees are compressed whatever they look like, and nothing at all is stored raw", () => {
  const tree = noise(300);
  assert.equal(packChunk(tree, "tree").uncompressedLength, 300);
  for (const type of ["data", "tree"] as const) {
    assert.deepEqual(packChunk(Buffer.alloc(0), type), { bytes: Buffer.alloc(0), uncompressedLength: 0 });
  }
});

test("a compressed chunk says how long it was, which stock restic reads before it allocates", () => {
  const { bytes } = packChunk(ROWS);
  assert.equal(Buffer.from(bytes).readUInt32LE(0), 0xfd2fb528);
  const frame = Buffer.from(bytes);
  const sizeFlag = (frame[4] ?? 0) >> 6;
  const isSingle = ((frame[4] ?? 0) & 0x20) !== 0;
  assert.ok(sizeFlag > 0 || isSingle, "no content size in the frame");
});

test("packing and unpacking gives the same bytes, whatever they are", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    fc.string({ maxLength: 3000 }).map((text) => new Uint8Array(Buffer.from(text))),
  );
  fc.assert(
    fc.property(bytes, fc.constantFrom("data" as const, "tree" as const), (chunk, type) => {
      const packed = packChunk(chunk, type);
      assert.deepEqual(Buffer.from(unpackChunk(packed.bytes, packed.uncompressedLength)), Buffer.from(chunk));
    }),
    { numRuns: 300 },
  );
});

test("a frame that unpacks to more or less than was promised is refused", () => {
  const { bytes, uncompressedLength } = packChunk(ROWS);
  for (const length of [1, uncompressedLength - 1, uncompressedLength + 1, 2 ** 32 - 1]) {
    refusal(() => unpackChunk(bytes, length));
  }
  refusal(() => unpackChunk(bytes.subarray(0, bytes.length - 1), uncompressedLength));
  refusal(() => unpackChunk(Buffer.alloc(0), 1));
  refusal(() => unpackChunk(ROWS, ROWS.length));
});

test("a bomb is refused before it has grown", () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 << 20), {
    params: { [constants.ZSTD_c_compressionLevel]: 19, [constants.ZSTD_c_contentSizeFlag]: 0 },
  });
  assert.ok(bomb.length < 10_000);
  assert.match(
    refusal(() => unpackChunk(bomb, 1000)),
    /larger than/,
  );
  // The same with a header that tells the truth, and one that tells of eight tebibytes.
  const honest = zstdCompressSync(Buffer.alloc(64 << 20));
  assert.match(
    refusal(() => unpackChunk(honest, 1000)),
    /67108864 bytes instead of 1000/,
  );
  const huge = Buffer.from(`28b52ffdc048${"000000000008".padEnd(16, "0")}${"00".repeat(20)}`, "hex");
  assert.match(
    refusal(() => unpackZstd(huge)),
    /8796093022208 bytes, which is more than allowed/,
  );
});

test("a length is understood however the frame writes it", () => {
  for (const length of [0, 1, 255, 256, 257, 65_535, 65_791, 65_792, 70_000, 1 << 20]) {
    for (const level of [1, 3, 19]) {
      const frame = zstdCompressSync(Buffer.alloc(length, "ab"), {
        params: { [constants.ZSTD_c_compressionLevel]: level },
      });
      assert.equal(unpackZstd(frame).length, length);
      if (length > 0) assert.equal(unpackChunk(frame, length).length, length);
      refusal(() => unpackChunk(frame, length + 1));
    }
  }
});

test("damaged frames are refused or unpack to something of the promised length, and do nothing else", () => {
  const { bytes, uncompressedLength } = packChunk(ROWS.subarray(0, 2000));
  fc.assert(
    fc.property(fc.nat({ max: bytes.length * 8 - 1 }), (bit) => {
      survives(() =>
        assert.equal(unpackChunk(withBitFlipped(bytes, bit), uncompressedLength).length, uncompressedLength),
      );
    }),
    { numRuns: 300 },
  );
  for (let round = 0; round < 100; round++) survives(() => unpackZstd(randomBytes(50)));
});
