import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { WalTail } from "../../../src/job/continuous/wal-tail.ts";

const SEGMENT = 64;
const START = 640n;
const signal = new AbortController().signal;

function tailOf(maxBytes = 1_000_000): WalTail {
  return new WalTail({ start: START, segmentBytes: SEGMENT, maxBytes });
}

test("what was added is read back from any position to any other, however it came and whatever was let go of", async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(lengths, fc.nat(), fc.nat(), fc.nat(), async (pieces, a, b, c) => {
      const tail = tailOf();
      const all = Buffer.alloc(
        pieces.reduce((sum, length) => sum + length, 0),
        0,
      ).map((_, at) => at % 251);
      let at = 0;
      for (const [cameMs, length] of pieces.entries()) {
        const bytes = Buffer.from(all.subarray(at, at + length));
        await tail.add({ start: START + BigInt(at), bytes, commits: [], cameMs }, { signal });
        at += length;
      }
      const [gone, from, to] = [a, b, c].map((each) => each % (all.length + 1)).toSorted((x, y) => x - y);
      assert.ok(gone !== undefined && from !== undefined && to !== undefined);
      tail.letGo(START + BigInt(gone));
      const read = Buffer.concat(tail.read(START + BigInt(from), START + BigInt(to)));
      assert.deepEqual([...read], [...all.subarray(from, to)]);
      assert.equal(tail.bytes, all.length - gone);
      if (from < all.length) {
        let [piece, sum] = [0, pieces[0] ?? 0];
        while (sum <= from) sum += pieces[++piece] ?? 0;
        assert.equal(tail.cameAt(START + BigInt(from)), piece);
      }
    }),
  );
});

test("what was read stays as it is while more comes and what lies before is let go of, and for ever once its blocks were left", async () => {
  const tail = tailOf();
  // So much more comes that what was let go of is used again.
  tail.heard(START + 2n ** 40n);
  const add = async (length: number, value: number) =>
    await tail.add({ start: tail.end, bytes: Buffer.alloc(length, value), commits: [], cameMs: 0 }, { signal });
  await add(3 * SEGMENT, 1);
  await add(SEGMENT, 2);
  const kept = tail.read(START + BigInt(3 * SEGMENT), tail.end);
  tail.letGo(START + BigInt(3 * SEGMENT));
  await add(10 * SEGMENT, 3);
  assert.deepEqual(Buffer.concat(kept), Buffer.alloc(SEGMENT, 2));
  tail.leaveBlocks();
  tail.letGo(tail.end);
  await add(10 * SEGMENT, 4);
  assert.deepEqual(Buffer.concat(kept), Buffer.alloc(SEGMENT, 2));
});

test("whoever adds waits while too much is here, and goes on when it was let go of", async () => {
  const tail = tailOf(100);
  await tail.add({ start: START, bytes: Buffer.alloc(100), commits: [], cameMs: 0 }, { signal });
  let isThrough = false;
  const adding = tail.add({ start: START + 100n, bytes: Buffer.alloc(50), commits: [], cameMs: 1 }, { signal });
  void adding.then(() => (isThrough = true));
  tail.letGo(START + 10n);
  await new Promise(setImmediate);
  assert.equal(isThrough, false);
  tail.letGo(START + 64n);
  await adding;
  assert.equal(tail.closed, START + 128n);
});

test("commits are found by where their records end", async () => {
  const tail = tailOf();
  const commits = [10n, 20n, 30n].map((at) => ({ lsn: START + at, timeUs: at }));
  await tail.add({ start: START, bytes: Buffer.alloc(40), commits, cameMs: 0 }, { signal });
  assert.deepEqual(
    tail.commits(START + 10n, START + 30n).map(({ timeUs }) => timeUs),
    [20n, 30n],
  );
  tail.letGo(START + 20n);
  assert.deepEqual(
    tail.commits(START, START + 40n).map(({ timeUs }) => timeUs),
    [30n],
  );
});

test("who waits learns of a failure, and so does who comes later", async () => {
  const tail = tailOf();
  const waiting = tail.changed({ signal });
  tail.fail(new Error("gone"));
  await assert.rejects(waiting, /gone/);
  await assert.rejects(tail.changed({ signal }), /gone/);
});

test("bytes that do not follow are refused", async () => {
  const tail = tailOf();
  await assert.rejects(
    tail.add({ start: START + 1n, bytes: Buffer.alloc(1), commits: [], cameMs: 0 }, { signal }),
    /do not follow/,
  );
});
