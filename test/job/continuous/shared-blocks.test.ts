import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../src/base/limits.ts";
import { SharedBlocks } from "../../../src/job/continuous/shared-blocks.ts";

const BLOCK = LIMITS.walChunkBytes;
const PER_AREA = Math.floor(LIMITS.sharedAreaBytes / BLOCK);

function take(blocks: SharedBlocks, count: number): Buffer[] {
  return Array.from({ length: count }, () => blocks.take());
}

test("blocks that somebody may still look at are held and used no more, and those that are taken afterwards are others", () => {
  const blocks = new SharedBlocks(BLOCK);
  const before = take(blocks, PER_AREA + 1);
  assert.equal(blocks.heldAreas, 2);
  blocks.leaveAll();
  assert.equal(blocks.heldAreas, 0);
  for (const block of before) blocks.giveBack(block);
  const after = take(blocks, PER_AREA + 1);
  const areas = new Set(before.map(({ buffer }) => buffer));
  assert.ok(after.every((block) => !areas.has(block.buffer)));
  const [again] = after;
  assert.ok(again);
  blocks.giveBack(again);
  assert.equal(blocks.take(), again);
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
