import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { parseChunkId, parsePackId, type ChunkId, type PackId } from "../../src/base/ids.ts";
import type { PackEntry } from "../../src/format/pack.ts";
import { ChunkIndex, SharedIndexView } from "../../src/repo/index.ts";

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function chunk(number: number): ChunkId {
  return parseChunkId(hash(`chunk ${number}`));
}

function pack(number: number): PackId {
  return parsePackId(hash(`pack ${number}`));
}

function entry(number: number, rest: Partial<PackEntry> = {}): PackEntry {
  return { id: chunk(number), type: "data", offset: number * 100, length: 100, uncompressedLength: 150, ...rest };
}

test("an empty index knows nothing", () => {
  const index = new ChunkIndex();
  assert.equal(index.size, 0);
  assert.equal(index.has("data", chunk(1)), false);
  assert.deepEqual(index.find("data", chunk(1)), []);
  assert.deepEqual([...index.packs()], []);
});

test("what was added is found, by its type only", () => {
  const index = new ChunkIndex();
  index.add({ id: pack(1), entries: [entry(1), entry(2, { type: "tree", uncompressedLength: 0 })] });
  assert.deepEqual(index.find("data", chunk(1)), [
    { pack: pack(1), offset: 100, length: 100, uncompressedLength: 150 },
  ]);
  assert.deepEqual(index.find("tree", chunk(2)), [{ pack: pack(1), offset: 200, length: 100, uncompressedLength: 0 }]);
  assert.equal(index.has("tree", chunk(1)), false);
  assert.equal(index.has("data", chunk(2)), false);
  assert.equal(index.hasBytes("data", Buffer.from(chunk(1), "hex")), true);
});

test("copies in several packs are all found, and one that is said twice counts once", () => {
  const index = new ChunkIndex();
  index.add({ id: pack(1), entries: [entry(1)] });
  index.add({ id: pack(2), entries: [entry(1, { offset: 0 })] });
  index.add({ id: pack(1), entries: [entry(1)] });
  assert.deepEqual(
    index.find("data", chunk(1)).map((found) => found.pack),
    [pack(1), pack(2)],
  );
  assert.equal(index.size, 2);
  assert.equal(index.packCount, 2);
});

test("a hundred thousand chunks are found at their places, in at most 64 bytes each", () => {
  const index = new ChunkIndex();
  const count = 100_000;
  for (let at = 0; at < count; at += 100) {
    const entries = Array.from({ length: 100 }, (_, one) => entry(at + one, { offset: one * 100 }));
    index.add({ id: pack(at), entries });
  }
  assert.equal(index.size, count);
  for (let at = 0; at < count; at += 1) {
    const [found] = index.find("data", chunk(at));
    assert.equal(found?.offset, (at % 100) * 100);
    assert.equal(found?.pack, pack(at - (at % 100)));
  }
  assert.equal(index.has("data", chunk(count)), false);
  // A whole number of segments, so that the bound is not about the last one's unused rest.
  const perChunk = index.memoryBytes / (Math.ceil(count / 32_768) * 32_768);
  assert.ok(perChunk <= 64, `${perChunk} bytes a chunk`);
});

test("room that was made beforehand is used, and what comes beyond it finds its own", () => {
  const index = new ChunkIndex();
  index.reserve(9_000);
  const slots = index.sharedTables.slots;
  for (let at = 0; at < 12_000; at += 100) {
    index.add({ id: pack(at), entries: Array.from({ length: 100 }, (_, one) => entry(at + one)) });
    if (at < 9_000) assert.equal(index.sharedTables.slots, slots);
  }
  for (let at = 0; at < 20_000; at += 1) assert.equal(index.has("data", chunk(at)), at < 12_000);
  assert.throws(() => index.reserve(1), /in use/);
});

test("offsets and lengths up to 4 GiB are kept", () => {
  const index = new ChunkIndex();
  const large = { offset: 2 ** 32 - 1, length: 2 ** 31 + 7, uncompressedLength: 2 ** 32 - 2 };
  index.add({ id: pack(1), entries: [entry(1, large)] });
  assert.deepEqual(index.find("data", chunk(1)), [{ pack: pack(1), ...large }]);
});

test("packs come back with their entries in the order of the file, and the size that these make", () => {
  const index = new ChunkIndex();
  index.add({ id: pack(1), entries: [entry(2), entry(1)] });
  index.add({ id: pack(2), entries: [entry(3, { offset: 0, uncompressedLength: 0 })] });
  index.add({ id: pack(1), entries: [entry(0)] });
  assert.deepEqual(
    [...index.packs()],
    [
      { id: pack(1), entries: [entry(0), entry(1), entry(2)], sizeBytes: 300 + 3 * 41 + 36 },
      { id: pack(2), entries: [entry(3, { offset: 0, uncompressedLength: 0 })], sizeBytes: 100 + 37 + 36 },
    ],
  );
});

test("a view in another thread sees what was there, and stays true while the index grows", () => {
  const index = new ChunkIndex();
  index.add({ id: pack(1), entries: [entry(1)] });
  const view = new SharedIndexView(structuredClone(index.sharedTables));
  for (let at = 1000; at < 60_000; at += 1000) {
    index.add({ id: pack(at), entries: Array.from({ length: 1000 }, (_, one) => entry(at + one)) });
  }
  assert.equal(view.has("data", chunk(1)), true);
  assert.equal(view.hasBytes("data", Buffer.from(chunk(1), "hex")), true);
  assert.equal(view.has("data", chunk(70_000)), false);
  assert.equal(index.has("data", chunk(59_999)), true);
});

test("a chunk that is distrusted is gone for every thread until it is added anew, and its pack keeps its row", () => {
  const index = new ChunkIndex();
  index.add({ id: pack(1), entries: [entry(1), entry(2), entry(1, { type: "tree" })] });
  index.add({ id: pack(2), entries: [entry(1, { offset: 7 })] });
  const before = [...index.packs()];
  const view = new SharedIndexView(structuredClone(index.sharedTables));
  index.distrust("data", chunk(1));
  for (const seen of [index, view]) {
    assert.deepEqual(
      [seen.has("data", chunk(1)), seen.has("tree", chunk(1)), seen.has("data", chunk(2))],
      [false, true, true],
    );
  }
  assert.deepEqual(index.find("data", chunk(1)), []);
  assert.deepEqual([...index.packs()], before);
  index.add({ id: pack(3), entries: [entry(1)] });
  // Many more, so that the table is made anew.
  for (let at = 1000; at < 9000; at += 1000) {
    index.add({ id: pack(at), entries: Array.from({ length: 1000 }, (_, one) => entry(at + one)) });
  }
  assert.deepEqual(
    index.find("data", chunk(1)).map((found) => found.pack),
    [pack(3)],
  );
});
