import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../src/base/limits.ts";
import { SharedBlocks } from "../../../src/job/continuous/shared-blocks.ts";

const BLOCK = LIMITS.walChunkBytes;
const PER_AREA = Math.floor(LIMITS.sharedAreaBytes / BLOCK);

function take(blocks: SharedBlocks, count: number): Buffer[] {
  return Array.from({ length: count }, () => blocks.take());
}

test("once no block is used again, no area is held but the one that is being filled, however many are taken", () => {
  const blocks = new SharedBlocks(BLOCK);
  const before = take(blocks, PER_AREA + 1);
  assert.equal(blocks.heldAreas, 2);
  blocks.useNoneAgain();
  const after = take(blocks, 3 * PER_AREA + 1);
  assert.equal(blocks.heldAreas, 1);
  // Each block is another one all the same.
  const places = new Map<ArrayBufferLike, Set<number>>();
  for (const { buffer, byteOffset } of [...before, ...after])
    places.set(buffer, (places.get(buffer) ?? new Set()).add(byteOffset));
  assert.deepEqual(
    [...places.values()].map(({ size }) => size),
    [PER_AREA, 1, PER_AREA, PER_AREA, PER_AREA, 1],
  );
  for (const block of after) blocks.giveBack(block);
  blocks.trim();
  assert.equal(blocks.heldAreas, 1);
  assert.ok(!after.includes(blocks.take()));
});

test("blocks that are given back are used again, and areas of which nothing is in use are given up", () => {
  const blocks = new SharedBlocks(BLOCK);
  const [first, ...others] = take(blocks, 2 * PER_AREA);
  assert.ok(first);
  blocks.giveBack(first);
  assert.equal(blocks.take(), first);
  for (const block of others) blocks.giveBack(block);
  blocks.trim();
  assert.equal(blocks.heldAreas, 1);
});
