/** The index that is kept on this machine: the same as what it was made of, or none at all. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { type ChunkId, type FileId, parseChunkId, parseFileId, parsePackId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { randomKeys } from "../../src/format/crypto.ts";
import { ChunkIndex } from "../../src/repo/index.ts";
import { isWorthKeeping, keepIndex, readKeptIndex } from "../../src/repo/kept-index.ts";
import { readIndexFiles } from "../../src/repo/load-index.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { newRepository, reopen, signal } from "./small-backup.ts";

/** More than two segments, the last one not full. */
const CHUNKS = 70_000;
const KEYS = randomKeys();

function idOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function chunk(number: number): ChunkId {
  return parseChunkId(idOf(`chunk ${number}`));
}

function file(number: number): FileId {
  return parseFileId(idOf(`file ${number}`));
}

/** Chunks from one number to another, a thousand in a pack; every tenth is in a second pack too. */
function fill(index: ChunkIndex, from: number, to: number): void {
  for (let first = from; first < to; first += 1_000) {
    const entries = Array.from({ length: Math.min(1_000, to - first) }, (_, at) => {
      const type = at % 7 === 0 ? ("tree" as const) : ("data" as const);
      return { id: chunk(first + at), type, offset: at * 50, length: 50, uncompressedLength: at % 3 === 0 ? 0 : 90 };
    });
    index.add({ id: parsePackId(idOf(`pack ${first}`)), entries });
    index.add({ id: parsePackId(idOf(`copy ${first}`)), entries: entries.filter((_, at) => at % 10 === 0) });
  }
}

function allOf(index: ChunkIndex, count: number) {
  return Array.from({ length: count }, (_, at) => [index.find("data", chunk(at)), index.find("tree", chunk(at))]);
}

let made: ChunkIndex;

before(() => {
  made = new ChunkIndex();
  fill(made, 0, CHUNKS);
});

test("what is kept is read as it was, and grows on", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("cache/of/it/kept-index");
  await keepIndex(path, KEYS, { index: made, files: [file(1), file(2)] });
  const kept = await readKeptIndex(path, KEYS, new Set([file(1), file(2), file(3)]));
  assert.ok(kept);
  assert.deepEqual([...kept.files], [file(1), file(2)]);
  assert.equal(kept.index.size, made.size);
  assert.deepEqual([...kept.index.packSizes()], [...made.packSizes()]);
  assert.deepEqual(allOf(kept.index, CHUNKS + 10), allOf(made, CHUNKS + 10));
  const grown = new ChunkIndex();
  fill(grown, 0, CHUNKS + 5_000);
  fill(kept.index, CHUNKS, CHUNKS + 5_000);
  assert.deepEqual(allOf(kept.index, CHUNKS + 5_000), allOf(grown, CHUNKS + 5_000));
});

test("only its owner may read it, and it holds no id as it is", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("kept-index");
  await keepIndex(path, KEYS, { index: made, files: [file(1)] });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const bytes = readFileSync(path);
  assert.equal(bytes.includes(Buffer.from(chunk(5), "hex")), false);
  assert.equal(bytes.includes(file(1)), false);
  assert.deepEqual(readdirSync(folder.path), ["kept-index"]);
});

test("a copy that was distrusted is trusted again: whoever reads it finds out anew", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("kept-index");
  const index = new ChunkIndex();
  fill(index, 0, 1_000);
  index.distrust("data", chunk(8));
  assert.equal(index.has("data", chunk(8)), false);
  await keepIndex(path, KEYS, { index, files: [file(1)] });
  const kept = await readKeptIndex(path, KEYS, new Set([file(1)]));
  assert.equal(kept?.index.has("data", chunk(8)), true);
});

test("one that misses a file of the repository, or is not what was written, is none", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("kept-index");
  const listed = new Set([file(1), file(2)]);
  const read = async () => await readKeptIndex(path, KEYS, listed);
  assert.equal(await read(), undefined);
  await keepIndex(path, KEYS, { index: made, files: [...listed] });
  const whole = readFileSync(path);
  assert.ok(await read());
  assert.equal(await readKeptIndex(path, KEYS, new Set([file(1)])), undefined);
  assert.equal(await readKeptIndex(path, randomKeys(), listed), undefined);
  for (const at of [0, 3, 20, 2_000, whole.length >> 1, whole.length - 1]) {
    const other = Buffer.from(whole);
    other[at] = (other[at] ?? 0) ^ 4;
    writeFileSync(path, other);
    assert.equal(await read(), undefined, `byte ${at} altered`);
  }
  writeFileSync(path, whole);
  truncateSync(path, whole.length - 100);
  assert.equal(await read(), undefined);
  // Pieces of another time, sealed with the same keys.
  const later = folder.at("later");
  await keepIndex(later, KEYS, { index: made, files: [...listed] });
  const mixed = Buffer.concat([whole.subarray(0, whole.length >> 1), readFileSync(later).subarray(whole.length >> 1)]);
  writeFileSync(path, mixed);
  assert.equal(await read(), undefined);
});

test("where it cannot be kept, nothing is left and nothing fails", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("no-folder"), "");
  await keepIndex(folder.at("no-folder/kept-index"), KEYS, { index: made, files: [file(1)] });
  assert.deepEqual(readdirSync(folder.path), ["no-folder"]);
});

test("small ones are not kept, and large ones not again for a few new chunks", () => {
  const many = LIMITS.keptIndexChunks;
  assert.equal(isWorthKeeping(many - 1, 0), false);
  assert.equal(isWorthKeeping(many, 0), true);
  assert.equal(isWorthKeeping(many * 2, many * 2 - 10), false);
  assert.equal(isWorthKeeping(many * 2, many), true);
});

test("index files that it was made of are not read, later ones are; a large index is kept by the way", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "kept-index");
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const put = async (numbers: { from: number; to: number }) => {
    const packs = Array.from({ length: (numbers.to - numbers.from) / 1_000 }, (_, at) => {
      const first = numbers.from + at * 1_000;
      const blobs = Array.from({ length: 1_000 }, (_unused, n) => {
        return { id: chunk(first + n), type: "data", offset: n * 50, length: 50, uncompressed_length: 90 };
      });
      return { id: idOf(`pack ${first}`), blobs };
    });
    return await repository.putUnpacked("index", JSON.stringify({ packs }), { signal });
  };
  const first = await put({ from: 0, to: LIMITS.keptIndexChunks });
  const loaded = await readIndexFiles(reopen(repository), { kept: path, signal });
  assert.deepEqual(loaded.damaged, []);
  assert.ok(existsSync(path));
  const second = await put({ from: LIMITS.keptIndexChunks, to: LIMITS.keptIndexChunks + 1_000 });
  // Nobody could read it now.
  const name = [...store.files.keys()].find((known) => known.endsWith(first));
  assert.ok(name !== undefined);
  store.files.set(name, Buffer.from("damaged"));
  const again = await readIndexFiles(reopen(repository), { kept: path, signal });
  assert.deepEqual(again.damaged, []);
  assert.deepEqual(new Set<string>(again.files), new Set<string>([first, second]));
  assert.equal(again.index.size, LIMITS.keptIndexChunks + 1_000);
  assert.equal(again.index.has("data", chunk(LIMITS.keptIndexChunks + 7)), true);
  // Without it the damage is seen: so is it by 'verify', which never takes it.
  const without = await readIndexFiles(reopen(repository), { signal });
  assert.equal(without.damaged.length, 1);
});
