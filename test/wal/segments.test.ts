import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { segmentName } from "../../src/wal/lsn.ts";
import { createSegmenter, type SegmentPart } from "../../src/wal/segments.ts";

const MIB = 2 ** 20;
const START = 0x16_0000_0000n;

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Bytes of which no MiB is like another. */
const LOG = Buffer.from(new Uint32Array((3 * MIB) / 4).map((_, n) => Math.imul(n, 0x9e37_79b1)).buffer);

function filesOf(parts: readonly SegmentPart[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const { name, offset, bytes } of parts) {
    const file = files.get(name) ?? Buffer.alloc(MIB);
    file.set(bytes, offset);
    files.set(name, file);
  }
  return files;
}

test("whatever pieces the bytes come in, each file is whole, with its SHA-256 once, at its end", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: MIB + 9 }), { minLength: 1, maxLength: 5 }), (pieces) => {
      const segmenter = createSegmenter({ timeline: 3, from: START, segmentBytes: MIB });
      const parts: SegmentPart[] = [];
      for (let at = 0, n = 0; at < LOG.length; n += 1) {
        const piece = LOG.subarray(at, at + Math.max(4_000, pieces[n % pieces.length] ?? 1));
        parts.push(...segmenter.push(piece));
        at += piece.length;
      }
      const files = filesOf(parts);
      for (let n = 0; n < 3; n += 1) {
        const name = segmentName(3, START + BigInt(n * MIB), MIB);
        const sums = parts.flatMap((part) => (part.name === name ? [part.sha256] : []));
        assert.deepEqual(files.get(name), LOG.subarray(n * MIB, (n + 1) * MIB));
        assert.equal(sums.at(-1), sha256(LOG.subarray(n * MIB, (n + 1) * MIB)));
        assert.ok(sums.slice(0, -1).every((sum) => sum === undefined));
      }
      assert.equal(segmenter.open(), undefined);
      assert.equal(segmenter.position, START + BigInt(LOG.length));
    }),
    { numRuns: 20 },
  );
});

test("a tail that is cut says what is there of it, and is filled up with zeros", () => {
  const segmenter = createSegmenter({ timeline: 1, from: START, segmentBytes: MIB });
  segmenter.push(LOG.subarray(0, MIB + 100));
  const name = segmentName(1, START + BigInt(MIB), MIB);
  const start = START + BigInt(MIB);
  assert.deepEqual(segmenter.open(), { name, start, from: 0, to: 100, sha256: sha256(LOG.subarray(MIB, MIB + 100)) });
  const parts = [...segmenter.pad()];
  const whole = Buffer.concat([LOG.subarray(MIB, MIB + 100), Buffer.alloc(MIB - 100)]);
  assert.ok(parts.every((part) => part.name === name));
  assert.deepEqual(Buffer.concat(parts.map(({ bytes }) => bytes)), whole.subarray(100));
  assert.equal(parts.at(-1)?.sha256, sha256(whole));
  assert.deepEqual([segmenter.open(), [...segmenter.pad()]], [undefined, []]);
});

test("what begins amid a segment says so", () => {
  const segmenter = createSegmenter({ timeline: 1, from: START + 8192n, segmentBytes: MIB });
  assert.equal(segmenter.open(), undefined);
  assert.deepEqual([...segmenter.pad()], []);
  const [first] = segmenter.push(LOG.subarray(8192, 9000));
  assert.deepEqual([first?.start, first?.offset], [START, 8192]);
  assert.deepEqual(segmenter.open()?.from, 8192);
  const [rest, next] = segmenter.push(LOG.subarray(9000, MIB + 1));
  assert.equal(rest?.sha256, sha256(LOG.subarray(8192, MIB)));
  assert.deepEqual([next?.offset, next?.sha256], [0, undefined]);
});
