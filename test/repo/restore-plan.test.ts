import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { parseChunkId, parsePackId, type ChunkId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { ChunkIndex } from "../../src/repo/index.ts";
import { layOut, planReads } from "../../src/repo/restore-plan.ts";

const META = { mode: 0o644, mtime: 0 };
const PACK_A = parsePackId("aa".repeat(32));
const PACK_B = parsePackId("bb".repeat(32));

function chunk(name: string): ChunkId {
  return parseChunkId(createHash("sha256").update(name).digest("hex"));
}

/** Each chunk `[name, offset, sealed length]` stored raw. */
function indexOf(packs: [typeof PACK_A, [string, number, number][]][]): ChunkIndex {
  const index = new ChunkIndex();
  for (const [id, chunks] of packs) {
    const entries = chunks.map(([name, offset, length]) => {
      return { id: chunk(name), type: "data", offset, length, uncompressedLength: 0 } as const;
    });
    index.add({ id, entries });
  }
  return index;
}

function file(path: string, ...names: string[]) {
  return { path, sizeBytes: 0, content: names.map(chunk), meta: META };
}

test("chunks of a file lie one after another, by their own lengths", () => {
  const index = indexOf([
    [
      PACK_A,
      [
        ["a", 0, 132],
        ["b", 132, 232],
        ["c", 364, 32],
      ],
    ],
  ]);
  assert.deepEqual(layOut([chunk("b"), chunk("a"), chunk("b"), chunk("c")], index), {
    starts: [0, 200, 300, 500],
    length: 500,
  });
  assert.equal(layOut([chunk("b"), chunk("unknown")], index), undefined);
  assert.deepEqual(layOut([], index), { starts: [], length: 0 });
});

test("each chunk is read once, for all the places where it belongs", () => {
  const index = indexOf([
    [
      PACK_A,
      [
        ["a", 0, 132],
        ["b", 132, 232],
      ],
    ],
  ]);
  const tasks = planReads([file("one", "a"), file("two", "b", "a", "a")], index);
  assert.equal(tasks.length, 1);
  assert.deepEqual(tasks[0]?.parts[0]?.targets, [
    { path: "one", at: 0, whole: META },
    { path: "two", at: 200 },
    { path: "two", at: 300 },
  ]);
  assert.deepEqual(tasks[0]?.parts[1]?.targets, [{ path: "two", at: 0 }]);
});

test("reads of a pack are joined across small gaps, in the order of the pack, and not across large ones", () => {
  const far = 100 + LIMITS.readGapBytes + 1;
  const index = indexOf([
    [PACK_B, [["x", 50, 50]]],
    [
      PACK_A,
      [
        ["a", 0, 100],
        ["c", far, 40],
        ["b", 140, 60],
        ["d", far + 40 + LIMITS.readGapBytes, 32],
      ],
    ],
  ]);
  const tasks = planReads([file("f", "x", "c", "b", "a", "d")], index);
  assert.deepEqual(
    tasks.map(({ pack, offset, length, parts }) => ({ pack, offset, length, at: parts.map((part) => part.offset) })),
    [
      {
        pack: PACK_A,
        offset: 0,
        length: far + 40 + LIMITS.readGapBytes + 32,
        at: [0, 140, far, far + 40 + LIMITS.readGapBytes],
      },
      { pack: PACK_B, offset: 50, length: 50, at: [0] },
    ],
  );
  const apart = indexOf([
    [
      PACK_A,
      [
        ["a", 0, 100],
        ["b", far, 40],
      ],
    ],
  ]);
  assert.equal(planReads([file("f", "a", "b")], apart).length, 2);
});

test("no read is longer than allowed, but a chunk is never split", () => {
  const half = LIMITS.readMaxBytes / 2;
  const index = indexOf([
    [
      PACK_A,
      [
        ["a", 0, half],
        ["b", half, half],
        ["c", 2 * half, half],
        ["d", 3 * half, 3 * half],
      ],
    ],
  ]);
  const lengths = planReads([file("f", "a", "b", "c", "d")], index).map(({ length }) => length);
  assert.deepEqual(lengths, [2 * half, half, 3 * half]);
});
