/** Of two versions of a segment the one is chosen that is the server's; where nobody can tell, none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { createWalReader } from "../../src/wal/reader.ts";
import { type Part, type Segment, settleSegment } from "../../src/wal/versions.ts";
import { commit, filling, OPTIONS, writeLog } from "./log-writer.ts";

const SIZE = OPTIONS.segmentBytes;
const START = OPTIONS.from + BigInt(SIZE);
const END = START + BigInt(SIZE);

/** Three segments; from record `forkAt` on with others, as another server would write it. */
function threeSegments(forkAt = Infinity): Buffer[] {
  const log = writeLog();
  for (let n = 0; log.at < OPTIONS.from + 3n * BigInt(SIZE); n += 1) log.add(filling(n < forkAt ? 1500 : 1100));
  const bytes = log.bytes();
  return [0, 1, 2].map((at) => bytes.subarray(at * SIZE, (at + 1) * SIZE));
}

const [before, whole, after] = threeSegments();
assert.ok(before !== undefined && whole !== undefined && after !== undefined);

const open = (from: bigint) => createWalReader({ ...OPTIONS, from });

function segment(parts: readonly Part[], more: Partial<Segment> = {}): Segment {
  return { start: START, segmentBytes: SIZE, parts, before, after, open, ...more };
}

function part(bytes: Uint8Array, at = 0): Part {
  return { from: START + BigInt(at), bytes };
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at);
  return copy;
}

test("parts that say the same all count, wherever they begin and end", () => {
  const parts = [part(whole), part(whole.subarray(0, 5000)), part(whole.subarray(3000, 9000), 3000)];
  const { ends, undecidedFrom } = settleSegment(segment(parts));
  assert.deepEqual([ends, undecidedFrom], [[END, START + 5000n, START + 9000n], undefined]);
});

test("a part that was changed counts as far as it is the log, whichever it is", () => {
  const at = 400_003;
  const bad = flipped(whole, at);
  for (const around of [{}, { before: undefined }, { after: undefined }, { before: undefined, after: undefined }]) {
    const first = settleSegment(segment([part(bad), part(whole)], around));
    assert.deepEqual([first.ends, first.undecidedFrom], [[START + BigInt(at), END], undefined]);
    const short = settleSegment(segment([part(whole), part(bad.subarray(300_000, 410_000), 300_000)], around));
    assert.deepEqual([short.ends, short.undecidedFrom], [[END, START + BigInt(at)], undefined]);
  }
});

test("a byte that differs is never decided for the wrong one", () => {
  let decided = 0;
  fc.assert(
    fc.property(fc.nat(SIZE - 1), fc.boolean(), (at, isFirst) => {
      const bad = part(flipped(whole, at));
      const { ends, undecidedFrom } = settleSegment(segment(isFirst ? [bad, part(whole)] : [part(whole), bad]));
      assert.equal(ends[isFirst ? 1 : 0], END);
      if (undecidedFrom === undefined) decided += 1;
      else assert.equal(undecidedFrom, START + BigInt(at));
    }),
    { numRuns: 25 },
  );
  assert.ok(decided > 15, `${decided} of 25`);
});

test("a record that ends in nothing is none where another version has it whole, unless a part behind it may have its end", () => {
  const [, other] = threeSegments(1000);
  assert.ok(other !== undefined);
  const at = whole.findIndex((byte, index) => byte !== other[index]);
  const fork = START + BigInt(at);
  const cut = part(whole.subarray(0, at + 5));
  assert.deepEqual(settleSegment(segment([cut, part(other)], { after: undefined })).ends, [fork, END]);
  assert.deepEqual(settleSegment(segment([part(other), cut], { after: undefined })).ends, [END, fork]);
  const rest = part(whole.subarray(at + 5, at + 9000), at + 5);
  const two = settleSegment(segment([cut, part(other), rest], { after: undefined }));
  assert.equal(two.undecidedFrom, fork);
  // Where neither has one, nobody can tell.
  const short = part(other.subarray(0, at + 5));
  assert.equal(settleSegment(segment([cut, short])).undecidedFrom, fork);
});

test("of two servers' logs the one counts that what lies behind goes on from; without that nobody can tell", () => {
  const [, other, otherAfter] = threeSegments(1000);
  assert.ok(other !== undefined && otherAfter !== undefined && !other.equals(whole));
  const fork = START + BigInt(whole.findIndex((byte, at) => byte !== other[at]));
  const two = [part(whole), part(other)];
  assert.deepEqual(settleSegment(segment(two)).ends, [END, fork]);
  assert.deepEqual(settleSegment(segment(two, { after: otherAfter })).ends, [fork, END]);
  for (const unknown of [{ after: undefined }, { open: undefined }, { after: whole }]) {
    const { ends, undecidedFrom } = settleSegment(segment(two, unknown));
    assert.deepEqual([ends, undecidedFrom], [[END, END], fork]);
  }
  const stray = part(other.subarray(0, SIZE - 5000));
  assert.deepEqual(settleSegment(segment([stray, part(whole)])).ends, [fork, END]);
});

test("the last commit before versions of which nobody can tell is known", () => {
  const log = writeLog();
  while (log.at < START + 200_000n) log.add(filling(1500));
  log.add(commit(7));
  while (log.at < END) log.add(filling(1500));
  const bytes = log.bytes().subarray(SIZE, 2 * SIZE);
  const committedUs = BigInt(Date.UTC(2026, 0)) * 1000n;
  for (const [at, lastCommitUs] of [
    [400_000, committedUs],
    [100_000, undefined],
  ] as const) {
    const parts = [part(flipped(bytes, at)), part(flipped(bytes, at + 1))];
    const settled = settleSegment(segment(parts, { before: log.bytes().subarray(0, SIZE) }));
    assert.deepEqual([settled.undecidedFrom, settled.lastCommitUs], [START + BigInt(at), lastCommitUs]);
  }
});

test("where no version is a log, or what lies before cannot be read, nobody can tell", () => {
  const [one, other] = [flipped(whole, 70_001), flipped(whole, 70_002)];
  assert.equal(settleSegment(segment([part(one), part(other)])).undecidedFrom, START + 70_001n);
  const broken = [part(flipped(whole, 50_000)), part(flipped(flipped(whole, 50_000), 90_000))];
  assert.equal(settleSegment(segment(broken)).undecidedFrom, START + 90_000n);
  const late = settleSegment(segment([part(whole.subarray(100), 100), part(flipped(whole, 200).subarray(100), 100)]));
  assert.equal(late.undecidedFrom, START + 200n);
});
