/** Contexts of zstd that are kept: they do what Node's own functions do, frame after frame, and nothing by halves. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import * as fc from "fast-check";
import { openPacker, packChunk, unpackChunk } from "../../src/format/chunk.ts";
import { CONTEXT_MOST, isOneFrame, openZstdContexts, type ZstdContexts } from "../../src/format/zstd-context.ts";
import { refusal } from "./refusal.ts";

function contexts(): ZstdContexts {
  const opened = openZstdContexts(2);
  assert.ok(opened !== undefined, "this Node's own zstd contexts are not what they were: see ADR 0015");
  return opened;
}

const bytesOf = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.integer({ min: 1, max: 60 }))
  .map(([part, times]) => Buffer.concat(Array.from({ length: times }, () => part)));

test("whatever comes one behind the other becomes what Node's own functions make of it, and comes back", () => {
  const kept = contexts();
  fc.assert(
    fc.property(fc.array(bytesOf, { minLength: 1, maxLength: 5 }), (all) => {
      for (const bytes of all) {
        const packed = Buffer.from(kept.compress(bytes) ?? []);
        const theirs = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 2 } });
        assert.deepEqual(packed, theirs);
        assert.ok(isOneFrame(packed));
        assert.deepEqual(Buffer.from(kept.decompress(packed, bytes.length) ?? []), bytes);
      }
    }),
    { numRuns: 60 },
  );
});

test("a frame that is cut short, followed by something or of another length gives nothing, and the next one is as ever", () => {
  const kept = contexts();
  const bytes = Buffer.from(Array.from({ length: 30_000 }, (_, at) => (at * at) % 251));
  const frame = zstdCompressSync(bytes);
  const checked = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  for (const whole of [frame, checked]) {
    for (const cut of [1, 3, 4, 5, 100, whole.length - 4, whole.length]) {
      assert.equal(kept.decompress(whole.subarray(0, whole.length - cut), bytes.length), undefined, `${cut} less`);
    }
    assert.equal(kept.decompress(Buffer.concat([whole, Buffer.from([0])]), bytes.length), undefined);
    assert.equal(kept.decompress(Buffer.concat([whole, whole]), bytes.length), undefined);
    for (const length of [0, 1, bytes.length - 1, bytes.length + 1]) {
      assert.equal(kept.decompress(whole, length), undefined, `${length} bytes`);
    }
    assert.deepEqual(kept.decompress(whole, bytes.length), bytes);
  }
});

test("damage in a frame's middle gives nothing or other bytes of that length, and never hurts the frame after it", () => {
  const kept = contexts();
  const bytes = Buffer.from(Array.from({ length: 5_000 }, (_, at) => (at * at) % 97));
  const frame = zstdCompressSync(bytes);
  for (let at = 0; at < frame.length; at += 1) {
    const damaged = Buffer.from(frame);
    damaged.writeUInt8((damaged[at] ?? 0) ^ 0x15, at);
    const found = kept.decompress(damaged, bytes.length);
    if (found !== undefined) assert.deepEqual(found, zstdDecompressSync(damaged));
    assert.deepEqual(kept.decompress(frame, bytes.length), bytes);
  }
});

test("blocks that are raw, repeated or several end where the frame ends", () => {
  const noise = Buffer.concat(Array.from({ length: 9_000 }, (_, at) => createHash("sha256").update(`${at}`).digest()));
  for (const bytes of [noise, Buffer.alloc(1_000_000), noise.subarray(0, 20), Buffer.alloc(1)]) {
    const frame = zstdCompressSync(bytes);
    assert.ok(isOneFrame(frame));
    assert.ok(!isOneFrame(frame.subarray(0, -1)));
    assert.deepEqual(Buffer.from(contexts().decompress(frame, bytes.length) ?? []), bytes);
  }
});

test("what is too long for a context, and what was made elsewhere, is packed and unpacked as well", () => {
  const packer = openPacker();
  const long = Buffer.alloc(CONTEXT_MOST + 1, "a long chunk of many words. ");
  const short = Buffer.alloc(CONTEXT_MOST, "a shorter chunk. ");
  for (const bytes of [long, short, long, short]) {
    const packed = packer.pack(bytes, "data");
    assert.deepEqual(Buffer.from(packed.bytes), Buffer.from(packChunk(bytes).bytes));
    assert.equal(packed.uncompressedLength, bytes.length);
    const unpacked = packer.unpack(packed.bytes, packed.uncompressedLength);
    assert.ok(Buffer.from(unpacked).equals(bytes));
    packer.release(packed.bytes);
    packer.release(unpacked);
  }
  const streamed = zstdCompressSync(short, { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } });
  assert.ok(Buffer.from(packer.unpack(streamed, short.length)).equals(short));
  const { bytes } = packChunk(short);
  for (const [cut, length] of [
    [Buffer.from(bytes.subarray(0, -1)), short.length],
    [bytes, 7],
  ] as const) {
    const ours = refusal(() => packer.unpack(cut, length));
    assert.deepEqual(
      ours,
      refusal(() => unpackChunk(cut, length)),
    );
  }
});
